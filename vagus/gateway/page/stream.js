// Reads server-sent events with fetch, which can send the token as EventSource cannot; comes back by itself.

import { Denied, Refused, failure, token } from "/health/source.js";

const SILENT_MS = 25000; // the gateway says each ten seconds that it lives
const WAITS_MS = [1000, 2000, 4000, 8000, 15000];

/** A function that (re)connects to a path; told: event(name, data), lost(why, wait_ms), denied(why), refused(why). Its `stop` ends it. */
export function follower(path, told) {
  let failures = 0;
  let timer = 0;
  let current = null;

  async function connect() {
    clearTimeout(timer);
    current?.abort();
    const mine = new AbortController();
    current = mine;
    const heard = (name, data) => {
      if (current !== mine) return;
      failures = 0;
      told.event(name, data);
    };
    let why = "the gateway ended it";
    try {
      await read(path, mine, heard);
    } catch (error) {
      if (current === mine && error instanceof Denied) return told.denied(error.message);
      if (current === mine && error instanceof Refused) return told.refused(error.message);
      why = mine.signal.aborted ? "the gateway is silent" : error.message;
    }
    if (current !== mine) return undefined; // another connection took over
    const wait = WAITS_MS[Math.min(failures, WAITS_MS.length - 1)];
    failures += 1;
    told.lost(why, wait);
    timer = setTimeout(connect, wait);
    return undefined;
  }

  connect.stop = () => {
    clearTimeout(timer);
    const was = current;
    current = null;
    was?.abort();
  };
  return connect;
}

async function read(path, control, heard) {
  let silence = 0;
  const alive = () => {
    clearTimeout(silence);
    silence = setTimeout(() => control.abort(), SILENT_MS);
  };
  alive();
  try {
    const headers = { Authorization: `Bearer ${token()}`, Accept: "text/event-stream" };
    const answer = await fetch(path, { headers, cache: "no-store", signal: control.signal });
    if (!answer.ok) throw await failure(answer);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) tell(block, heard);
    }
  } finally {
    clearTimeout(silence);
  }
}

function tell(block, heard) {
  const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
  if (fields.event && fields.data) heard(fields.event, JSON.parse(fields.data));
}
