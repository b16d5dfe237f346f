"""What single operations of vagus cost on this machine, in the same run that computes with them.

Times are CPU seconds of this thread; where the real code is not constant in the number of nodes it is measured at two
sizes, and a line is laid through both (`Line`).
"""

from __future__ import annotations

import asyncio
import gc
import pickle
import socket
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec

from benchmarks import reconcile
from benchmarks.scale_world import (
    ROSTER_PERIOD_S,
    SENSORS_S,
    START_NS,
    SUBJECTS,
    World,
    rostered,
    sensed,
    steered,
)
from vagus.actors.decide_learner import learner_of
from vagus.actors.directory import entries, renewed
from vagus.actors.exchange import kept
from vagus.actors.wire import SWIM
from vagus.clock import NS
from vagus.config import Config, DecideSettings
from vagus.controllers.decide.grouping import grouping_of
from vagus.controllers.decide.leading import Leading
from vagus.controllers.decide.mail import Parcel, Receipt
from vagus.controllers.decide.parcels import Parcels
from vagus.controllers.decide.records import Grouping, Plan, Row, TableUpdate
from vagus.controllers.decide.table import DecisionTable, encode_update
from vagus.feeds.shares import Ring
from vagus.gateway.answers import DirectoryAnswer
from vagus.gateway.fanout import merge_sensors
from vagus.health.gossip import Gossip
from vagus.health.local import LocalStore
from vagus.health.strategy_paper import Paper
from vagus.health.swim import Swim
from vagus.model import ActorStatus, DirectoryEntry, Field, Report, SensorInfo, Stream
from vagus.sealing import Sealer
from vagus.store import Store

RAY_CALL_S = 0.0003
"""CPU of one call between Ray actors at each of its ends. Not measured here, where no Ray runs: about 2000 calls a second
and pair of processes are what one gets (round trip 0.5 to 0.9 ms)."""
RAY_CALL_BYTES = 1000
"""What gRPC and Ray's own message add to a call and its answer."""
HEADERS_BYTES = 28
"""IP and UDP."""
STREAMS = 80
"""In a node's directory, as a machine of a few disks and services has them."""
WATCH = ("node:*",)
GROUPS, ARMS, CHANGED = 1000, tuple(f"arm{n}" for n in range(10)), 100
"""Of decisions: groups in the cluster, arms of each, groups that change in a tick."""
VIEW, COLD_VIEW = 10, 2
"""Reports in a view: as it stays, and in a world that has only begun."""
PERIOD_S = max(SENSORS_S, ROSTER_PERIOD_S)


class Line(NamedTuple):
    """a + b n."""

    a: float
    b: float

    def __call__(self, n: float) -> float:
        return self.a + self.b * n

    @staticmethod
    def through(n1: float, y1: float, n2: float, y2: float) -> Line:
        """Both parts are 0 at least: what grows faster than in proportion is as at the larger size."""
        b = max(0.0, (y2 - y1) / (n2 - n1))
        return Line(y1 - b * n1, b) if y1 >= b * n1 else Line(0.0, y2 / n2)


class Spoken(NamedTuple):
    """Of gossip and the local store, of the number of nodes: what a node and second takes, beside membership."""

    cores_s: Line
    datagrams: Line
    sealed: Line  # different ones: what goes to many is sealed once
    body_bytes: Line


class Costs(NamedTuple):
    """Seconds of CPU and bytes of each operation; Lines are functions of the number of nodes, or of what they name."""

    seal_s: Line  # of bytes
    open_s: Line
    sealed_bytes: float  # more than the body, headers included
    send_s: float  # a datagram, kernel included
    receive_s: float
    swim_s: Line  # all of membership, a node and second
    swim_bytes: float  # a datagram's body
    swim_datagrams: float  # sent by a node in a second
    member_memory_bytes: float
    merge_s: Line  # a report in a datagram, read, merged and judged; of the reports in its view
    report_bytes: float
    commit_s: float  # a report on its way into the store
    all_heard: Spoken  # interest: all
    watched: Spoken  # interest: watched, of others what is said of nodes
    report_memory_bytes: float
    round_s: Line  # the supervisor's
    lost_s: Line  # all rounds after a hundredth of the nodes is gone
    address_bytes: float  # one actor told of one node's address
    name_bytes: float  # and that it is there
    directory_s: Line  # a question to all, at who asks, of nodes
    directory_bytes: float  # a node's answer
    entries_s: float  # at who is asked
    directory_memory_bytes: float  # of a node's part
    lookup_s: Line
    owner_s: Line  # whose a location is, of nodes
    parcel_s: Line  # sending one and reading the receipt, of nodes
    take_s: Line
    idle_s: float  # looking whether a peer needs one
    parcel_bytes: Line
    receipt_bytes: Line
    delta_s: float  # encoding what changed in a tick
    delta_bytes: float
    apply_s: float
    table_memory_bytes: float


def cpu_s(work: Callable[[], object], least_s: float = 0.02, most: int = 2000) -> float:
    """Seconds of CPU of one call: the lowest of five means."""
    work()
    began_s = time.thread_time()
    work()
    once_s = max(1e-7, time.thread_time() - began_s)
    times = max(1, min(most, round(least_s / once_s)))
    means = []
    for _ in range(5 if once_s < least_s else 1):
        began_s = time.thread_time()
        for _ in range(times):
            work()
        means.append((time.thread_time() - began_s) / times)
    return min(means)


def memory_bytes(make: Callable[[], object]) -> float:
    """What Python allocates for what `make` returns."""
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        made = make()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    del made
    return float(after - before)


# --- gossip --------------------------------------------------------------------------------------------------------------


def sealing() -> tuple[Line, Line, float]:
    """Sealing and opening, of bytes; and how much longer a datagram is than its body."""
    one, two = Sealer(bytes(32), "node-00001"), Sealer(bytes(32), "node-00002")
    seal, opened = [], []
    for size in (100, 1200):
        body = bytes(size)
        seal.append(cpu_s(lambda body=body: one.seal(body)))
        both = cpu_s(lambda body=body: two.open(one.seal(body)))
        opened.append(max(0.0, both - seal[-1]))
    more = len(one.seal(bytes(100))) - 100 + HEADERS_BYTES
    return Line.through(100, seal[0], 1200, seal[1]), Line.through(100, opened[0], 1200, opened[1]), float(more)


def datagrams(count: int = 2000) -> tuple[float, float]:
    """Sending one on loopback, and receiving it, kernel included."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        two.bind(("127.0.0.1", 0))
        address, body, sent_s, got_s = two.getsockname(), bytes(600), 0.0, 0.0
        for _ in range(count // 50):
            began_s = time.thread_time()
            for _ in range(50):
                one.sendto(body, address)
            between_s = time.thread_time()
            for _ in range(50):
                two.recv(2000)
            sent_s, got_s = sent_s + between_s - began_s, got_s + time.thread_time() - between_s
    return sent_s / count, got_s / count


def membership(sizes: Sequence[int]) -> tuple[Line, float, float]:
    """All of Swim's work a node and second; bytes of a body, datagrams sent by a node in a second."""
    found = []
    for size in sizes:
        world = World(size, 1, gossips=False)
        world.run(2.0)
        world.forget()
        world.run(5.0)
        found.append((size, world.cpu_s["swim"] / size / 5.0))
    sent = world.counts["swim_datagrams"]
    body = world.counts["swim_bytes"] / sent + len(SWIM)
    return Line.through(*found[0], *found[-1]), body, sent / sizes[-1] / 5.0


def spoken(node: str, t_ns: int) -> list[list[Report]]:
    """What a node says in one period, in its goes."""
    return [sensed(node, t_ns), rostered(node, t_ns), steered(node, t_ns)]


def merging(origins: int = 20) -> dict[str, Any]:
    """Reports of some nodes, told to one: the first in a view, and when all views are full."""
    senders = []
    for at in range(origins):
        local = LocalStore(f"node-{at:05}", Paper())
        gossip = Gossip(local.node, Random(at), local=local)
        gossip.peers(["me"])
        senders.append((local, gossip))
    local = LocalStore("me", Paper())
    me = Gossip("me", Random(1), local=local)
    me.peers([one.node for one, _ in senders])
    spent, sent_bytes, reports = [], 0, 0
    for turn in range(VIEW + 3):
        now_ns, merged_s = START_NS + turn * 10 * NS, 0.0
        for one, gossip in senders:
            for go in spoken(one.node, now_ns):
                sends = gossip.on_local([one.submit(report, now_ns)[1] for report in go], now_ns)
                began_s = time.thread_time()
                for send in sends:
                    new, _ = me.on_message(one.node, send.payload, now_ns)
                    last = {report.subject: at for at, report in enumerate(new)}
                    for at, report in enumerate(new):
                        local.merge(report, now_ns, judge=last[report.subject] == at)
                merged_s += time.thread_time() - began_s
                sent_bytes += sum(len(send.payload) for send in sends)
                reports += len(go)
        spent.append(merged_s / (reports / (turn + 1)))
    full_s = min(spent[VIEW:])
    return {
        "merge_s": Line.through(COLD_VIEW, min(spent[1:3]), VIEW, full_s),
        "report_bytes": sent_bytes / reports,
    }


def filled(origins: int, each: int = 1) -> tuple[Gossip, LocalStore]:
    """A node that knows so many others, by `each` reports on each of their subjects."""
    local = LocalStore("me", Paper())
    gossip = Gossip("me", Random(1), local=local)
    gossip.peers([f"node-{at:05}" for at in range(origins)])
    reports = []
    for at in range(origins):
        node, seq = f"node-{at:05}", START_NS // 1000
        for turn in range(each):
            for go in spoken(node, START_NS - turn * NS):
                for report in go:
                    seq += 1
                    reports.append(msgspec.structs.replace(report, origin=node, seq=seq))
    local.restore(reports, START_NS)
    gossip.restore(reports, START_NS)
    return gossip, local


def gossiping(sizes: Sequence[int], interest: str, watch: Sequence[str] = ()) -> Spoken:
    """What simulated observers of these sizes do at rest, once each knows of all: lines through the two sizes."""
    found = []
    for size in sizes:
        world = World(size, 1, interest=interest, watch=watch)
        world.run(PERIOD_S + 1.0)
        world.forget()
        world.run(PERIOD_S)
        found.append((size, of_gossip(world, PERIOD_S)))
    (n1, one), (n2, two) = found[0], found[-1]
    return Spoken(*(Line.through(n1, y1, n2, y2) for y1, y2 in zip(one, two, strict=True)))


def of_gossip(world: World, for_s: float) -> tuple[float, float, float, float]:
    """CPU of the cores without membership, datagrams, different ones, bytes of bodies: a node and second."""
    each = len(world.nodes) * for_s
    cores_s = sum(spent_s for what, spent_s in world.cpu_s.items() if what != "swim")
    counts = world.counts
    return (
        cores_s / each,
        counts["push_datagrams"] / each,
        counts["push_sealed"] / each,
        counts["push_bytes"] / each,
    )


def one_of(nodes: int, seed: int = 1) -> dict[str, float]:
    """One node's cores, real, among so many others that only speak: CPU a second, bytes of a digest, subjects evicted.

    Two periods go by first, so that all are known. Each second brings the digest of a peer that knows as much.
    """
    random = Random(seed)
    local = LocalStore("me", Paper())
    me = Gossip("me", Random(seed), local=local)
    senders = []
    for at in range(nodes - 1):
        one = LocalStore(f"node-{at:05}", Paper())
        gossip = Gossip(one.node, Random(at), local=one)
        gossip.peers(["me"])
        senders.append((one, gossip))
    me.peers([one.node for one, _ in senders])
    phases = [(random.random() * PERIOD_S, at, go) for at in range(nodes - 1) for go in range(2)]
    spent_s, digest_bytes = 0.0, 0
    for turn in range(3):
        begin_ns, evicted = START_NS + round(turn * PERIOD_S * NS), local.counts["evicted_subjects"]
        spent_s, second = 0.0, 0
        for phase_s, at, go in sorted(phases):
            now_ns = begin_ns + round(phase_s * NS)
            one, gossip = senders[at]
            reports = spoken(one.node, now_ns)[go]
            sends = gossip.on_local([one.submit(report, now_ns)[1] for report in reports], now_ns)
            began_s = time.thread_time()
            for send in sends:
                new, _ = me.on_message(one.node, send.payload, now_ns)
                last = {report.subject: place for place, report in enumerate(new)}
                for place, report in enumerate(new):
                    local.merge(report, now_ns, judge=last[report.subject] == place)
            while second < phase_s:
                second += 1
                me.tick(now_ns)
                told = [send.payload for send in me.greet("node-00000")]
                digest_bytes = sum(map(len, told))
                for payload in told:
                    me.on_message("node-00000", payload, now_ns)
                for _ in range(4):
                    local.tick(now_ns)
            spent_s += time.thread_time() - began_s
    return {
        "cores_s": spent_s / PERIOD_S,
        "digest_bytes": float(digest_bytes),
        "evicted_per_s": (local.counts["evicted_subjects"] - evicted) / PERIOD_S,
        "reports": float(len(local)),
    }


def committing(count: int = 3000) -> float:
    """A report into the observer's store, sixteen in a commit."""
    reports = [r for at in range(count // SUBJECTS) for r in sensed(f"n{at}", START_NS) + rostered(f"n{at}", START_NS)]
    with tempfile.TemporaryDirectory(prefix="vagus-bench-") as folder:
        store = Store.open(Path(folder) / "store")
        try:
            began_s = time.thread_time()
            for at in range(0, len(reports), 16):
                for report in reports[at : at + 16]:
                    one = kept(report, 300 * NS)
                    store.put(one.kind, one.record, t_ns=one.t_ns, index=one.pairs)
                store.flush()
            return (time.thread_time() - began_s) / len(reports)
        finally:
            store.close()


# --- supervisor, directory, feeds, decisions -----------------------------------------------------------------------------


def supervising(sizes: Sequence[int]) -> tuple[Line, Line, float, float]:
    """A steady round, all rounds after a hundredth of the nodes is gone; bytes of an address, of a name, in the news."""

    async def one(size: int) -> tuple[float, float]:
        world = reconcile.World(size)
        await world.round_ms()
        await world.settle()
        await world.told()
        steady = sorted([await world.round_ms() for _ in range(12)])
        world.engine.lose(max(1, size // 100))
        lost_ms = await world.round_ms() + (await world.told())[1]
        await world.fleet.stop()
        return steady[len(steady) // 2] / 1e3, lost_ms / 1e3

    with reconcile.quiet_log():
        found = [(size, *asyncio.run(one(size))) for size in sizes]
    table = {f"node-{at:05}": ("10.0.0.1", 40000 + at) for at in range(1000)}
    told = len(pickle.dumps(("call", ("set_peers", table)), protocol=5)) / 1000
    named = len(pickle.dumps(("know", tuple(table)), protocol=5)) / 1000
    (n1, r1, l1), (n2, r2, l2) = found[0], found[-1]
    return Line.through(n1, r1, n2, r2), Line.through(n1, l1, n2, l2), told, named


def of_a_node(node: str) -> tuple[list[SensorInfo], list[DirectoryEntry]]:
    """A node's part of the directory."""
    fields = (Field("user", "ratio"), Field("system", "ratio"), Field("idle", "ratio"))
    streams = [Stream(node, f"host.part{at % 20}", fields, {"device": f"d{at}"}) for at in range(STREAMS)]
    infos = [SensorInfo(stream, START_NS, START_NS + 3600 * NS, 3600) for stream in streams]
    online = f"http://{node}:8700"
    renewed_ = [renewed(info, START_NS + 3601 * NS, 1.0, "host", online) for info in infos]
    actors = [
        ActorStatus(f"vagus:{role}@{node}", role.partition(":")[0], node, "HEALTHY")
        for role in ("collector", "observer", "decide", "controller:throttle")
    ]
    told = dict.fromkeys((actor.name for actor in actors), START_NS)
    return renewed_, entries(node, actors, told, Config(), online, START_NS)


def directory(sizes: Sequence[int]) -> dict[str, Any]:
    """Answers of all nodes, joined, sorted and written as JSON, as the route does."""
    asked, looked = [], []
    for size in sizes:
        parts = [pickle.dumps(of_a_node(f"node-{at:05}"), protocol=5) for at in range(size)]

        def whole(parts: list[bytes] = parts) -> list[DirectoryEntry]:
            answers = [pickle.loads(part) for part in parts]  # as Ray hands them over
            found = [
                DirectoryEntry(
                    "stream", i.stream.kind, i.stream.node, i.stream.labels, i.live, "", i.first_ns, i.last_ns
                )
                for i in merge_sensors(infos for infos, _ in answers)
            ]
            found += [entry for _, offered in answers for entry in offered]
            found.sort(key=lambda e: (e.type, e.name, e.node, not e.live, -e.last_ns))
            return found

        def question(whole: Callable[[], list[DirectoryEntry]] = whole) -> bytes:
            return msgspec.json.encode(DirectoryAnswer(entries=whole()))

        there = whole()
        asked.append((size, cpu_s(question)))
        looked.append((size, cpu_s(lambda there=there: [e for e in there if e.node == "node-00001" and e.live])))
    return {
        "directory_s": Line.through(*asked[0], *asked[-1]),
        "directory_bytes": float(len(parts[0])),
        "entries_s": cpu_s(lambda: pickle.dumps(of_a_node("node-00000"), protocol=5)),
        "directory_memory_bytes": memory_bytes(lambda: [pickle.loads(part) for part in parts]) / sizes[-1],
        "lookup_s": Line.through(*looked[0], *looked[-1]),
    }


def owning(sizes: Sequence[int]) -> Line:
    """Whose a location is."""
    found = []
    for size in sizes:
        ring = Ring([f"node-{at:05}" for at in range(size)])
        found.append((size, cpu_s(lambda ring=ring: ring.owner("http://host17:3121/"))))
    return Line.through(*found[0], *found[-1])


class Decides:
    """A node that decides, without store and Ray, and has heard of so many others."""

    def __init__(self, node: str, others: int) -> None:
        settings = DecideSettings()
        grouping = grouping_of(settings)
        self.names = tuple(f"node-{at:05}" for at in range(others + 1))
        self.leading = Leading(node, learner_of(settings, grouping, None), Plan(0, grouping), birth=1, incarnation=1)
        self.parcels = Parcels(self.leading)
        self.now_s = 1.0
        self.leading.view.set_nodes(self.names, self.now_s)

    def hear_all(self) -> None:
        """Every other one spoke a moment ago."""
        for name in self.leading.view.peers:
            self.leading.view.heard(name, 1, 0, 0, self.now_s)
        self.leading.tick(self.now_s)


def deciding(sizes: Sequence[int]) -> dict[str, Any]:
    """Parcels of signs of life between nodes that decide, while nobody asks for a decision."""
    sent, taken, parcel_bytes, receipt_bytes, idle = [], [], [], [], 0.0
    for size in sizes:
        one, two = Decides("node-00000", size - 1), Decides("node-00005", size - 1)
        told = [_sign_of_life(one, two) for _ in range(20)]
        sent.append((size, min(spent_s for spent_s, _, _, _ in told)))
        taken.append((size, min(spent_s for _, spent_s, _, _ in told)))
        parcel_bytes.append((size, float(told[-1][2])))
        receipt_bytes.append((size, float(told[-1][3])))
        idle = cpu_s(lambda one=one: one.parcels.parcel("node-00005", one.now_s))
    return {
        "parcel_s": Line.through(*sent[0], *sent[-1]),
        "take_s": Line.through(*taken[0], *taken[-1]),
        "parcel_bytes": Line.through(*parcel_bytes[0], *parcel_bytes[-1]),
        "receipt_bytes": Line.through(*receipt_bytes[0], *receipt_bytes[-1]),
        "idle_s": idle,
    }


def _sign_of_life(one: Decides, two: Decides) -> tuple[float, float, int, int]:
    """Seconds at who sends it and at who takes it, bytes of parcel and receipt. `two` is no deputy of `one`."""
    one.now_s += one.leading.view.dead_s
    two.now_s = one.now_s
    one.hear_all()
    two.hear_all()
    began_s = time.thread_time()
    parcel = one.parcels.parcel(two.leading.node, one.now_s)
    if parcel is None:
        raise RuntimeError("no sign of life was due")
    packed = msgspec.msgpack.encode(parcel)
    sent_s = time.thread_time() - began_s
    began_s = time.thread_time()
    receipt = msgspec.msgpack.encode(two.parcels.receive(msgspec.msgpack.decode(packed, type=Parcel), two.now_s))
    took_s = time.thread_time() - began_s
    began_s = time.thread_time()
    one.parcels.answered(parcel, msgspec.msgpack.decode(receipt, type=Receipt), one.now_s)
    return sent_s + time.thread_time() - began_s, took_s, len(packed), len(receipt)


def tables() -> dict[str, float]:
    """What changed in a tick: encoded once, applied at each node; and the whole table in memory."""
    random = Random(1)

    def row() -> Row:
        return Row(ARMS, tuple(random.random() for _ in ARMS))

    def update(base: int, groups: int) -> TableUpdate:
        return TableUpdate(base + 1, base, None, {f"city-{at}/isp-{at % 7}": row() for at in range(groups)})

    table, version = DecisionTable(Random(1), Grouping(group_by=("city", "isp"))), 0
    table.apply(encode_update(update(0, GROUPS)))
    delta = update(1, CHANGED)
    packed = encode_update(delta)
    state = {"version": 1}

    def apply() -> None:
        version = state["version"]
        table.apply(msgspec.structs.replace(delta, version=version + 1, base=version))
        state["version"] = version + 1

    decode_s = cpu_s(lambda: msgspec.msgpack.decode(packed, type=TableUpdate))

    def whole() -> DecisionTable:
        made = DecisionTable(Random(1), Grouping(group_by=("city", "isp")), version)
        made.apply(encode_update(update(0, GROUPS)))
        return made

    return {
        "delta_s": cpu_s(lambda: encode_update(delta)),
        "delta_bytes": float(len(packed)),
        "apply_s": decode_s + cpu_s(apply),
        "table_memory_bytes": memory_bytes(whole),
    }


def measure(quick: bool = False) -> Costs:
    """All of them; about 15 s of CPU, `quick` 4 s, from smaller sizes."""
    small, large = (30, 100) if quick else (100, 1000)
    worlds = (10, 30) if quick else (20, 60)
    seal_s, open_s, sealed_bytes = sealing()
    send_s, receive_s = datagrams()
    swim_s, swim_bytes, swim_datagrams = membership((10, 40) if quick else (30, 300))
    round_s, lost_s, address_bytes, name_bytes = supervising((small, large))
    few = 10 if quick else 30

    def members() -> Swim:
        swim = Swim("me", Random(1), 0.0)
        swim.peers([f"node-{at:05}" for at in range(large)], 0.0)
        return swim

    report_memory = memory_bytes(lambda: filled(few, VIEW)) / (few * VIEW * SUBJECTS)
    return Costs(
        seal_s=seal_s,
        open_s=open_s,
        sealed_bytes=sealed_bytes,
        send_s=send_s,
        receive_s=receive_s,
        swim_s=swim_s,
        swim_bytes=swim_bytes,
        swim_datagrams=swim_datagrams,
        member_memory_bytes=memory_bytes(members) / large,
        commit_s=committing(),
        report_memory_bytes=report_memory,
        round_s=round_s,
        lost_s=lost_s,
        address_bytes=address_bytes,
        name_bytes=name_bytes,
        owner_s=owning((small, large)),
        **merging(),
        all_heard=gossiping(worlds, "all"),
        watched=gossiping(worlds, "watched", WATCH),
        **directory((10, 30) if quick else (30, 100)),
        **deciding((small, large)),
        **tables(),
    )
