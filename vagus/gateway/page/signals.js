// A card for each node: its signals as numbers and lines, its actors, and what is wrong there.

import { Spark } from "./chart.js";
import { empty, fits, names, quantity, say, section } from "./parts.js";
import { make } from "/health/words.js";

const SHOWN = 200; // cards: more would make a browser slow
const inOrder = new Intl.Collator("en", { numeric: true }).compare;

export class Nodes {
  /** chosen(node) is called when a node's name is pressed. */
  constructor(chosen) {
    this.place = section("nodes");
    this.chosen = chosen;
    this.hello = { signals: [], points: 60 };
    this.lines = new Map(); // of each node, for each signal its values
    this.times = [];
    this.statuses = new Map();
    this.cards = new Map();
    this.about = {};
    this.status = {};
  }

  greet(hello) {
    this.hello = hello;
  }

  /** All columns. */
  whole(data) {
    this.about = data;
    this.times = data.t_ms;
    this.lines = new Map(Object.entries(data.lines));
  }

  /** One column more; the oldest goes. */
  tick(data) {
    this.about = data;
    if (this.times.at(-1) === data.t_ms) return;
    const blank = this.hello.signals.map(() => null);
    const length = this.times.length;
    for (const node of Object.keys(data.values)) {
      if (!this.lines.has(node)) this.lines.set(node, blank.map(() => Array(length).fill(null)));
    }
    this.times.push(data.t_ms);
    for (const [node, lines] of this.lines) {
      const values = data.values[node] || blank;
      lines.forEach((line, n) => line.push(values[n]));
    }
    if (this.times.length > this.hello.points) {
      this.times.shift();
      for (const lines of this.lines.values()) for (const line of lines) line.shift();
    }
    for (const [node, lines] of this.lines) {
      if (!(node in data.values) && lines.every((line) => line.every((value) => value === null))) this.lines.delete(node); // it left
    }
  }

  told(data) {
    this.status = data;
    this.statuses = new Map(data.nodes.map((status) => [status.node, status]));
  }

  /** All nodes that anything is known of. */
  names() {
    const missing = [...(this.about.missing || []), ...(this.status.missing || [])].map(({ node }) => node);
    return [...new Set([...this.lines.keys(), ...this.statuses.keys(), ...missing])].sort(inOrder);
  }

  show({ words, node }) {
    const all = this.names();
    const fit = all.filter((name) => names(name, node) && fits(words, name, ...this.wrong(name)));
    const ill = fit.length > SHOWN ? fit.filter((name) => this.wrong(name).length) : [];
    const shown = fit.length > SHOWN ? [...new Set([...ill, ...fit])].slice(0, SHOWN) : fit; // what is wrong comes first
    for (const name of this.cards.keys()) if (!all.includes(name)) this.cards.delete(name);
    const cards = shown.map((name) => this.card(name));
    const list = this.place.list;
    if (cards.length !== list.children.length || cards.some((card, n) => card !== list.children[n])) {
      const active = document.activeElement;
      list.replaceChildren(...cards);
      if (active?.isConnected && active !== document.activeElement) active.focus({ preventScroll: true });
    }
    this.summary(all, fit, fit.length - shown.length);
  }

  summary(all, fit, unshown) {
    const series = [...this.statuses.values()].reduce((sum, status) => sum + status.series, 0);
    const ill = all.filter((name) => this.wrong(name).length).length;
    const lacking = (this.status.lacking || []).map(({ what, why, todo }) => {
      const word = make("span", { class: "bad" }, `${what} is ${why}`);
      word.title = todo;
      return word;
    });
    const count = fit.length === all.length ? `${all.length} ${all.length === 1 ? "node" : "nodes"}` : `${fit.length} of ${all.length} nodes`;
    const more = unshown ? `${unshown} of them not shown: choose one, or filter` : "";
    const known = this.statuses.size ? `${series.toLocaleString("en-GB")} series` : "";
    const known_ms = this.times.find((_, n) => [...this.lines.values()].some((lines) => lines.some((line) => line[n] !== null)));
    const span = known_ms < this.times.at(-1) ? `lines of the last ${Math.round((this.times.at(-1) - known_ms) / 1000)} s` : "";
    const words = all.length ? [count, more, known, span, ill ? make("span", { class: "bad" }, `${ill} with something wrong`) : "", ...lacking] : [];
    const refused = [...new Set([...(this.about.refused || []), ...(this.status.refused || [])])];
    say(this.place.said, words, { ...this.about, refused });
    empty(this.place, all.length, "Nothing has come yet.", this.about);
  }

  /** What is wrong at a node, as texts. */
  wrong(name) {
    const status = this.statuses.get(name);
    const gone = [...(this.about.missing || []), ...(this.status.missing || [])].find((one) => one.node === name);
    const found = gone ? [`no answer: ${gone.error}`] : [];
    if (!status) return found;
    found.push(...status.ill.map((actor) => `${actor.name} is ${actor.state}${actor.error ? `: ${actor.error}` : ""}`), ...status.errors);
    const more = status.ill_count + status.error_count - status.ill.length - status.errors.length;
    if (more > 0) found.push(`and ${more} more`);
    return found;
  }

  card(name) {
    let card = this.cards.get(name);
    if (!card) {
      card = make("li", { "data-node": name });
      const button = make("button", { type: "button", title: "Its forecast" }, name);
      button.addEventListener("click", () => this.chosen(name));
      card.top = make("span", { class: "quiet" });
      card.rows = [];
      card.wrong = make("div");
      card.append(make("div", { class: "top" }, make("h3", {}, button), card.top));
      for (const { title } of this.hello.signals) {
        const value = make("b", { class: "value" });
        const spark = new Spark();
        card.rows.push({ value, spark });
        card.append(make("div", { class: "signal" }, make("span", {}, title), value, spark.element));
      }
      card.append(card.wrong);
      this.cards.set(name, card);
    }
    this.draw(name, card);
    return card;
  }

  draw(name, card) {
    const status = this.statuses.get(name);
    const lines = this.lines.get(name);
    card.top.textContent = status ? `${status.actors} ${status.actors === 1 ? "actor" : "actors"} · ${quantity(status.series)} series${status.restarts ? ` · ${status.restarts} restarts` : ""}` : "";
    card.rows.forEach(({ value, spark }, n) => {
      const { title, unit } = this.hello.signals[n];
      const line = lines?.[n] || [];
      const last = line.at(-1) ?? null;
      value.textContent = last === null ? "no data" : quantity(last, unit);
      const known = line.filter((one) => one !== null);
      const [low, high] = [Math.min(...known), Math.max(...known)];
      const label = known.length ? `${title} of ${name}: between ${quantity(low, unit)} and ${quantity(high, unit)}` : `${title} of ${name}: no data`;
      spark.draw(line.map((one, at) => [this.times[at], one]), label, unit === "ratio" ? 1 : 0);
    });
    const wrong = this.wrong(name);
    const text = wrong.join("\n");
    if (card.wrong.dataset.text !== text) {
      card.wrong.dataset.text = text;
      card.wrong.replaceChildren(...wrong.map((one) => make("p", { class: "quiet" }, one)));
      card.className = wrong.length ? "ill" : "";
    }
  }
}
