// Items as a table: a row each, a column for each field that any of them has; sorted where the head was pressed.

import { make } from "/health/words.js";

const MAX_COLUMNS = 40;
const MAX_LIST = 20;
const MIN_PREFIX = 12;

/** Field → value of what is in a value: {a: {b: 1}, c: [1, 2]} gives a.b and c. */
export function leaves(value) {
  const found = new Map();
  const walk = (part, name) => {
    if (found.size >= MAX_COLUMNS) return;
    if (part !== null && typeof part === "object" && !Array.isArray(part)) {
      for (const [key, inner] of Object.entries(part)) walk(inner, name ? `${name}.${key}` : key);
    } else if (Array.isArray(part) && part.every((inner) => inner === null || typeof inner !== "object")) {
      found.set(name || "value", part.slice(0, MAX_LIST).join(" ") + (part.length > MAX_LIST ? " …" : ""));
    } else if (Array.isArray(part)) {
      found.set(name || "value", `${part.length} elements`);
    } else if (part !== null) {
      found.set(name || "value", part);
    }
  };
  walk(value, "");
  return found;
}

/** What the fetch and the parse said, in a word, and how bad that is. */
export function code(meta) {
  if (meta.net !== "ok" && meta.net !== "not_modified") return { word: meta.net, status: meta.net === "missed" ? "NA" : "UNHEALTHY" };
  if (meta.data === "Good" || meta.data === "None") return { word: meta.net === "ok" ? "ok" : "same", status: "HEALTHY" };
  return { word: `${meta.data} ${meta.errors}`, status: "MAYBE_UNHEALTHY" };
}

export const keyOf = ({ node, meta }) => JSON.stringify([node, meta.feed, meta.location, meta.due_ns, meta.part]);

/** Six digits of a number, and all that are before its point. */
function text(value) {
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  return String(Math.abs(value) < 1e6 ? Number(value.toPrecision(6)) : Math.round(value));
}

/** What all locations begin with, up to where a part of them ends; nothing when it is short. */
function prefix(locations) {
  const [first, ...others] = locations;
  let length = 0;
  while (length < first.length && others.every((other) => other[length] === first[length])) length += 1;
  const end = Math.max(...["/", "=", "?", "&", " "].map((mark) => first.lastIndexOf(mark, length - 1))) + 1;
  return end >= MIN_PREFIX ? first.slice(0, end) : "";
}

export class Table {
  constructor(element, chosen) {
    this.element = element;
    this.chosen = chosen;
    this.sorted = { name: "", down: false };
    this.selected = "";
  }

  show(items, ago) {
    this.rows = items.map((item) => ({ item, key: keyOf(item), fields: leaves(item.value) }));
    const names = [];
    for (const { fields } of this.rows) for (const name of fields.keys()) if (!names.includes(name) && names.length < MAX_COLUMNS) names.push(name);
    const locations = [...new Set(items.map(({ meta }) => meta.location))];
    const several = locations.length > 1;
    const begin = several ? prefix(locations) : "";
    this.columns = [
      ...(several || !items.length ? [{ name: "location", title: begin && `${begin}…`, of: ({ item }) => item.meta.location.slice(begin.length), hint: ({ item }) => item.meta.location }] : []),
      ...(items.some(({ meta }) => meta.part) ? [{ name: "part", of: ({ item }) => item.meta.part }] : []),
      { name: "", title: "how it went", of: ({ item }) => code(item.meta).word, cell: (row) => this.badge(row.item) },
      ...names.map((name) => ({ name, of: ({ fields }) => fields.get(name) })),
      { name: "age", of: ({ item }) => -item.meta.arrived_ns, cell: ({ item }) => ago(item.meta.arrived_ns) },
    ];
    this.draw();
  }

  badge(item) {
    const { word, status } = code(item.meta);
    return make("span", { class: `code ${status}`, title: item.meta.note }, word);
  }

  draw() {
    const by = this.columns.find((column) => this.sorted.name !== "" && column.name === this.sorted.name);
    const rows = by ? [...this.rows].sort((a, b) => compare(by.of(a), by.of(b), this.sorted.down)) : this.rows;
    const number = (column) => rows.some((row) => typeof column.of(row) === "number") && !column.cell;
    const kinds = this.columns.map((column) => (number(column) ? { class: "number" } : {}));
    const heads = this.columns.map((column, n) => {
      const sort = by === column ? { "aria-sort": this.sorted.down ? "descending" : "ascending" } : {};
      const head = make("th", { ...kinds[n], ...sort, scope: "col" });
      if (column.name) {
        const button = make("button", { type: "button", "data-column": column.name }, column.name);
        if (column.title) button.title = column.title;
        button.addEventListener("click", () => this.sort(column.name));
        head.append(button);
      }
      return head;
    });
    const held = document.activeElement?.dataset?.column;
    this.element.tHead.replaceChildren(make("tr", {}, ...heads));
    if (held) this.element.tHead.querySelector(`[data-column="${CSS.escape(held)}"]`)?.focus();
    this.element.tBodies[0].replaceChildren(...rows.map((row) => this.row(row, kinds)));
    this.element.hidden = !rows.length;
  }

  row(row, kinds) {
    const cells = this.columns.map((column, n) => {
      const value = column.of(row);
      return make("td", { ...kinds[n], ...(column.hint ? { title: column.hint(row) } : {}) }, ...(column.cell ? [column.cell(row)] : value === undefined ? [] : [text(value)]));
    });
    const element = make("tr", { "data-location": row.item.meta.location, "aria-selected": String(row.key === this.selected), tabindex: "0" }, ...cells);
    const open = () => {
      this.selected = row.key;
      for (const other of element.parentElement.rows) other.setAttribute("aria-selected", String(other === element));
      this.chosen(row.item);
    };
    element.addEventListener("click", open);
    element.addEventListener("keydown", (event) => event.key === "Enter" && open());
    return element;
  }

  sort(name) {
    const numbers = this.rows.some(({ fields }) => typeof fields.get(name) === "number"); // the largest first
    this.sorted = { name, down: this.sorted.name === name ? !this.sorted.down : numbers };
    this.draw();
  }
}

/** What is missing comes last, whichever way. */
function compare(a, b, down) {
  if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return down ? -order : order;
}
