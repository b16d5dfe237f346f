"""The status view: one page in the order in which data flows. Used by `vagus status` and `vagus up`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vagus.cli.output import age, byte_size, cell, span, status_cell, table
from vagus.cli.view_receipts import render_receipts

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WELL = ("HEALTHY", "DRAINING", "DRAINED")
MOST_UNHEALTHY = 8
MOST_MISSING = 12


def summarise(status: dict[str, Any]) -> dict[str, Any]:
    """The status document with the keys that scripts ask for.

    series: live series of all nodes; inferences: subjects with a verdict; unhealthy: those worse than PENDING;
    decisions; actors: all of them; errors: a line each; missing: what is expected and not there, and nodes that do not
    answer; state: `ok`, `starting` or `degraded`.
    """
    nodes: list[dict[str, Any]] = list(status.get("nodes") or ())
    actors = [a for n in nodes for a in n.get("actors") or ()]
    errors = [f"{n.get('node', '?')}: {e}" for n in nodes for e in n.get("errors") or ()]
    errors += missing_lines(status)
    health = status.get("health")
    inferences = len(health) if health else max((int(n.get("inferences") or 0) for n in nodes), default=0)
    states = {str(a.get("state")) for a in actors}
    missing = missing_of(status)
    if errors or missing or status.get("partial") or not actors or states - {*WELL, "STARTING"}:
        state = "degraded"
    else:
        state = "starting" if "STARTING" in states else "ok"
    return {
        "cluster": status.get("cluster", ""),
        "state": state,
        "series": sum(int(n.get("series") or 0) for n in nodes),
        "inferences": inferences,
        "unhealthy": sorted({str(s) for n in nodes for s in n.get("unhealthy") or ()}),
        "decisions": sum(int(n.get("decisions") or 0) for n in nodes),
        "errors": errors,
        "actors": actors,
        **{k: v for k, v in status.items() if k != "cluster"},
        "missing": missing,
    }


def missing_of(status: dict[str, Any]) -> list[dict[str, Any]]:
    """What is missing as any node sees it, each thing once, since when it was first missed; then who is silent."""
    found: dict[str, dict[str, Any]] = {}
    for node in status.get("nodes") or ():
        for one in node.get("missing") or ():
            known = found.get(str(one.get("what")))
            if known is None or int(one.get("since_ns") or 0) < int(known.get("since_ns") or 0):
                found[str(one.get("what"))] = one
    for part in status.get("missing") or ():
        what = f"node:{part.get('node')}"
        todo = f"`vagus health {what}` has what its peers say of it"
        silent = {"what": what, "kind": "node", "why": "silent", "since_ns": 0, **part, "todo": todo}
        found.setdefault(what, silent)
    return [found[what] for what in sorted(found)]


def render_status(status: dict[str, Any], console: Console) -> None:
    """Prints the document of `GET /v1/status`. With a key `health` (inferences), accusers are named too."""
    from rich.text import Text

    whole = summarise(status)
    nodes: list[dict[str, Any]] = list(status.get("nodes") or ())
    colour = {"ok": "bold green", "starting": "bold cyan", "degraded": "bold yellow"}[whole["state"]]
    names = ", ".join(str(n.get("node")) for n in nodes)
    count = f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}"
    head = [Text("vagus", "bold"), cell(whole["cluster"]), cell(f"{count}: {names}"), Text(whole["state"], colour)]
    console.print(Text("  ").join(head), soft_wrap=True)
    warn_partial(status, console)
    _missing(console, [one for one in whole["missing"] if one["why"] != "silent"])  # those are in the line above

    each = " · ".join(f"{n.get('node')} {n.get('series', 0)}" for n in nodes) if len(nodes) > 1 else ""
    _line(console, "sense", f"{whole['series']} series live" + (f"  ({each})" if each else ""), nodes)
    bad = len(whole["unhealthy"])
    silent = [a for a in whole["actors"] if ":observer@" in str(a.get("name")) and a.get("state") != "HEALTHY"]
    verdict = Text.assemble(
        f"{whole['inferences']} subject{'' if whole['inferences'] == 1 else 's'}, ",
        (f"{bad} unhealthy", "red") if bad else ("none unhealthy", "green"),
    )
    if silent and not whole["inferences"]:
        verdict = Text("unknown: no observer answers", "red")
    _line(console, "infer", verdict, nodes)
    _unhealthy(console, whole)
    _line(console, "feed", "", nodes)
    _line(console, "decide", f"{whole['decisions']} decisions", nodes)
    _line(console, "act", "", nodes)
    render_receipts(nodes, console)
    _actors(console, nodes)
    for error in whole["errors"][: len(whole["errors"]) - len(missing_lines(status))]:  # those are said above
        console.print(Text.assemble(("error   ", "red"), cell(error)), soft_wrap=True)


def _missing(console: Console, missing: list[dict[str, Any]]) -> None:
    from rich.text import Text

    for one in missing[:MOST_MISSING]:
        what = Text.assemble(("missing ", "bold red"), cell(one.get("what", ""), "red"), "  ")
        known = f"{one.get('why')} for {age(int(one.get('since_ns') or 0))}: {one.get('error')}"
        console.print(what + cell(known, "red") + cell(f"  {one.get('todo')}", "dim"), soft_wrap=True)
    more = len(missing) - MOST_MISSING
    if more > 0:
        console.print(Text(f"{' ' * 8}and {more} more: vagus status --json | jq .missing", "red"))


def missing_lines(answer: dict[str, Any]) -> list[str]:
    """`NODE: why`, for each node whose part of an answer is missing."""
    return [f"{m.get('node')}: {m.get('error')}" for m in answer.get("missing") or ()]


def warn_partial(answer: dict[str, Any], console: Console) -> None:
    """One yellow line when an answer lacks the part of some node."""
    if answer.get("partial") or answer.get("missing"):
        missing = "; ".join(missing_lines(answer)) or "some nodes did not answer"
        console.print(cell(f"partial answer, without {missing}", "yellow"), soft_wrap=True)


def _line(console: Console, stage: str, text: str | Text, nodes: list[dict[str, Any]]) -> None:
    """A stage of the loop and, below it, what its actors say of themselves."""
    notes = [
        (str(a.get("name", "")), str(note))
        for n in nodes
        for a in n.get("actors") or ()
        if _stage(a) == stage
        for note in a.get("notes") or ()
    ]
    if not text and not notes:
        return
    from rich.text import Text

    first = Text.assemble((f"{stage:<8}", "bold cyan"), cell(text))
    short = [(name.removeprefix("vagus:"), note) for name, note in notes]
    if not first.plain[8:] and short:
        first.append_text(_note(*short.pop(0)))
    console.print(first, soft_wrap=True)
    for name, note in short:
        console.print(Text(" " * 8) + _note(name, note), soft_wrap=True)


def _note(name: str, note: str) -> Text:
    from rich.text import Text

    return Text.assemble((cell(name).plain + "  ", "dim"), cell(note))


_STAGES = {"collector": "sense", "observer": "infer", "traces": "infer", "feed": "feed", "decide": "decide"}


def _stage(actor: dict[str, Any]) -> str:
    """Where in the loop an actor works; what is no collector, observer, feed or decision service acts."""
    return _STAGES.get(str(actor.get("role", "")), "act")


def _unhealthy(console: Console, whole: dict[str, Any]) -> None:
    from rich.text import Text

    by_subject = {str(i.get("subject")): i for i in whole.get("health") or ()}
    for subject in whole["unhealthy"][:MOST_UNHEALTHY]:
        line = Text(" " * 8) + cell(subject)
        inference = by_subject.get(subject)
        if inference:
            line += Text("  ") + status_cell(str(inference.get("status")))
            line += cell("  " + accusation(inference), "dim")
        console.print(line, soft_wrap=True)
    more = len(whole["unhealthy"]) - MOST_UNHEALTHY
    if more > 0:
        console.print(Text(f"{' ' * 8}and {more} more: vagus health", "dim"))


def accusation(inference: dict[str, Any]) -> str:
    """Which contexts are bad and who says so: `read: accused by api@1, api@2`; empty when nobody accuses."""
    parts = [
        f"{name}: accused by {', '.join(map(str, verdict['accusers']))}"
        for name, verdict in sorted((inference.get("contexts") or {}).items())
        if verdict.get("accusers")
    ]
    return "; ".join(parts)


def cpu_text(cpu_ratio: float | None) -> str:
    """The share of one processor of late; a dash while unknown, which is for a second."""
    return "–" if cpu_ratio is None else f"{100 * cpu_ratio:.1f} %"


def _actors(console: Console, nodes: list[dict[str, Any]]) -> None:
    rows: list[tuple[Any, ...]] = []
    for node in nodes:
        now = int(node.get("t_ns") or 0)
        for actor in node.get("actors") or ():
            figures = actor.get("figures") or {}
            since = int(actor.get("since_ns") or 0)
            alive_s = (now - since) / 1e9 if since and now > since else 0.0
            rss = figures.get("rss_bytes")
            rows.append(
                (
                    actor.get("name", ""),
                    status_cell(str(actor.get("state", ""))),
                    actor.get("pid") or "",
                    cpu_text(figures.get("cpu_ratio")),
                    byte_size(rss) if rss else "",
                    span(alive_s) if alive_s else "",
                    actor.get("restarts", 0),
                    cell(actor.get("errors", 0), "yellow" if actor.get("errors") else ""),
                    cell(actor.get("last_error", ""), "yellow"),
                )
            )
    if rows:
        console.print()
        columns = ["actor", "state", "pid", "cpu", "rss", "up", "restarts", "errors", "last error"]
        if not any(row[-1].plain for row in rows):
            columns, rows = columns[:-1], [row[:-1] for row in rows]
        right = ("pid", "cpu", "rss", "up", "restarts", "errors")
        table(
            console, columns, rows, right=right, wide={"last error": 24, "actor": 36}, spare=("up", "pid", "rss", "cpu")
        )
