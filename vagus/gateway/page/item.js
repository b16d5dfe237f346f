// One item: its value, how it was fetched and parsed, and what it was made from.

import { code } from "./table.js";
import { clock, make } from "/health/words.js";

const ms = (ns) => ns / 1e6;

/** A value as JSON, a list of plain ones in one line. */
function json(value) {
  return JSON.stringify(value, null, 2).replace(/\[[^[\]{}"]*\]/g, (list) => list.replace(/\s+/g, " "));
}

export function showItem(element, item, closed) {
  const { meta, node, value } = item;
  const { word, status } = code(meta);
  const close = make("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
  close.addEventListener("click", () => {
    element.hidden = true;
    closed();
  });
  const facts = [
    ["how it went", make("span", { class: `code ${status}` }, word)],
    ["scheduled", `${new Date(ms(meta.due_ns)).toLocaleDateString("en-GB")} ${clock(ms(meta.due_ns))}`],
    ["arrived", clock(ms(meta.arrived_ns)) + (meta.started_ns ? `, after ${((meta.arrived_ns - meta.started_ns) / 1e6).toFixed(1)} ms` : "")],
    ["bytes", String(meta.size_bytes)],
    ["fetched by", node],
    ["feed", meta.feed + (meta.part ? `, part ${meta.part}` : "")],
    ...(meta.note ? [["note", meta.note]] : []),
  ];
  const list = make("dl", {}, ...facts.flatMap(([name, content]) => [make("dt", {}, name), make("dd", {}, content)]));
  const made = meta.provenance.length
    ? [make("h3", {}, "Made from"), ...meta.provenance.map(({ feed, location, due_ns, part }) => make("p", {}, `${feed} ${location} ${part} of ${clock(ms(due_ns))}`))]
    : [];
  element.replaceChildren(close, make("h2", {}, meta.location || meta.feed), list, ...made, make("h3", {}, "Value"), make("pre", {}, json(value)));
  element.hidden = false;
}
