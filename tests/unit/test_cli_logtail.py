"""`vagus health logtail`: events printed and reported, from files that rotate and from standard input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from vagus.cli import cli
from vagus.cli.logtail import MAX_LINE_BYTES, LogTail, Outbox, file_lines, rfc3339, stdin_lines
from vagus.errors import PeerUnreachable, Refused
from vagus.health import LOG_FILTERS
from vagus.health.log_window import LogWindow
from vagus.model import Metric, Report, Status

CANNOT = (
    "2017-05-26 17:26:04,937 [myid:0] - WARN  [WorkerSender[myid=0]:QuorumCnxManager@382] - "
    "Cannot open channel to {} at election address pano1/10.0.0.5:3888\n"
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "z.out"
    path.write_text(CANNOT.format(1) + "a healthy line\n" + CANNOT.format(2) + CANNOT.format(1).rstrip("\n"))
    return path


def run(*args: str, **options: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["health", "logtail", *args], **options)
    return result.exit_code, result.stdout, result.stderr + (str(result.exception) if result.exception else "")


def test_feature_11_it_prints_one_json_object_per_event(log: Path) -> None:
    code, out, err = run("zookeeper", str(log), "--stale", "-1", "--dry-run", "--json", "--timezone", "UTC")
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert events[0] == {
        "ts": "2017-05-26T17:26:04.937Z",
        "observer": "peer@0",
        "subject": "peer@1",
        "context": "WorkerSender",
        "status": "MAYBE_UNHEALTHY",
        "score": 40.0,
    }
    assert [e["subject"] for e in events] == ["peer@1", "peer@2", "peer@1"], "the last line has no end, and is read"
    assert err == "4 lines, 3 events, 2 would be reported, 1 merged\n"


def test_it_prints_a_line_for_people(log: Path) -> None:
    code, out, _ = run("zookeeper", str(log), "--stale", "-1", "--dry-run", "--observer", "me")
    assert code == 0
    assert out.splitlines()[0] == "2017-05-26 17:26:04.937  me → peer@1  WorkerSender MAYBE_UNHEALTHY 40"


def test_old_events_are_skipped_and_counted(log: Path) -> None:
    assert run("zookeeper", str(log), "--dry-run")[1:] == (
        "",
        "4 lines, 0 events, 0 would be reported, 3 too old (--stale)\n",
    )


def test_feature_11_a_filter_and_an_ensemble_file(log: Path, tmp_path: Path) -> None:
    chain = {"Field": "content", "Operator": "~", "Pattern": "/(?P<host>[0-9.]+):", "CaptureResult": True}
    said = {"Context": "seen", "Subject": "<content_host>", "Status": "h", "Score": "90"}
    (tmp_path / "f.json").write_text(json.dumps({"FilterTree": [{"Chain": [chain], "Classifier": said}]}))
    (tmp_path / "zoo.cfg").write_text("tickTime=1\nserver.7=10.0.0.5:2888:3888\n")
    files = ("--filter", str(tmp_path / "f.json"), "--ensemble", str(tmp_path / "zoo.cfg"))
    code, out, err = run("zookeeper", str(log), "--stale", "-1", "--dry-run", "--json", *files)
    assert code == 0, err
    found = {(e["subject"], e["context"], e["status"], e["score"]) for e in map(json.loads, out.splitlines())}
    assert found == {("peer@7", "seen", "HEALTHY", 90.0)}


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (("nosuch", "{log}"), "there are: cassandra"),
        (("zookeeper", "/nope"), "cannot read /nope: No such file"),
        (("zookeeper", "/"), "not a regular file"),
        (("zookeeper", "{log}", "--filter", "/nope"), "cannot read /nope"),
        (("zookeeper", "{log}", "--filter", "{log}"), "not a filter file"),
        (("zookeeper", "{log}", "--ensemble", "{log}"), "no line server.ID"),
        (("zookeeper", "{log}", "--timezone", "Mars"), "no time zone 'Mars'"),
        (("zookeeper", "{log}", "--observer", "x" * 300), "observer must be"),
        (("zookeeper", "{log}", "--stale", "-2"), "--stale is seconds or -1"),
        (("zookeeper", "{log}", "--merge", "-1"), "--merge is seconds"),
        (("zookeeper", "{log}", "--merge", "nan"), "--merge is seconds"),
        (("zookeeper", "{log}", "--stale", "inf"), "--stale is seconds or -1"),
    ],
)
def test_what_is_wrong_is_told(log: Path, args: tuple[str, ...], match: str) -> None:
    code, out, err = run(*(a.replace("{log}", str(log)) for a in args), "--dry-run")
    assert code != 0
    assert match in err
    assert out == ""


def test_the_help_has_examples() -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "journalctl -f -o json | vagus health logtail journald -" in out


# --- following -------------------------------------------------------------------------------------------------------


def test_defect_rotation_was_not_followed_now_by_rename_and_by_copytruncate(log: Path) -> None:
    """Panorama's defect: rotation is not followed."""
    parts = file_lines(str(log), follow=True)
    tail = LogTail(LOG_FILTERS.make("zookeeper", "n1"), str(log), LogWindow(-1, 0), None, as_json=False)

    def until(events: int) -> None:
        while tail.events < events:
            tail.take(next(parts))

    until(2)
    with open(log, "a") as file:
        file.write("\n" + CANNOT.format(3))  # the line that had no end has one now
    until(4)
    log.rename(log.with_suffix(".1"))
    with open(log.with_suffix(".1"), "a") as file:
        file.write(CANNOT.format(4))
    log.write_text(CANNOT.format(5))
    until(6)
    os.truncate(log, 0)
    with open(log, "a") as file:
        file.write(CANNOT.format(6)[:50])
        file.flush()
        assert next(parts).lines == []
        file.write(CANNOT.format(6)[50:])
    until(7)
    parts.close()
    assert tail.events == 7


def test_standard_input_line_by_line_until_its_end() -> None:
    reading, writing = os.pipe()
    parts = stdin_lines(reading)
    os.write(writing, b"one\ntw")
    assert next(parts).lines == [b"one"]
    assert next(parts).lines == [], "what waits to be sent does not wait for lines"
    os.write(writing, b"o\nthree")
    assert next(parts).lines == [b"two"]
    os.close(writing)
    assert [part.lines for part in parts] == [[b"three"]]
    os.close(reading)


def test_a_line_on_standard_input_that_is_too_long_is_skipped() -> None:
    reading, writing = os.pipe()
    lines: list[bytes] = []
    reader = threading.Thread(target=lambda: lines.extend(line for part in stdin_lines(reading) for line in part.lines))
    reader.start()
    os.write(writing, b"a\n")
    left = b"x" * (3 * MAX_LINE_BYTES) + b"\nb\n"
    while left:
        left = left[os.write(writing, left) :]
    os.close(writing)
    reader.join(10)
    os.close(reading)
    assert lines == [b"a", b"b"]


def test_what_another_program_prints(tmp_path: Path) -> None:
    entry = {"__REALTIME_TIMESTAMP": str(time.time_ns() // 1000), "_TRANSPORT": "kernel", "_HOSTNAME": "n1"}
    lines = json.dumps({**entry, "MESSAGE": "Out of memory: Killed process 1 (x)"}) + "\n"
    command = [
        sys.executable,
        "-m",
        "vagus",
        "health",
        "logtail",
        "journald",
        "-",
        "--node",
        "n1",
        "--dry-run",
        "--json",
    ]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["subject"] == "host@n1"


# --- reporting -------------------------------------------------------------------------------------------------------


class Node:
    """Takes reports while it is there."""

    def __init__(self) -> None:
        self.taken: list[Report] = []
        self.error: Exception | None = None

    def send(self, reports: Sequence[Report]) -> None:
        if self.error is not None:
            raise self.error
        self.taken += reports


def report(number: int) -> Report:
    return Report("o", f"s{number}", 1, {"c": Metric(Status.UNHEALTHY)})


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
def outbox(node: Node) -> Outbox:
    told: list[str] = []
    made = Outbox(node.send, told.append)
    made.told = told
    return made


def test_reports_survive_the_nodes_absence(node: Node, outbox: Outbox) -> None:
    node.error = PeerUnreachable("no running vagus found")
    for number in range(250):
        outbox.put(report(number))
        outbox.flush(0.0)
    assert outbox.told == ["reports wait: no running vagus found"]
    node.error = None
    assert outbox.flush(0.5) == 250, "not tried again at once"
    assert outbox.flush(1.0) == 0
    assert [r.subject for r in node.taken] == [f"s{n}" for n in range(250)]
    assert outbox.told[1:] == ["reports go out again"]
    assert outbox.close() == 0


def test_the_queue_is_bounded_and_tells_once(node: Node, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.cli.logtail.MAX_WAITING", 3)
    for number in range(6):
        outbox.put(report(number))
    assert outbox.dropped == 3
    assert outbox.told == ["3 reports wait: from now on the oldest are dropped"]
    outbox.flush(0.0)
    assert [r.subject for r in node.taken] == ["s3", "s4", "s5"]


def test_what_is_refused_is_not_tried_for_ever(node: Node, outbox: Outbox) -> None:
    node.error = Refused("token:x may not send o")
    outbox.put(report(1))
    assert outbox.flush(0.0) == 0
    assert outbox.told == ["1 report refused: token:x may not send o"]
    assert (outbox.refused, outbox.dropped) == (1, 0)


def test_the_same_again_is_printed_and_reported_once(node: Node, outbox: Outbox, capsys) -> None:
    tail = LogTail(LOG_FILTERS.make("zookeeper", "n1"), "z", LogWindow(-1, 1), outbox, as_json=True)
    from vagus.cli.logtail import Lines

    tail.take(Lines([CANNOT.format(n).strip().encode() for n in (1, 1, 2)], 1))
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert [r.subject for r in node.taken] == ["peer@1", "peer@2"]
    assert tail.summary() == "3 lines, 3 events, 2 reported, 1 merged"


def test_reports_that_nobody_took_are_an_error_at_the_end(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.cli.logtail.LAST_TRY_S", 0.0)
    for name in ("VAGUS_URL", "VAGUS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    code, _, err = run("--home", str(tmp_path), "zookeeper", str(log), "--stale", "-1", "--once")
    assert code == 1
    assert "reports wait: no running vagus found" in err
    assert "2 reports could not be delivered" in err


def test_a_server_without_its_token_is_an_error(log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAGUS_URL", "VAGUS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    options = ("zookeeper", str(log), "--stale", "-1", "--once", "--server", "127.0.0.1:1")
    code, _, err = run("--home", str(tmp_path), *options)
    assert code == 1
    assert "no token for http://127.0.0.1:1" in err
    assert "2 reports refused" in err


def test_times_are_printed_in_utc() -> None:
    assert rfc3339(1_495_833_964_937_999_999) == "2017-05-26T21:26:04.937Z"
