// The worst subjects: who says what of each, and the evidence on opening.

import { empty, fill, fits, names, quantity, say, section, when } from "./parts.js";
import { STATUSES, badge, make } from "/health/words.js";

const SHOWN = 12; // observers' badges in a row
const words = (status) => status.toLowerCase().replace("_", " ");

export class Verdicts {
  constructor() {
    this.place = section("health");
    this.data = null;
  }

  told(data) {
    this.data = data;
  }

  show({ words: filter, node }) {
    if (!this.data) return;
    const { subjects, counts, left_off, unshown } = this.data;
    const fit = ({ subject, status, contexts, cells }) =>
      names(subject, node) && fits(filter, subject, status, ...contexts.map(({ context }) => context), ...cells.map(({ observer }) => observer));
    fill(this.place.list, subjects.filter(fit), ({ subject }) => subject, row);
    const told = STATUSES.filter((status) => counts[status]).map((status) => make("span", {}, badge(status, ""), ` ${counts[status]} ${words(status)}`));
    const rest = left_off ? [`at least ${left_off} more, none of them worse`] : [];
    say(this.place.said, [...told, ...rest, unshown ? `${unshown} of them not shown here` : ""], this.data);
    const any = Object.keys(counts).length;
    empty(this.place, subjects.length, any ? "Nobody says that anything is ill." : "Nobody has reported anything yet.", this.data);
  }
}

function row({ subject, status, t_ms, contexts, cells, cells_left }) {
  const who = make("span", { class: "who" }, ...cells.slice(0, SHOWN).map((cell) => seal(cell)));
  const more = cells.length + cells_left - SHOWN;
  const summary = make("summary", {}, badge(status), make("span", { class: "name" }, subject), make("span", { class: "quiet" }, contexts[0]?.context || ""), who);
  if (more > 0) summary.append(make("span", { class: "quiet" }, `and ${more} more observers`));
  summary.append(when(t_ms));
  return make("li", { "data-subject": subject }, make("details", {}, summary, make("div", { class: "wide" }, inferred(contexts), said(cells))));
}

const seal = ({ observer, status }) => badge(status, `${observer}: ${words(status)}`);

function inferred(contexts) {
  const head = make("thead", {}, make("tr", {}, ...["context", "verdict", "score", "accused by"].map((name) => make("th", { scope: "col" }, name))));
  const lines = contexts.map(({ context, status, score, accusers }) =>
    make("tr", {}, make("td", {}, context), make("td", {}, words(status)), make("td", {}, quantity(score)), make("td", {}, accusers.join(", ") || "nobody")));
  return make("table", { class: "plain", "aria-label": "Verdicts" }, head, make("tbody", {}, ...lines));
}

function said(cells) {
  const head = make("thead", {}, make("tr", {}, ...["observer", "last word", "when"].map((name) => make("th", { scope: "col" }, name))));
  const lines = cells.map(({ observer, status, t_ms }) => make("tr", {}, make("td", {}, observer), make("td", {}, words(status)), make("td", {}, when(t_ms))));
  return make("table", { class: "plain", "aria-label": "Observers" }, head, make("tbody", {}, ...lines));
}
