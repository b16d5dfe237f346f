"""Whatever becomes of reporting, the host program does not notice: nothing raised, nothing printed, no hang."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from client_reporter import Still
from gateway_backend import NOW_NS, TOKEN, serving

from vagus import config
from vagus.client.endpoint import Endpoint
from vagus.client.indirection import origin, sink
from vagus.client.inform import inform
from vagus.client.observe import observe
from vagus.client.pending import Pending
from vagus.client.reporter import Reporter
from vagus.client.transport import Transport
from vagus.clock import SystemClock
from vagus.config import AccessRule
from vagus.errors import PeerUnreachable
from vagus.model import Metric, Report, Status


class Broken(Exception):
    """Nothing about it works."""

    def __str__(self):
        raise RuntimeError("broken")

    __repr__ = __str__

    def __hash__(self):
        raise RuntimeError("broken")

    def __eq__(self, other):
        raise RuntimeError("broken")


anything = st.one_of(
    st.none(),
    st.text(),
    st.integers(),
    st.floats(),
    st.binary(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(), st.integers(), max_size=2),
    st.builds(object),
    st.builds(Broken),
    st.just(KeyError),
    st.tuples(st.just(KeyError), st.integers()),
)


@settings(deadline=None, max_examples=40)
@given(anything, anything, anything, anything, anything)
def test_any_arguments(subject, context, observer, expected, pending_s):
    still = Still()
    settings = {"pending_s": pending_s, "reporter": still.reporter}
    try:
        expected_of_them = bool(expected)
    except RuntimeError:
        expected_of_them = False
    with observe(subject, context, observer, expected=expected if expected_of_them else (), **settings):
        pass
    for error in (KeyError, Broken):
        with pytest.raises(error), observe(subject, context, observer, **settings):
            raise error
    Pending(subject, context, pending_s, observer, reporter=still.reporter).fail()
    inform(subject, context, expected, pending_s, observer=observer, reporter=still.reporter)
    sent = origin(subject, context, observer, pending_s, observer, reporter=still.reporter)
    assert sink(sent.carry(), reporter=still.reporter)
    sink(subject, reporter=still.reporter)
    for report in still.reports(10.0):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=Report) == report


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        BrokenPipeError(),
        TimeoutError(),
        Broken(),
        MemoryError(),
        RecursionError(),
    ],
    ids=["full-disk", "pipe", "timeout", "broken", "memory", "recursion"],
)
def test_whatever_sending_raises(error):
    attempts = []

    def send(reports):
        attempts.append(len(reports))
        raise error

    reporter = Reporter(send=send)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), observe("db@2", reporter=reporter):
            raise ZeroDivisionError
        assert reporter.flush(5.0)
    assert len(attempts) >= 3
    assert reporter.counts()["failed"] >= 3
    assert reporter.last_error.startswith(type(error).__name__)
    reporter.close()


def test_what_cannot_be_reported_keeps_nothing_else_back():
    still = Still()
    for _ in range(2):  # whose mean is beyond all numbers
        inform("huge", "lag", "UNHEALTHY", 1.7e308, reporter=still.reporter)
    inform("db@2", "lag", "UNHEALTHY", 1.0, reporter=still.reporter)
    assert still.step() == [("db@2", "lag", "UNHEALTHY")]
    assert still.reporter.counts() == {"sent": 1, "dropped": 1, "failed": 1}
    assert still.step() == []


@pytest.mark.parametrize("named", ["db@7", "db@*"])
def test_what_the_gateway_refuses_keeps_nothing_else_back(tmp_path, named):
    rules = [AccessRule(who=("token:*",), send=(named,))]
    with serving(access=rules, clock=SystemClock()) as served:
        transport = Transport(lambda: Endpoint(served.url, TOKEN, "n1", tmp_path))
        reporter = Still().reporter
        reporter.divert(transport.send)
        for subject in (*(f"db@{n}" for n in range(20)), "secret"):
            inform(subject, "lag", "UNHEALTHY", 1.0, reporter=reporter)
        reporter.work(0.0, True)
        transport.close()
        taken = {report.subject for report in served.backend.reports}
    assert taken == ({"db@7"} if named == "db@7" else {f"db@{n}" for n in range(20)})
    assert reporter.counts() == {"sent": len(taken), "dropped": 21 - len(taken), "failed": 21 - len(taken)}
    assert "may not send" in reporter.last_error


def test_a_gateway_that_moved_is_found_again(tmp_path):
    """Its port is another after a restart, and where there is no socket nothing else tells."""
    found = []
    transport = Transport(lambda: found[0])
    report = Report("api@1", "db@2", NOW_NS, {"read": Metric(Status.DEAD)})
    with serving() as served:
        found[:] = [Endpoint(served.url, TOKEN)]
        transport.send([report])
    with serving() as served:
        found[:] = [Endpoint(served.url, TOKEN)]
        with pytest.raises(PeerUnreachable):
            transport.send([report])
        transport.send([report])
        assert served.backend.reports == [report]
    transport.close()


def test_the_last_word_on_what_hangs_is_that_it_does():
    """Other calls that went well meanwhile are held back, also at exit."""
    sent = []
    reporter = Reporter(send=sent.extend)
    waiting = Pending("db@2", "call", 0.0, reporter=reporter)
    assert reporter.flush(5.0)
    with observe("db@2", reporter=reporter):
        pass
    for _ in range(2):
        with observe("db@3", reporter=reporter):
            pass
    reporter.close()
    said = [(report.subject, report.contexts["call"].status) for report in sent]
    assert [status for subject, status in said if subject == "db@2"] == [Status.PENDING]
    assert ("db@3", Status.HEALTHY) in said
    waiting.drop()


def test_no_thread_can_be_started(monkeypatch):
    reporter = Reporter(send=lambda reports: None)

    def full(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", full)
        for _ in range(3):
            with observe("db@2", reporter=reporter):
                pass
    assert reporter.counts()["failed"] == 1  # not tried again at each call
    reporter._start_after = 0.0
    with observe("db@2", reporter=reporter):
        pass
    assert reporter.flush(5.0)
    assert reporter.counts()["sent"] >= 1
    reporter.close()


def test_deep_recursion_is_the_programs_own():
    still = Still()
    depth = [0]

    def fall():
        depth[0] += 1
        with observe("db@2", reporter=still.reporter):
            fall()

    with pytest.raises(RecursionError):
        fall()
    assert depth[0] > 100
    assert ("db@2", "call", "UNHEALTHY") in still.step()


def test_in_a_signal_handler_and_in_a_finalizer():
    """Both may interrupt this thread inside of the reporter, which therefore waits for no lock of its own."""
    reporter = Reporter(send=lambda reports: None)
    caught = []

    class Final:
        def __del__(self):
            with observe("finalizer", reporter=reporter):
                caught.append("del")

    def handle(number, frame):
        caught.append("signal")
        with pytest.raises(OSError), observe(f"signal{len(caught) % 50}", reporter=reporter):
            raise OSError

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while caught.count("signal") < 100:
            with pytest.raises(OSError), observe(f"s{len(caught)}", reporter=reporter):
                raise OSError
            del_me = Final()
            del del_me
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert reporter.flush(5.0)
    reporter.close()


def test_a_socket_that_nobody_reads_and_then_is_gone(tmp_path):
    folder = tmp_path / "nodes" / "n1"
    folder.mkdir(parents=True)
    (folder / "token").write_text("t")
    entry = {"url": "http://127.0.0.1:9", "token_file": "token", "node": "n1", "pid": os.getpid()}
    (folder / "gateway.json").write_bytes(msgspec.json.encode(entry))
    path = config.socket_path(tmp_path, "n1", "report")
    path.parent.mkdir(parents=True, exist_ok=True)
    script = """
import sys, vagus
from vagus.client.reporter import REPORTER
for n in range(300):
    try:
        with vagus.observe(f"s{n}"):
            raise OSError
    except OSError:
        pass
    if n % 100 == 0:
        REPORTER.flush(5)
print("done", flush=True)
sys.stdin.readline()
with vagus.observe("later"):
    pass
REPORTER.flush(5)
"""
    environment = {"VAGUS_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(path))
        inbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        child = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert child.stdout.readline() == "done\n"
    path.unlink()
    out, err = child.communicate("\n", timeout=20)
    assert (child.returncode, out, err) == (0, "", "")


EXITS = {
    "normal": "",
    "sys.exit": "sys.exit(3)",
    "exception": "raise SystemExit(3)",
    "os._exit": "os._exit(3)",
    "in-thread": "threading.Thread(target=storm).start()",
    "in-atexit": "import atexit; atexit.register(storm)",
    "in-finalizer": "class F:\n    def __del__(self): storm()\nkept = F()",
    "fork": "pid = os.fork(); storm(); pid and os.waitpid(pid, 0)",
}


@pytest.mark.parametrize("end", EXITS)
def test_interpreter_exit(end, tmp_path):
    script = f"""
import os, sys, threading, vagus
def storm():
    for n in range(200):
        try:
            with vagus.observe(f"s{{n}}"), vagus.pending("p"):
                raise OSError
        except OSError:
            pass
        vagus.inform("i", "c", "UNHEALTHY")
        vagus.origin("o").carry()
storm()
vagus.observe_thread()
{EXITS[end]}
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        env={"VAGUS_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == (3 if end in ("sys.exit", "exception", "os._exit") else 0)
