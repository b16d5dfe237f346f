"""In-situ observation: what is reported, how often, and that the program never notices."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, serving

import vagus
from vagus import config
from vagus.client import reporter as reporter_module
from vagus.client.endpoint import Endpoint
from vagus.client.observe import observe
from vagus.client.reporter import QUEUE, Reporter
from vagus.client.transport import Transport
from vagus.clock import SystemClock
from vagus.errors import PeerUnreachable
from vagus.model import Metric, Report, Status


class Sent:
    """A reporter whose reports are kept; `take` flushes and returns them as (subject, context, status)."""

    def __init__(self, **settings):
        self.reports = []
        self.reporter = Reporter(send=self.reports.extend, **settings)

    def take(self):
        assert self.reporter.flush(5.0)
        taken, self.reports[:] = list(self.reports), []
        return [(r.subject, context, m.status.name) for r in taken for context, m in r.contexts.items()]


@pytest.fixture
def sent():
    kept = Sent()
    yield kept
    kept.reporter.close()


def test_the_public_name():
    assert vagus.observe is observe


def test_first_success_passes_and_repeats_are_held_back(sent):
    for _ in range(100):
        with observe("db@2", context="read", reporter=sent.reporter):
            pass
    assert sent.take() == [("db@2", "read", "HEALTHY")]
    with observe("db@2", context="write", reporter=sent.reporter):
        pass
    assert sent.take() == [("db@2", "write", "HEALTHY")]  # another context has its own limit


def test_feature_12_held_back_successes_arrive_as_their_mean(sent):
    sent.reporter.healthy_every_s = 0.0
    track = sent.reporter.track("db@2", "call", "me")
    track.due = float("inf")
    for _ in range(4):
        with observe("db@2", observer="me", reporter=sent.reporter):
            pass
    track.total_s = 0.2
    track.due = 0.0  # as if 20 s had gone by
    assert sent.reporter.flush(5.0)
    (report,) = sent.reports
    assert report.observer == "me"
    assert report.contexts["call"] == Metric(Status.HEALTHY, 50.0)


def test_an_exception_is_reported_and_passes_through(sent):
    with pytest.raises(ZeroDivisionError), observe("db@2", reporter=sent.reporter):
        raise ZeroDivisionError
    assert sent.take() == [("db@2", "call", "UNHEALTHY")]
    with observe("db@2", reporter=sent.reporter):
        pass
    with pytest.raises(ZeroDivisionError), observe("db@2", reporter=sent.reporter):
        raise ZeroDivisionError
    with observe("db@2", reporter=sent.reporter):
        pass
    assert [status for _, _, status in sent.take()] == ["UNHEALTHY", "HEALTHY"]  # recovery is told at once


def test_expected_exceptions_are_no_evidence(sent):
    with pytest.raises(KeyError), observe("db@2", expected=(KeyError,), reporter=sent.reporter):
        raise KeyError("absent")
    assert sent.take() == [("db@2", "call", "HEALTHY")]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_interruptions_are_no_verdict(sent, interruption):
    with pytest.raises(interruption), observe("db@2", reporter=sent.reporter):
        raise interruption
    assert sent.take() == []
    with pytest.raises(interruption), observe("db@2", reporter=sent.reporter, pending_s=0.0):
        raise interruption
    assert sent.take()[-1] == ("db@2", "call", "PENDING")  # but had it not answered for long, that is said


def test_a_call_that_hangs_is_pending_then_healthy(sent):
    with observe("db@2", reporter=sent.reporter):
        pass
    assert sent.take() == [("db@2", "call", "HEALTHY")]
    with observe("db@2", reporter=sent.reporter, pending_s=0.0):
        assert set(sent.take()) == {("db@2", "call", "PENDING")}
    assert sent.take() == [("db@2", "call", "HEALTHY")]  # at once, in spite of the rate limit
    assert sent.reporter.open_calls == {}


def test_a_hanging_call_is_said_again_at_growing_distance(sent):
    reporter = sent.reporter
    watched = observe("db@2", reporter=reporter, pending_s=3.0)
    watched.__enter__()
    ((begun, due, _track),) = (tuple(call) for call in reporter.open_calls.values())
    assert due - begun == 3.0
    times = []
    for second in range(60):
        before = len(reporter._queue)
        reporter._collect(begun + second)
        if len(reporter._queue) > before:
            times.append(second)
            reporter._queue.clear()
    assert times == [3, 6, 12, 24, 44]
    watched.__exit__(None, None, None)


def test_feature_13_decorated_functions_are_instrumented(sent):
    @observe("db@2", context="read", reporter=sent.reporter)
    def read(number: int, *, deep: bool = True) -> int:
        """Reads."""
        return read(number - 1, deep=deep) + 1 if number and deep else 0

    assert read(3) == 3
    assert (read.__name__, read.__doc__) == ("read", "Reads.")
    assert sent.take() == [("db@2", "read", "HEALTHY")]


async def test_decorated_coroutines_and_async_with(sent):
    @observe("db@2", context="read", reporter=sent.reporter)
    async def read(fail: bool) -> int:
        await asyncio.sleep(0)
        if fail:
            raise OSError("gone")
        return 7

    assert await asyncio.gather(*(read(False) for _ in range(5))) == [7] * 5
    with pytest.raises(OSError, match="gone"):
        await read(True)
    async with observe("db@2", context="write", reporter=sent.reporter):
        await asyncio.sleep(0)
    assert set(sent.take()) == {
        ("db@2", "read", "HEALTHY"),
        ("db@2", "read", "UNHEALTHY"),
        ("db@2", "write", "HEALTHY"),
    }
    assert asyncio.iscoroutinefunction(read)


def test_one_object_in_many_threads(sent):
    shared = observe("db@2", reporter=sent.reporter)

    def work():
        for _ in range(200):
            with shared:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sent.reporter.open_calls == {}
    assert sent.take() == [("db@2", "call", "HEALTHY")]


def test_a_storm_of_failures_is_merged(sent):
    for _ in range(1000):
        with pytest.raises(OSError), observe("db@2", reporter=sent.reporter):
            raise OSError
    assert 1 <= len(sent.take()) < 100
    assert sent.reporter.counts()["dropped"] == 0


def test_the_queue_is_bounded_and_drops_are_counted():
    sent = []
    reporter = Reporter(send=sent.extend)
    reporter.running = True  # no thread: nothing is taken away
    tracks = [reporter.track(f"s{n}", "c", "o") for n in range(QUEUE + 10)]
    for track in tracks:
        reporter.put(track, Status.UNHEALTHY, 0.1)
    for track in tracks:
        reporter.put(track, Status.UNHEALTHY, 0.1)
    assert len(reporter._queue) + len(reporter._unsent) <= 2 * QUEUE
    reporter.work(0.0, True)
    assert len(sent) == QUEUE
    assert reporter.counts()["dropped"] >= 10


def test_a_storm_about_one_subject_costs_no_report_on_another():
    sent = []
    reporter = Reporter(send=sent.extend)
    reporter.running = True
    reporter.put(reporter.track("quiet", "c", "o"), Status.DEAD, 7.0)
    noisy = reporter.track("noisy", "c", "o")
    for _ in range(10 * QUEUE):
        reporter.put(noisy, Status.UNHEALTHY, 0.1)
    reporter.work(0.0, True)
    assert [(r.subject, r.contexts["c"].score) for r in sent] == [("quiet", 7.0), ("noisy", 0.1)]
    assert reporter.counts()["dropped"] == 0


def test_a_failure_is_newer_than_the_successes_held_back_before_it(sent):
    for _ in range(5):
        with observe("db@2", reporter=sent.reporter):
            pass
    assert sent.take() == [("db@2", "call", "HEALTHY")]
    with pytest.raises(OSError), observe("db@2", reporter=sent.reporter):
        raise OSError
    assert sent.take() == [("db@2", "call", "UNHEALTHY")]
    sent.reporter._collect(1e9)
    assert sent.take() == []  # nothing says that it is well again


def test_subjects_without_end_are_bounded(monkeypatch):
    monkeypatch.setattr(reporter_module, "MAX_TRACKS", 10)
    reporter = Reporter(send=lambda reports: None)
    for number in range(100):
        reporter.track(f"s{number}", "c", None)
    assert len(reporter.tracks) <= 10


def test_names_are_mended_rather_than_refused(sent):
    for subject in ("", "line\nbreak", "x" * 500, "\ud800"):
        with observe(subject, observer="", reporter=sent.reporter):
            pass
    assert [subject for subject, _, _ in sent.take()] == ["?", "line?break", "x" * 200, "?"]


def test_failing_to_report_never_reaches_the_program_and_is_tried_again():
    down, taken = [True], []

    def send(reports):
        if down[0]:
            raise PeerUnreachable("nobody there")
        taken.extend(reports)

    reporter = Reporter(send=send)
    with pytest.raises(OSError, match="db"), observe("db@2", reporter=reporter):
        raise OSError("db")
    assert reporter.flush(5.0)
    assert reporter.counts() == {"sent": 0, "dropped": 0, "failed": 1}
    assert "nobody there" in reporter.last_error
    down[0] = False
    assert reporter.flush(5.0)
    assert [report.contexts["call"].status for report in taken] == [Status.UNHEALTHY]
    reporter.close()


def test_old_reports_that_nobody_took_are_dropped(monkeypatch):
    monkeypatch.setattr(reporter_module, "KEEP_NS", -1)

    def send(reports):
        raise PeerUnreachable("nobody there")

    reporter = Reporter(send=send)
    with observe("db@2", reporter=reporter):
        pass
    assert reporter.flush(5.0)
    assert reporter.counts()["dropped"] == 1
    reporter.close()


def test_default_observer_names_program_process_and_host(sent):
    with observe("db@2", reporter=sent.reporter):
        pass
    sent.reporter.flush(5.0)
    (report,) = sent.reports
    assert report.observer.endswith(f":{os.getpid()}@{os.uname().nodename}")


def a_batch(count):
    return [Report("api@1", f"db@{n}", 5, {"read": Metric(Status.DEAD, 1.5)}) for n in range(count)]


def test_datagrams_to_the_nodes_observer(tmp_path):
    path = config.socket_path(tmp_path, "n1", "report")
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(path))
        inbox.settimeout(5)
        transport = Transport(lambda: Endpoint("http://127.0.0.1:9", "t", "n1", tmp_path))
        batch = a_batch(150)
        transport.send(batch)
        received = []
        while len(received) < 150:
            received += msgspec.msgpack.decode(inbox.recv(1 << 16), type=list[Report])
        assert received == batch
        long = [Report("o" * 200, "s" * 200, 5, {f"{c}{'x' * 190}": Metric(Status.DEAD)}) for c in range(300)]
        thread = threading.Thread(target=transport.send, args=(long,))
        thread.start()
        received = []
        while len(received) < 300:
            datagram = inbox.recv(1 << 17)
            assert len(datagram) <= 60_000
            received += msgspec.msgpack.decode(datagram, type=list[Report])
        thread.join(5)
        transport.close()
    path.unlink()


def test_the_gateway_when_there_is_no_socket(tmp_path):
    with serving() as served:
        served.gateway.site.clock = SystemClock()
        transport = Transport(lambda: Endpoint(served.url, TOKEN, "n1", tmp_path))
        transport.send(a_batch(3))
        transport.send(a_batch(1))
        transport.close()
        assert served.backend.reports == a_batch(3) + a_batch(1)


def test_nobody_at_all(tmp_path):
    transport = Transport(lambda: Endpoint("http://127.0.0.1:9", "t", "n1", tmp_path))
    with pytest.raises(PeerUnreachable):
        transport.send(a_batch(1))


SCRIPT = """
import os, sys, time
import vagus
def call(subject):
    with vagus.observe(subject, observer=f"me:{os.getpid()}"):
        pass
call("before")
child = os.fork()
if child == 0:
    call("child")
    sys.exit(0)
os.waitpid(child, 0)
call("after")
begun = time.monotonic()
import atexit
print(child)
"""


def test_fork_and_exit(tmp_path):
    home = tmp_path
    folder = home / "nodes" / "n1"
    folder.mkdir(parents=True)
    (folder / "token").write_text("t")
    entry = {"url": "http://127.0.0.1:9", "token_file": "token", "node": "n1", "pid": os.getpid()}
    (folder / "gateway.json").write_bytes(msgspec.json.encode(entry))
    path = config.socket_path(home, "n1", "report")
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(path))
        inbox.settimeout(5)
        environment = {"VAGUS_HOME": str(home), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=20, env=environment, check=True
        )
        assert done.stderr == ""
        subjects = {}
        while len(subjects) < 3:
            for report in msgspec.msgpack.decode(inbox.recv(1 << 16), type=list[Report]):
                assert report.subject not in subjects
                subjects[report.subject] = report.observer
    path.unlink()
    assert subjects["child"] == f"me:{done.stdout.strip()}"
    assert subjects["before"] == subjects["after"] != subjects["child"]


def test_exit_is_quick_when_nobody_listens(tmp_path):
    script = "import vagus, time\nwith vagus.observe('x'): pass\nprint(time.monotonic())"
    environment = {"VAGUS_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, env=environment, check=True
    )
    import time

    assert time.monotonic() - float(done.stdout) < 2.0
    assert done.stderr == ""
