// Asks the gateway with the token, which comes behind the address's # and stays in this tab.

const KEY = "vagus.token";

export class Denied extends Error {} // no token, or a wrong one
export class Refused extends Error {} // the token is right; the rules do not allow it this
export class Missing extends Error {}

/** The token, taken out of the address if it stands there, so that it is in no history and no bookmark. */
export function token() {
  const given = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B")).get("token");
  if (given) {
    keep(given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(KEY) || "";
}

export function keep(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

let ahead = 0; // of this machine's clock before the gateway's, in milliseconds

/** The gateway's time in milliseconds, as far as it differs by more than its answers' resolution. */
export const now = () => Date.now() - ahead;

/** {etag, body} of a path; body is null while what `etag` names is current. */
export async function ask(path, etag = "") {
  const headers = { Authorization: `Bearer ${token()}` };
  if (etag) headers["If-None-Match"] = etag;
  const answer = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(15000) });
  const sent = Date.parse(answer.headers.get("Date"));
  if (sent) ahead = Math.abs(Date.now() - sent) > 3000 ? Date.now() - sent : 0;
  if (answer.status === 304) return { etag, body: null };
  if (answer.ok) return { etag: answer.headers.get("ETag") || "", body: await answer.json() };
  throw await failure(answer);
}

/** What an answer that is none says, as an error. */
export async function failure(answer) {
  const { code, message, hint } = await answer.json().then((body) => body.error, () => ({ message: answer.statusText }));
  if (answer.status === 404) return new Missing(message);
  if (code === "refused") return new Refused(hint ? `${message}: ${hint}` : message);
  return answer.status === 401 || answer.status === 403 ? new Denied(message) : new Error(message);
}
