"""`vagus traces`: of a real gateway over spans of two nodes, and of files in all three forms."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, MemoryBackend, serving

from vagus.cli import cli
from vagus.cli.figure_trace import chosen
from vagus.cli.view_trace import branches, on_path, took
from vagus.client.span_otlp import request_of
from vagus.clock import NS, ManualClock, SystemClock
from vagus.gateway.traces import view_of
from vagus.inputs.jaeger import write_jaeger
from vagus.model import Kind, Span
from vagus.traces.graph import build

MS = 1_000_000
TRACE = "0af7651916cd43dd8448eb211c80319c"
NOW_NS = SystemClock().time_ns()
BEGUN_NS = (NOW_NS - 60 * NS) // 1000 * 1000


def span(name: str, parent: str, service: str, begin_ms: int, end_ms: int, trace: str = TRACE, **more: Any) -> Span:
    times = (BEGUN_NS + begin_ms * MS, BEGUN_NS + end_ms * MS)
    ids = (trace, name.zfill(16), parent.zfill(16) if parent else "")
    return Span(*ids, service, f"{service}-1", f"/{service}", *times, **more)


SPANS = [
    span("1", "", "web", 0, 100, kind=Kind.SERVER),
    span("2", "1", "cart", 5, 20),
    span("3", "1", "pay", 25, 90, error=True, attributes={"http.status_code": 500}),
    span("4", "3", "audit", 85, 300, follows=True),
    span("5", "dead", "mail", 400, 420),
]
OLD = [span("1", "", "web", -9000, -8990, trace="1".zfill(32)), span("1", "", "db", -5000, -4999, trace="2".zfill(32))]


@pytest.fixture(scope="module")
def gateway():
    backend = MemoryBackend()
    backend.spans_of = {"a": [*SPANS[:2], *OLD], "b": SPANS[2:]}
    with serving(backend, clock=ManualClock(NOW_NS)) as served:
        yield served


def run(*args: str, gateway: Any = None) -> Any:
    where = ["--url", gateway.url, "--token", TOKEN] if gateway else []
    return CliRunner().invoke(cli, ["traces", *args, *where])


@pytest.fixture(params=["jaeger", "otlp", "otlp.gz", "csv", "csv.gz"])
def file(request, tmp_path):
    form, _, packed = request.param.partition(".")
    if form == "csv":
        header = "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano\n"
        rows = [
            f"{s.trace_id},{s.span_id},{s.parent_id or 'root'},{s.component},{s.operation},{s.start_ns},{s.end_ns}"
            for s in [*SPANS, *OLD]
        ]
        text = header + "\n".join(rows)
    else:
        text = json.dumps({"jaeger": write_jaeger, "otlp": request_of}[form]([*SPANS, *OLD]))
    path = tmp_path / "spans"
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


def test_list_of_the_gateway(gateway):
    done = run("list", gateway=gateway)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].split()[:4] == ["time", "trace", "service", "operation"]
    assert TRACE in lines[1]
    assert "100 ms  5 (1 lost)       1  pay-1 65 ms 65%" in lines[1]
    assert [line.split()[2] for line in lines[2:4]] == ["2".zfill(32), "1".zfill(32)]
    assert "3 traces" in done.output
    found = json.loads(run("list", "--least", "5ms", "--service", "web", "--json", gateway=gateway).output)
    assert [t["trace_id"] for t in found["traces"]] == [TRACE, "1".zfill(32)]
    assert "no such trace in the last 1s" in run("list", "--since", "1s", gateway=gateway).output
    assert run("list", "--start", "2020-01-01T00:00:00Z", "--errors", gateway=gateway).output.count(TRACE) == 1


def test_list_of_files_chooses_alike(file, gateway):
    found = json.loads(run("list", "--file", str(file), "--json").output)
    wanted = json.loads(run("list", "--json", gateway=gateway).output)
    for trace in (*found["traces"], *wanted["traces"]):
        del trace["nodes"], trace["errors"]  # a CSV has none
    assert found["traces"] == wanted["traces"]
    chosen = json.loads(run("list", "--file", str(file), "--service", "db", "--json").output)["traces"]
    assert [t["trace_id"] for t in chosen] == ["2".zfill(32)]
    more = json.loads(run("list", "--file", str(file), "--limit", "1", "--json").output)
    assert (len(more["traces"]), more["more"]) == (1, True)
    assert "no such trace" in run("list", "--file", str(file), "--end", str(BEGUN_NS - 3600 * NS)).output


def test_show_is_a_tree_with_the_critical_path(gateway):
    done = run("show", TRACE, gateway=gateway)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "web /web  100 ms  5 spans, 1 error"
    rows = [(line[0] == "●", line[3:].strip().split("  ")[0]) for line in lines[3:8]]
    assert rows == [
        (True, "web /web"),
        (True, "├─ cart /cart"),
        (True, "└─ pay /pay"),
        (False, "└─ audit /audit"),
        (False, "mail /mail"),
    ]
    assert "FAILED" in lines[5]
    assert "(not waited for)" in lines[6]
    assert lines[5].split()[-4:] == ["65", "ms", "65", "ms"]
    assert lines[8] == "held up by pay-1 65 ms (65%), web-1 20 ms (20%), cart-1 15 ms (15%)"
    assert lines[9].startswith("1 parent did not come")
    assert "audit" not in run("show", TRACE, "--critical", gateway=gateway).output
    assert run("show", gateway=gateway).output == done.output, "the newest"
    assert json.loads(run("show", "--json", gateway=gateway).output)["trace"]["critical_ns"]["pay-1"] == 65 * MS


def test_show_of_files_by_a_part_of_the_id(file):
    whole, part = run("show", "--file", str(file), TRACE), run("show", "--file", str(file), TRACE[:4])
    assert whole.exit_code == part.exit_code == 0
    assert whole.output == part.output == run("show", "--file", str(file)).output
    assert "held up by pay-1 65 ms (65%)" in whole.output
    assert "2 traces begin with '0000'" in run("show", "--file", str(file), "0000").output
    assert "no trace 'nope' among 7 spans" in run("show", "--file", str(file), "nope").output


@pytest.mark.parametrize("form", ["jaeger", "otlp"])
def test_what_is_exported_is_read_again(gateway, form, tmp_path):
    path = tmp_path / "t.json"
    path.write_text(run("show", TRACE, "--format", form, gateway=gateway).output)
    assert run("show", "--file", str(path)).output == run("show", TRACE, gateway=gateway).output


def test_graph_in_the_terminal_and_as_pictures(gateway, tmp_path):
    done = run("graph", gateway=gateway)
    assert done.exit_code == 0, done.output
    web, pay = done.output.splitlines()[1], done.output.splitlines()[3]
    assert web.startswith("web /web")
    assert pay.count("█") > 2 * web.count("█") > 0
    assert "░" in done.output.splitlines()[4]
    for form, begin in (("png", b"\x89PNG"), ("svg", b"<?xml")):
        path = tmp_path / f"t.{form}"
        done = run("graph", TRACE, "-o", str(path), "--title", "slow", gateway=gateway)
        assert done.exit_code == 0, done.output
        assert path.read_bytes().startswith(begin)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("graph", "-o", "x.pdf"), "PNG and SVG"),
        (("graph", "--title", "x"), "goes with -o"),
        (("show", "--json", "--format", "otlp"), "exclude each other"),
        (("list", "--limit", "0"), "1<=x<=1000"),
        (("list", "--least", "soon"), "soon"),
    ],
)
def test_wrong_usage(args, why):
    done = run(*args)
    assert done.exit_code == 2
    assert why in done.output


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{}", "not Jaeger's JSON"),
        (b'{"resourceSpans": 3}', "not OTLP in JSON"),
        (b"", "is no CSV of spans"),
        (gzip.compress(b"{}", mtime=0)[:-4], "cannot read"),
        (b"\x1f\x8bx", "cannot read"),
    ],
)
def test_files_that_are_none(tmp_path, content, why):
    path = tmp_path / "x"
    path.write_bytes(content)
    for command in ("list", "show", "graph"):
        done = run(command, "--file", str(path))
        assert done.exit_code == 1
        assert why in done.output


def test_bad_spans_of_a_file_are_told(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text(
        "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano\n"
        "t,a,root,p,op,1000,2000\nt,b,a,p,op,x,2000\n"
    )
    done = run("list", "--file", str(path))
    assert done.exit_code == 0
    assert "1 span cannot be read: line 3" in done.output


def test_an_unknown_trace_of_the_gateway(gateway):
    done = run("show", "f" * 32, gateway=gateway)
    assert done.exit_code == 1
    assert "no span of trace" in done.output


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1 µs"),
        (999_700, "1 ms"),
        (12_345_678, "12.3 ms"),
        (75 * NS, "75 s"),
        (-5000, "-5 µs"),
        (4321 * NS, "4321 s"),
    ],
)
def test_durations(ns, text):
    assert took(ns) == text


def test_a_trace_that_is_deeper_than_a_screen_is_wide_keeps_lines_of_bounded_length():
    chain = [span(str(n), str(n - 1) if n > 1 else "", "web", n, 9_000 - n) for n in range(1, 4_000)]
    drawn = branches(view_of(build(chain)[0]))
    assert max(map(len, drawn)) < 200
    assert "3998" in drawn[-1]  # how deep it is


def test_of_many_spans_the_critical_and_longest_are_drawn_with_what_is_above_them():
    many = [span("1", "", "web", 0, 1000)]
    many += [span(str(n), "1", "leaf", n, n + 1) for n in range(2, 399)]
    many += [span("399", "1", "leaf", 399, 960), span("500", "399", "deep", 400, 950)]
    view = view_of(build(many)[0])
    rows = chosen(view, 20)
    assert len(rows) == 20
    assert rows == sorted(rows)
    assert {view.parents[place] for place in rows} <= {-1, *rows}
    assert "deep" in {view.spans[place].service for place in rows}
    assert set(on_path(view)) <= set(range(len(view.spans)))
    assert len(branches(view)) == len(view.spans)
