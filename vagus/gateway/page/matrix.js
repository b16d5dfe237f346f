// The grid: a row for each subject, a column for each observer; only what changed is touched.

import { LETTERS, STATUSES, badge, isIll, make } from "./words.js";

const rank = (status) => STATUSES.indexOf(status);

export class Matrix {
  /** `chosen(subject, observer)` is called on a click or Enter; observer is "" for the whole row. */
  constructor(table, chosen) {
    this.table = table;
    this.head = table.tHead;
    this.body = table.tBodies[0];
    this.chosen = chosen;
    this.columns = [];
    this.rows = new Map(); // subject -> {row, head, said}
    this.selected = null;
    table.addEventListener("click", (event) => this.choose(event.target));
    table.addEventListener("keydown", (event) => this.key(event));
    table.addEventListener("focusin", (event) => this.rove(event.target.closest("td, tbody th")));
    table.addEventListener("mouseover", (event) => this.explain(event.target.closest("td")));
  }

  /** Shows an answer of /v1/matrix through a view: {matches, byObserver, context, statuses}. Returns what it shows. */
  show(answer, view) {
    const cells = new Map(answer.subjects.map(({ subject }) => [subject, new Map()]));
    for (const cell of answer.cells) {
      if (!view.context || view.context in cell.contexts) cells.get(cell.subject)?.set(cell.observer, cell);
    }
    this.cells = cells;
    this.context = view.context;
    const shown = answer.subjects
      .map((verdict) => ({ ...verdict, status: view.context ? verdict.contexts[view.context]?.status : verdict.status }))
      .filter(({ status }) => status && (!view.statuses.size || view.statuses.has(status)))
      .filter((verdict) => view.matches(verdict) && (!view.byObserver || [...cells.get(verdict.subject).keys()].some(view.byObserver)));
    if (view.context) shown.sort((a, b) => rank(a.status) - rank(b.status) || (a.subject < b.subject ? -1 : 1));
    const speaking = new Set(shown.flatMap(({ subject }) => [...cells.get(subject).keys()]));
    const columns = answer.observers.filter((name) => speaking.has(name) && (!view.byObserver || view.byObserver(name)));
    const held = this.body.contains(document.activeElement) ? this.place(document.activeElement) : null;
    if (columns.join("\0") !== this.columns.join("\0")) this.build(columns);
    for (const verdict of shown) this.row(verdict);
    this.order(shown.map(({ subject }) => subject));
    this.mark();
    if (held && !this.body.contains(document.activeElement)) this.find(...held)?.focus({ preventScroll: true });
    this.table.hidden = !shown.length;
    return { subjects: shown.length, observers: columns.length };
  }

  build(columns) {
    this.columns = columns;
    this.rows.clear();
    this.body.replaceChildren();
    const names = columns.map((name) => make("th", { scope: "col", title: name }, make("span", {}, name)));
    this.head.replaceChildren(make("tr", {}, make("th", { scope: "col" }, "subject"), ...names));
  }

  row(verdict) {
    let entry = this.rows.get(verdict.subject);
    if (!entry) {
      const head = make("th", { scope: "row", tabindex: "-1" });
      const row = make("tr", {}, head);
      for (let at = 0; at < this.columns.length; at++) row.append(make("td", { tabindex: "-1" }));
      row.dataset.subject = verdict.subject;
      this.rows.set(verdict.subject, (entry = { row, head, said: "" }));
    }
    const why = Object.keys(verdict.contexts).filter((name) => isIll(verdict.contexts[name].status)).join(", ");
    const said = `${verdict.status} ${why}`;
    if (entry.said !== said) {
      entry.said = said;
      const name = make("span", { class: "name", title: verdict.subject }, verdict.subject);
      entry.head.replaceChildren(make("div", {}, badge(verdict.status), name, make("span", { class: "why", title: why }, why)));
      entry.row.classList.toggle("ill", isIll(verdict.status));
    }
    const found = this.cells.get(verdict.subject);
    this.columns.forEach((observer, at) => {
      const td = entry.row.cells[at + 1];
      const cell = found.get(observer);
      const status = cell ? (this.context ? cell.contexts[this.context][0] : cell.status) : "";
      if (td.className === status) return;
      if (status) td.className = status;
      else td.removeAttribute("class");
      td.textContent = LETTERS[status] || "";
    });
  }

  order(subjects) {
    const wanted = subjects.map((subject) => this.rows.get(subject).row);
    const there = this.body.rows;
    if (wanted.length === there.length && wanted.every((row, at) => row === there[at])) return;
    const keep = new Set(subjects);
    for (const subject of [...this.rows.keys()]) if (!keep.has(subject)) this.rows.delete(subject);
    this.body.replaceChildren(...wanted);
  }

  // --- selection and keys -------------------------------------------------------------------------------------

  place(element) {
    const cell = element.closest("td, tbody th");
    return cell && [cell.parentElement.dataset.subject, cell.cellIndex ? this.columns[cell.cellIndex - 1] : ""];
  }

  find(subject, observer) {
    const row = this.rows.get(subject)?.row;
    const at = observer ? this.columns.indexOf(observer) + 1 : 0;
    return row && (at || !observer) ? row.cells[at] : null;
  }

  choose(element) {
    const place = this.place(element);
    if (!place || (place[1] && !this.cells.get(place[0])?.has(place[1]))) return;
    this.select(place);
    this.chosen(...place);
  }

  select(place) {
    this.selected = place;
    this.mark();
  }

  mark() {
    const wanted = this.selected && this.find(...this.selected);
    if (this.marked !== wanted) this.marked?.removeAttribute("aria-selected");
    wanted?.setAttribute("aria-selected", "true");
    this.marked = wanted;
    if (!this.roving || !this.body.contains(this.roving)) this.rove(this.body.rows[0]?.cells[0]);
  }

  /** One cell of the grid is in the order of the Tab key: the one that was focused last. */
  rove(cell) {
    if (!cell) return;
    this.roving?.setAttribute("tabindex", "-1");
    cell.setAttribute("tabindex", "0");
    this.roving = cell;
    this.explain(cell);
  }

  /** What a cell's letter means, in words. */
  explain(td) {
    const place = td && this.place(td);
    const cell = place?.[1] && this.cells.get(place[0])?.get(place[1]);
    if (!cell) return;
    const parts = Object.entries(cell.contexts).map(([name, [status, value]]) => `${name} ${status} ${value}`);
    const words = `${cell.observer} on ${cell.subject}: ${parts.join(", ")}`;
    td.title = words;
    td.setAttribute("aria-label", words);
  }

  key(event) {
    const cell = event.target.closest("td, tbody th");
    if (!cell || event.altKey || event.metaKey) return;
    const row = cell.parentElement;
    const rows = this.body.rows;
    const at = row.sectionRowIndex;
    const to = {
      ArrowLeft: () => row.cells[cell.cellIndex - 1],
      ArrowRight: () => row.cells[cell.cellIndex + 1],
      ArrowUp: () => rows[at - 1]?.cells[cell.cellIndex],
      ArrowDown: () => rows[at + 1]?.cells[cell.cellIndex],
      PageUp: () => rows[Math.max(0, at - 15)].cells[cell.cellIndex],
      PageDown: () => rows[Math.min(rows.length - 1, at + 15)].cells[cell.cellIndex],
      Home: () => (event.ctrlKey ? rows[0] : row).cells[0],
      End: () => (event.ctrlKey ? rows[rows.length - 1] : row).cells[row.cells.length - 1],
    }[event.key];
    if (to) {
      event.preventDefault();
      this.reveal(to());
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.choose(cell);
    }
  }

  /** Focuses a cell and brings it out from under the sticky heads. */
  reveal(cell) {
    if (!cell) return;
    cell.focus({ preventScroll: true });
    const pane = this.table.parentElement;
    const box = cell.getBoundingClientRect();
    const area = pane.getBoundingClientRect();
    const top = this.head.getBoundingClientRect().height;
    const left = cell.cellIndex ? cell.parentElement.cells[0].getBoundingClientRect().width : 0;
    if (box.top < area.top + top) pane.scrollTop -= area.top + top - box.top;
    else if (box.bottom > area.bottom - 16) pane.scrollTop += box.bottom - area.bottom + 16;
    if (!cell.cellIndex) pane.scrollLeft = 0;
    else if (box.left < area.left + left) pane.scrollLeft -= area.left + left - box.left;
    else if (box.right > area.right - 16) pane.scrollLeft += box.right - area.right + 16;
  }
}
