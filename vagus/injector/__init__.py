"""Injects anomalies, to label data and to test what vagus makes of them: one file per type.

An injection plans like an actuator (steps, and the steps that undo them) and may start processes that strain; both are
in the watchdog's journal before they do anything, so that everything ends with the injection, also when it is killed.

To add one: a file with a class like `Injection`, and a line in `INJECTIONS`.

A process that strains (`vagus.injector.strain` is the frame for ours) says `{"ready": true}` on standard output when it
is loaded, and does nothing until it reads a line on standard input: then only is it put beside its target, so that its
start strains nobody without a label. It says `{"begun": true}` once it is in force, then its figures since then, a JSON
object a line: such as `bytes_s` or `cpu_cores` are added up over the processes of an injection, of `…_ms` and `…_ratio`
the largest counts. When its standard input ends, so does it, at once; and at a deadline of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import msgspec

from vagus.registry import Registry
from vagus.undo import Step


class Prepared(msgspec.Struct, frozen=True):
    """What an injection is going to do: steps and their undoing, and the argument lists of the processes that strain.

    With steps: the processes serve them, so they begin before the steps and end after these are undone. Undo steps
    alone (a file that a process may leave) come after its end.
    enter: files `cgroup.procs` that the processes are moved into before they begin.
    """

    steps: tuple[Step, ...] = ()
    undo: tuple[Step, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    enter: tuple[str, ...] = ()
    says: str = ""  # for people: what is going to happen


class Injection(Protocol):
    """One type of anomaly. Built as `Injection(root, **options)`; `root` holds proc/ and sys/.

    Options are keyword arguments with defaults that are true or false, numbers or text; a class that has some says in
    `options` what each is. The first paragraph of its docstring is what `vagus inject list` shows. `default`: the intensity
    where none is given.

    `prepare` reads intensity and target (text of the command line or a campaign; empty: its default) and touches
    nothing; raises ConfigError for what it cannot read, Unsupported with what is missing on this machine.
    """

    name: str
    default: str

    def __init__(self, root: Path, **options: Any) -> None: ...

    def prepare(self, intensity: str, target: str, duration_s: float) -> Prepared: ...


INJECTIONS: Registry[Injection] = Registry(
    "vagus.injections",
    {
        "cpu": "vagus.injector.cpu:Cpu",
        "memory": "vagus.injector.memory:Memory",
        "llc": "vagus.injector.llc:Llc",
        "disk": "vagus.injector.disk:Disk",
        "net-delay": "vagus.injector.net_delay:NetDelay",
        "net-bandwidth": "vagus.injector.net_bandwidth:NetBandwidth",
        "load": "vagus.injector.load:Load",
    },
)

RESOURCES = {
    "cpu": "cpu",
    "memory": "memory_bandwidth",
    "llc": "llc",
    "disk": "disk",
    "net-delay": "network",
    "net-bandwidth": "network",
    "load": "load",
}
"""What each type strains, as localisation names it."""
