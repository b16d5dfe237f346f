"""What runs of the injector that were killed left behind: undone, and the ends told that nobody told."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from vagus.errors import ActuateError, ConfigError
from vagus.injector.events import killed_event
from vagus.model import Event
from vagus.watchdog import recover
from vagus.watchdog.journal import NAME as JOURNAL

FOLDER = "journal-inject-"
BEGUN = "begun.jsonl"
NEW_S = 60.0  # a folder so young may be of someone who is just starting


def note(folder: Path, event: Event) -> None:
    """A begin or an end, on disk: so that the end of one whose process is killed can be told later."""
    try:
        with open(folder / BEGUN, "ab") as file:
            file.write(msgspec.json.encode(event) + b"\n")
    except OSError:
        pass  # the label then ends with its duration


def folder_of(home: Path, node: str, id: str) -> Path:
    """Where the journal of a run is: among those that `vagus up` and `vagus down` restore."""
    return home / "nodes" / node / f"{FOLDER}{id}"


def adopt(home: Path) -> tuple[list[Event], list[str]]:
    """What killed runs left: undoes it where the watchdog could not, and the ends that nobody told. Also problems."""
    events: list[Event] = []
    problems: list[str] = []
    for folder in sorted((home / "nodes").glob(f"*/{FOLDER}*")):
        try:
            if not (folder / JOURNAL).exists() and time.time() - folder.stat().st_mtime < NEW_S:
                continue
            done = recover(folder, why="adopted")
        except (ActuateError, OSError) as error:
            problems.append(str(error))
            continue
        if done.busy:
            continue  # at work, or its watchdog is
        problems += done.failures
        ended_ns = _restored_ns(folder)
        ends = [killed_event(event, ended_ns) for event in _not_ended(folder)]
        for end in ends:
            note(folder, end)  # not told again, where the folder must stay
        events += ends
        if not done.failures:
            shutil.rmtree(folder, ignore_errors=True)
    return events, problems


def _not_ended(folder: Path) -> Iterator[Event]:
    begun: dict[object, Event] = {}
    try:
        lines = (folder / BEGUN).read_bytes().splitlines()
    except OSError:
        return
    for line in lines:
        try:
            event = msgspec.json.decode(line, type=Event)
        except (msgspec.MsgspecError, ConfigError):
            continue  # torn by the kill
        if begun.pop(event.fields.get("id"), None) is None:
            begun[event.fields.get("id")] = event
    yield from begun.values()


def _restored_ns(folder: Path) -> int:
    """When the newest restore was, in the journal's own words; now, if it has none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        lines = (folder / JOURNAL).read_text().splitlines()
        return max(int(entry["t_ns"]) for line in lines if (entry := json.loads(line))["kind"] == "restored")
    return time.time_ns()
