"""Injects anomalies, to label data and to test what vagus makes of them: one file per type.

An injection plans like an actuator (steps, and the steps that undo them) and may start processes that strain; both are
in the watchdog's journal before they exist, so that everything ends with the injection, also when it is killed.

To add one: a file with a class like `Injection`, and a line in `INJECTIONS`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from vagus.registry import Registry
from vagus.undo import Step


class Prepared(msgspec.Struct, frozen=True):
    """What an injection is going to do: steps and their undoing, and the argument lists of the processes that strain.

    enter: a file `cgroup.procs` that the processes are moved into before they begin; empty: none.
    """

    steps: tuple[Step, ...] = ()
    undo: tuple[Step, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    enter: str = ""
    says: str = ""  # for people: what is going to happen


class Injection(Protocol):
    """One type of anomaly. Built as `Injection(root)`; `root` holds proc/ and sys/.

    `prepare` reads intensity and target (text of the command line or a campaign; empty: its default) and touches
    nothing; raises ConfigError for what it cannot read, Unsupported with what is missing on this machine.
    """

    name: str

    def __init__(self, root: Path) -> None: ...

    def prepare(self, intensity: str, target: str, duration_s: float) -> Prepared: ...


INJECTIONS: Registry[Injection] = Registry("vagus.injections", {})
