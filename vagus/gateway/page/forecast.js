// One signal with what was predicted of it: the band in which 95 of 100 values fall if errors are as of late.

import { plot } from "./chart.js";
import { quantity, say, section } from "./parts.js";
import { Denied, Refused, ask } from "/health/source.js";
import { clock, make } from "/health/words.js";

const PERIOD_MS = 3000;
const SINCE = "5m";
const ROWS = 300;
const WIDE = 1.96; // standard deviations
const MAX_OPTIONS = 2000;
const FIRST = "host.cpu.user"; // what is shown until another is chosen
const USUAL = 0.8; // a band wider than so many of its kind is cut: what knows little yet shall not set the scale

const escaped = (text) => text.replaceAll("\\", "\\\\").replaceAll('"', '\\"');

/** A selector of one field of one stream. */
function selectorOf({ kind, labels, node }, field) {
  const pairs = [...Object.entries(labels), ["node", node]].map(([name, value]) => `${name}="${escaped(value)}"`);
  return `${kind}.${field}{${pairs.join(",")}}`;
}

const titleOf = ({ kind, labels }, { name }) => {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}=${value}`);
  return `${kind}.${name}${pairs.length ? ` ${pairs.join(" ")}` : ""}`;
};

/** A band, cut to the lines' own range and the width that is usual for it. */
export function cut(area, lines) {
  const halves = area.filter(([, low]) => low !== null).map(([, low, high]) => (high - low) / 2).sort((a, b) => a - b);
  if (!halves.length || !lines.length) return area;
  const room = halves[Math.floor(USUAL * (halves.length - 1))];
  const numbers = lines.map(([, value]) => value).sort((a, b) => a - b);
  const [lowest, highest] = [numbers[0] - room, numbers.at(-1) + room];
  const within = (value) => Math.min(Math.max(value, lowest), highest);
  return area.map(([t_ms, low, high]) => (low === null ? [t_ms, null, null] : [t_ms, within(low), within(high)]));
}

export class Forecast {
  /** live() says whether the page is connected. */
  constructor(live) {
    this.place = section("forecast");
    this.figure = this.place.element.querySelector(".figure");
    this.node = document.getElementById("of-node");
    this.signal = document.getElementById("of-signal");
    this.live = live;
    this.options = [];
    this.preferred = [];
    this.points = new Map(); // t_ms → {value, forecast, mse}
    this.turn = 0;
    this.timer = 0;
    this.node.addEventListener("change", () => this.choose(this.node.value));
    this.signal.addEventListener("change", () => this.open());
  }

  /** The nodes that can be chosen; the first time one is: the gateway's own. */
  offer(nodes, own) {
    const text = nodes.join("\0");
    if (this.node.dataset.text === text) return;
    this.node.dataset.text = text;
    const chosen = this.node.value;
    this.node.replaceChildren(...nodes.map((name) => make("option", { value: name }, name)));
    this.node.value = nodes.includes(chosen) ? chosen : nodes.includes(own) ? own : nodes[0];
    if (this.node.value !== chosen) this.choose(this.node.value);
  }

  greet(signals) {
    this.preferred = [FIRST, ...signals.map(({ kind, field }) => `${kind}.${field}`)];
  }

  /** The signals of a node. */
  async choose(node) {
    const turn = ++this.turn;
    clearTimeout(this.timer);
    this.node.value = node;
    this.options = []; // those of the node before are not to be chosen meanwhile
    this.signal.replaceChildren();
    try {
      const { body } = await ask(`/v1/sensors?node=${encodeURIComponent(node)}`);
      if (turn !== this.turn) return;
      this.options = body.sensors.flatMap(({ stream }) => stream.fields.map((field) => ({ stream, field, title: titleOf(stream, field) }))).slice(0, MAX_OPTIONS);
      this.signal.replaceChildren(...this.options.map(({ title }, n) => make("option", { value: String(n) }, title)));
      const first = [this.title, ...this.preferred].map((title) => this.options.findIndex((option) => option.title === title)).find((n) => n >= 0);
      if (this.options.length) this.signal.value = String(first ?? 0);
      await this.open();
    } catch (error) {
      if (turn === this.turn) this.nothing("Its signals are not known yet."); // what is drawn may be another node's
      this.failed(turn, error, () => this.choose(node));
    }
  }

  /** What is stored of the chosen signal, with what was predicted then; goes on with what comes. */
  async open() {
    const turn = ++this.turn;
    clearTimeout(this.timer);
    const option = this.options[Number(this.signal.value)];
    if (!option) return this.nothing("This node has no live signal.");
    this.title = option.title;
    this.option = option;
    this.points = new Map();
    try {
      const { stream, field } = option;
      const [values, forecasts, errors] = await Promise.all(
        [field.name, `${field.name}.forecast`, `${field.name}.mse`].map((name) => this.column(stream, name)),
      );
      if (turn !== this.turn) return undefined;
      this.merge("value", values);
      this.merge("forecast", forecasts);
      this.merge("mse", errors);
      this.draw();
      await this.renew(turn);
    } catch (error) {
      this.failed(turn, error);
    }
    return undefined;
  }

  async column(stream, field) {
    const query = new URLSearchParams({ selector: selectorOf(stream, field), node: stream.node, since: SINCE, limit: ROWS, rate: "true" });
    const { body } = await ask(`/v1/query?${query}`);
    const [batch] = body.batches;
    return batch ? batch.t_ns.map((t_ns, n) => [t_ns / 1e6, batch.columns[field][n]]) : [];
  }

  merge(name, pairs) {
    for (const [t_ms, value] of pairs) {
      const point = this.points.get(t_ms) || {};
      if (value !== null) point[name] = value;
      this.points.set(t_ms, point);
    }
  }

  /** The newest value and the next prediction, of the directory. */
  async renew(turn) {
    const { stream, field } = this.option;
    if (this.live() && !document.hidden) {
      const query = new URLSearchParams({ selector: selectorOf(stream, field.name), node: stream.node });
      const { body } = await ask(`/v1/sensors?${query}`);
      if (turn !== this.turn) return;
      this.take(body.sensors[0], field.name);
    }
    this.timer = setTimeout(() => this.renew(turn).catch((error) => this.failed(turn, error)), PERIOD_MS);
  }

  take(sensor, name) {
    const outlook = sensor?.outlook.find(({ field }) => field === name);
    this.outlook = outlook;
    const at = sensor ? sensor.last_ns / 1e6 : 0;
    const times = [...this.points.keys()].filter((t_ms) => this.points.get(t_ms).value !== undefined).sort((a, b) => a - b);
    const last = times.at(-1) ?? 0;
    if (outlook && at >= last) {
      const ahead = [...this.points.keys()].filter((t_ms) => t_ms > last).sort((a, b) => a - b);
      const predicted = ahead.length ? this.points.get(ahead[0]) : {};
      for (const t_ms of ahead) this.points.delete(t_ms);
      if (outlook.value !== null) this.points.set(at, { ...predicted, value: outlook.value });
      const step = last < at ? at - last : last - (times.at(-2) ?? last - 1000);
      if (outlook.forecast !== null) this.points.set(at + Math.min(step, 60000), { forecast: outlook.forecast, mse: outlook.mse ?? undefined });
      for (const t_ms of this.points.keys()) if (t_ms < at - 300000) this.points.delete(t_ms);
    }
    this.draw();
  }

  draw() {
    const found = [...this.points].sort(([a], [b]) => a - b);
    if (!found.some(([, { value, forecast }]) => value !== undefined || forecast !== undefined)) return this.nothing("Nothing is stored of it in the last five minutes.");
    const { stream, field } = this.option;
    const unit = field.counter ? `${field.unit}/s` : field.unit;
    const area = found.filter(([, { forecast }]) => forecast !== undefined).map(([t_ms, { forecast, mse }]) => {
      const off = mse === undefined ? null : WIDE * Math.sqrt(Math.max(0, mse));
      return off === null ? [t_ms, null, null] : [t_ms, forecast - off, forecast + off];
    });
    const values = found.filter(([, { value }]) => value !== undefined).map(([t_ms, { value }]) => [t_ms, value]);
    const forecasts = found.filter(([, { forecast }]) => forecast !== undefined).map(([t_ms, { forecast }]) => [t_ms, forecast]);
    const label = `${this.title} at ${stream.node} over five minutes with its forecast`;
    const [from, to] = [found[0][0], found.at(-1)[0]];
    const lines = [{ points: values }, { points: forecasts, kind: "second" }];
    const texts = { number: (value) => quantity(value, unit), time: (ms) => clock(ms).slice(0, 8) };
    const chart = plot({ from, to, area: cut(area, [...values, ...forecasts]), lines, label, ...texts });
    const keys = [["", "seen"], ["second", "predicted"], ["wide", "where 95 of 100 fall"]].map(([kind, word]) => make("span", {}, make("span", { class: `key ${kind}`, "aria-hidden": "true" }), word));
    this.figure.replaceChildren(chart, make("div", { class: "facts quiet" }, ...keys));
    this.figure.hidden = false;
    this.place.none.hidden = true;
    this.words(values, forecasts, area, unit);
    return undefined;
  }

  words(values, forecasts, area, unit) {
    const said = [];
    if (values.length) said.push(`now ${quantity(values.at(-1)[1], unit)}`);
    const next = forecasts.at(-1);
    if (next && (!values.length || next[0] > values.at(-1)[0])) said.push(`next ${quantity(next[1], unit)}`);
    if (area.length && area.at(-1)[1] !== null) said.push(`± ${quantity((area.at(-1)[2] - area.at(-1)[1]) / 2, unit)}`);
    if (this.outlook?.trend) said.push(this.outlook.trend.replace("_", " "));
    if (!forecasts.length) said.push("nothing was predicted of it yet");
    say(this.place.said, said);
  }

  nothing(text) {
    this.figure.hidden = true;
    this.figure.replaceChildren();
    say(this.place.said, []);
    this.place.none.hidden = false;
    this.place.none.textContent = text;
  }

  failed(turn, error, again = () => this.open()) {
    if (turn !== this.turn) return;
    say(this.place.said, [make("span", { class: "bad" }, `not renewed: ${error.message}`)]);
    if (!(error instanceof Denied || error instanceof Refused)) this.timer = setTimeout(again, 5 * PERIOD_MS);
  }
}
