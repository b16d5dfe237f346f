// Asks for a feed's newest items every two seconds and shows them as a table.

import { Table } from "./table.js";
import { showItem } from "./item.js";
import { Denied, ask, keep, now, token } from "/health/source.js";
import { age, make } from "/health/words.js";

const PERIOD_MS = 2000;
const MOST_MS = 10000;
const LIMIT = 2000;

const $ = (id) => document.getElementById(id);
let statuses = [];
let failures = 0;
let timer = 0;
let asked = 0;

const ago = (ns) => age(now() - ns / 1e6);
const table = new Table($("items"), (item) => showItem($("item"), item, () => { table.selected = ""; table.draw(); }));

const chosen = () => new URLSearchParams(location.search).get("feed") || "";

function choose(name) {
  const search = new URLSearchParams(location.search);
  search.set("feed", name);
  history.replaceState(null, "", `${location.pathname}?${search}`);
}

/** The names of all feeds, in the box. */
function offer() {
  const names = [...new Set(statuses.map(({ name }) => name))];
  if (!names.includes(chosen()) && names.length) choose(names[0]);
  if ($("feed").dataset.text !== names.join("\0")) {
    $("feed").dataset.text = names.join("\0");
    $("feed").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  }
  $("feed").value = chosen();
}

/** Each word once: select, 4 × alert. */
function counted(words) {
  return [...new Set(words)].map((word) => [words.filter((other) => other === word).length, word]).map(([count, word]) => (count > 1 ? `${count} × ${word}` : word));
}

const made = (kind) => (!kind ? "" : kind === "of" ? "made of another feed" : `${kind} of others`);

/** What is said of the feed by all nodes that fetch for it. */
function about() {
  const mine = statuses.filter(({ name }) => name === chosen());
  const counts = new Map();
  for (const { codes } of mine) for (const [word, count] of Object.entries(codes)) counts.set(word, (counts.get(word) || 0) + count);
  const locations = mine.reduce((sum, status) => sum + status.locations, 0);
  const failing = mine.reduce((sum, status) => sum + status.failing_count, 0);
  const next = Math.min(...mine.map((status) => status.next_due_ns).filter(Boolean));
  const error = mine.map((status) => status.error).find(Boolean);
  const tools = mine[0]?.tools || [];
  const parts = [
    make("span", {}, make("b", {}, mine[0]?.schedule || made(mine[0]?.kind))),
    make("span", {}, `${locations} ${locations === 1 ? "location" : "locations"} on ${mine.map(({ node }) => node).join(", ")}`),
    ...[...counts].map(([word, count]) => make("span", {}, `${count} × ${word}`)),
    ...(failing ? [make("span", { class: "bad" }, `${failing} fail`)] : []),
    ...(Number.isFinite(next) ? [make("span", {}, `next in ${age(next / 1e6 - now())}`)] : []),
    ...(tools.length ? [make("span", {}, `tools: ${counted(tools).join(", ")}`)] : []),
    ...(error ? [make("span", { class: "bad" }, error)] : []),
  ];
  $("about").replaceChildren(...parts);
}

function wrong(message) {
  $("wrong").hidden = !message;
  $("wrong").textContent = message;
  $("where").setAttribute("aria-invalid", String(Boolean(message)));
}

function say(kind, words) {
  $("state").className = kind;
  if ($("words").textContent !== words) $("words").textContent = words;
}

function locked(why = "") {
  $("door").hidden = false;
  $("items").hidden = true;
  $("refused").textContent = why;
  say("", "no token");
}

const natural = (a, b) => a.localeCompare(b, "en", { numeric: true });
const byPlace = ({ meta: a }, { meta: b }) => natural(a.location, b.location) || natural(a.part, b.part);
const byTime = (a, b) => b.meta.arrived_ns - a.meta.arrived_ns || byPlace(a, b);

async function items() {
  const name = chosen();
  const latest = $("latest").checked;
  const query = new URLSearchParams({ limit: LIMIT, latest });
  if ($("where").value.trim()) query.set("where", $("where").value.trim());
  const { body } = await ask(`/v1/feeds/${encodeURIComponent(name)}/items?${query}`);
  if (name !== chosen()) return;
  const shown = body.items.sort(latest ? byPlace : byTime);
  table.show(shown, ago);
  $("none").hidden = shown.length > 0;
  $("none").textContent = $("where").value.trim() ? "No item is so." : "Nothing has come yet.";
  const missing = body.missing.length ? ` · no answer from ${body.missing.map(({ node }) => node).join(", ")}` : "";
  say("live", `${shown.length} items${missing}`);
}

async function step() {
  clearTimeout(timer);
  if (!token()) return locked();
  const turn = ++asked;
  try {
    statuses = (await ask("/v1/feeds")).body.feeds;
    $("door").hidden = true;
    offer();
    about();
    if (chosen()) await items();
    else say("live", "no feeds are declared");
    wrong("");
    failures = 0;
  } catch (error) {
    failures += 1;
    if (error instanceof Denied) {
      keep("");
      return locked(error.message);
    }
    if ($("where").value.trim() && /expression/.test(error.message)) wrong(error.message);
    else say("lost", `not live: ${error.message}`);
  }
  if (turn === asked) timer = setTimeout(step, document.hidden ? MOST_MS : Math.min(MOST_MS, PERIOD_MS * 2 ** Math.min(failures, 3)));
  return undefined;
}

$("feed").addEventListener("change", () => {
  choose($("feed").value);
  $("item").hidden = true;
  step();
});
$("where").addEventListener("change", step);
$("latest").addEventListener("change", step);
$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  keep($("token").value.trim());
  $("token").value = "";
  step();
});
document.addEventListener("visibilitychange", () => document.hidden || step());
addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !$("item").hidden) $("item").querySelector(".close").click();
});
step();
