"""What `vagus train` keeps in its folder: checkpoints that it resumes from, the best model, the curves."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from vagus.cli.figure import Line, choose, draw_png
from vagus.config import hash_text, write_private
from vagus.environments.training import Episode, Score
from vagus.errors import ConfigError, VagusError, unwritable
from vagus.policies.checkpoints import short
from vagus.policies.learned import LearnedLimits

STATE = "train.json"
MAX_STATE_BYTES = 64 << 20


class Kept(msgspec.Struct):
    """`train.json`. settings: a hash of those that it was trained with; files: by model, the whole state of each."""

    settings: str
    done: int = 0  # episodes
    files: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    best: float | None = None
    bootstrap: dict[str, Any] = {}


class Folder:
    """The output folder. A checkpoint counts once `train.json` names it, so that a kill at any moment loses an episode
    at most."""

    def __init__(self, path: Path, settings_text: str) -> None:
        self.path = path
        self.kept = Kept(f"{hash_text(settings_text):016x}")

    def begin(self) -> None:
        """A new training. Raises VagusError where there is one already, or the folder cannot be made."""
        if (self.path / STATE).exists():
            raise VagusError(
                f"{self.path} holds a training already; go on with --resume {self.path}, or name another output"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VagusError(unwritable(self.path, error, "name another folder with -o")) from error

    def resume(self, policy: LearnedLimits) -> None:
        """The models as they were at the last checkpoint. Raises ConfigError."""
        file = self.path / STATE
        try:
            if file.stat().st_size > MAX_STATE_BYTES:
                raise ConfigError(f"{file}: larger than {MAX_STATE_BYTES} bytes")
            kept = msgspec.json.decode(file.read_bytes(), type=Kept)
        except OSError as error:
            raise ConfigError(f"cannot resume: {file}: {error.strerror}; begin without --resume") from error
        except msgspec.DecodeError as error:
            raise ConfigError(f"cannot resume: {file} is damaged: {error}; begin anew in another folder") from error
        if kept.settings != self.kept.settings:
            raise ConfigError(
                f"cannot resume: {self.path} was trained with other settings; begin anew in another folder"
            )
        policy.resume({key: self.path / Path(name).name for key, name in kept.files.items()})
        self.kept = kept

    def checkpoint(self, policy: LearnedLimits) -> None:
        """The whole state of all models, then the file that names it; the one before is gone afterwards."""
        before, kept = dict(self.kept.files), self.kept
        for number, (key, model) in enumerate(policy.models.items()):
            kept.files[key] = f"state-{number}-{kept.done}.npz"
            model.save(self.path / kept.files[key], replay=True)
        write_private(self.path / STATE, msgspec.json.encode(kept))
        for name in set(before.values()) - set(kept.files.values()):
            with contextlib.suppress(OSError):
                (self.path / Path(name).name).unlink()

    def keep_best(self, policy: LearnedLimits, reward: float) -> bool:
        """Saves the models as those to be used, when none was better."""
        if self.kept.best is not None and reward <= self.kept.best:
            return False
        self.kept.best = reward
        for key, model in policy.models.items():
            name = "ddpg.npz" if len(policy.models) == 1 else f"{short(key)}.npz"
            model.save(self.path / name)
        return True

    def note(self, episode: Episode, evaluated: Score | None) -> dict[str, Any]:
        """A line of the curves."""
        row: dict[str, Any] = {"episode": episode.number + 1, "steps": episode.steps, "explore": episode.explore}
        row |= _row(episode.score)
        if evaluated is not None:
            row["evaluated"] = _row(evaluated)
        self.kept.rows.append(row)
        self.kept.done = episode.number + 1
        return row

    def draw(self, name: str, others: dict[str, Score]) -> Path:
        """curves.png."""
        lines = curves(self.kept.rows, others)
        path = self.path / "curves.png"
        write_private(path, draw_png(choose(lines), f"vagus train: {name}", "episodes"))
        return path


SHOWN = (("reward", "reward"), ("violations", "% of requests late"), ("requested", "cores"))


def curves(rows: Sequence[dict[str, Any]], others: dict[str, Score]) -> list[Line]:
    """Lines of a figure: training, evaluation, and those it is compared with."""
    lines = []
    for key, unit in SHOWN:
        scale = 100 if key == "violations" else 1
        at = [float(row["episode"]) for row in rows]
        lines.append(Line("training", unit, at, [scale * row[key] for row in rows]))
        known = [row for row in rows if "evaluated" in row]
        if known:
            values = [scale * row["evaluated"][key] for row in known]
            lines.append(Line("evaluated", unit, [float(row["episode"]) for row in known], values))
        for name, score in others.items():
            lines.append(Line(name, unit, [at[0], at[-1]] if at else [0, 1], [scale * getattr(score, key)] * 2))
    return lines


def _row(score: Score) -> dict[str, Any]:
    return score._asdict()
