"""Ray reads its settings from the environment when it is first imported, which any test module may do."""

from __future__ import annotations

import faulthandler
import gc
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from vagus.runtime.cluster import ROBUST

# a busy machine is no failure, and what passed here passes there; `--hypothesis-profile explore` looks further
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.register_profile("vagus", deadline=None, derandomize=True)
hypothesis.settings.load_profile("vagus")

for name, value in ROBUST.items():
    os.environ.setdefault(name, value)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's `command &`: interrupts are tested, also then
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # `nohup`: the same
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Thousands of tests and what they imported stay until the end: not looked through again at each collection."""
    gc.collect()
    gc.freeze()


# A worker of xdist that dies says no more than that: here what it died of, and where each of its threads was.
FOLDER, WORKERS = pytest.StashKey[str](), pytest.StashKey[list[str]]()


@pytest.hookimpl(trylast=True)  # after pytest's own handler, which writes where nobody finds it among the dots
def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", None)
    if given is None:
        config.stash[FOLDER], config.stash[WORKERS] = tempfile.mkdtemp(prefix="vagus-test-crashes-"), []
    else:
        config.stash[FOLDER] = ""
        faulthandler.enable(os.open(Path(given["crashes"], given["workerid"]), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["crashes"] = node.config.stash[FOLDER]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    if error is not None:
        process = getattr(getattr(node.gateway, "_io", None), "popen", None)
        status = "unknown" if process is None else process.wait(10)  # -11: SIGSEGV; -9 and no stacks: it was killed
        stacks = Path(node.config.stash[FOLDER], node.gateway.id)
        text = stacks.read_text(errors="replace") if stacks.exists() else ""
        node.config.stash[WORKERS].append(f"{node.gateway.id} ended, exit status {status}\n{text}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for told in config.stash[WORKERS]:
        terminalreporter.section("a worker crashed")
        terminalreporter.write_line(told)


def pytest_unconfigure(config: pytest.Config) -> None:
    gc.unfreeze()
    if config.stash[FOLDER]:
        shutil.rmtree(config.stash[FOLDER], ignore_errors=True)
