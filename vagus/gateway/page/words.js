// Statuses, elements and times. Text goes in as text only: subjects and observers come from outside.

export const STATUSES = ["DEAD", "DYING", "UNHEALTHY", "MAYBE_UNHEALTHY", "PENDING", "HEALTHY", "NA", "INVALID"];
export const LETTERS = {
  DEAD: "DD", DYING: "D", UNHEALTHY: "U", MAYBE_UNHEALTHY: "M", PENDING: "P", HEALTHY: "h", NA: "n", INVALID: "?",
};
export const isIll = (status) => STATUSES.indexOf(status) < 4;

/** An element with attributes and children; strings become text. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** A status as a letter in its colour, said as a word; name "": the word stands beside it. */
export function badge(status, name = status.toLowerCase().replace("_", " ")) {
  const said = name ? { role: "img", "aria-label": name, title: name } : { "aria-hidden": "true" };
  return make("span", { class: `badge ${status in LETTERS ? status : "INVALID"}`, ...said }, LETTERS[status] || "?");
}

/** How long ago, in words that stay short. */
export function age(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 120) return `${Math.floor(s)} s`;
  if (s < 7200) return `${Math.floor(s / 60)} min`;
  return s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
}

/** Local time of day to the millisecond. */
export function clock(ms) {
  const at = new Date(ms);
  return `${at.toLocaleTimeString("en-GB")}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

export const score = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4))));
