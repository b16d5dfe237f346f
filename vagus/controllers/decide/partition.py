"""Groups learned from outcomes: a rule tree over the features that matter for which arm is best, and no others.

Critical features, in the sense of C3 and CFA (NSDI'15, '16) and Pytheas (NSDI'17, section 4): the fewest that make
sessions with the same values have the same best decisions. They are found one at a time, the most certain gain first.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from vagus.config import LearnSettings, hash_text
from vagus.controllers.decide.grouping import MAX_DEPTH, fields_of
from vagus.controllers.decide.history import MISSING, OTHER, History, Ints
from vagus.controllers.decide.records import Grouping, Rule
from vagus.controllers.decide.splits import Cells, Gain, Sessions, baseline, cells, choose, clusters, gain, judged

BLOCKS = 60  # stretches of time; neighbours are alike, so whole stretches learn or judge
FALSE_SPLITS = 0.05  # chance that a group is split where no feature matters
CHANGE_ERRORS = 2.5  # standard errors by which a new grouping must be better than the old one
MAX_WEIGHT = 20.0  # of a session, relative to the usual one: an inverse propensity beyond that is mostly noise
SHOWN = 60  # characters of a group's name that list values


@dataclass(slots=True)
class Learned:
    """What came of a look at the history. grouping: None where the old one stays. gain: of the new over the old.

    sessions: that judged the gain; features: those that the proposed tree looks at, the most useful first; notes: for
    people, what could not be used and why.
    """

    grouping: Grouping | None
    gain: Gain
    sessions: int = 0
    groups: int = 1
    features: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Leaf:
    rows: Ints
    path: tuple[tuple[str, tuple[str, ...]], ...]  # field and values; no values: the rest
    split: _Split | None = None
    group: str = ""


@dataclass(slots=True)
class _Split:
    name: str
    parts: list[tuple[_Leaf, tuple[str, ...]]] = field(default_factory=list)  # the first is the rest


def learn_groups(history: History, settings: LearnSettings, old: Grouping) -> Grouping | None:
    """A better grouping than `old`, its version one higher, or None: no change without a significant gain."""
    return learn(history, settings, old).grouping


def learn(history: History, settings: LearnSettings, old: Grouping) -> Learned:
    """As `learn_groups`, with what it saw. The tree covers everything: what its tables do not name goes to a `rest`.

    A third of the history, in stretches of time, is kept to judge: new and old grouping choose by the other two
    thirds, and the new one must be better there by 2.5 standard errors. Propensities weigh where they are told.
    """
    history.forget()
    sessions = _sessions(history, settings)
    notes = tuple(history.refused.values())
    if sessions is None or len(sessions.arm) < 2 * settings.min_sessions:
        return Learned(None, Gain(0.0, 0.0), notes=(*notes, "too few sessions to learn groups from"))
    columns = [history.column(name) for name in settings.features]
    root = _grow(sessions, settings, columns)
    _name(root, sessions)
    tree = _rule(root)
    grouping = Grouping(old.version + 1, (), tree if isinstance(tree, Rule) else None)
    new_groups, _ = history.groups(grouping)
    old_groups, names = history.groups(old)
    compared = _compared(sessions, new_groups, old_groups)
    if compared is None:
        return Learned(None, Gain(0.0, 0.0), notes=(*notes, "too many arms and groups to compare groupings"))
    won, judges = compared
    better = won.total > CHANGE_ERRORS * won.error and won.total > 0.0
    used = fields_of(grouping)
    return Learned(
        grouping if better else None,
        won,
        judges,
        len(np.unique(new_groups)) if better else len(names),
        tuple(name for name in settings.features if name in used),
        notes,
    )


def _sessions(history: History, settings: LearnSettings) -> Sessions | None:
    count = len(history)
    arm, names = history.arms()
    if not count or not names or arm.min() < 0:
        return None
    codes, sets = history.sets()
    feasible = np.ones((len(sets), len(names)), bool)
    number = {name: at for at, name in enumerate(names)}
    for at, members in enumerate(sets[2:], 2):
        feasible[at] = False
        feasible[at, [number[name] for name in members if name in number]] = True
    reward, propensity = history.numbers()
    weight = 1.0 / np.clip(propensity, 1e-3, 1.0)
    weight = np.minimum(weight / np.median(weight), MAX_WEIGHT)
    block = np.arange(count) * BLOCKS // count
    columns = [history.column(name)[0] for name in settings.features]
    usual = baseline(columns, arm, codes, reward, weight)
    return Sessions(arm, codes, block % 3, weight, reward - usual, usual, feasible)


def _grow(sessions: Sessions, settings: LearnSettings, columns: list[tuple[Ints, list[str]]]) -> _Leaf:
    """The tree, its best split first, until nothing is certain enough or there are `max_groups` leaves."""
    learning = np.flatnonzero(sessions.fold < 2)
    root = _Leaf(learning, ())
    waiting: list[tuple[float, int, _Leaf, int, Ints, Ints]] = []
    leaves, number = 1, 0

    def offer(leaf: _Leaf) -> None:
        nonlocal number
        best = _best_split(leaf, sessions, settings, columns)
        if best is not None:
            number += 1
            heapq.heappush(waiting, (-best[0], number, leaf, *best[1:]))

    offer(root)
    while waiting:
        _, _, leaf, at, values, part = heapq.heappop(waiting)
        parts = int(part.max()) + 1
        if leaves + parts - 1 > settings.max_groups:
            continue
        leaves += parts - 1
        codes, texts = columns[at]
        name = settings.features[at]
        of_code = np.zeros(len(texts), np.int64)
        of_code[values] = part
        of_row = of_code[codes[leaf.rows]]
        leaf.split = _Split(name)
        for one in range(parts):
            chosen = tuple(sorted(texts[code] for code in values[part == one].tolist())) if one else ()
            below = _Leaf(leaf.rows[of_row == one], (*leaf.path, (name, chosen)))
            leaf.split.parts.append((below, chosen))
            if len(below.path) < MAX_DEPTH:
                offer(below)
    return root


def _best_split(
    leaf: _Leaf, sessions: Sessions, settings: LearnSettings, columns: list[tuple[Ints, list[str]]]
) -> tuple[float, int, Ints, Ints] | None:
    """(gain, feature, values, the part of each) of the feature whose gain is most certain, or None."""
    if len(leaf.rows) < 2 * settings.min_sessions:
        return None
    here = sessions.take(leaf.rows)
    tried: list[tuple[float, int, Gain]] = []
    for at in range(len(columns)):
        split = _by_value(here, columns[at][0][leaf.rows], settings.min_sessions)
        if split is not None and (found := cells(here, split[0])) is not None:
            tried.append(((won := gain(found)).total - won.error, at, won))
    errors = NormalDist().inv_cdf(1.0 - FALSE_SPLITS / max(1, len(tried)))
    for _, at, won in sorted(tried, key=lambda one: one[0], reverse=True):
        if won.ratio <= errors:
            continue
        split = _by_value(here, columns[at][0][leaf.rows], settings.min_sessions)
        assert split is not None
        value, codes = split
        found = cells(here, value)
        assert found is not None
        part = clusters(found, 0 if codes[0] < 0 else -1)
        if part.max(initial=0) > 0:
            kept = codes >= 0
            return won.total, at, codes[kept], part[kept]
    return None


def _by_value(here: Sessions, codes: Ints, min_sessions: int) -> tuple[Ints, Ints] | None:
    """By session the number of its value, and by number the code (-1: all that is rare or not sent), or None."""
    counts = np.bincount(codes, minlength=2)
    frequent = counts >= min_sessions
    frequent[[MISSING, OTHER]] = False
    if not frequent.any():
        return None
    found = np.flatnonzero(frequent)
    rare = counts[~frequent].sum() > 0
    if not rare and len(found) < 2:
        return None
    number = np.zeros(len(counts), np.int64)
    number[found] = np.arange(len(found)) + rare
    return number[codes], np.concatenate(([-1], found)) if rare else found


def _name(root: _Leaf, sessions: Sessions) -> None:
    """Leaves that want the same arms get the same group."""
    leaves: list[_Leaf] = []
    waiting = [root]
    while waiting:
        leaf = waiting.pop()
        if leaf.split is None:
            leaves.append(leaf)
        else:
            waiting.extend(below for below, _ in leaf.split.parts)
    leaves.sort(key=lambda leaf: leaf.path)
    rows = np.concatenate([leaf.rows for leaf in leaves])
    of = np.concatenate([np.full(len(leaf.rows), at) for at, leaf in enumerate(leaves) if len(leaf.rows)])
    present, numbered = np.unique(of, return_inverse=True)
    found = cells(sessions.take(rows), numbered) if len(present) > 1 else None
    part = np.arange(len(leaves)) + len(leaves)
    if found is not None:
        part[present] = clusters(found, -1)
    parts = np.unique(part).tolist()
    for one in parts if len(parts) > 1 else ():
        members = [leaf for leaf, of_leaf in zip(leaves, part.tolist(), strict=True) if of_leaf == one]
        name = _group_name([leaf.path for leaf in members])
        for leaf in members:
            leaf.group = name


def _group_name(paths: Sequence[tuple[tuple[str, tuple[str, ...]], ...]]) -> str:
    r"""`field=value|value&field=*` for each way, joined by ` or `; long ones end in a hash. `*`: any other value."""
    whole = " or ".join(
        "&".join(f"{_plain(name)}={'|'.join(map(_plain, values)) or '*'}" for name, values in path) for path in paths
    )
    return whole if len(whole) <= SHOWN else f"{whole[:SHOWN]}\\#{hash_text(whole):016x}"


def _plain(text: str) -> str:
    escaped = "".join("\\" + one if one in "\\|&=*" else one for one in text)
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in escaped)


def _rule(leaf: _Leaf) -> Rule | str:
    if leaf.split is None:
        return leaf.group
    rest = _rule(leaf.split.parts[0][0])
    table: dict[str, Rule | str] = {}
    for below, values in leaf.split.parts[1:]:
        rule = _rule(below)
        if rule != rest:
            table.update((value, rule) for value in values)
    return Rule(leaf.split.name, table, rest) if table else rest


def _compared(sessions: Sessions, new: Ints, old: Ints) -> tuple[Gain, int] | None:
    """What the new groups win over the old, both choosing by folds 0 and 1, judged by so many sessions of fold 2."""
    judging = sessions.fold == 2
    cut = sessions.take(slice(None))
    cut.fold = judging.astype(np.int64)
    together, value = np.unique(new * (int(old.max()) + 1) + old, return_inverse=True)
    found = cells(cut, value)
    if found is None:
        return None
    apart, alike = (
        _choices(found, groups[found.of])
        for groups in (together // (int(old.max()) + 1), together % (int(old.max()) + 1))
    )
    rows = np.flatnonzero(apart != alike)
    better, error_better = judged(found, 1, rows, apart[rows])
    worse, error_worse = judged(found, 1, rows, alike[rows])
    return Gain(better - worse, (error_better + error_worse) ** 0.5), int(judging.sum())


def _choices(found: Cells, group: Ints) -> Ints:
    """By pair the arm that its group would choose, by plain means of what fold 0 saw of the group."""
    weight = np.zeros((int(group.max()) + 1, found.weight.shape[2]))
    total = weight.copy()
    np.add.at(weight, group, found.weight[0])
    np.add.at(total, group, found.above[0] if found.usual is None else found.above[0] + found.usual[0])
    mean = np.divide(total, weight, out=np.full_like(total, -np.inf), where=weight > 0)
    return choose(mean[group], found.feasible)
