// Asks for the matrix each second and shows it; an unchanged one costs a 304.

import { Evidence } from "./evidence.js";
import { Matrix } from "./matrix.js";
import { Denied, ask, keep, token } from "./source.js";
import { STATUSES, badge, make } from "./words.js";

const PERIOD_MS = 1000;
const MOST_MS = 10000;
const LIMIT = 500; // subjects, the worst; more would make a browser slow

const $ = (id) => document.getElementById(id);
const statuses = new Set();
let answer = null;
let etag = "";
let failures = 0;
let timer = 0;

const matrix = new Matrix($("matrix"), async (...place) => {
  await evidence.open(...place).catch(failed);
  matrix.reveal(matrix.find(...place)); // the pane took room
});
const evidence = new Evidence($("evidence"), () => {
  const place = matrix.selected;
  matrix.select(null);
  if (place) matrix.find(...place)?.focus();
});

/** What the filter box says: words that a subject, a context or a status must contain, by:NAME for observers. */
function view() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const by = words.filter((word) => word.startsWith("by:")).map((word) => word.slice(3));
  const plain = words.filter((word) => !word.startsWith("by:"));
  const matches = (verdict) => {
    const names = [verdict.subject, ...Object.keys(verdict.contexts)].map((name) => name.toLowerCase());
    const status = verdict.status.toLowerCase(); // from its beginning: healthy is not unhealthy
    return plain.every((word) => status.startsWith(word) || names.some((name) => name.includes(word)));
  };
  const byObserver = by.length ? (name) => by.every((word) => name.toLowerCase().includes(word)) : null;
  return { matches, byObserver, context: $("context").value, statuses };
}

function show() {
  if (!answer) return;
  legend();
  contexts();
  const shown = matrix.show(answer, view());
  const total = answer.subjects.length;
  $("none").hidden = shown.subjects > 0;
  $("none").textContent = total ? "Nothing matches the filter." : "Nobody has reported anything yet: vagus report adds a report.";
  const words = [];
  words.push(shown.subjects === total ? `${total} subjects × ${shown.observers} observers` : `${shown.subjects} of ${total} subjects`);
  if (answer.left_off) words.push(`${answer.left_off} more left off`);
  if (answer.missing.length) words.push(`no answer from ${answer.missing.map(({ node }) => node).join(", ")}`);
  if (answer.refused.length) words.push("some are not yours to see");
  say("live", words.join(" · "));
}

/** How many subjects have each verdict; pressed, only these are shown. */
function legend() {
  const counts = new Map();
  for (const { status } of answer.subjects) counts.set(status, (counts.get(status) || 0) + 1);
  for (const status of statuses) if (!counts.has(status)) counts.set(status, 0);
  const text = JSON.stringify([...counts].sort()) + [...statuses].join();
  if ($("legend").dataset.text === text) return;
  $("legend").dataset.text = text;
  const held = document.activeElement?.dataset?.status;
  const buttons = STATUSES.filter((status) => counts.has(status)).map((status) => {
    const pressed = String(statuses.has(status));
    const name = `${counts.get(status)} ${status.toLowerCase().replace("_", " ")}`;
    const button = make("button", { type: "button", "aria-pressed": pressed, "data-status": status }, badge(status, ""), name);
    button.addEventListener("click", () => {
      if (!statuses.delete(status)) statuses.add(status);
      show();
    });
    return button;
  });
  $("legend").replaceChildren(...buttons);
  buttons.find((button) => button.dataset.status === held)?.focus();
}

function contexts() {
  const chosen = $("context").value;
  const names = new Set(chosen ? [chosen] : []);
  for (const verdict of answer.subjects) for (const name of Object.keys(verdict.contexts)) names.add(name);
  const sorted = [...names].sort();
  const text = sorted.join("\0");
  if ($("context").dataset.text === text) return;
  $("context").dataset.text = text;
  $("context").replaceChildren($("context").options[0], ...sorted.map((name) => make("option", { value: name }, name)));
  $("context").value = chosen;
}

function say(kind, words) {
  $("state").className = kind;
  if ($("words").textContent !== words) $("words").textContent = words;
}

function failed(error) {
  failures += 1;
  if (error instanceof Denied) {
    keep("");
    locked(error.message);
  } else {
    say("lost", `not live: ${error.message}`);
  }
}

function locked(why = "") {
  $("door").hidden = false;
  $("matrix").hidden = true;
  $("evidence").hidden = true;
  $("refused").textContent = why;
  say("", "no token");
}

async function step() {
  clearTimeout(timer);
  if (!token()) return locked();
  try {
    const got = await ask(`/v1/matrix?limit=${LIMIT}`, etag);
    failures = 0;
    etag = got.etag;
    if (got.body) {
      answer = got.body;
      $("door").hidden = true;
      show();
      await evidence.refresh();
    } else if ($("state").className !== "live") {
      show();
    }
  } catch (error) {
    failed(error);
    if (error instanceof Denied) return undefined;
  }
  timer = setTimeout(step, document.hidden ? MOST_MS : Math.min(MOST_MS, PERIOD_MS * 2 ** Math.min(failures, 4)));
  return undefined;
}

$("filter").addEventListener("input", show);
$("context").addEventListener("change", show);
$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  keep($("token").value.trim());
  $("token").value = "";
  etag = "";
  step();
});
document.addEventListener("visibilitychange", () => document.hidden || step());
addEventListener("hashchange", step);
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName)) {
    event.preventDefault();
    $("filter").focus();
  } else if (event.key === "Escape" && evidence.place) {
    evidence.close();
  }
});
step();
