"""What hostile or unlucky neighbours cannot do to an observer: floods, namesakes, odd names, full disks, lost disks."""

from __future__ import annotations

import asyncio
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from observers import KEY, H, U, introduce, observer, said, statuses, until

from vagus.actors import inbox, registrations, wire
from vagus.actors.keeping import Keeper, Kept
from vagus.actors.observer import ObserverActor
from vagus.client.submit import Submitter
from vagus.config import socket_path
from vagus.errors import PeerUnreachable, StoreError
from vagus.health import handles
from vagus.health.inbox import MAX_INBOX_BYTES
from vagus.model import MAX_NAME, Ack, Metric, Report
from vagus.sealing import Sealer
from vagus.store import Store

Begin = Callable[..., Awaitable[ObserverActor]]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    made: list[ObserverActor] = []

    async def begin(node: str = "n1", home: str = "home", **settings: Any) -> ObserverActor:
        made.append(observer(tmp_path / home, node, health=settings))
        await made[-1].begin()
        return made[-1]

    yield begin
    for actor in made:
        await actor.end()


# --- floods ------------------------------------------------------------------------------------------------------------


async def test_a_flood_of_reports_gives_others_their_turn(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "TURN_REPORTS", 3)
    actor = await begin()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(str(socket_path(Path(actor.seat.home), "n1", "report")))
        for n in range(5):
            sender.send(msgspec.msgpack.encode([said(subject=f"s{n}"), said(H, subject=f"s{n}")]))
        actor._inbox._readable()
        assert actor.counts["accepted"] == 4, "two datagrams in a turn"
        await until(lambda: actor.counts["accepted"] == 10)


async def test_a_flood_from_a_peer_gives_others_their_turn(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "TURN_BYTES", 3000)
    actor = await begin()
    sealer = Sealer(KEY, "n2")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        for _ in range(7):
            peer.sendto(sealer.seal(b"\x90" * 1000), await actor.address())
        actor.wire._readable()
        assert actor.wire.counts["received"] == 3
        await until(lambda: actor.wire.counts["received"] == 7)


async def test_a_frame_that_is_too_long_is_answered_once_whatever_follows(begin: Begin) -> None:
    actor = await begin()
    assert actor._keeper is not None
    go_on = threading.Event()
    blocked = asyncio.ensure_future(actor._keeper.run(lambda _: go_on.wait(10)))
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(socket_path(Path(actor.seat.home), "n1", "observer")))
        sock.setblocking(False)
        await loop.sock_sendall(sock, struct.pack(">I", MAX_INBOX_BYTES + 1))
        await until(lambda: actor._submits.counts["bad"])
        for _ in range(5):
            await loop.sock_sendall(sock, b"more of it")
            await asyncio.sleep(0.01)
        assert actor._submits.counts["bad"] == 1
        go_on.set()
        await blocked
        answer = b""
        with suppress(ConnectionResetError):  # it was not read to the end
            while data := await asyncio.wait_for(loop.sock_recv(sock, 65536), 10):
                answer += data
    assert len(answer) == 4 + struct.unpack(">I", answer[:4])[0], "one answer, then the end"


# --- peers ---------------------------------------------------------------------------------------------------------------


async def test_another_observer_of_this_nodes_name_is_no_peer_and_people_are_told(begin: Begin) -> None:
    one, namesake = await begin(), await begin(home="elsewhere")
    await one.set_peers({"n2": await namesake.address()})
    await until(lambda: namesake.wire.counts["namesakes"])
    host, port = await one.address()
    assert any(f"{host}:{port}, has this node's name" in note for note in namesake.notes())
    assert namesake.wire.addresses == {}
    assert one.notes() == (), "nobody has spoken to it"


async def test_a_key_that_changes_while_they_run(begin: Begin) -> None:
    one, two = await begin("n1"), await begin("n2", home="elsewhere")
    await introduce(one, two)
    await one.report([said(subject="before")])
    await until(lambda: "before" in statuses(two))
    new = bytes(reversed(KEY))
    await one.set_peers({"n2": await two.address()}, new.hex())
    await one.report([said(subject="meanwhile")])
    await until(lambda: two.wire.counts["unsealed"])
    assert "meanwhile" not in statuses(two)
    await introduce(one, two, key=new)
    await until(lambda: "meanwhile" in statuses(two))


async def test_a_node_that_lost_its_disk_gets_its_history_back_and_is_heard(begin: Begin) -> None:
    one, two = await begin("n1"), await begin("n2")
    await introduce(one, two)
    await one.report([said(H, subject="db"), said(U, subject="queue")])
    await until(lambda: len(statuses(two)) == 2)
    await one.end()
    again = await begin("n1", home="new disk")
    await introduce(again, two)
    await until(lambda: {"db", "queue"} <= statuses(again).keys())
    assert await again.report([said(U, subject="db")]) == [Ack.ACCEPTED]
    await until(lambda: statuses(two)["db"] == U)


# --- names -----------------------------------------------------------------------------------------------------------------


async def test_long_and_odd_names_are_kept_whole(begin: Begin) -> None:
    names = [
        "𝕏" * MAX_NAME,
        "ß ñ 日本語 😀",
        "a/b\\c",
        "../../etc/passwd",
        "'; DROP TABLE x; --",
        "db[1]",
        "*",
        "Ctx:?",
    ]
    actor = await begin()
    acks = await actor.report([said(subject=name, observer=name) for name in names])
    assert acks == [Ack.ACCEPTED] * len(names)
    await actor.end()
    again = await begin()
    assert set(statuses(again)) == set(names)
    assert again._keeper is not None
    found = again._keeper.store.records("report", Report, where=("subject", names[0]))
    assert [report.observer for report in found] == [names[0]]


async def test_an_observer_whose_name_looks_like_a_glob_is_a_name(begin: Begin) -> None:
    actor = await begin(interest="watched")
    handle = await actor.register("http", "api*")
    assert actor._local.wants("api*")
    assert not actor._local.wants("api1")
    assert await actor.report([said(observer="api1")], handle) == [Ack.FAILED]
    assert await actor.report([said(observer="api*")], handle) == [Ack.ACCEPTED]


async def test_a_subject_whose_name_looks_like_a_glob_is_stopped_and_watched_as_a_name_too(begin: Begin) -> None:
    actor = await begin(interest="watched")
    await actor.report([said(subject="db[1]"), said(subject="db1")])
    await actor.unwatch("db[1]")
    assert statuses(actor) == {}
    await actor.end()
    again = await begin(interest="watched")
    assert statuses(again) == {}, "what was stopped does not come back"
    await again.watch("db[1]")
    await again.report([said(subject="db[1]")])
    await again.end()
    last = await begin(interest="watched")
    await last.unwatch("db[2]")
    assert (last._local.wants("db[1]"), last._local.wants("db1")) == (True, True), "the watch was kept"


# --- bounds ----------------------------------------------------------------------------------------------------------------


async def test_programs_that_come_and_go_do_not_fill_the_book(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handles, "MAX_HANDLES", 5)
    monkeypatch.setattr(registrations, "MAX_KEPT", 15)
    actor = await begin()
    kept = await actor.register("http", "stays")
    for n in range(60):
        await actor.unregister(await actor.register("job", f"pid{n}"))
    assert len(actor._registrations._handles) <= 16
    await actor.end()
    again = await begin()
    assert await again.report([said(observer="stays")], kept) == [Ack.ACCEPTED]


async def test_more_watches_than_are_allowed_today_keep_no_observer_from_starting(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = await begin(interest="watched")
    for n in range(6):
        await actor.watch(f"s{n}")
    await actor.end()
    monkeypatch.setattr("vagus.health.interest.MAX_WATCHED", 4)
    again = await begin(interest="watched")
    assert [again._local.wants(f"s{n}") for n in range(6)] == [True] * 4 + [False] * 2


# --- disks -------------------------------------------------------------------------------------------------------------------


class FullStore:
    """A store whose disk is full: each try costs a second of a real one's time."""

    tries = 0

    def put(self, *_: Any, **__: Any) -> None:
        self.tries += 1
        raise StoreError("the disk is full")

    def flush(self) -> None:
        raise StoreError("the disk is full")

    def unsynced_ratio(self) -> float:
        return 0.0

    def sync(self) -> None:
        self.flush()

    def close(self) -> None: ...


async def test_a_full_disk_is_tried_once_for_all_who_wait(tmp_path: Path) -> None:
    store = FullStore()
    keeper = Keeper(store)  # type: ignore[arg-type]
    go_on = threading.Event()
    ran = []

    def work(_: Any) -> None:
        ran.append(True)
        go_on.wait(10)

    first = asyncio.ensure_future(keeper.run(work))
    await until(lambda: ran)
    waiting = [asyncio.ensure_future(keeper.keep([Kept("report", said(), 1, {})])) for _ in range(100)]
    retain = asyncio.ensure_future(keeper.run(work))
    await asyncio.sleep(0)
    go_on.set()
    results = await asyncio.gather(first, *waiting, retain, return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results)
    assert store.tries == 1
    assert len(ran) == 2, "what makes room is done nevertheless"
    with pytest.raises(StoreError):
        await keeper.close()
    with pytest.raises(PeerUnreachable):
        keeper.put([])


CHILD = """
    import asyncio, resource, sys
    from pathlib import Path
    from observers import observer

    async def main():
        actor = observer(Path(sys.argv[1]), "n1")
        await actor.begin()
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, resource.RLIM_INFINITY))
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print("room", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

    asyncio.run(main())
"""


def test_where_files_may_not_grow_the_observer_lives_and_what_it_accepted_survives_kill_9(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    accepted: list[float] = []

    def submit(to: Submitter, first: int) -> set[Ack]:
        now_ns = time.time_ns()
        reports = [
            Report(f"o{n % 7}", f"s{n % 11}", now_ns + n, {"read": Metric(U, n)}) for n in range(first, first + 500)
        ]
        acks = to.submit(reports)
        accepted.extend(r.contexts["read"].score for r, ack in zip(reports, acks, strict=True) if ack is Ack.ACCEPTED)
        return set(acks)

    try:
        assert child.stdout.readline() == "ready\n"
        with Submitter.connect(tmp_path, "n1", timeout_s=30) as to:
            rounds = [submit(to, first) for first in range(0, 15_000, 500)]
            assert rounds[0] == {Ack.ACCEPTED}
            assert rounds[-1] == {Ack.FAILED}, "said of each that was not stored"
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "room\n"
            assert submit(to, 15_000) == {Ack.ACCEPTED}
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.communicate()
    with Store.open(tmp_path / "nodes" / "n1" / "store" / "observer") as store:
        kept = {report.contexts["read"].score for report in store.records("report", Report)}
    assert len(accepted) >= 1000
    assert kept >= set(accepted)


async def test_a_damaged_store_is_named_with_what_to_do(begin: Begin) -> None:
    actor = await begin()
    await actor.report([said(subject=f"s{n}") for n in range(500)])
    await actor.end()
    data = actor.seat.store_path / "data.mdb"
    content = bytearray(data.read_bytes())
    content[:8192] = b"\xa5" * 8192
    data.write_bytes(content)
    with pytest.raises(StoreError, match="damaged") as caught:
        await begin()
    assert str(actor.seat.store_path) in str(caught.value)
