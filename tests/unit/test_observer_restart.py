"""What an observer promises over restarts and kill -9, in processes of their own: no Ray, no head, nothing else."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from observers import H, U, observer, said, statuses

from vagus.actors import registrations
from vagus.actors.book import Book
from vagus.actors.keeping import Kept
from vagus.actors.observer import ObserverActor
from vagus.client.submit import Submitter
from vagus.config import StoreSettings
from vagus.errors import ConfigError, StoreError
from vagus.health.handles import Handle
from vagus.model import Ack, Event, Inference, Metric, Report, Status
from vagus.store import Store

Begin = Callable[..., Awaitable[ObserverActor]]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    made: list[ObserverActor] = []

    async def begin(node: str = "n1", **settings: Any) -> ObserverActor:
        actor = observer(tmp_path, node, health=settings)
        made.append(actor)
        await actor.begin()
        return actor

    yield begin
    for actor in made:
        await actor.end()


async def test_feature_3_a_handle_is_honoured_after_a_restart_and_never_given_to_another(begin: Begin) -> None:
    actor = await begin()
    handle = await actor.register("http", "api")
    assert await actor.register("http", "api") == handle
    ended = await actor.register("http", "old")
    assert await actor.unregister(ended)
    assert not await actor.unregister(ended)
    await actor.end()
    again = await begin()
    assert await again.report([said()], handle) == [Ack.ACCEPTED]
    assert await again.report([said(observer="mallory")], handle) == [Ack.FAILED]
    assert await again.report([said(observer="old")], ended) == [Ack.FAILED]
    others = [await again.register("http", f"o{n}") for n in range(100)]
    assert len({handle, ended, *others}) == 102
    assert await again.register("http", "api") == handle
    assert "api" in (await again.about())["watching"], "the observer goes on the watch list"
    assert again._keeper is not None
    kept = again._keeper.store.records("registration", Handle, where=("observer", "old"), newest_first=False)
    assert [(one.number, one.active) for one in kept] == [(ended, True), (ended, False)]


async def test_feature_8_the_watch_list_survives_a_restart(begin: Begin) -> None:
    actor = await begin(interest="watched")
    for subject in ("db", "queue*", "gone"):
        await actor.watch(subject)
    await actor.unwatch("gone")
    await actor.unwatch("queue7")
    await actor.end()
    again = await begin(interest="watched")
    wanted = {s: again._local.wants(s) for s in ("db", "queue1", "queue7", "gone", "other")}
    assert wanted == {"db": True, "queue1": True, "queue7": False, "gone": False, "other": False}
    await again.watch("queue*")
    assert again._local.wants("queue7"), "what is asked for last counts"


async def test_feature_4_what_was_unwatched_does_not_come_back_with_the_history(begin: Begin) -> None:
    actor = await begin()
    await actor.report([said(subject=s) for s in ("db", "db2", "queue", "cache")])
    await actor.unwatch("db*")
    await actor.unwatch("queue")
    assert await actor.report([said(subject="queue")]) == [Ack.ACCEPTED], "reported on here: it is watched again"
    await actor.unwatch("cache")
    await actor.watch("cache")
    await actor.end()
    again = await begin()
    assert statuses(again) == {"queue": U, "cache": U}


async def test_what_was_accepted_after_a_stop_is_there_though_it_speaks_of_before(begin: Begin) -> None:
    actor = await begin()
    before_ns = time.time_ns()
    await actor.report([said(subject="db1", t_ns=before_ns)])
    await actor.unwatch("db*")
    await actor.unwatch("queue")
    late = [said(subject="db2", t_ns=before_ns), said(subject="queue", t_ns=before_ns)]
    assert await actor.report(late) == [Ack.ACCEPTED] * 2
    await actor.end()
    again = await begin()
    assert statuses(again) == {"db2": U, "queue": U}
    await again.unwatch("*")
    for _ in range(2):
        await again.end()
        again = await begin()
        assert statuses(again) == {}, "and what was stopped stays so, over any number of restarts"
        await again.unwatch("*")


async def test_a_report_that_lives_longer_than_the_store_keeps_is_recovered_too(begin: Begin) -> None:
    actor = await begin(ttl="100ms")
    now_ns = time.time_ns()
    ages_ns = {"old": 10**9, "older": 2 * 10**9, "ended": 5 * 10**9}
    reports = [
        Report("api", s, now_ns - age_ns, {"read": Metric(U)}, ttl_ns=4 * 10**12) for s, age_ns in ages_ns.items()
    ]
    reports[-1] = Report("api", "ended", now_ns - 5 * 10**9, {"read": Metric(U)}, ttl_ns=10**9)
    assert await actor.report(reports) == [Ack.ACCEPTED, Ack.ACCEPTED, Ack.IGNORED]
    await actor.end()
    again = await begin(ttl="100ms")
    assert {s: v for s, v in statuses(again).items() if s in ages_ns} == {"old": U, "older": U}


async def test_forgotten_subjects_do_not_fill_the_book(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrations, "MAX_WATCHES", 20)
    actor = await begin()
    await actor.watch("db")
    for n in range(50):
        await actor.unwatch(f"s{n}")
    assert len(actor._registrations._watches) <= 20
    await actor.end()
    again = await begin()
    assert again._local.wants("db")
    assert not again._local.wants("s49")


async def test_defect_the_database_grew_without_bound_now_old_records_go(tmp_path: Path) -> None:
    actor = observer(tmp_path)
    actor.config = msgspec.structs.replace(actor.config, store=StoreSettings(retain="1h", retain_bytes=1 << 20))
    await actor.begin()
    try:
        now_ns = time.time_ns()
        assert actor._keeper is not None
        old = [Kept("report", said(t_ns=now_ns - 2 * 3600 * 10**9), now_ns - 2 * 3600 * 10**9, {})] * 100
        await actor._keeper.keep(old)
        assert await actor.report([said()]) == [Ack.ACCEPTED]
        await actor._retain()
        assert actor._keeper.store.count("report") == 1, "what is older than store.retain goes"
        await actor._keeper.keep([Kept("report", said(t_ns=now_ns + n), now_ns + n, {}) for n in range(20_000)])
        assert actor._keeper.store.stats()["used_bytes"] > 1 << 20
        await actor._retain()
        assert actor._keeper.store.stats()["used_bytes"] <= 1 << 20, "and the oldest beyond store.retain_bytes"
    finally:
        await actor.end()


async def test_bad_registrations_are_refused(begin: Begin) -> None:
    actor = await begin()
    for work in (actor.register("", "api"), actor.register("http", "a\n"), actor.watch(""), actor.unwatch("x" * 300)):
        with pytest.raises(ConfigError):
            await work
    assert not await actor.unregister(12345)
    for limit in (0, 10**9):
        with pytest.raises(ConfigError, match="limit"):
            await actor.panoramas(limit)


async def test_damaged_registrations_name_the_store(begin: Begin, tmp_path: Path) -> None:
    actor = await begin()
    await actor.register("http", "api")
    await actor.end()
    with Store.open(actor.seat.store_path) as store:
        for part in range(64):
            store.save(f"handle/{part}", b"\xc1")
        store.flush()
    with pytest.raises(StoreError, match="registrations"):
        await begin()


def test_a_book_keeps_what_is_put_and_forgets_what_is_dropped(tmp_path: Path) -> None:
    book, again = Book("b"), Book("b")
    with Store.open(tmp_path / "s") as store:
        for n in range(500):
            book.put(f"k{n}", b"%d" % n)(store)
        book.drop(["k1", "k2", "nothing"])(store)
        assert again.read(store) == {f"k{n}": b"%d" % n for n in range(500) if n not in (1, 2)}
        assert len(again) == len(book) == 498


async def test_a_changed_verdict_is_kept_with_its_evidence_and_told_once(begin: Begin) -> None:
    actor = await begin()
    seen: list[tuple[Inference, Status]] = []
    actor.verdicts.changed.append(lambda inference, was: seen.append((inference, was)))
    for status in (H, H, U, U):
        await actor.report([said(status)])
    assert [(inference.status, was) for inference, was in seen] == [(H, Status.NA), (U, H)]
    assert [report.contexts["read"].status for report in seen[1][0].reports] == [U]
    assert actor._keeper is not None
    store = actor._keeper.store
    kept = list(store.records("inference", Inference, where=("subject", "db"), newest_first=False))
    assert kept == [inference for inference, _ in seen]
    await actor.end()
    again = await begin()
    await again.report([said(U)])
    assert again._keeper is not None
    events = list(again._keeper.store.records("event", Event, where=("event", "health.changed")))
    assert len(events) == 2, "what was known before the restart is no change"


async def test_a_doubtful_node_says_so_in_its_reports(begin: Begin) -> None:
    actor = await begin()
    actor.doubt = lambda: 3
    doubtful = Report("api", "db", time.time_ns(), {"read": Metric(U)}, doubt=5)
    await actor.report([said(), doubtful])
    (view,) = (await actor.panorama("db")).values()
    assert sorted(report.doubt for report in view) == [3, 5]


async def test_feature_5_who_it_is_its_peers_and_memory_are_plain_values(begin: Begin) -> None:
    actor = await begin(subjects=("db*",))
    await actor.report([said(), said(subject="queue")])
    about = await actor.about()
    assert json.loads(json.dumps(about)) == about
    assert (about["node"], about["strategy"], about["filter"]) == ("n1", "paper", ["db*"])
    assert (about["counts"]["accepted"], about["counts"]["ignored"]) == (1, 1)
    assert about["memory_bytes"] > 0
    assert list(await actor.panoramas()) == list(await actor.subjects()) == ["db"]


# --- processes ---------------------------------------------------------------------------------------------------------

CHILD = """
    import asyncio, json, sys
    from pathlib import Path
    from observers import observer, statuses

    async def main():
        actor = observer(Path(sys.argv[1]), sys.argv[2])
        await actor.begin()
        print(json.dumps(await actor.address()), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            await actor.set_peers({node: tuple(address) for node, address in json.loads(line).items()})
            print(json.dumps({subject: status.name for subject, status in statuses(actor).items()}), flush=True)

    asyncio.run(main())
"""


class Child:
    """An observer in a process of its own."""

    def __init__(self, home: Path, node: str) -> None:
        self.home, self.node = home, node
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CHILD), str(home), node],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
        )
        self.address: list[Any] = []

    async def _line(self) -> Any:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(self._process.stdout.readline), 30)
        assert line, f"{self.node} ended with {self._process.poll()}"
        return json.loads(line)

    async def started(self) -> Child:
        self.address = await self._line()
        return self

    async def meet(self, *others: Child) -> dict[str, str]:
        """Introduces the others; the statuses that it has."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({other.node: other.address for other in others}) + "\n")
        self._process.stdin.flush()
        statuses: dict[str, str] = await self._line()
        return statuses

    async def submit(self, reports: list[Report]) -> list[Ack]:
        def work() -> list[Ack]:
            with Submitter.connect(self.home, self.node, timeout_s=30) as to:
                return to.submit(reports)

        return await asyncio.to_thread(work)

    def end(self, number: int = signal.SIGKILL) -> None:
        self._process.send_signal(number)
        self._process.wait(30)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[Callable[[str], Awaitable[Child]]]:
    made: list[Child] = []

    async def child(node: str) -> Child:
        made.append(Child(tmp_path, node))
        return await made[-1].started()

    yield child
    for one in made:
        if one._process.returncode is None:
            one.end()


async def test_defect_3000_accepted_then_kill_9_lost_most_now_every_one_is_there(
    begin: Begin, child: Callable[[str], Awaitable[Child]]
) -> None:
    node = await child("n1")
    acked: list[Ack] = []

    def work() -> None:
        with Submitter.connect(node.home, "n1", timeout_s=30) as to:
            for n in range(3500):
                to.send([Report(f"c{n % 10}", f"s{n % 7}", time.time_ns(), {"read": Metric(U, n)})])
                if n >= 500:
                    acked.extend(to.receive())
            node.end()  # 500 are on their way

    await asyncio.to_thread(work)
    assert acked == [Ack.ACCEPTED] * 3000
    actor = await begin("n1")
    assert actor._keeper is not None
    kept = {report.contexts["read"].score for report in actor._keeper.store.records("report", Report)}
    assert kept >= {float(n) for n in range(3000)}, "nothing that was accepted is lost"
    assert actor.figures()["restored"] == 700, "the last ten of ten observers on seven subjects"
    assert set(statuses(actor)) == {f"s{n}" for n in range(7)}


async def test_observers_exchange_when_nothing_else_of_the_cluster_lives(
    child: Callable[[str], Awaitable[Child]],
) -> None:
    """A peer that is killed recovers its own history and catches up; nobody but the observers runs."""
    one, two, three = [await child(f"n{n}") for n in (1, 2, 3)]
    for node in (one, two, three):
        await node.meet(one, two, three)
    assert await one.submit([said(subject="db")]) == [Ack.ACCEPTED]
    assert await three.submit([said(subject="own")]) == [Ack.ACCEPTED]
    await agree({"db": "UNHEALTHY", "own": "UNHEALTHY"}, one, two, three)
    three.end()
    assert await two.submit([said(subject="missed"), said(H, subject="db")]) == [Ack.ACCEPTED] * 2
    again = await child("n3")
    own = await again.meet()
    assert own["own"] == "UNHEALTHY", "its own history is there before it meets anybody"
    assert "missed" not in own
    for node in (one, two, again):
        await node.meet(one, two, again)
    after = (await one.meet(two, again))["db"]
    await agree({"db": after, "own": "UNHEALTHY", "missed": "UNHEALTHY"}, one, two, again)


def _of_others(found: dict[str, str]) -> dict[str, str]:
    """Without what members say of each other when one was slow to answer."""
    return {subject: status for subject, status in found.items() if not subject.startswith("node:")}


async def agree(expected: dict[str, str], *nodes: Child) -> None:
    deadline = time.monotonic() + 60
    for node in nodes:
        others = [other for other in nodes if other is not node]
        while (found := _of_others(await node.meet(*others))) != expected:
            assert time.monotonic() < deadline, f"{node.node} says {found}, not {expected}"
            await asyncio.sleep(0.02)


async def test_a_verdict_that_was_not_told_before_a_crash_is_told_after_it(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = await begin()
    await actor.report([said(H)])
    monkeypatch.setattr(actor, "_conclude", actor._accepted.clear)  # killed after the answer, before the verdict
    await actor.report([said(U)])
    await actor.end()
    again = await begin()
    await again._herald.stop()
    assert again._keeper is not None
    await again._keeper.run(lambda store: None)
    records = again._keeper.store.records("event", Event, where=("event", "health.changed"), newest_first=False)
    assert [(e.fields["was"], e.fields["status"]) for e in records] == [("NA", "HEALTHY"), ("HEALTHY", "UNHEALTHY")]
