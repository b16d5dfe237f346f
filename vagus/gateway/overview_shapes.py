"""What the page `/` is told of each section, small: the worst, the newest, the first few, and how many more. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vagus.clock import NS
from vagus.gateway.merged_views import merge_rows
from vagus.health.matrix import Row
from vagus.model import ActorStatus, FeedStatus, Logged, NodeStatus, Receipt, Status

WORST = 40  # subjects
MAX_CELLS = 60  # observers of a subject
MAX_WRONG = 50  # nodes of which is told what is wrong; of the others how much
MAX_ILL = 5  # actors, errors, failing locations that are named
MAX_FEEDS = 100
MAX_GROUPS = 12
MAX_ARMS = 20
MAX_REWARDS = 60
MAX_RECEIPTS = 200
MAX_TEXT = 300
SPAN_NS = 3600 * NS  # how far back limits are shown

Explained = Mapping[str, Mapping[str, Any]]
"""By group what its leader said; `error` where it said nothing."""


def ms(t_ns: int) -> int:
    """As browsers count: exact in a double."""
    return t_ns // 1_000_000


def shape_nodes(parts: Mapping[str, NodeStatus], knows: Callable[[str], bool] = lambda node: True) -> dict[str, Any]:
    """Each node: how its actors are, what is wrong there, and what the cluster lacks as any of them sees it.

    knows: whether the reader may be told of a node.
    """
    missing = {m.what: m for status in parts.values() for m in status.missing if not m.node or knows(m.node)}
    wrong = [node for node in sorted(parts) if parts[node].errors or _ill(parts[node])]
    named = {*wrong[:MAX_WRONG]}
    return {
        "nodes": [_node(parts[node], MAX_ILL if node in named else 0) for node in sorted(parts)],
        "lacking": [
            {"what": m.what, "why": m.why, "since_ms": ms(m.since_ns), "todo": m.todo[:MAX_TEXT]}
            for _, m in sorted(missing.items())[:MAX_FEEDS]
        ],
    }


def _ill(status: NodeStatus) -> list[ActorStatus]:
    return [a for a in status.actors if a.state != "HEALTHY"]


def _node(status: NodeStatus, most: int) -> dict[str, Any]:
    ill = _ill(status)
    return {
        "node": status.node,
        "series": status.series,
        "actors": len(status.actors),
        "restarts": sum(a.restarts for a in status.actors),
        "ill": [{"name": a.name, "state": a.state, "error": a.last_error[:MAX_TEXT]} for a in ill[:most]],
        "ill_count": len(ill),
        "errors": [error[:MAX_TEXT] for error in status.errors[:most]],
        "error_count": len(status.errors),
        "unhealthy": len(status.unhealthy),
    }


def shape_verdicts(parts: Mapping[str, Sequence[Row]], left_off: int) -> dict[str, Any]:
    """The worst subjects with who says what; counts are of what is here, and what is left off is no worse."""
    rows = merge_rows(parts.values())
    counts = Counter(row.status.name for row in rows)
    shown = [row for row in rows if row.status > Status.HEALTHY][:WORST]
    return {
        "counts": dict(counts),
        "left_off": left_off,
        "subjects": [_subject(row) for row in shown],
        "unshown": sum(row.status > Status.HEALTHY for row in rows) - len(shown),
    }


def _subject(row: Row) -> dict[str, Any]:
    cells = sorted(row.cells, key=lambda cell: (-cell.status, cell.observer))
    return {
        "subject": row.subject,
        "status": row.status.name,
        "t_ms": ms(row.t_ns),
        "contexts": [
            {
                "context": name,
                "status": v.status.name,
                "score": _number(v.score),
                "accusers": list(v.accusers[:MAX_ILL]),
            }
            for name, v in sorted(row.contexts.items(), key=lambda item: (-item[1].status, item[0]))[:MAX_ILL]
        ],
        "cells": [{"observer": c.observer, "status": c.status.name, "t_ms": ms(c.t_ns)} for c in cells[:MAX_CELLS]],
        "cells_left": max(0, len(cells) - MAX_CELLS),
    }


def shape_feeds(parts: Mapping[str, Iterable[FeedStatus]]) -> dict[str, Any]:
    """Each feed at each node: those that fail first."""
    every = [status for found in parts.values() for status in found]
    every.sort(key=lambda s: (not s.error, -s.failing_count, s.name, s.node))
    return {
        "feeds": [
            {
                "name": s.name,
                "node": s.node,
                "schedule": s.schedule,
                "kind": s.kind,
                "locations": s.locations,
                "codes": s.codes,
                "failing": [[where[:MAX_TEXT], why[:MAX_TEXT]] for where, why in list(s.failing.items())[:MAX_ILL]],
                "failing_count": s.failing_count,
                "error": s.error[:MAX_TEXT],
            }
            for s in every[:MAX_FEEDS]
        ],
        "left_off": max(0, len(every) - MAX_FEEDS),
    }


def shape_decisions(parts: Mapping[str, Iterable[Logged]], explained: Explained, groups: int) -> dict[str, Any]:
    """Groups by how many of the newest decisions are theirs: arms, rewards, and what the leader knows.

    groups: how many the table has. regret: what is lost in a decision against the arm that the leader holds for the
    best, by its own means and probabilities; null where it has none of them.
    """
    by_group: dict[str, list[Logged]] = {name: [] for name in explained}
    for one in newest(parts):
        if one.group in by_group:
            by_group[one.group].append(one)
    return {"groups": [_group(name, by_group[name], explained[name]) for name in by_group], "known": groups}


def newest(parts: Mapping[str, Iterable[Logged]]) -> list[Logged]:
    """Decisions of all nodes, newest first, each once."""
    every = {one.decision_id: one for found in parts.values() for one in found}
    return sorted(every.values(), key=lambda one: one.t_ns, reverse=True)


def _group(name: str, found: Sequence[Logged], told: Mapping[str, Any]) -> dict[str, Any]:
    rewards = [one.reward for one in found if one.reward is not None]
    counts = Counter(one.arm for one in found)
    arms: dict[str, dict[str, Any]] = {arm: {"arm": arm, "drawn": count} for arm, count in counts.most_common(MAX_ARMS)}
    for arm in told.get("arms", ()):
        if arm["arm"] in arms or len(arms) < MAX_ARMS:
            known = arms.setdefault(str(arm["arm"]), {"arm": str(arm["arm"]), "drawn": 0})
            known["probability"] = _number(arm.get("probability"))
            known["mean"] = _number(arm.get("mean")) if arm.get("evidence") else None
    return {
        "group": name,
        "decisions": len(found),
        "rewards": len(rewards),
        "mean": _number(math.fsum(rewards) / len(rewards)) if rewards else None,
        "line": [_number(reward) for reward in rewards[:MAX_REWARDS][::-1]],
        "arms": list(arms.values()),
        "policy": str(told.get("policy", "")),
        "leader": str(told.get("leader", "")),
        "regret": regret(told.get("arms", ())),
        "note": str(told.get("error", ""))[:MAX_TEXT],
    }


def regret(arms: Iterable[Mapping[str, Any]]) -> float | None:
    """The best mean less the mean that is drawn, of the arms with evidence; None when there are none."""
    known = [
        (probability, mean)
        for arm in arms
        if arm.get("evidence")
        and (probability := _number(arm.get("probability"))) is not None
        and (mean := _number(arm.get("mean"))) is not None
    ]
    total = math.fsum(probability for probability, _ in known)
    if not total > 0.0:
        return None
    return _number(max(mean for _, mean in known) - math.fsum(p * mean for p, mean in known) / total)


def shape_limits(parts: Mapping[str, Iterable[Receipt]]) -> dict[str, Any]:
    """The newest receipts of all nodes, newest first."""
    every = sorted((r for found in parts.values() for r in found), key=lambda r: r.t_ns, reverse=True)
    return {
        "receipts": [
            {
                "t_ms": ms(r.t_ns),
                "node": r.node,
                "controller": r.controller,
                "target": str(r.target),
                "resource": r.resource,
                "before": _number(r.before),
                "requested": _number(r.requested),
                "after": _number(r.after),
                "dry": r.dry,
                "reason": r.reason[:MAX_TEXT],
                "note": r.note[:MAX_TEXT],
                "error": r.error[:MAX_TEXT],
            }
            for r in every[:MAX_RECEIPTS]
        ],
        "left_off": max(0, len(every) - MAX_RECEIPTS),
    }


def fresh(known: Iterable[Receipt], come: Iterable[Receipt], now_ns: int, span_ns: int) -> list[Receipt]:
    """Receipts of the last `span_ns`, each once, the newest first, at most ten times what is shown."""
    every = {r: None for r in (*known, *come) if r.t_ns > now_ns - span_ns}
    return sorted(every, key=lambda r: r.t_ns, reverse=True)[: 10 * MAX_RECEIPTS]


def _number(value: Any) -> float | None:
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")
