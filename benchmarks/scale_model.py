"""What each part of vagus costs with n nodes, from what its operations cost. Pure: no clock, nothing random.

A part's `Use` is what one ordinary node spends on it, what the head spends (as a node, and for all), the bytes that
each sends and receives in a second, and what it holds in memory. Everything is at rest but for what is said at each
part: no application reports, asks or feeds beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from benchmarks.scale_costs import (
    CHANGED,
    COLD_VIEW,
    GROUPS,
    RAY_CALL_BYTES,
    RAY_CALL_S,
    STREAMS,
    VIEW,
    Costs,
    Spoken,
)
from benchmarks.scale_world import ROLES, SENSORS_S, SUBJECTS, batches_per_s, reports_per_s
from vagus.actors.decide_peers import TURN_S
from vagus.actors.wire import MAX_PEERS
from vagus.config import Config, seconds
from vagus.controllers.decide.view import DEAD_S, SIGNS_PER_S
from vagus.health.members import MAX_MEMBERS
from vagus.health.retained import MAX_ORIGINS
from vagus.health.suspicion import LEAST_PERIODS
from vagus.health.swim import FANOUT, VOUCH_S
from vagus.runtime.fleet import STAY_S
from vagus.runtime.news import ROSTER_PERIOD_S
from vagus.runtime.plan import PING_PERIOD_S, PINGS_A_ROUND

SIZES = (10, 30, 100, 300, 1000, 3000, 10_000)
ROUND_S = 2.0
WINDOW_S = 300.0  # of gossip: for so long a peer that ignores a subject is not sent it
ASKED_S = 10.0  # between two questions to the whole directory
CHANGED_S = 60.0  # between two changes of the nodes
LOCATIONS = 10_000
MAX_SUBJECTS = 10_000  # of LocalStore

HEAD_CORES = 1.0
NODE_CORES = 0.05
NODE_BYTES_S = 1e6
HEAD_BYTES_S = 125e6  # a link of 1 Gbit/s
MEMORY_BYTES = 1e9
MOST = 1_000_000


class Use(NamedTuple):
    """Of one part: cores, bytes a second (sent and received), bytes held, at a node and at the head."""

    node_cores: float = 0.0
    head_cores: float = 0.0
    node_bytes_s: float = 0.0
    head_bytes_s: float = 0.0
    node_memory_bytes: float = 0.0
    head_memory_bytes: float = 0.0


def evenly(cores: float, bytes_s: float, memory_bytes: float = 0.0) -> Use:
    """Of a part that is the same at all nodes."""
    return Use(cores, cores, bytes_s, bytes_s, memory_bytes, memory_bytes)


# --- gossip --------------------------------------------------------------------------------------------------------------


def membership(costs: Costs, n: float) -> Use:
    """SWIM: each node pings one in a second, however many there are."""
    rate = costs.swim_datagrams
    each_s = costs.seal_s(costs.swim_bytes) + costs.send_s + costs.receive_s + costs.open_s(costs.swim_bytes)
    size = costs.swim_bytes + costs.sealed_bytes
    return evenly(costs.swim_s(n) + rate * each_s, 2 * rate * size, costs.member_memory_bytes * n)


def detection_s(n: float) -> float:
    """Seconds from a node's end until all others hold it dead: the first ping that finds it, its time-out, Lifeguard's
    time to refute (three accusers are quickly there), and the last word's way to everybody."""
    first_s = 1.0 - math.exp(-1.0)
    return first_s + 1.0 + LEAST_PERIODS * max(1.0, math.log10(n)) + 0.2 * math.log(n) / math.log(FANOUT + 1)


def gossip(costs: Costs, n: float) -> Use:
    """Every report of every node at every node (`health.interest: all`), and digests that heal what was lost."""
    told = reports_per_s() * (n - 1)
    return _spoken(costs, costs.all_heard, n, told, SUBJECTS * VIEW * n)


def watched(costs: Costs, n: float) -> Use:
    """`health.interest: watched` with `watch: ["node:*"]`: of other nodes only what is said of nodes. The rest is sent
    once in a window, and ignored."""
    refused = (SUBJECTS - 1) / WINDOW_S * (n - 1)
    use = _spoken(costs, costs.watched, n, (1 / SENSORS_S + 1 / VOUCH_S) * (n - 1), 2 * VIEW * n)
    cores = refused * costs.merge_s(0) + _wire_s(costs, 2 * refused, refused, refused * 1.5 * costs.report_bytes)
    size = 2 * refused * (1.5 * costs.report_bytes + 2 * costs.sealed_bytes)
    return evenly(use.node_cores + cores, use.node_bytes_s + size, use.node_memory_bytes)


def _spoken(costs: Costs, spoken: Spoken, n: float, told: float, held: float) -> Use:
    """told: reports that come in a second, of which the simulated views were not yet full; held: reports in memory."""
    fuller_s = told * (costs.merge_s(VIEW) - costs.merge_s(COLD_VIEW))
    datagrams, body = spoken.datagrams(n), spoken.body_bytes(n)
    cores = spoken.cores_s(n) + fuller_s + told * costs.commit_s + _wire_s(costs, datagrams, spoken.sealed(n), body)
    size = 2 * (body + datagrams * costs.sealed_bytes)
    return evenly(cores, size, min(held, MAX_SUBJECTS * VIEW) * costs.report_memory_bytes)


def _wire_s(costs: Costs, datagrams: float, sealed: float, body_bytes: float) -> float:
    """CPU of sending so many datagrams, of which so many are different ones, and of receiving as many."""
    size = body_bytes / max(1.0, datagrams)
    received_s = costs.receive_s + costs.open_s(size)
    return datagrams * (costs.send_s + received_s) + sealed * costs.seal_s(size)


# --- over Ray ------------------------------------------------------------------------------------------------------------


def supervisor(costs: Costs, n: float) -> Use:
    """Rounds in which nothing is to be done, pings, the rosters, waits for actors' ends."""
    actors = len(ROLES) * n
    calls = min(actors / PING_PERIOD_S, PINGS_A_ROUND / ROUND_S) + n / ROSTER_PERIOD_S + actors / STAY_S
    head = Use(0.0, costs.round_s(n) / ROUND_S + calls * RAY_CALL_S, 0.0, calls * 2 * RAY_CALL_BYTES)
    return head._replace(node_cores=calls / n * RAY_CALL_S, node_bytes_s=calls / n * 2 * RAY_CALL_BYTES)


def news_bytes(costs: Costs, n: float) -> float:
    """Of who is there, to all actors, and where they listen, to the observers and the collectors."""
    return n * n * (len(ROLES) * costs.name_bytes + 2 * costs.address_bytes)


def coming_and_going(costs: Costs, n: float) -> Use:
    """A hundredth of the nodes is lost each minute: everybody is told who is left, and where."""
    calls = (len(ROLES) + 2) * n
    told = news_bytes(costs, n) + calls * RAY_CALL_BYTES
    head_s = costs.lost_s(n) + calls * RAY_CALL_S
    node_s = calls / n * RAY_CALL_S
    return Use(node_s / CHANGED_S, head_s / CHANGED_S, told / n / CHANGED_S, told / CHANGED_S)


def directory(costs: Costs, n: float) -> Use:
    """One question to all nodes every ten seconds, asked of the head's gateway."""
    head_s, size = costs.directory_s(n) + n * RAY_CALL_S, costs.directory_bytes + 2 * RAY_CALL_BYTES
    return Use(
        (costs.entries_s + RAY_CALL_S) / ASKED_S,
        head_s / ASKED_S,
        size / ASKED_S,
        n * size / ASKED_S,
        costs.directory_memory_bytes,
        n * costs.directory_memory_bytes,
    )


def feeds(costs: Costs, n: float) -> Use:
    """10,000 locations over all nodes, which change once a minute: each finds out what is its own, before and after,
    and asks all others how far they came. Fetching itself is shared out: it grows with the locations at a node."""
    calls = 2 * (n - 1)
    cores = (2 * LOCATIONS * costs.owner_s(n) + calls * RAY_CALL_S) / CHANGED_S
    return evenly(cores, calls * 2 * RAY_CALL_BYTES / CHANGED_S)


def decide_everywhere(costs: Costs, n: float) -> Use:
    """`decide.on: every-node`, nobody asks: signs of life between all, each with whom its sender has heard."""
    each = (n - 1) * 3 / max(DEAD_S, 3 * n / SIGNS_PER_S)
    cores = each * (costs.parcel_s(n) + costs.take_s(n) + 2 * RAY_CALL_S) + (n - 1) / TURN_S * costs.idle_s
    size = costs.parcel_bytes(n) + costs.receipt_bytes(n) + 2 * RAY_CALL_BYTES
    return evenly(cores, 2 * each * size, costs.table_memory_bytes)


def decide_at_head(costs: Costs, n: float) -> Use:
    """`decide.on: head`: of 1000 groups of ten arms a hundred change in a tick, and go to all nodes; each node hands in
    what it decided once a second."""
    ticks = 1 / seconds(Config().decide.tick)
    pushed, handed = n * ticks, n
    head = ticks * costs.delta_s + (pushed + handed) * RAY_CALL_S
    node = ticks * (costs.apply_s + RAY_CALL_S) + RAY_CALL_S
    size = ticks * (costs.delta_bytes + 2 * RAY_CALL_BYTES) + 2 * RAY_CALL_BYTES
    return Use(node, head, size, n * size, costs.table_memory_bytes, 2 * costs.table_memory_bytes)


Part = Callable[[Costs, float], Use]

PARTS: Mapping[str, Part] = {
    "membership": membership,
    "gossip": gossip,
    "gossip, interest: watched": watched,
    "supervisor, at rest": supervisor,
    "supervisor, 1 % lost a minute": coming_and_going,
    "directory, asked each 10 s": directory,
    "feeds, 10,000 locations": feeds,
    "decide on every node": decide_everywhere,
    "decide on the head": decide_at_head,
}

BOUNDS: Mapping[str, tuple[int, str]] = {
    "membership": (min(MAX_MEMBERS, MAX_PEERS), "members and peers that a node knows"),
    "gossip": (MAX_SUBJECTS // SUBJECTS, f"{MAX_SUBJECTS:,} subjects in a local store, {SUBJECTS} a node"),
    "gossip, interest: watched": (MAX_ORIGINS, "origins in a digest"),
}
"""Bounds in the code, in nodes, and what they are."""


def crossed(use: Use) -> str:
    """Which limit a part exceeds, by itself; empty: none."""
    for over, text in (
        (use.node_cores > NODE_CORES, "5 % of a core per node"),
        (use.node_bytes_s > NODE_BYTES_S, "1 MB/s per node"),
        (use.head_cores > max(HEAD_CORES, use.node_cores), "one core of the head"),
        (use.head_bytes_s > max(HEAD_BYTES_S, use.node_bytes_s), "1 Gbit/s of the head"),
        (max(use.node_memory_bytes, use.head_memory_bytes) > MEMORY_BYTES, "1 GB of memory"),
    ):
        if over:
            return text
    return ""


def bends(costs: Costs, part: Part) -> tuple[int, str]:
    """The fewest nodes at which a part exceeds a limit, and which; MOST: none up to there."""
    low, high = 2, MOST
    if not crossed(part(costs, high)):
        return MOST, ""
    while low < high:  # all uses grow with n
        middle = (low + high) // 2
        if crossed(part(costs, middle)):
            high = middle
        else:
            low = middle + 1
    return low, crossed(part(costs, low))


def describe() -> str:
    """What the table supposes."""
    return (
        f"{SUBJECTS} subjects a node, {reports_per_s():.2f} reports a node and second in {batches_per_s():.2f} goes; "
        f"{STREAMS} streams a node; {GROUPS} groups of decisions, {CHANGED} of them changing in a tick; "
        f"{LOCATIONS:,} locations; {RAY_CALL_S * 1e6:.0f} µs of CPU at each end of a Ray call (not measured here)"
    )
