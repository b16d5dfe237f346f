"""Ray reads its settings from the environment when it is first imported, which any test module may do."""

from __future__ import annotations

import gc
import os
import signal

import hypothesis

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


def pytest_unconfigure() -> None:
    gc.unfreeze()
