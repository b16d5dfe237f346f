// What is behind a cell: the verdict with its accusers, and the reports of the view, newest first.

import { Missing, ask, now } from "./source.js";
import { age, badge, clock, make, score } from "./words.js";

export class Evidence {
  /** `closed()` is called when the reader closes the pane. */
  constructor(pane, closed) {
    this.pane = pane;
    this.closed = closed;
    this.place = null;
    this.shown = "";
    pane.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    setInterval(() => this.ages(), 1000);
  }

  /** Shows one observer's view of a subject, or with "" all of them. */
  async open(subject, observer) {
    this.place = [subject, observer];
    this.pane.scrollTop = 0;
    await this.refresh();
  }

  close() {
    this.place = null;
    this.pane.hidden = true;
    this.closed();
  }

  /** Asks again; what the reader sees changes only where the answer did. */
  async refresh() {
    const place = this.place;
    if (!place) return;
    const [subject, observer] = place;
    const path = `/v1/health/${encodeURIComponent(subject)}`;
    const only = observer ? `?observer=${encodeURIComponent(observer)}` : "";
    let content;
    try {
      const [verdict, views] = await Promise.all([ask(path), ask(`${path}/panorama${only}`)]);
      content = { inference: verdict.body.inference, panorama: views.body.panorama };
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      content = { gone: error.message };
    }
    if (this.place !== place) return; // another one was chosen meanwhile
    const shown = JSON.stringify([place, content]);
    if (shown !== this.shown) {
      this.shown = shown;
      const top = this.pane.scrollTop;
      const inside = this.pane.contains(document.activeElement);
      this.render(subject, observer, content);
      this.pane.hidden = false;
      this.pane.scrollTop = top;
      if (inside) this.pane.querySelector(".close").focus({ preventScroll: true });
    }
    this.pane.hidden = false;
  }

  render(subject, observer, { inference, panorama, gone }) {
    const close = make("button", { class: "close", type: "button", "aria-label": "Close" }, "×");
    close.addEventListener("click", () => this.close());
    if (gone) {
      this.pane.replaceChildren(close, make("h2", {}, subject), make("p", {}, gone));
      return;
    }
    const { status, strategy, contexts, observers } = inference;
    const several = observers.length === 1 ? "1 observer" : `${observers.length} observers`;
    this.pane.replaceChildren(
      close,
      make("h2", {}, badge(status), make("span", {}, subject)),
      make("p", {}, `${status}, inferred by “${strategy}” from ${several}`),
      this.verdicts(contexts),
      ...Object.entries(panorama).flatMap(([name, view]) => [
        make("h3", {}, observer ? `What ${name} reported` : name),
        make("ol", {}, ...[...view].reverse().map((report) => this.report(report))),
      ]),
    );
    this.ages();
  }

  verdicts(contexts) {
    const heads = ["context", "verdict", "score", "accused by"].map((text) => make("th", text === "score" ? { class: "score" } : {}, text));
    const rows = Object.entries(contexts).map(([name, verdict]) =>
      make(
        "tr", {}, make("td", {}, name), make("td", {}, badge(verdict.status)),
        make("td", { class: "score" }, score(verdict.score)), make("td", {}, verdict.accusers.join(", ") || "nobody"),
      ),
    );
    return make("table", { class: "contexts" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  }

  report(report) {
    const at = report.t_ns / 1e6;
    const said = Object.entries(report.contexts).map(([name, metric]) =>
      make("span", {}, badge(metric.status), `${name} ${score(metric.score)}`),
    );
    const meta = [`accepted by ${report.origin || "?"}`];
    if (report.doubt) meta.push(`its own doubt ${report.doubt}`);
    if (report.ttl_ns) meta.push(`counts for ${age(report.ttl_ns / 1e6)}`);
    return make(
      "li", {},
      make("div", { class: "when" }, make("time", { title: new Date(at).toString() }, clock(at)), make("span", { class: "age", "data-at": at })),
      make("div", { class: "said" }, ...said),
      make("div", { class: "meta" }, meta.join(" · ")),
    );
  }

  ages() {
    if (this.pane.hidden && !this.place) return;
    for (const element of this.pane.querySelectorAll("[data-at]")) {
      element.textContent = `${age(now() - element.dataset.at)} ago`;
    }
  }
}
