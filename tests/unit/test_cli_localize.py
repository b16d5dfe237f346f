"""`vagus localize`: on files that a simulated application left, good ones and broken ones."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.fixtures.applications import EPOCH_NS, Application, Fault
from vagus.cli.localize import localize
from vagus.errors import ConfigError
from vagus.inputs.metrics_csv import resource_of_figure, unusual
from vagus.model import Span

HEADER = "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano\n"


def write(path: Path, spans: Iterable[Span]) -> Path:
    lines = (
        f"{s.trace_id},{s.span_id},{s.parent_id or 'root'},{s.component},{s.operation},{s.start_ns},{s.end_ns}\n"
        for s in spans
    )
    content = (HEADER + "".join(lines)).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Fault]:
    folder = tmp_path_factory.mktemp("spans")
    app = Application(4)
    app.renamed = False
    fault = app.felt_fault(4, 100, "network_delay")
    assert fault is not None
    normal = write(folder / "normal.csv", app.spans(1, 100))
    return write(folder / "slow.csv.gz", app.spans(4, 100, fault, window=True)), normal, fault


def run(*arguments: object) -> Result:
    return CliRunner().invoke(localize, [str(a) for a in arguments])


def test_suspects_as_json_and_as_lines(files: tuple[Path, Path, Fault]) -> None:
    slow, normal, fault = files
    done = run(slow, "--normal", normal, "--json", "--top", 3)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["suspects"][0]["component"] == fault.pod
    assert len(told["suspects"]) == 3
    assert told["requests"] == 100
    assert {"ri", "ci", "excess_ms", "gap_ms"} <= set(told["suspects"][0]["features"])
    plain = run(slow, "--normal", normal)
    assert plain.stdout.splitlines()[0].startswith("component")
    assert plain.stdout.splitlines()[1].startswith(fault.pod)
    assert "100 requests" in plain.stderr


def test_only_the_requests_of_a_time(files: tuple[Path, Path, Fault]) -> None:
    slow, normal, _ = files
    half = EPOCH_NS + 5 * 10**9
    told = json.loads(run(slow, "--normal", normal, "--json", "--from", half).stdout)
    rest = json.loads(run(slow, "--normal", normal, "--json", "--to", half).stdout)
    assert told["requests"] + rest["requests"] == 100
    at = json.loads(run(slow, "--normal", normal, "--json", "--at", half, "--window", "1s").stdout)
    assert 0 < at["requests"] < told["requests"]


def test_the_model_learns_labels(files: tuple[Path, Path, Fault], tmp_path: Path) -> None:
    slow, normal, fault = files
    model = tmp_path / "svm.json"
    for _ in range(4):
        done = run(slow, "--normal", normal, "--model", model, "--label", fault.service)
        assert done.exit_code == 0, done.output
    told = json.loads(run(slow, "--normal", normal, "--model", model, "--json").stdout)
    chances = {s["component"]: s["probability"] for s in told["suspects"]}
    assert max(chances, key=chances.__getitem__) == fault.pod
    assert "probability" in run(slow, "--normal", normal, "--model", model).stdout


def test_metrics_name_the_resource(files: tuple[Path, Path, Fault], tmp_path: Path) -> None:
    slow, normal, fault = files
    begin = EPOCH_NS // 10**9
    rows = [f"{begin + 60 * n},{fault.pod},{10 + n % 2 + (50 if n == 1 else 0)},100,7\n" for n in range(-10, 2)]
    (tmp_path / "pod.csv").write_text("TimeStamp,PodName,CpuUsage(m),MemoryUsage(Mi),NodeCpuUsage\n" + "".join(rows))
    told = json.loads(run(slow, "--normal", normal, "--metrics", tmp_path, "--json").stdout)
    assert told["suspects"][0]["resource"] == "cpu"
    assert told["suspects"][0]["features"]["signal_cpu_ratio"] > 3


@pytest.mark.parametrize(
    ("name", "resource"),
    [
        ("CpuUsage(m)", "cpu"), ("NodeCpuUsageRate(%)", ""), ("NetworkReceiveBytes", "network"), ("SyscallRead", "disk"),
        ("mem_bandwidth", "memory_bandwidth"), ("llc_occupancy", "llc"), ("PodClientLatencyP90(s)", ""), ("x", ""),
    ],
)  # fmt: skip
def test_figures_tell_their_resource(name: str, resource: str) -> None:
    assert resource_of_figure(name) == resource


def test_metrics_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder with"):
        unusual(tmp_path / "gone", 0, 1)
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="no file has the columns"):
        unusual(tmp_path, 0, 1)
    (tmp_path / "b.csv.gz").write_bytes(b"\x1f\x8bnot gzip")
    with pytest.raises(ConfigError, match="cannot read"):
        unusual(tmp_path, 0, 1)


def test_requests_without_begin_or_duration_are_not_said_to_be_of_another_time(
    files: tuple[Path, Path, Fault], tmp_path: Path
) -> None:
    _, normal, _ = files
    headless = tmp_path / "headless.csv"
    header = "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano"
    headless.write_text("\n".join([header, *(f"t{n},b,lost,web-1,/,{EPOCH_NS},{EPOCH_NS + 5}" for n in range(9))]))
    done = run(headless, "--normal", normal)
    assert done.exit_code == 1
    assert "of 9 requests none has its first span here" in str(done.exception)


def test_what_is_wrong_is_said(files: tuple[Path, Path, Fault], tmp_path: Path) -> None:
    slow, normal, _ = files
    damaged = tmp_path / "model.json"
    damaged.write_text('{"svm": 5}')
    empty = tmp_path / "empty.csv"
    empty.write_text(HEADER)
    for arguments, message in (
        ((tmp_path / "gone.csv", "--normal", normal), "cannot read"),
        ((slow, "--normal", empty), "nothing to compare with"),
        ((empty, "--normal", normal), "no span"),
        ((slow, "--normal", normal, "--from", EPOCH_NS + 10**14), "no request begins in that time"),
        ((slow, "--normal", normal, "--model", damaged), "is no model"),
        ((slow, "--normal", normal, "--model", tmp_path / "no.json"), "cannot read"),
        ((slow, "--normal", normal, "--model", tmp_path / "new.json", "--label", "nobody"), "no component"),
    ):
        done = run(*arguments)
        assert done.exit_code == 1
        assert message in str(done.exception), (arguments, done.exception)
    for arguments, message in (
        ((slow,), "--normal"),
        ((slow, "--normal", normal, "--window", "5s"), "--at"),
        ((slow, "--normal", normal, "--at", EPOCH_NS, "--to", EPOCH_NS), "exclude"),
        ((slow, "--normal", normal, "--label", "x"), "--model"),
    ):
        done = run(*arguments)
        assert done.exit_code == 2
        assert message in done.output


def test_nobody_is_blamed_where_nothing_is_slow(files: tuple[Path, Path, Fault]) -> None:
    slow, normal, _ = files
    told = run(normal, "--normal", normal)
    assert told.exit_code == 0, told.output
    rows = [line.split() for line in told.stdout.splitlines()[1:]]
    assert rows
    assert {row[1] for row in rows} == {"–"}
    assert "as in the healthy period" in told.stderr
    assert "%" in run(slow, "--normal", normal).stdout
