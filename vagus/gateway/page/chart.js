// Lines, steps, bands and marks as SVG that stretches to its place; the words around it are the page's.

import { make } from "/health/words.js";

const WIDTH = 1000;
const HEIGHT = 100;
const namespace = document.getElementById("svg").namespaceURI;

const div = (kind, ...children) => make("div", { class: kind }, ...children);
const span = (text) => make("span", {}, text);

export function shape(name, attributes = {}, ...children) {
  const element = document.createElementNS(namespace, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const canvas = (kind) => shape("svg", { class: kind, role: "img", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" });
const is = (value) => value !== null && value !== undefined;

/** The lowest and highest of numbers, apart from each other; null where there are none. */
export function range(values) {
  const known = values.filter(is);
  if (!known.length) return null;
  const low = known.reduce((a, b) => Math.min(a, b));
  const high = known.reduce((a, b) => Math.max(a, b));
  const room = high > low ? (high - low) * 0.05 : Math.abs(high) * 0.05 || 1;
  return { low: low - room, high: high + room };
}

/** Places of points [x, y] within a frame {from, to, low, high}. */
function scale({ from, to, low, high }) {
  const x = (value) => Number((((value - from) / (to - from || 1)) * WIDTH).toFixed(1));
  const y = (value) => Number(((1 - (value - low) / (high - low || 1)) * HEIGHT).toFixed(2));
  return { x, y };
}

/** A path through points; a point without a number breaks it. step: a value holds until the next one. */
export function path(points, frame, step = false) {
  const { x, y } = scale(frame);
  const parts = [];
  let pen = "M";
  for (const [at, value] of points) {
    if (!is(value)) {
      pen = "M";
      continue;
    }
    parts.push(pen === "L" && step ? `H${x(at)}V${y(value)}` : `${pen}${x(at)} ${y(value)}`);
    pen = "L";
  }
  return parts.join("");
}

/** The area between points [x, low, high]; several where some are missing. */
export function band(points, frame) {
  const { x, y } = scale(frame);
  const runs = [[]];
  for (const point of points) {
    if (is(point[1]) && is(point[2])) runs.at(-1).push(point);
    else if (runs.at(-1).length) runs.push([]);
  }
  const side = (run, place) => run.map((point) => `${x(point[0])} ${y(point[place])}`);
  return runs.filter((run) => run.length > 1).map((run) => `M${[...side(run, 2), ...side(run, 1).reverse()].join("L")}Z`).join("");
}

/** A small line without axes. */
export class Spark {
  constructor() {
    this.line = shape("path");
    this.element = canvas("spark");
    this.element.append(this.line);
  }

  /** points: [x, y]; least: what the upper end of the scale is at least, the lower one being 0; none: as the values are. */
  draw(points, label, least = null) {
    const found = range(points.map(([, value]) => value));
    const frame = { from: points[0]?.[0] ?? 0, to: points.at(-1)?.[0] ?? 1, ...(found || { low: 0, high: 1 }) };
    if (least !== null) Object.assign(frame, { low: -0.04 * Math.max(least, frame.high), high: Math.max(least, frame.high) });
    this.line.setAttribute("d", path(points, frame));
    this.element.setAttribute("aria-label", label);
  }
}

/** A plot: {from, to}, lines [{points, kind, step}], area of points, marks [{at: [x, y], kind, title}]; words: of a number, and of a time. */
export function plot({ from, to, lines = [], area = [], marks = [], label, number, time }) {
  const numbers = [...lines.flatMap(({ points }) => points.map(([, value]) => value)), ...area.flatMap(([, low, high]) => [low, high]), ...marks.map(({ at }) => at[1])];
  const frame = { from, to, ...(range(numbers) || { low: 0, high: 1 }) };
  const { x, y } = scale(frame);
  const element = canvas("plot");
  element.setAttribute("aria-label", label);
  if (area.length) element.append(shape("path", { class: "band", d: band(area, frame) }));
  for (const { points, kind = "", step = false } of lines) element.append(shape("path", { class: kind, d: path(points, frame, step) }));
  for (const { at, kind, title } of marks) {
    const d = `M${x(at[0])} ${y(at[1])}h0.01`; // a point, that its stroke makes a disc, a ring or a square
    element.append(shape("path", { class: `mark ${kind}`, d }, shape("title", {}, title)));
    if (kind === "dry") element.append(shape("path", { class: "mark hole", d }));
  }
  const upright = div("upright", span(number(frame.high)), span(number(frame.low)));
  return div("framed", upright, element, div("axis", span(time(from)), span(time(to))));
}
