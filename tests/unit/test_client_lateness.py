"""A program that was late doubts itself, and blames nobody for the time in which it slept."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from client_reporter import Still

from vagus.client import reporter as reporter_module
from vagus.client.lateness import Lateness
from vagus.client.observe import observe
from vagus.client.pending import Pending
from vagus.model import MAX_DOUBT


@pytest.mark.parametrize(
    ("late_s", "doubt"),
    [
        (0.0, 0),
        (0.05, 0),
        (0.0999, 0),
        (0.1, 1),
        (0.15, 1),
        (0.25, 2),
        (1.0, 4),
        (3.0, 5),
        (5.0, 6),
        (60.0, 8),
        (1e9, 8),
    ],
)
def test_doubt_grows_by_one_with_each_doubling(late_s, doubt):
    lateness = Lateness()
    lateness.note(0.25, 0.25 + late_s + 1e-9)
    assert lateness.doubt == doubt <= MAX_DOUBT


def test_doubt_decays_by_one_a_second_and_starvation_keeps_it():
    lateness = Lateness()
    assert lateness.note(0.25, 5.25) == 5.0
    levels = []
    for _ in range(40):
        lateness.note(0.25, 0.25)
        levels.append(lateness.doubt)
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == 0
    assert levels[15] == 2  # after four seconds, of six
    for _ in range(100):
        lateness.note(0.25, 0.55)
    assert lateness.doubt == 2  # late each time, though never for long
    assert lateness.late_s == pytest.approx(35.0)
    assert lateness.worst_s == 5.0


def test_reports_after_a_pause_carry_the_doubt():
    still = Still()
    with pytest.raises(OSError), observe("db@2", reporter=still.reporter):
        raise OSError
    assert [report.doubt for report in still.reports()] == [0]
    with pytest.raises(OSError), observe("db@2", reporter=still.reporter):
        raise OSError  # such as a time-out, which the host's thread notices before ours wakes
    still.sleeps(5.0)
    assert [report.doubt for report in still.reports()] == [6]


def test_merged_reports_doubt_as_little_as_the_surest():
    still = Still()
    track = still.reporter.track("s", "c", "o")
    still.reporter.put(track, reporter_module.Status.UNHEALTHY, 1.0)
    with still.reporter._merging:
        still.reporter._merge()
    still.sleeps(5.0)
    still.reporter.put(track, reporter_module.Status.UNHEALTHY, 3.0)
    (report,) = still.reports()
    assert (report.doubt, report.contexts["c"].score) == (0, 2.0)


def test_time_slept_is_nobodys_silence():
    still = Still()
    reporter = still.reporter
    with observe("db@2", reporter=reporter), Pending("db@3", reporter=reporter):
        for calls in (reporter.open_calls, reporter.waiting):
            (call,) = calls.values()
            call[0] -= 1.0  # begun a second before the process was stopped, for ten seconds
            call[1] -= 1.0
        now = time.perf_counter() + 10.0
        reporter.lateness.note(0.25, 10.25)
        for calls in (reporter.open_calls, reporter.waiting):
            reporter_module.postpone(calls.values(), 10.0, now)
        reporter.work(now, True)
        assert still.sent == []  # it has waited for one second
        reporter.work(now + 1.9, True)
        assert still.sent == []
        reporter.work(now + 2.1, True)
        assert {report.subject for report in still.sent} == {"db@2", "db@3"}
        assert all(3000 <= m.score < 3300 for r in still.sent for m in r.contexts.values())


def test_a_call_is_not_postponed_beyond_its_own_age():
    still = Still()
    with observe("db@2", reporter=still.reporter):
        still.sleeps(60.0)
        (call,) = still.reporter.open_calls.values()
        assert call[0] <= time.perf_counter()
        assert call[1] - call[0] == 3.0


def test_pauses_of_the_garbage_collector_are_noticed(monkeypatch):
    reporter = Still().reporter
    gc.disable()  # only what this test says is collected
    reporter.begun()
    try:
        assert reporter._collected in gc.callbacks
        clock = iter([10.0, 10.01, 11.0, 11.5])
        monkeypatch.setattr(reporter_module, "perf_counter", lambda: next(clock))
        for doubt in (0, 3):
            reporter._collected("start", {"generation": 2})
            reporter._collected("stop", {"generation": 2})
            assert reporter.lateness.doubt == doubt
        monkeypatch.undo()
    finally:
        reporter._forget_gc()
        gc.enable()
    assert reporter._collected not in gc.callbacks


STOPPED = """
import json, sys, time, threading
from vagus.client.observe import observe
from vagus.client.reporter import REPORTER
sent = []
REPORTER.divert(sent.extend)
with observe("warm"):
    pass
REPORTER.flush(5)  # its thread waits from now on: that is what being stopped makes late
try:
    with observe("db@2", pending_s=0.6):
        print("ready", flush=True)
        sys.stdin.readline()
        raise TimeoutError
except TimeoutError:
    pass
threading.Event().wait(0.3)
REPORTER.flush(5)
print(json.dumps([(r.subject, m.status.name, r.doubt) for r in sent for m in r.contexts.values()]))
"""


def test_a_process_that_was_stopped_accuses_less():
    child = subprocess.Popen(
        [sys.executable, "-c", STOPPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    try:
        assert child.stdout.readline() == "ready\n"
        os.kill(child.pid, signal.SIGSTOP)
        child.stdin.write("\n")
        child.stdin.flush()
        time.sleep(1.0)  # it is the time that is tested
        os.kill(child.pid, signal.SIGCONT)
        out, _ = child.communicate(timeout=20)
    finally:
        child.kill()
    said = json.loads(out)
    assert ["db@2", "PENDING"] not in [line[:2] for line in said]
    ((_, _, doubt),) = [line for line in said if line[:2] == ["db@2", "UNHEALTHY"]]
    assert doubt >= 2
