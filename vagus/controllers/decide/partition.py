"""Groups learned from outcomes: a rule tree over the features that matter for which arm is best, and no others.

Critical features, in the sense of C3 and CFA (NSDI'15, '16) and Pytheas (NSDI'17, section 4): the fewest that make
sessions with the same values have the same best decisions. They are found one at a time, the surest gain first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from vagus.config import LearnSettings
from vagus.controllers.decide.alike import merged
from vagus.controllers.decide.grouping import MAX_DEPTH, fields_of, leaves
from vagus.controllers.decide.history import OTHER, History, Ints
from vagus.controllers.decide.naming import Way, group_name
from vagus.controllers.decide.records import Grouping, Rule
from vagus.controllers.decide.splits import Bools, Cells, Gain, Sessions, baseline, cells, choose, gain, judged

BLOCKS = 60  # stretches of time; neighbours are alike, so whole stretches learn or judge
JUDGES = 3  # times that a tree is grown without a part of the history, which then judges it
FOLDS = 4  # within what is left, to judge splits
FALSE_SPLITS = 0.05  # chance that groups are split where no feature matters
CHANGE_ERRORS = 2.5  # standard errors by which a new grouping must be better than the old one
MAX_WEIGHT = 20.0  # of a session, relative to the usual one: an inverse propensity beyond that is mostly noise
WHOLE = -1  # the code of a group that is not split


@dataclass(slots=True)
class Learned:
    """What came of a look at the history. grouping: None where the old one stays. gain: of the new over the old.

    sessions: that judged the gain; features: those that the tree looks at; notes: for people, what could not be used.
    """

    grouping: Grouping | None
    gain: Gain
    sessions: int = 0
    groups: int = 1
    features: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def learn_groups(history: History, settings: LearnSettings, old: Grouping) -> Grouping | None:
    """A better grouping than `old`, its version one higher, or None: no change without a significant gain."""
    return learn(history, settings, old).grouping


def learn(history: History, settings: LearnSettings, old: Grouping) -> Learned:
    """As `learn_groups`, with what it saw. The tree covers everything: what its tables do not name goes to a `rest`.

    Where no feature is surely critical, the old groups stay. Cross-validated: a tree is grown three times without a
    third of the history (in stretches of time), where old and new groups then choose by what they saw of the rest. The
    new ones must win by 2.5 standard errors; then a tree grown on everything is the answer. Propensities weigh where
    they are told.
    """
    history.forget()
    columns = [history.column(name) for name in settings.features]
    sessions = _sessions(history, [codes for codes, _ in columns])
    notes = tuple(history.refused.values())
    if sessions is None or len(sessions.arm) < 2 * settings.min_sessions:
        return Learned(None, Gain(0.0, 0.0), notes=(*notes, "too few sessions to learn groups from"))
    grouping = _grouping(old.version + 1, sessions, slice(None), settings, columns)
    old_groups, names = history.groups(old)
    unchanged = Learned(None, Gain(0.0, 0.0), len(history), len(names), (), notes)
    if grouping.rules is None:  # nothing found is no proof that the old groups are of no use
        return unchanged
    part = np.arange(len(history)) * BLOCKS // len(history) % JUDGES
    total = variance = 0.0
    for judge in range(JUDGES):
        grown = _grouping(0, sessions, part != judge, settings, columns)
        won = _compared(sessions, history.groups(grown)[0], old_groups, part == judge)
        if won is None:
            return replace(unchanged, notes=(*notes, "too many arms and groups to compare groupings"))
        total, variance = total + won.total, variance + won.error**2
    gained = Gain(total, variance**0.5)
    if not gained.ratio > CHANGE_ERRORS:
        return replace(unchanged, gain=gained)
    used = fields_of(grouping)
    features = tuple(name for name in settings.features if name in used)
    return Learned(grouping, gained, len(history), len(set(leaves(grouping.rules))), features, notes)


def _sessions(history: History, columns: Sequence[Ints]) -> Sessions | None:
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
    usual = baseline(columns, arm, codes, reward, weight)
    above = weight * (reward - usual)
    return Sessions(
        arm,
        codes,
        block // JUDGES % FOLDS,
        weight,
        squared=weight**2,
        above=above,
        scatter=above * (reward - usual),
        usual=weight * usual,
        feasible=feasible,
    )


@dataclass(slots=True)
class _Level:
    """A feature by which groups are split. By group: the one above it, the value's code, how many sessions it has.

    Code 0: all values that are rare in the group above or were not sent; -1: the group above is not split.
    """

    feature: int
    up: Ints
    code: Ints
    size: Ints


def _grouping(
    version: int,
    sessions: Sessions,
    rows: Bools | slice,
    settings: LearnSettings,
    columns: Sequence[tuple[Ints, list[str]]],
) -> Grouping:
    """The tree of some rows."""
    here = sessions.take(rows)
    levels, group = _levels(here, settings, [codes[rows] for codes, _ in columns])
    found = cells(here, group) if levels else None
    if found is None:
        return Grouping(version)
    part = merged(found, [np.zeros(len(found.starts), np.int64)]).tolist()
    names = [settings.features[level.feature] for level in levels]
    texts = [columns[level.feature][1] for level in levels]
    ways: dict[int, list[Way]] = {one: [] for one in range(max(part) + 1)}
    for at, way in _ways(levels, names, texts, 0, 0):
        ways[part[at]].append(way)
    tree = _rule(levels, names, texts, [group_name(ways[one]) for one in part], 0, 0)
    return Grouping(version, (), tree if isinstance(tree, Rule) else None)


def _levels(here: Sessions, settings: LearnSettings, codes: Sequence[Ints]) -> tuple[list[_Level], Ints]:
    """Critical features in the order in which they are found, and by session the number of its group in the end.

    Each is the one that surely wins most if all groups are split by it; then those stay whole that did not win.
    """
    levels: list[_Level] = []
    group = np.zeros(len(here.arm), np.int64)
    while len(levels) < MAX_DEPTH - 1:
        tried: list[tuple[Gain, Bools, int]] = []
        ups = [level.up for level in levels]
        for feature in set(range(len(codes))) - {level.feature for level in levels}:
            below, level = _below(group, codes[feature], feature, settings)
            if len(level.up) == int(group.max()) + 1:
                continue
            found = cells(here, below)
            if found is not None:
                won, within = gain(found, [*ups, level.up])
                tried.append((won, within > 0, feature))
        errors = NormalDist().inv_cdf(1.0 - FALSE_SPLITS / max(1, len(tried)))
        sure = [one for one in tried if one[0].ratio > errors]
        if not sure:
            break
        _, split, feature = max(sure, key=lambda one: one[0].total - one[0].error)
        group, level = _below(group, np.where(split[group], codes[feature], WHOLE), feature, settings)
        levels.append(level)
    return levels, group


def _below(group: Ints, codes: Ints, feature: int, settings: LearnSettings) -> tuple[Ints, _Level]:
    """Groups split by the values that have enough sessions in them (if they get too many: by the largest of these).

    By session the new group, and what these are.
    """
    wide = int(codes.max(initial=0)) + 2
    keys, which, counts = _counted(group * wide + codes + 1)
    frequent = (keys % wide > OTHER + 1) & (counts >= settings.min_sessions)
    room = settings.max_groups - int(group.max(initial=0)) - 1  # each group above may keep a rest
    if np.count_nonzero(frequent) > room:
        frequent &= counts > np.sort(counts[frequent])[::-1][max(0, room)]
    rare = ~frequent & (keys % wide > 0)
    found, below, sizes = _counted(np.where(rare, keys - keys % wide + 1, keys)[which])
    return below, _Level(feature, found // wide, found % wide - 1, sizes)


def _counted(keys: Ints) -> tuple[Ints, Ints, Ints]:
    """Different keys, sorted; which of them each is; how often each comes."""
    size = int(keys.max(initial=0)) + 1
    if size > 8 * len(keys):
        return np.unique(keys, return_inverse=True, return_counts=True)
    counts = np.bincount(keys, minlength=size)
    found = np.flatnonzero(counts)
    return found, (np.cumsum(counts > 0) - 1)[keys], counts[found]


def _children(level: _Level, group: int) -> list[tuple[int, int, int]]:
    """(code, group one level down, sessions)."""
    found = np.flatnonzero(level.up == group)
    return list(zip(level.code[found].tolist(), found.tolist(), level.size[found].tolist(), strict=True))


def _rule(
    levels: Sequence[_Level],
    names: Sequence[str],
    texts: Sequence[Sequence[str]],
    group_names: Sequence[str],
    depth: int,
    group: int,
) -> Rule | str:
    if depth == len(levels):
        return group_names[group]
    below = {
        code: (_rule(levels, names, texts, group_names, depth + 1, child), size)
        for code, child, size in _children(levels[depth], group)
    }
    # Values never seen, or rarely: to the group of the rare ones, else where most sessions go.
    rest = below[0][0] if 0 in below else max(below.values(), key=lambda one: one[1])[0]
    table = {texts[depth][code]: rule for code, (rule, _) in below.items() if code > OTHER and rule != rest}
    return Rule(names[depth], table, rest) if table else rest


def _ways(
    levels: Sequence[_Level], names: Sequence[str], texts: Sequence[Sequence[str]], depth: int, group: int
) -> Iterator[tuple[int, Way]]:
    """Each leaf's group and what leads there: features with their values, `None` for all others."""
    if depth == len(levels):
        yield group, ()
        return
    for code, child, _ in _children(levels[depth], group):
        step = () if code == WHOLE else ((names[depth], texts[depth][code] if code > OTHER else None),)
        for leaf, way in _ways(levels, names, texts, depth + 1, child):
            yield leaf, (*step, *way)


def _compared(sessions: Sessions, new: Ints, old: Ints, judges: Bools) -> Gain | None:
    """What the new groups win over the old for these sessions, both choosing by all others; None: too large."""
    cut = sessions.take(slice(None))
    cut.fold = judges.astype(np.int64)
    many = int(old.max()) + 1
    together, group = np.unique(new * many + old, return_inverse=True)
    found = cells(cut, group)
    if found is None:
        return None
    apart, alike = (_choices(found, groups[found.of]) for groups in (together // many, together % many))
    rows = np.flatnonzero(apart != alike)
    better, error_better = judged(found, 1, rows, apart[rows])
    worse, error_worse = judged(found, 1, rows, alike[rows])
    return Gain(float((better - worse).sum()), float((error_better + error_worse).sum()) ** 0.5)


def _choices(found: Cells, group: Ints) -> Ints:
    """By pair the arm that its group would choose, by plain means of what fold 0 saw of the group."""
    weight = np.zeros((int(group.max()) + 1, found.weight.shape[2]))
    total = weight.copy()
    np.add.at(weight, group, found.weight[0])
    np.add.at(total, group, found.above[0] if found.usual is None else found.above[0] + found.usual[0])
    mean = np.divide(total, weight, out=np.full_like(total, -np.inf), where=weight > 0)
    return choose(mean[group], found.feasible)
