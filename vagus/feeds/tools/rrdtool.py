"""Talks to the program rrdtool: many commands to one process, an answer to each."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from vagus.config import hash_text
from vagus.errors import ConfigError, StoreError
from vagus.feeds.signals import word

PROGRAM = "rrdtool"
TIMEOUT_S = 30.0
MAX_DS_NAME = 19


class Answer(msgspec.Struct, frozen=True):
    """error: empty when the command was carried out."""

    lines: tuple[str, ...] = ()
    error: str = ""


def find_program() -> str:
    """Where rrdtool is. Raises ConfigError."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise ConfigError("rrdtool is not installed: apt install rrdtool (or your system's package of that name)")
    return found


def run(program: str, folder: Path, commands: Sequence[str]) -> list[Answer]:
    """Runs commands one after the other in `folder`. Raises StoreError when rrdtool does not answer all of them.

    Commands are lines whose words rrdtool splits at spaces: callers put only names of their own making and numbers there.
    """
    text = "".join(f"{command}\n" for command in commands)
    assert text.count("\n") == len(commands)
    try:
        done = subprocess.run(
            [program, "-"],
            check=False,
            input=text,
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=TIMEOUT_S,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"rrdtool did not answer within {TIMEOUT_S:g} s; it is tried again") from error
    except OSError as error:
        raise StoreError(f"rrdtool cannot run in {folder}: {error.strerror}") from error
    answers: list[Answer] = []
    lines: list[str] = []
    for line in done.stdout.splitlines():
        if line.startswith(("OK ", "ERROR: ")):
            answers.append(Answer(tuple(lines), line[7:300] if line.startswith("E") else ""))
            lines = []
        else:
            lines.append(line)
    if len(answers) != len(commands):
        raise StoreError(
            f"rrdtool answered {len(answers)} of {len(commands)} commands: {(done.stderr or done.stdout)[-200:]}"
        )
    return answers


def ds_name(field: str) -> str:
    """The name of a field's data source: 1 to 19 letters, digits and _; different for different fields."""
    plain = word(field)
    if plain == field and len(plain) <= MAX_DS_NAME:
        return plain
    return f"{plain[: MAX_DS_NAME - 9]}_{hash_text(field) & 0xFFFFFFFF:08x}"
