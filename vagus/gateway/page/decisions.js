// Decisions by group: what was drawn, what came of it, and what is lost against the best arm as the leader sees it.

import { Spark } from "./chart.js";
import { empty, fill, fits, quantity, say, section } from "./parts.js";
import { make } from "/health/words.js";

const REGRET = "What a decision loses on average against the arm that the leader holds for the best, by its own means and probabilities";

export class Decisions {
  constructor() {
    this.place = section("decisions");
    this.data = null;
  }

  told(data) {
    this.data = data;
  }

  show({ words, node }) {
    if (!this.data) return;
    const { groups, known } = this.data;
    const shown = groups.filter((one) => fits(words, one.group, one.leader, ...one.arms.map(({ arm }) => arm)));
    fill(this.place.list, shown, ({ group }) => group, card);
    const more = known > groups.length ? `${groups.length} of ${known} groups, those that decided most` : "";
    const note = groups.length ? "of at most 200 decisions of each node" : "";
    const whole = node && groups.length ? "of all nodes" : ""; // a group's table is one for the cluster
    say(this.place.said, [more, note, whole], this.data);
    empty(this.place, groups.length, "No group has decisions.", this.data);
  }
}

const fact = (name, value, title = "") => {
  const found = make("span", { class: "fact" }, `${name} `, make("b", {}, value));
  if (title) found.title = title;
  return found;
};

function card({ group, decisions, rewards, mean, line, arms, policy, leader, regret, note }) {
  const name = group || "all requests";
  const facts = [fact("decisions", String(decisions)), fact("rewards", String(rewards)), fact("mean reward", quantity(mean))];
  facts.push(fact("regret", regret === null ? "not known" : quantity(regret), REGRET));
  const element = make("li", { "data-group": group }, make("div", { class: "top" }, make("h3", {}, name), make("span", { class: "quiet" }, policy && `${policy} at ${leader}`)));
  element.append(make("div", { class: "facts" }, ...facts));
  if (line.length > 1) {
    const spark = new Spark();
    spark.draw(line.map((value, n) => [n, value]), `Rewards of ${name}, oldest first`);
    element.append(spark.element);
  }
  if (arms.length) element.append(table(arms));
  if (note) element.append(make("p", { class: "quiet" }, note));
  return element;
}

function table(arms) {
  const names = ["arm", "drawn", "probability", "mean"];
  const head = make("thead", {}, make("tr", {}, ...names.map((name, n) => make("th", { scope: "col", ...(n ? { class: "number" } : {}) }, name))));
  const lines = [...arms].sort((a, b) => (b.probability ?? -1) - (a.probability ?? -1) || b.drawn - a.drawn).map(({ arm, drawn, probability, mean }) => {
    const bar = make("span", { class: "bar", "aria-hidden": "true" });
    bar.style.width = `${4 * (probability || 0)}rem`;
    const share = make("td", { class: "number" }, bar, probability === undefined || probability === null ? "–" : quantity(probability, "ratio"));
    return make("tr", {}, make("td", {}, arm), make("td", { class: "number" }, String(drawn)), share, make("td", { class: "number" }, quantity(mean)));
  });
  return make("table", { class: "plain", "aria-label": "Arms" }, head, make("tbody", {}, ...lines));
}
