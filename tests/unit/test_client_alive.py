"""Threads and processes: whether they are there, move, and say so."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from time import perf_counter

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from client_reporter import Still

import vagus
from vagus.client import alive
from vagus.client.alive import ProcessWatch, observe_process, observe_thread, read_state
from vagus.errors import ConfigError


@pytest.fixture
def still():
    return Still()


@pytest.fixture
def thread():
    go = threading.Event()
    made = threading.Thread(target=go.wait, args=(30,), name="worker", daemon=True)
    made.go = go
    made.start()
    yield made
    go.set()
    made.join(5)


def test_the_public_names():
    assert (vagus.observe_thread, vagus.observe_process) == (observe_thread, observe_process)


def test_feature_13_a_thread_that_dies(still, thread):
    watch = observe_thread(thread, "worker@1", reporter=still.reporter)
    assert still.step() == [("worker@1", "thread", "HEALTHY")]
    assert still.step(10.0) == []  # rate-limited
    assert still.step(21.0) == [("worker@1", "thread", "HEALTHY")]
    thread.go.set()
    thread.join(5)
    assert still.step(22.0) == [("worker@1", "thread", "DEAD")]
    assert still.step(23.0) == []
    assert still.step(43.0) == [("worker@1", "thread", "DEAD")]
    watch.end()
    assert still.step(100.0) == []


def test_a_thread_that_may_go(still, thread):
    watch = observe_thread(thread, "worker@1", reporter=still.reporter)
    watch.end()
    thread.go.set()
    thread.join(5)
    assert still.step(1.0) == []


def test_a_thread_that_does_not_beat(still, thread):
    watch = observe_thread(thread, "worker@1", beat_s=5.0, reporter=still.reporter)
    assert still.step(4.9) == [("worker@1", "thread", "HEALTHY")]
    ((silent,),) = [r.contexts.values() for r in still.reports(5.5)]
    assert silent.status.name == "UNHEALTHY"
    assert silent.score == pytest.approx(5500, abs=500)
    watch._beaten = perf_counter() + 6.0
    assert still.step(7.0) == [("worker@1", "thread", "HEALTHY")]
    watch.beat()
    assert watch._beaten <= perf_counter()


def test_while_we_slept_nobody_could_beat(still, thread):
    watch = observe_thread(thread, "worker@1", beat_s=5.0, reporter=still.reporter)
    watch._beaten -= 10.0
    still.sleeps(10.0)
    assert still.step() == [("worker@1", "thread", "HEALTHY")]


def test_this_thread_and_one_that_has_not_begun(still):
    here = observe_thread(reporter=still.reporter)
    assert here.subject.startswith(f"thread:{threading.current_thread().name}@")
    observe_thread(threading.Thread(name="later"), "later@1", reporter=still.reporter)
    assert still.step() == [(here.subject, "thread", "HEALTHY"), ("later@1", "thread", "PENDING")]


@pytest.fixture
def child():
    made = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield made
    made.kill()
    made.communicate()


def test_feature_13_a_process_that_is_stopped_and_exits(still, child):
    watch = observe_process(child, reporter=still.reporter)
    assert watch.subject == f"process:{child.pid}@{os.uname().nodename}"
    assert still.step() == [(watch.subject, "process", "HEALTHY")]
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert still.step(1.0) == [(watch.subject, "process", "UNHEALTHY")]
    os.kill(child.pid, signal.SIGCONT)
    os.waitid(os.P_PID, child.pid, os.WCONTINUED | os.WNOWAIT)
    assert still.step(2.0) == [(watch.subject, "process", "HEALTHY")]
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert still.step(3.0) == [(watch.subject, "process", "DEAD")]
    assert child.returncode is None  # nobody but its parent waits for it
    assert child.wait() == -signal.SIGKILL
    watch.end()


def test_states(still):
    now = [("S", 7)]
    watch = ProcessWatch(still.reporter, 4711, "p@1", None, lambda pid: now[0])
    begun = perf_counter()

    def status(state, later_s, started=7):
        now[0] = (state, started) if state else None
        return watch.look(begun + later_s)[0].name

    assert status("R", 1) == "HEALTHY"
    assert status("D", 2) == status("D", 4.9) == "HEALTHY"
    assert status("D", 5.1) == "PENDING"
    assert status("S", 6) == "HEALTHY"
    assert status("t", 7) == "UNHEALTHY"
    assert status("Z", 8) == status("", 9) == status("S", 10, started=8) == "DEAD"  # the last: another of its number


def test_what_is_no_process(still):
    for wrong in (None, 0, -1, "4711", threading.current_thread()):
        with pytest.raises(ConfigError, match="process id"):
            observe_process(wrong, reporter=still.reporter)
    assert read_state(1 << 30) is None
    observe_process(1 << 21, "gone@1", reporter=still.reporter)
    assert still.step() == [("gone@1", "process", "DEAD")]


def test_bounded(still, monkeypatch):
    monkeypatch.setattr(alive, "MAX_WATCHED", 3)
    for _ in range(5):
        observe_thread(reporter=still.reporter)
    assert len(still.reporter.chores) == 3
    assert still.reporter.counts()["dropped"] == 2


def test_one_watch_that_breaks_stops_no_other(still, thread):
    watch = ProcessWatch(still.reporter, 1, "p@1", None, lambda pid: ("S", 1))
    watch._read = None
    observe_thread(thread, "worker@1", reporter=still.reporter)
    assert still.step() == [("worker@1", "thread", "HEALTHY")]
    assert still.reporter.counts()["failed"] == 1
