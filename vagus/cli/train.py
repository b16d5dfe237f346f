"""`vagus train`: a policy of limits learns in simulated worlds, or on a controller that runs."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, console, emit_json, json_option, span, table
from vagus.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.cli.train_folder import Folder
    from vagus.config import TrainSettings, WorldSettings
    from vagus.environments.training import Maker, Score
    from vagus.policies.learned import LearnedLimits

INTERRUPTED = 130


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option(
    "--resume",
    type=click.Path(path_type=Path, readable=False),
    metavar="CHECKPOINT",
    help="Go on with this output folder's training.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, readable=False),
    metavar="FOLDER",
    help="Instead of the file's `output`.",
)
@click.option("--episodes", type=click.IntRange(1), metavar="N", help="Instead of the file's.")
@json_option
@click.pass_context
def train(
    ctx: click.Context, file: Path, resume: Path | None, output: Path | None, episodes: int | None, as_json: bool
) -> None:
    """Train the policy ddpg as FILE (train.yaml) says: first from a rule's doing or from logs, then by acting.

    The folder gets ddpg.npz (the best so far in worlds that no training sees, for `checkpoint:` of a controller),
    train.json and a checkpoint after each episode, and curves.png. Ctrl-C ends it after saving; what was saved goes on with
    --resume, also after a kill -9, as if it had never stopped. The same file gives the same model.

    \b
    Examples:
      vagus train train.yaml
      vagus train train.yaml --episodes 5 -o quick --json
      vagus train train.yaml --resume trained
      vagus config schema train > train.schema.json
    """
    import msgspec
    import numpy as np

    from vagus.cli.train_folder import Folder
    from vagus.config import TrainSettings, load
    from vagus.environments.training import hold_out_seed
    from vagus.policies.learned import LearnedLimits

    settings = load(file, TrainSettings)
    if episodes is not None:
        settings = msgspec.structs.replace(settings, episodes=episodes)
    path = resume or output or Path(settings.output)
    path = path.parent if path.is_file() else path
    worlds = _worlds(ctx, settings.world)
    field = worlds(hold_out_seed(0)).field
    policy = LearnedLimits(field, np.random.default_rng(settings.seed), **{"learn": "here", **settings.options})
    same = msgspec.structs.replace(settings, episodes=1, output="")  # may differ from what it was begun with
    folder = Folder(path, msgspec.json.encode(same).decode())
    if resume is None:
        folder.begin()
    else:
        folder.resume(policy)
    to, began_s = console(sys.stderr), time.monotonic()
    try:
        if resume is None or (not folder.kept.done and not folder.kept.bootstrap):
            _bootstrap(settings, policy, worlds, folder, to)
        _episodes(settings, policy, worlds, folder, to)
        interrupted = False
    except KeyboardInterrupt:
        interrupted = True
    _close(settings, worlds, folder, to, as_json, time.monotonic() - began_s, interrupted)
    if interrupted:
        ctx.exit(INTERRUPTED)


def _worlds(ctx: click.Context, settings: WorldSettings) -> Maker:
    """Makes the worlds to learn in. Raises ConfigError, PeerUnreachable."""
    from vagus.environments.worlds import simulated

    if settings.kind == "simulated":
        return simulated(settings)
    from vagus.cli.session import connected
    from vagus.environments.live import LiveWorld

    if not settings.controller:
        raise ConfigError("world.controller: say which controller with the policy `remote` is to be steered")
    connection = ctx.with_resource(connected(ctx))
    return lambda seed: LiveWorld(connection, settings.controller)


def _bootstrap(settings: TrainSettings, policy: LearnedLimits, worlds: Maker, folder: Folder, to: Console) -> None:
    from vagus.environments.bootstrap import gather
    from vagus.environments.training import learn_offline

    given = settings.bootstrap
    if not given.rule and not given.files:
        return
    with _line(to, "bootstrap: seeing what others did") as tell:
        rows, told = gather(settings, policy, worlds, tell)
        count = sum(len(r) for found in rows.values() for r in found)
        tell(f"bootstrap: learning from {count} transitions")
        losses = learn_offline(policy, rows, given.imitations, given.updates)
    folder.kept.bootstrap = {"transitions": count, **told, **losses}
    folder.checkpoint(policy)
    shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    to.print(cell(f"bootstrap: {count} transitions; {shown}", "dim"), soft_wrap=True)


def _episodes(settings: TrainSettings, policy: LearnedLimits, worlds: Maker, folder: Folder, to: Console) -> None:
    from vagus.environments.training import evaluated, mean, train

    every = settings.evaluate_every or settings.episodes
    if not folder.kept.done:
        folder.keep_best(policy, mean(evaluated(policy, worlds, settings)).reward)
    episodes = train(
        policy,
        worlds,
        settings.episodes,
        steps=settings.steps,
        begin=folder.kept.done,
        seed=settings.seed,
        explore=settings.explore,
        shielded=settings.shielded,
        evaluate_every=every,
        evaluate=lambda: evaluated(policy, worlds, settings),
    )
    with _bar(to, settings.episodes, folder.kept.done) as tell:
        for episode in episodes:
            score = mean(episode.evaluated) if episode.evaluated else None
            row = folder.note(episode, score)
            if score is not None:
                folder.keep_best(policy, score.reward)
            folder.checkpoint(policy)
            tell(row)


def _close(
    settings: TrainSettings,
    worlds: Maker,
    folder: Folder,
    to: Console,
    as_json: bool,
    took_s: float,
    interrupted: bool,
) -> None:
    from vagus.environments.bootstrap import others_of

    others: dict[str, Score] = {} if interrupted else others_of(settings, worlds)
    rows = folder.kept.rows
    best = max((r["evaluated"] for r in rows if "evaluated" in r), key=lambda r: r["reward"], default=None)
    drawn = folder.draw(settings.name, others) if rows else None
    if as_json:
        emit_json(
            {
                "output": str(folder.path),
                "episodes": folder.kept.done,
                "took_s": took_s,
                "interrupted": interrupted,
                "bootstrap": folder.kept.bootstrap,
                "best": best,
                "others": {name: score._asdict() for name, score in others.items()},
                "curves": None if drawn is None else str(drawn),
                "rows": rows,
            }
        )
        return
    lines = [("ddpg (best)", best)] if best else []
    lines += [(name, score._asdict()) for name, score in others.items()]
    table(
        console(),
        ("policy", "reward", "late %", "over SLO %", "requested", "used", "own %"),
        [_cells(name, row) for name, row in lines if row],
        right=("reward", "late %", "over SLO %", "requested", "used", "own %"),
    )
    ended = f"interrupted; go on with --resume {folder.path}" if interrupted else f"{span(took_s)}"
    to.print(cell(f"{folder.path}: {folder.kept.done} episodes, {ended}", "dim"), soft_wrap=True)


def _cells(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    own = row.get("own")
    return (
        name,
        f"{row['reward']:.3f}",
        f"{100 * row['violations']:.2f}",
        f"{100 * row['over']:.1f}",
        f"{row['requested']:.2f}",
        f"{row['used']:.2f}",
        "" if own is None else f"{100 * own:.0f}",
    )


@contextlib.contextmanager
def _line(to: Console, first: str) -> Iterator[Any]:
    """A line that changes on a terminal; nothing elsewhere."""
    if not to.is_terminal:
        yield lambda text: None
        return
    with to.status(first) as status:
        yield status.update


@contextlib.contextmanager
def _bar(to: Console, total: int, done: int) -> Iterator[Any]:
    """Shows rows as they come: a bar on a terminal, lines elsewhere."""

    def words(row: dict[str, Any]) -> str:
        found = row.get("evaluated")
        told = f"episode {row['episode']}/{total}: reward {row['reward']:.3f}, late {100 * row['violations']:.2f} %"
        told += f", {row['requested']:.2f} cores of which {row['used']:.2f} used"
        return told if found is None else f"{told}; evaluated {found['reward']:.3f}, {100 * found['violations']:.2f} %"

    if not to.is_terminal:
        yield lambda row: to.print(cell(words(row)), soft_wrap=True)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(BarColumn(40), TextColumn("{task.description}"), TimeRemainingColumn(), console=to) as progress:
        task = progress.add_task("", total=total, completed=done)
        yield lambda row: progress.update(task, completed=row["episode"], description=words(row))
