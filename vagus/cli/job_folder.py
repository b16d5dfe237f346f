"""The folder that a job gets: the file that was named and the policy's, and the command that runs them there."""

from __future__ import annotations

import ast
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from vagus.cli.run_settings import Chosen, Wanted, words
from vagus.errors import ConfigError, unreadable

BELOW = "controller"  # files of the folder itself could stand before installed modules of their name


def fill(folder: Path, wanted: Wanted, chosen: Chosen) -> list[str]:
    """Copies what the job needs; the arguments of `vagus run` there. Raises ConfigError: a file that is no Python."""
    from vagus.controllers.load import file_of

    (folder / BELOW).mkdir()
    placed = {path: f"{BELOW}/{path.name}" for path in (chosen.yaml, chosen.source) if path is not None}
    for path, name in placed.items():
        _check(path)
        try:
            shutil.copyfile(path, folder / name)
        except OSError as error:
            raise ConfigError(unreadable(path, error)) from error
    policy = chosen.settings.policy
    if chosen.source is not None:
        policy = placed[chosen.source] + policy[len(file_of(policy)) :]
    if chosen.yaml is None:
        return words(wanted._replace(name=chosen.settings.name), policy, "" if not wanted.policy else policy)
    return words(wanted, placed[chosen.yaml], policy)


def command(program: Sequence[str], arguments: Sequence[str], more: Sequence[str]) -> str:
    """What Ray hands to a shell: each word quoted."""
    return shlex.join([*program, "run", *arguments, *more])


def _check(path: Path) -> None:
    if path.suffix == ".py":
        try:
            ast.parse(path.read_bytes(), str(path))
        except (SyntaxError, ValueError, OSError) as error:
            raise ConfigError(f"{path} does not load: {type(error).__name__}: {error}") from error
