// Feeds: how each does at each node, and what its failing locations say.

import { empty, fill, fits, names, say, section } from "./parts.js";
import { badge, make } from "/health/words.js";

export class Feeds {
  constructor() {
    this.place = section("feeds");
    this.data = null;
  }

  told(data) {
    this.data = data;
  }

  show({ words, node }) {
    if (!this.data) return;
    const { feeds, left_off } = this.data;
    const fit = (feed) => names(feed.node, node) && fits(words, feed.name, feed.node, feed.error, ...feed.failing.flat());
    fill(this.place.list, feeds.filter(fit), (feed) => `${feed.name}\0${feed.node}`, row);
    const failing = feeds.filter((feed) => feed.failing_count || feed.error).length;
    const count = new Set(feeds.map(({ name }) => name)).size;
    const bad = failing ? make("span", { class: "bad" }, `${failing} with errors`) : "none with errors";
    say(this.place.said, feeds.length ? [count === 1 ? "1 feed" : `${count} feeds`, bad, left_off ? `${left_off} more left off` : ""] : [], this.data);
    empty(this.place, feeds.length, "No feeds are declared.", this.data);
  }
}

function row(feed) {
  const { name, node, schedule, kind, locations, codes, failing, failing_count, error } = feed;
  const status = error ? "UNHEALTHY" : failing_count ? "MAYBE_UNHEALTHY" : Object.keys(codes).length ? "HEALTHY" : "NA";
  const counts = Object.entries(codes).map(([code, count]) => `${count} × ${code}`);
  const about = `${schedule || kind || "made of others"} · ${locations} ${locations === 1 ? "location" : "locations"} on ${node}`;
  const parts = [badge(status), make("span", { class: "name" }, name), make("span", { class: "quiet" }, about)];
  parts.push(make("span", { class: "quiet" }, counts.join(", ") || "no item yet"));
  if (failing_count) parts.push(make("span", { class: "bad" }, `${failing_count} fail`));
  if (error) parts.push(make("span", { class: "bad" }, error));
  const link = make("a", { href: `/feeds?feed=${encodeURIComponent(name)}` }, "its items");
  const why = failing.map(([where, text]) => make("p", {}, `${where}: ${text}`));
  if (failing_count > failing.length) why.push(make("p", {}, `and ${failing_count - failing.length} more`));
  return make("li", { "data-feed": name }, make("details", {}, make("summary", {}, ...parts), ...why, make("p", {}, link)));
}
