"""`vagus localize`: which component makes requests slow: of CSV spans, against those of a healthy period, or now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.lazy import one_line
from vagus.cli.output import cell, console, counted, emit_json, json_option, near, quantity, table
from vagus.cli.session import Moment, Span, check_file, server_option, write_file
from vagus.clock import NS
from vagus.config import seconds
from vagus.errors import ConfigError, NoData, unreadable
from vagus.model import to_builtins

if TYPE_CHECKING:
    from vagus.controllers.localise import Ranking, Suspect
    from vagus.controllers.localise.localiser import Localiser
    from vagus.model import Span as Spans
    from vagus.traces import Graph

BAR = 10  # characters
MAX_MODEL_BYTES = 16 << 20
SLOW = {True: "slower than in the healthy period", False: "as in the healthy period"}


@click.command()
@click.argument("traces", nargs=-1, type=click.Path(path_type=Path, readable=False))
@click.option("--live", is_flag=True, help="Ask the cluster, whose services send their spans.")
@click.option("--since", type=Span(), default="", metavar="DURATION", help="With --live: all rankings kept since then.")
@click.option("--normal", multiple=True, type=click.Path(path_type=Path, readable=False), metavar="FILE",
              help="Spans of a healthy period; may be repeated.")  # fmt: skip
@click.option("--from", "start", type=Moment(), default="", metavar="TIME", help="Only requests that begin from then.")
@click.option("--to", "end", type=Moment(), default="", metavar="TIME", help="Only requests that begin before then.")
@click.option("--at", type=Moment(), default="", metavar="TIME", help="When it began: from then, for --window.")
@click.option("--window", type=Span(), default="", metavar="DURATION", help="With --at.  [default: 5m]")
@click.option("--metrics", type=click.Path(path_type=Path, readable=False), metavar="FOLDER",
              help="CSV metrics of the pods: name the resource that is unusual.")  # fmt: skip
@click.option("--model", type=click.Path(path_type=Path, readable=False), metavar="FILE",
              help="An SVM that was trained by --label: how probable each is critical.")  # fmt: skip
@click.option(
    "--label", default="", metavar="COMPONENT", help="It was this one: train the SVM in --model, and save it."
)
@click.option("--top", type=click.IntRange(1, 1000), default=10, show_default=True, help="At most so many suspects.")
@server_option
@json_option
@click.pass_context
def localize(
    ctx: click.Context,
    traces: tuple[Path, ...],
    live: bool,
    since: str,
    normal: tuple[Path, ...],
    start: str,
    end: str,
    at: str,
    window: str,
    metrics: Path | None,
    model: Path | None,
    label: str,
    top: int,
    as_json: bool,
) -> None:
    """Which component makes requests slow: suspects with their evidence, the most probable first.

    TRACES and --normal are CSV files of spans, plain or gzipped, with the columns TraceID, SpanID, ParentID, PodName,
    OperationName, StartTimeUnixNano, EndTimeUnixNano. Every kind of call on the critical paths is compared with what it
    took in the healthy period; the gap between a client's span and its server's is charged to the callee, unless all
    that the caller calls has become slow.

    blame: share of the evidence. adds: to each request that it takes part in; of that, gap: between caller and callee.
    RI: correlation of its time on the critical path with the request's; CI: P99/P50 of that time.

    \b
    Examples:
      vagus localize spans.csv.gz --normal healthy.csv.gz
      vagus localize 04_2*.csv.gz --normal 17_00.csv.gz --at 2022-08-22T04:27:03Z --window 3m
      vagus localize spans.csv --normal healthy.csv --metrics metric/ --json | jq -r '.suspects[0].component'
      vagus localize spans.csv --normal healthy.csv --model svm.json --label cart-1
      vagus localize --live
      vagus localize --live --since 1h
    """
    if live:
        from vagus.cli.localize_live import live as of_the_cluster

        given = (traces, normal, start, end, at, window, metrics, model, label)
        if any(given):
            raise click.UsageError("--live goes with --since, --top and --json only.")
        of_the_cluster(ctx, since, as_json, lambda ranking: _show(ranking, top))
        return
    if since:
        raise click.UsageError("--since goes with --live; for stretches of files use --from and --to.")
    if not traces or not normal:
        raise click.UsageError("Give TRACES and --normal FILE of a healthy period, or --live.")
    if at and (start or end):
        raise click.UsageError("--at and --from, --to exclude each other.")
    if window and not at:
        raise click.UsageError("--window goes with --at; for other stretches use --from and --to.")
    if label and model is None:
        raise click.UsageError("--label trains the SVM in --model FILE, which is not given.")
    if model is not None and label:
        check_file(model)
    begin_ns, end_ns = int(at or start or 0), int(end or 0)
    if at:
        end_ns = begin_ns + round(seconds(window or "5m") * NS)
    if end_ns and end_ns <= begin_ns:
        raise click.UsageError("--to is not after --from.")
    made, ranking, skipped = _localised(traces, normal, begin_ns, end_ns, metrics, model, label)
    if label and model is not None:
        write_file(model, json.dumps({"svm": made.state()["svm"]}).encode())
    document = {**to_builtins(ranking), **_kept(ranking, top), "begin_ns": begin_ns, "end_ns": end_ns, **skipped}
    if as_json:
        emit_json(document)
        return
    _show(ranking, top)
    for what, number in skipped.items():
        if number:
            click.secho(f"{number} {what.replace('_', ' ')}", dim=True, err=True)


def _localised(
    traces: Sequence[Path],
    normal: Sequence[Path],
    begin_ns: int,
    end_ns: int,
    metrics: Path | None,
    model: Path | None,
    label: str,
) -> tuple[Localiser, Ranking, dict[str, int]]:
    from vagus.config.act import LocaliseSettings
    from vagus.controllers.localise.localiser import Localiser
    from vagus.inputs.metrics_csv import unusual
    from vagus.traces.graph import build

    made = Localiser(LocaliseSettings(window="365d", least=2, normal_file=str(normal[0])))
    if model is not None and (model.exists() or not label):
        _load(made, model)
    spans, bad = _read(normal)
    healthy = [graph for graph in build(spans) if _whole(graph)]
    if not made.learn(healthy):
        raise NoData(f"{', '.join(map(str, normal))}: no request whose first span is there; nothing to compare with")
    spans, more_bad = _read(traces)
    all_graphs = build(spans)
    graphs = [g for g in all_graphs if _whole(g) and begin_ns <= g.spans[g.root].start_ns < (end_ns or 1 << 63)]
    if not graphs:
        raise NoData(_nothing(all_graphs))
    first_ns = min(g.spans[g.root].start_ns for g in graphs)
    last_ns = max(g.spans[g.root].end_ns for g in graphs)
    made.add(graphs, last_ns)
    ranking = made.rank(last_ns, unusual(metrics, first_ns, last_ns) if metrics is not None else None)
    if ranking is None:
        raise NoData(f"only {counted(len(graphs), 'request')} in that time; at least 2 are needed")
    if label and not made.label(label, "", first_ns - 365 * 86400 * NS, last_ns + NS):
        known = [s.component for s in ranking.suspects]
        raise ConfigError(f"--label {label[:80]}: no component on the critical paths{near(label, known)}")
    return (
        made,
        ranking,
        {"bad_lines": bad + more_bad, "requests_without_begin": sum(not _whole(g) for g in all_graphs)},
    )


def _whole(graph: Graph) -> bool:
    root = graph.spans[graph.root]
    return not root.parent_id and root.end_ns > root.start_ns


def _nothing(graphs: Sequence[Graph]) -> str:
    from vagus.cli.output import clock_time

    times = [g.spans[g.root].start_ns for g in graphs]
    if not times:
        return "these files have no span"
    if not any(map(_whole, graphs)):
        return f"of {counted(len(graphs), 'request')} none has its first span here, with a begin before its end"
    return f"no request begins in that time; those of the files begin from {clock_time(min(times))} to {clock_time(max(times))}"


def _read(paths: Sequence[Path]) -> tuple[list[Spans], int]:
    """All spans, and how many lines held none; the first of these is told."""
    from vagus.inputs.span_csv import MAX_SPANS, read_csv

    spans: list[Spans] = []
    bad = 0
    for path in paths:
        found, rejects = read_csv(path, MAX_SPANS - len(spans))
        spans += found
        if rejects.count:
            bad += rejects.count
            click.secho(
                one_line(f"{path}: {rejects.count} lines are no spans; {rejects.message}"), fg="yellow", err=True
            )
    return spans, bad


def _load(made: Localiser, path: Path) -> None:
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise ConfigError(f"{path} has more than {MAX_MODEL_BYTES >> 20} MiB: it is no model of --label")
        state = json.loads(path.read_bytes())
        made.restore({**made.state(), "svm": state["svm"]})
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is no model that --label saved: {error}") from error


def _kept(ranking: Ranking, top: int) -> dict[str, Any]:
    return {"suspects": to_builtins(ranking.suspects[:top])}


def _show(ranking: Ranking, top: int) -> None:
    to = console()
    shown = ranking.suspects[:top]
    barred, chances, resources = (
        to.is_terminal,
        any(s.probability is not None for s in shown),
        any(s.resource for s in shown),
    )
    columns = [
        "component", "blame", *([""] if barred else []), *(["probability"] if chances else []), "adds ms", "gap ms",
        "times", "RI", "CI", *(["resource"] if resources else []), "evidence",
    ]  # fmt: skip
    rows = [_row(s, ranking.slow, barred, chances, resources) for s in shown]
    table(
        to,
        columns,
        rows,
        {"blame", "probability", "adds ms", "gap ms", "times", "RI", "CI"},
        {"evidence": 30},
        spare=("CI", "RI", "gap ms"),
    )
    word = cell(SLOW[ranking.slow], "red" if ranking.slow else "green")
    click.secho(
        f"{counted(ranking.requests, 'request')}, {word.plain}: median {ranking.latency_p50_ms:.4g} ms "
        f"(healthy {ranking.normal_p50_ms:.4g}), P99 {ranking.latency_p99_ms:.4g} ms (healthy {ranking.normal_p99_ms:.4g})",
        fg="red" if ranking.slow else "green",
        err=True,
    )


def _row(suspect: Suspect, slow: bool, barred: bool, chances: bool, resources: bool) -> list[Any]:
    """slow: whether requests are; else shares of next to nothing would accuse somebody."""
    of: Mapping[str, float] = suspect.features
    score = suspect.score if slow else 0.0
    full = round(score * BAR)
    return [
        cell(suspect.component, "bold" if score >= 0.5 else ""),
        f"{score:.0%}" if slow else "–",
        *([cell("█" * full + "░" * (BAR - full), "red" if score >= 0.5 else "")] if barred else []),
        *([f"{suspect.probability:.2f}" if suspect.probability is not None else ""] if chances else []),
        quantity(of["excess_ms"]),
        quantity(of["gap_ms"]),
        f"{of['ratio']:.3g}",
        f"{of['ri']:.2f}",
        f"{of['ci']:.3g}",
        *([suspect.resource] if resources else []),
        suspect.says,
    ]
