// What the sections share: lists that change in place, numbers and times as text, what an answer says of itself.

import { age, make } from "/health/words.js";

let ahead = 0; // of this machine's clock before the gateway's, in milliseconds

/** The gateway's time as it has just been told. */
export function heardTime(ms) {
  ahead = Math.abs(Date.now() - ms) > 3000 ? Date.now() - ms : 0;
}

export const now = () => Date.now() - ahead;

/** A time that reads as an age and grows older by `renewAges`. */
export function when(ms) {
  const element = make("time", { "data-ms": ms, datetime: new Date(ms).toISOString() });
  element.title = new Date(ms).toLocaleString("en-GB");
  element.textContent = `${age(now() - ms)} ago`;
  return element;
}

export function renewAges() {
  for (const element of document.querySelectorAll("time[data-ms]")) element.textContent = `${age(now() - Number(element.dataset.ms))} ago`;
}

const STEPS = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

/** A number in its unit, short: 12 %, 3.4 MB/s; a dash where there is none. */
export function quantity(value, unit = "") {
  if (value === null || value === undefined) return "–";
  if (unit === "ratio") return `${Number((value * 100).toPrecision(value < 0.1 ? 2 : 3))} %`;
  const [size, letter] = STEPS.find(([least]) => Math.abs(value) >= least) || [1, ""];
  const short = unit.replace(/^bytes/, "B");
  return `${Number((value / size).toPrecision(3))}${letter || short ? " " : ""}${letter}${short}`.trim();
}

/** The parts of a section of the page. */
export function section(id) {
  const element = document.getElementById(id);
  return { element, list: element.querySelector("ul"), said: element.querySelector(".said"), none: element.querySelector(".none") };
}

const held = new WeakMap();

/** One child for each item: those whose item is as before stay; one that is made anew stays open, and keeps the focus. */
export function fill(list, items, keyOf, makeOne) {
  const before = held.get(list) || new Map();
  const after = new Map();
  const active = list.contains(document.activeElement) ? document.activeElement : null;
  let focus = active;
  for (const item of items) {
    const key = keyOf(item);
    const text = JSON.stringify(item);
    let known = before.get(key);
    if (!known || known.text !== text) {
      const child = makeOne(item);
      if (known) {
        if (known.child.querySelector("details")?.open) child.querySelector("details").open = true;
        if (active && known.child.contains(active)) focus = child.querySelector("summary, button, a");
      }
      known = { text, child };
    }
    after.set(key, known);
  }
  held.set(list, after);
  const children = [...after.values()].map(({ child }) => child);
  if (children.length === list.children.length && children.every((child, n) => child === list.children[n])) return;
  list.replaceChildren(...children);
  if (focus?.isConnected && document.activeElement !== focus) focus.focus({ preventScroll: true });
}

/** What a section says: words, then who did not answer, why it is not newer, and what is not the reader's to see. */
export function say(element, words, { missing = [], missing_count = 0, error = "", refused = [] } = {}) {
  const parts = words.filter(Boolean).map((word) => (word instanceof Node ? word : make("span", {}, word)));
  if (missing_count) {
    const names = missing.slice(0, 5).map(({ node }) => node).join(", ");
    const bad = make("span", { class: "bad" }, `no answer from ${names}${missing_count > 5 ? ` and ${missing_count - 5} more` : ""}`);
    bad.title = missing.map((one) => `${one.node}: ${one.error}`).join("\n");
    parts.push(bad);
  }
  if (error) parts.push(make("span", { class: "bad" }, `not renewed: ${error}`));
  if (refused.length) parts.push(make("span", {}, `not yours to see: ${refused.slice(0, 5).join(", ")}`));
  element.replaceChildren(...parts);
}

/** Shows why a list is empty, if it is: nothing there, nothing that fits, or nothing known. */
export function empty({ none, list }, total, nothing, { error = "", missing_count = 0, refused = [] } = {}) {
  none.hidden = list.children.length > 0;
  if (total) none.textContent = "Nothing fits the filter.";
  else if (error) none.textContent = "Nothing is known.";
  else if (refused.length) none.textContent = "Nothing of it is yours to see.";
  else none.textContent = missing_count ? `${nothing} Not all nodes answered.` : nothing;
}

/** Whether texts fit the filter: all words stand in some of them, in any case. */
export const fits = (words, ...texts) => {
  const all = texts.join("\n").toLowerCase();
  return words.every((word) => all.includes(word));
};

/** Whether a text names a node, as a word of its own: `db@n1` names n1, not n. */
export const names = (text, node) => !node || text === node || text.split(/[^\w.-]+/).includes(node);
