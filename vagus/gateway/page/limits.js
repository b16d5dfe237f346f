// Limits over time: a step line for each limit of each target, a mark for each receipt, and the receipts as a table.

import { plot } from "./chart.js";
import { empty, fill, fits, names, now, quantity, say, section, when } from "./parts.js";
import { clock, make } from "/health/words.js";

const MAX_CHARTS = 24;
const RECEIPTS = 8; // of each limit
const REDRAWN_MS = 10000; // the charts go on to now, all to the same moment
const OUTCOMES = { "": "done", dry: "dry, nothing written", failed: "refused" };

export class Limits {
  constructor() {
    this.place = section("limits");
    this.data = null;
  }

  told(data) {
    this.data = data;
  }

  show({ words, node }) {
    if (!this.data) return;
    const { receipts, left_off } = this.data;
    const fit = (one) => names(one.node, node) && fits(words, one.target, one.resource, one.controller, one.node, one.error, one.note);
    const groups = new Map();
    for (const one of receipts.filter(fit)) {
      const key = [one.node, one.target, one.resource].join("\0");
      groups.set(key, [...(groups.get(key) || []), one]);
    }
    const until = Math.floor(now() / REDRAWN_MS) * REDRAWN_MS;
    const shown = [...groups].slice(0, MAX_CHARTS).map(([key, found]) => [key, found, until]);
    fill(this.place.list, shown, ([key]) => key, ([, found, to]) => card(found, to));
    const failed = receipts.filter(({ error }) => error).length;
    const counts = receipts.length ? [counted(receipts.length), failed ? make("span", { class: "bad" }, `${failed} refused`) : ""] : [];
    if (left_off) counts.push(`${left_off} older ones left off`);
    if (groups.size > MAX_CHARTS) counts.push(`${groups.size - MAX_CHARTS} more limits not shown`);
    say(this.place.said, counts, this.data);
    empty(this.place, receipts.length, "No controller has changed or wished a limit in the last hour.", this.data);
  }
}

/** The unit that a resource's name ends with: cpu_cores, net_bytes_s. */
function unitOf(resource) {
  if (resource.endsWith("_bytes_s")) return "bytes/s";
  if (resource.endsWith("_bytes")) return "bytes";
  return "";
}

const counted = (number) => (number === 1 ? "1 receipt" : `${number} receipts`);
const kindOf = (receipt) => (receipt.error ? "failed" : receipt.dry ? "dry" : "");

/** found: receipts of one limit, newest first; until: where the chart ends, unless the newest is younger. */
function card(found, until) {
  const { node, target, resource } = found[0];
  const unit = unitOf(resource);
  const past = [...found].reverse();
  const done = past.filter((one) => !one.dry && !one.error);
  const to = Math.max(until, past.at(-1).t_ms + 1);
  const from = past[0].t_ms - 0.04 * (to - past[0].t_ms);
  const points = done.map((one) => [one.t_ms, one.after]);
  if (done.length) points.push([to, done.at(-1).after]);
  if (done.length && done[0].before !== null) points.unshift([from, done[0].before]);
  const marks = past
    .map((one) => ({ at: [one.t_ms, kindOf(one) ? one.requested : one.after], kind: kindOf(one), title: `${clock(one.t_ms)} ${OUTCOMES[kindOf(one)]}: ${one.reason}` }))
    .filter(({ at }) => at[1] !== null);
  const last = done.length ? `now ${quantity(done.at(-1).after, unit)}` : "nothing was written";
  const label = `${resource} of ${target} at ${node}: ${found.length} receipts, ${last}`;
  const words = { number: (value) => quantity(value, unit), time: (ms) => clock(ms).slice(0, 8) };
  const chart = plot({ from, to, lines: [{ points, step: true }], marks, label, ...words });
  const top = make("div", { class: "top" }, make("h3", {}, `${target} ${resource}`), make("span", { class: "quiet" }, `${node} · ${last}`));
  const kinds = Object.keys(OUTCOMES).filter((kind) => past.some((one) => kindOf(one) === kind));
  const keys = kinds.map((kind) => make("span", {}, make("span", { class: `key dot ${kind}`, "aria-hidden": "true" }), OUTCOMES[kind]));
  const key = make("div", { class: "facts quiet" }, ...keys);
  return make("li", { "data-limit": `${target} ${resource}` }, top, chart, key, receiptsOf(found, unit));
}

function receiptsOf(found, unit) {
  const lines = found.slice(0, RECEIPTS).map((one) => {
    const change = `${quantity(one.before, unit)} → ${quantity(one.error || one.dry ? one.requested : one.after, unit)}`;
    const how = one.error ? `refused: ${one.error}` : one.dry ? "dry, nothing written" : one.note;
    return make("tr", {}, make("td", {}, when(one.t_ms)), make("td", {}, change), make("td", {}, [one.reason, how].filter(Boolean).join("; ")), make("td", {}, one.controller));
  });
  const head = make("thead", {}, make("tr", {}, ...["when", "change", "why", "by"].map((name) => make("th", { scope: "col" }, name))));
  const rest = found.length > RECEIPTS ? ` the newest ${RECEIPTS}` : "";
  return make("details", {}, make("summary", {}, make("span", {}, `${counted(found.length)}${rest && `,${rest} here`}`)), make("div", { class: "wide" }, make("table", { class: "plain", "aria-label": "Receipts" }, head, make("tbody", {}, ...lines))));
}
