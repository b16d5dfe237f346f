"""The log of decisions, each with its reward: read from a node's store, newest first, in bounded work."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from vagus.clock import NS
from vagus.model import MAX_T_NS, Decision, Logged, Reward

if TYPE_CHECKING:
    from vagus.store.reader import Reader

MOST = 10_000  # decisions in one answer
LOOKED_AT = 20  # times as many records are looked at for those of one group, and for rewards


def joined(
    reader: Reader, start_ns: int, end_ns: int, limit: int, group: str | None = None, wait_s: float = 3600.0
) -> list[Logged]:
    """At most `limit` (10,000) decisions of [start_ns, end_ns), the newest first, of one group or (None) of all.

    A reward counts that came within `wait_s` of its decision. Of a group that is seldom, and of rewards between which
    very many others lie, no more than 20 times as many records are looked at: those beyond are as if not there.
    """
    limit = min(limit, MOST)
    found = reader.records("decision", Decision, start_ns, end_ns)
    chosen = [one for one in islice(found, limit * LOOKED_AT) if group is None or one.group == group][:limit]
    if not chosen:
        return []
    waiting = {one.decision_id for one in chosen}
    rewards: dict[str, Reward] = {}
    first_ns = min(one.t_ns for one in chosen) - NS  # the log's time and the decision's own may differ a little
    last_ns = min(max(one.t_ns for one in chosen) + round(wait_s * NS), MAX_T_NS)
    came = reader.records("reward", Reward, max(first_ns, 0), last_ns, newest_first=False)
    for reward in islice(came, (limit + 1000) * LOOKED_AT):
        if reward.decision_id in waiting:
            waiting.discard(reward.decision_id)
            rewards[reward.decision_id] = reward
            if not waiting:
                break
    return [_logged(one, rewards.get(one.decision_id)) for one in chosen]


def _logged(decision: Decision, reward: Reward | None) -> Logged:
    return Logged(
        decision.decision_id,
        decision.t_ns,
        decision.group,
        decision.arm,
        decision.propensity,
        decision.version,
        None if reward is None else reward.reward,
        0 if reward is None else reward.t_ns,
        decision.arms,
        decision.features,
    )
