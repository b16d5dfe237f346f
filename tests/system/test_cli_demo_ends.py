"""The demo leaves nothing behind: no process, no group, no verdict; also when it is interrupted."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from vagus.cli.demo import story
from vagus.cli.demo.stage import cpu_mount
from vagus.cli.demo.unbroken import unbroken
from vagus.errors import NoData
from vagus.model import Inference, Metric, Report, Status

pytestmark = pytest.mark.system

PLAY = """
import os, signal, sys
from rich.console import Console
from vagus.cli.demo import stage, story
from vagus.cli.demo.unbroken import unwind_on_end
from vagus.errors import NoData

class Nobody:
    def report(self, *_, **__): return "ACCEPTED"
    def inference(self, subject): print("asked", flush=True); raise NoData("nothing")
    def status(self): return []
    def records(self, *_, **__): return []
    def spawn(self, *_, **settings):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray takes it for itself
        print("spawned", flush=True)
    def remove(self, name): print("removed", flush=True); return True

stage.ROOT = sys.argv[1]
unwind_on_end()
story.PHASES = (("healthy", 0.02), ("hog", 0.9), ("after", 0.08))
story.play(Nobody(), Console(stderr=True), 60.0, False)
"""


def line_of(process: subprocess.Popen[bytes], word: bytes) -> None:
    assert process.stdout is not None
    while True:
        ready, _, _ = select.select([process.stdout], [], [], 30.0)
        assert ready, f"no {word!r} in time"
        line = process.stdout.readline()
        assert line, f"ended before {word!r}"
        if line.startswith(word):
            return


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_an_interrupted_demo_leaves_no_process_and_no_group(number: int, code: int, tmp_path: Path) -> None:
    root = f"vagus-demo-test-{os.getpid()}"
    with subprocess.Popen(
        [sys.executable, "-c", PLAY, root],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,  # else select would not see a line that was read along with another
        cwd=tmp_path,
    ) as process:
        try:
            line_of(process, b"removed")  # of an earlier demo
            line_of(process, b"spawned")
            line_of(process, b"asked")  # the story goes on
            children = psutil.Process(process.pid).children(recursive=True)
            mount = cpu_mount()
            assert len(children) == 2 + 4 * (os.cpu_count() or 1)
            assert mount is None or (mount / root / "hog").is_dir()
            process.send_signal(number)
            line_of(process, b"removed")
            assert process.wait(30.0) == code
        finally:
            process.terminate()  # when something failed above: it tidies up, and leaving the block waits for it
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert mount is None or not (mount / root).exists()


def test_signals_wait_until_the_block_is_done() -> None:
    done = []

    def work() -> None:
        with unbroken():
            signal.raise_signal(signal.SIGINT)
            done.append("finished")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["finished"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Remembering:
    """A gateway that knows what two observers said of demo:web, and nothing of demo:db."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, str], str]] = []

    def inference(self, subject: str) -> Inference:
        if subject != "demo:web":
            raise NoData("nobody reported on it")
        bad = Metric(Status.UNHEALTHY, 1.0)
        reports = (
            Report("demo:client", subject, 1, {"latency": bad}),
            Report("demo:client", subject, 2, {"errors": bad}),
            Report("another", subject, 3, {"call": bad}),
        )
        return Inference(subject, 3, Status.UNHEALTHY, {}, ("another", "demo:client"), "paper", reports)

    def report(self, subject: str, contexts: dict[str, str], observer: str) -> str:
        self.said.append((subject, contexts, observer))
        return "ACCEPTED"

    def status(self) -> list[object]:
        return []


def test_its_subjects_are_taken_back_in_the_name_of_all_who_reported() -> None:
    gateway = Remembering()
    story.take_back(gateway)  # type: ignore[arg-type]
    assert gateway.said == [
        ("demo:web", {"latency": "NA", "errors": "NA"}, "demo:client"),
        ("demo:web", {"call": "NA"}, "another"),
    ]


def test_a_missing_folder_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story.api, "connect", lambda **_: pytest.fail("it started"))
    done = CliRunner().invoke(story.demo, ["-o", str(tmp_path / "no" / "x.png")])
    assert "there is no folder" in str(done.exception)
