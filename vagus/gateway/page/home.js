// Follows the overview and hands each event to its section, with the filter.

import { Decisions } from "./decisions.js";
import { Feeds } from "./feedlist.js";
import { Forecast } from "./forecast.js";
import { Limits } from "./limits.js";
import { heardTime, names, renewAges } from "./parts.js";
import { Nodes } from "./signals.js";
import { follower } from "./stream.js";
import { Verdicts } from "./verdicts.js";
import { keep, token } from "/health/source.js";
import { clock, make } from "/health/words.js";

const AGES_MS = 5000;
const HIDDEN_MS = 60000; // a page that nobody has seen for so long asks no more

const $ = (id) => document.getElementById(id);
let hello = null;
let connected = false;
let waiting = false;
let retry = 0; // when it is tried again
let hiding = 0;

const forecast = new Forecast(() => connected);
const nodes = new Nodes((node) => {
  forecast.choose(node);
  $("forecast").scrollIntoView();
  $("of-signal").focus({ preventScroll: true });
});
const sections = { verdicts: new Verdicts(), feeds: new Feeds(), decisions: new Decisions(), limits: new Limits() };

const filter = () => ({ words: $("filter").value.toLowerCase().split(/\s+/).filter(Boolean), node: $("node").value });

/** Draws once for all that has come since the last frame; a page that nobody sees waits until it is seen. */
function show() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    const what = filter();
    nodes.show(what);
    for (const one of Object.values(sections)) one.show(what);
    const known = nodes.names();
    offer(known);
    if (known.length) forecast.offer(known, hello?.node);
  });
}

/** The nodes, in the box of the filter. */
function offer(known) {
  const chosen = $("node").value;
  const all = chosen && !known.some((name) => names(name, chosen)) ? [...known, chosen] : known;
  const text = all.join("\0");
  if ($("node").dataset.text === text) return;
  $("node").dataset.text = text;
  $("node").replaceChildren($("node").options[0], ...all.map((name) => make("option", { value: name }, name)));
  $("node").value = chosen;
}

function say(kind, words) {
  $("state").className = kind;
  if ($("words").textContent !== words) $("words").textContent = words;
}

function heard(name, data) {
  if (name === "hello") {
    hello = data;
    connected = true;
    $("door").hidden = true;
    $("main").hidden = false;
    document.body.classList.remove("stale");
    $("title").textContent = data.cluster;
    document.title = `${data.cluster} · vagus`;
    nodes.greet(data);
    forecast.greet(data.signals);
    say("live", `live from ${data.node}`);
  } else if (name === "signals" || name === "tick") {
    heardTime(name === "tick" ? data.t_ms : (data.t_ms.at(-1) ?? Date.now()));
    if (name === "tick") nodes.tick(data);
    else nodes.whole(data);
  } else if (name === "nodes") nodes.told(data);
  else sections[name]?.told(data);
  if (name !== "hello" && name !== "end") show();
}

function lost(why, wait) {
  if (connected) $("state").dataset.since = clock(Date.now()).slice(0, 8);
  connected = false;
  document.body.classList.add("stale");
  const since = $("state").dataset.since ? ` since ${$("state").dataset.since}` : "";
  say("lost", `not live${since}: ${why}; trying again in ${wait / 1000} s`);
  retry = Date.now() + wait;
}

function locked(why = "", words = "no token") {
  connected = false;
  $("door").hidden = false;
  $("main").hidden = true;
  $("refused").textContent = why;
  say("", words);
}

const connect = follower("/v1/overview", {
  event: heard,
  lost,
  denied: (why) => {
    keep("");
    locked(why);
  },
  refused: (why) => locked(why, "not allowed with this token"), // it is kept: other pages may be allowed to it
});

function pause() {
  if (!$("door").hidden) return; // nothing is asked
  connect.stop();
  connected = false;
  retry = Infinity;
  say("", "paused: nobody looked for a minute");
}

const start = () => (token() ? connect() : locked());

$("filter").addEventListener("input", show);
$("node").addEventListener("change", show);
$("door").addEventListener("submit", (event) => {
  event.preventDefault();
  keep($("token").value.trim());
  $("token").value = "";
  start();
});
function looked() {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(pause, HIDDEN_MS);
  else if (!connected && token() && Date.now() < retry) connect(); // seen again: at once
}

document.addEventListener("visibilitychange", looked);
addEventListener("hashchange", () => new URLSearchParams(location.hash.slice(1)).has("token") && start());
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName)) {
    event.preventDefault();
    $("filter").focus();
  }
});
setInterval(renewAges, AGES_MS);
start();
looked(); // a tab that opens in the background may never be seen
