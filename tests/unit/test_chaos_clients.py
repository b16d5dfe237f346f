"""The clients of the benchmark of faults against a real gateway, stores and groups of files: what they note, what they find."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, MemoryBackend, Served, serving

from benchmarks import chaos_clients as clients
from benchmarks import chaos_found as found
from benchmarks.chaos import table
from benchmarks.chaos_clients import Bodies, Items, Limits, Watcher, Writer, body_of, checksum, fetched
from benchmarks.chaos_figure import draw, per_second
from benchmarks.chaos_hold import Hold
from benchmarks.chaos_judge import Changes, Death
from benchmarks.chaos_ledger import BYTES, KINDS, REPORT, SAMPLE, Ledger, Outcome
from benchmarks.chaos_run import LEASE_S, Shown, config
from benchmarks.chaos_schedule import ACTOR, HEAD, NODE, Kill
from benchmarks.limited_group import Group
from vagus.client.connection import Connection
from vagus.clock import NS, SystemClock
from vagus.config import Config, load
from vagus.controllers.load import load as load_controller
from vagus.controllers.view import Snapshot
from vagus.errors import PeerUnreachable
from vagus.feeds import Raw
from vagus.model import Data, Field, Meta, Metric, Net, Report, Status, Stream, to_builtins
from vagus.store import Store

T_NS = 1_800_000_000 * NS


class OneGate:
    """In place of Gates: the same connection for every node, or none."""

    def __init__(self, connection: Connection | None = None, shown: Any = None) -> None:
        self.connection, self.shown = connection, shown

    def at(self, node: str) -> Connection:
        if self.connection is None:
            raise PeerUnreachable(f"no gateway at {node}")
        return self.connection

    def get(self, node: str, path: str) -> Any:
        if self.shown is None:
            raise PeerUnreachable(f"no gateway at {node}")
        return self.shown


@pytest.fixture
def served() -> Iterator[Served]:
    backend = MemoryBackend()
    backend.now_ns = time.time_ns()
    with serving(backend, clock=SystemClock()) as gateway:
        yield gateway


@pytest.fixture
def gate(served: Served) -> Iterator[Any]:
    with Connection(served.url, TOKEN, timeout_s=5.0) as connection:
        yield OneGate(connection)


# --- writers ---------------------------------------------------------------------------------------------------------


def test_a_writer_notes_what_a_gateway_acknowledged_and_that_is_what_came(served: Served, gate: Any) -> None:
    ledger = Ledger()
    one = Writer("n1", gate, ledger)
    one.step()
    one.step()
    assert ledger.counts() == {SAMPLE: 20, REPORT: 6, BYTES: 0}
    came = [record for _, record in served.backend.taken]
    there = [((r.stream.labels["writer"], int(r.values[0])), r.t_ns) for r in came]
    sampled = ledger.compare(SAMPLE, there)
    assert (sampled.lost, sampled.changed, sampled.strange, sampled.unanswered) == ((), (), (), 0)
    told = [
        ((r.observer.removeprefix("chaos@"), int(r.contexts["chaos"].score)), r.t_ns) for r in served.backend.reports
    ]
    assert ledger.compare(REPORT, told) == Outcome(6, 0, (), (), (), 0, ())
    assert len({t_ns for _, t_ns in there}) == 20, "two samples of one time would be one"
    assert sum(count for _, count in one.done) == 26


def test_who_does_not_answer_acknowledged_nothing(served: Served, gate: Any) -> None:
    ledger, nobody = Ledger(), OneGate()
    Writer("n1", nobody, ledger).step()  # type: ignore[arg-type]
    served.backend.broken = PeerUnreachable("the store is not open")
    Writer("n2", gate, ledger).step()
    assert ledger.counts() == dict.fromkeys(KINDS, 0)
    outcome = ledger.compare(SAMPLE, [])
    assert (outcome.unanswered, outcome.lost) == (20, ())


def test_what_a_gateway_refuses_must_not_be_there(gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "KIND", "host.cpu")  # a sensor's own
    ledger = Ledger()
    Writer("n1", gate, ledger).step()
    assert ledger.compare(SAMPLE, []).unanswered == 0
    assert ledger.compare(SAMPLE, [(("n1", 0), 1)]).strange == (("n1", 0),)


def test_a_watcher_that_breaks_says_so_and_ends() -> None:
    class Broken(Watcher):
        def step(self) -> None:
            raise KeyError("results")

    one = Broken("items", 0.0)
    one.start()
    one.join(5.0)
    assert not one.is_alive()
    assert one.problem == "items: KeyError: 'results'"
    one.stop()


# --- a feed ----------------------------------------------------------------------------------------------------------


def test_each_body_is_another_and_known() -> None:
    with Bodies(2) as bodies:
        came = [urllib.request.urlopen(url, timeout=5).read() for url in (*bodies.locations, bodies.locations[0])]
    assert len(set(came)) == 3
    for body in came:
        value = json.loads(body)
        assert body == body_of(value["place"], value["number"])
    assert {json.loads(body)["place"] for body in came} == {"/p0", "/p1"}


def item(place: str = "/p0", number: int = 4, due_ns: int = 7, net: str = "ok", **changed: Any) -> dict[str, Any]:
    value = json.loads(body_of(place, number)) | changed if net == "ok" else None
    return {"node": "n1", "meta": {"location": f"http://h{place}", "due_ns": due_ns, "net": net}, "value": value}


def test_an_item_names_its_bytes_and_a_changed_one_has_others() -> None:
    assert fetched(item()) == (("http://h/p0", 7), checksum(body_of("/p0", 4)))
    assert fetched(item(pad="00"))[1] == 0
    assert fetched(item(net="missed"))[1] is None


def test_items_are_noted_once_and_failures_never() -> None:
    ledger = Ledger()
    gates: Any = OneGate(shown={"items": [item(), item(due_ns=8, number=5), item(due_ns=9, net="timeout")]})
    items = Items(["n1", "n2"], gates, ledger)
    items.step()
    items.step()
    assert ledger.counts()[BYTES] == 2
    gates.shown = None
    items.step()
    assert not items.problem


# --- limits ----------------------------------------------------------------------------------------------------------


def test_limits_are_seen_as_their_files_have_them(tmp_path: Path) -> None:
    file = tmp_path / "cpu.cfs_quota_us"
    file.write_text("-1\n")
    times = iter([1.0, 1.5, 2.0])
    limits = Limits({"n1": Group(tmp_path, file, "-1\n")}, lambda: next(times))
    assert not limits.in_force("n1"), "not looked at yet"
    for value in ("-1\n", "50000\n", "-1\n"):
        file.write_text(value)
        limits.step()
        assert limits.in_force("n1") == (value == "50000\n")
    assert limits.changes["n1"].values == ["-1", "50000", "-1"]
    assert not limits.in_force("n2")


def test_the_controller_wants_a_limit_at_each_step_and_changes_it(tmp_path: Path) -> None:
    group = Group(tmp_path / "vagus-chaos", tmp_path / "file", "-1")
    (settings,) = config({"n1": group}, ["http://127.0.0.1:1/p0"]).controllers
    controller = load_controller(settings)
    assert type(controller).__name__ == Hold.__name__
    actions = [next(iter(controller.step(Snapshot("n1", T_NS)))) for _ in range(12)]
    assert {str(action.target) for action in actions} == {"cgroup:vagus-chaos"}  # type: ignore[union-attr]
    assert {action.value for action in actions} == {0.5, 0.9}  # type: ignore[union-attr]
    assert settings.armed
    assert settings.lease == LEASE_S


def test_the_settings_survive_the_file_that_vagus_up_is_given(tmp_path: Path) -> None:
    given = config({"n1": Group(tmp_path / "vagus-chaos", tmp_path / "file", "-1")}, ["http://127.0.0.1:1/p0"])
    path = tmp_path / "vagus.json"
    path.write_bytes(msgspec.json.encode(given))
    assert load(path, Config) == given


# --- what is there ---------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The stores of n1, which has all, and of n2, which only heard of n1's reports."""
    stores = tmp_path / "nodes" / "n1" / "store"
    with Store.open(stores / "collector") as store:
        stream = store.declare(Stream("n1", clients.KIND, (Field("number"),), {"writer": "n1"}))
        store.append(stream, T_NS, (0.0,))
        store.append(stream, T_NS + 1, (1.0,))
        other = store.declare(Stream("n1", "host.load", (Field("load1"),)))
        store.append(other, T_NS, (0.5,))
        store.flush()
    told = Report("chaos@n1", "chaos-n1", T_NS, {"chaos": Metric(Status.HEALTHY, 2.0)}, origin="n1", seq=1)
    others = Report("swim@n1", "node:n2", T_NS, {"swim": Metric(Status.HEALTHY, 1.0)}, origin="n1", seq=2)
    for node in ("n1", "n2"):
        with Store.open(tmp_path / "nodes" / node / "store" / "observer") as store:
            for report in (told, others):
                store.put("report", report, t_ns=report.t_ns, index={"subject": report.subject})
            store.flush()
    with Store.open(stores / "feed") as store:
        for number, net, feed in ((4, Net.OK, clients.FEED), (5, Net.TIMEOUT, clients.FEED), (6, Net.OK, "other")):
            meta = Meta(feed, "http://h/p0", T_NS + number, T_NS + number, net, Data.GOOD)
            store.put("raw", Raw(meta, body_of("/p0", number)), t_ns=meta.arrived_ns, index={"feed": feed})
        store.flush()
    return tmp_path


def ledger_of(*, more: bool = False) -> Ledger:
    ledger = Ledger()
    ledger.sending(SAMPLE, {("n1", 0): T_NS, ("n1", 1): T_NS + 1})
    ledger.acknowledged(SAMPLE, [("n1", 0), ("n1", 1)])
    ledger.sending(REPORT, {("n1", 2): T_NS})
    ledger.acknowledged(REPORT, [("n1", 2)])
    ledger.sending(BYTES, {("http://h/p0", T_NS + 4): checksum(body_of("/p0", 4))})
    ledger.acknowledged(BYTES, [("http://h/p0", T_NS + 4)])
    if more:
        for kind, key in ((SAMPLE, ("n2", 9)), (REPORT, ("n2", 9)), (BYTES, ("http://h/p1", 9))):
            ledger.sending(kind, {key: 1})
            ledger.acknowledged(kind, [key])
    return ledger


def test_what_the_stores_hold_is_what_was_acknowledged(home: Path) -> None:
    outcomes = found.stored(home, ledger_of())
    assert outcomes == {kind: Outcome(n, 0, (), (), (), 0, ()) for kind, n in ((SAMPLE, 2), (REPORT, 1), (BYTES, 1))}


def test_what_the_stores_do_not_hold_is_lost(home: Path) -> None:
    outcomes = found.stored(home, ledger_of(more=True))
    assert {kind: outcome.lost for kind, outcome in outcomes.items()} == {
        SAMPLE: (("n2", 9),),
        REPORT: (("n2", 9),),
        BYTES: (("http://h/p1", 9),),
    }


def test_a_report_that_only_others_kept_is_lost(home: Path) -> None:
    (home / "nodes" / "n1" / "store" / "observer").rename(home / "away")
    assert found.stored(home, ledger_of())[REPORT].lost == (("n1", 2),)


def test_what_the_gateways_show_is_compared_too(home: Path) -> None:
    """As the routes render what the stores hold."""

    class Gate:
        def at(self, node: str) -> Any:
            return self

        def query(self, kind: str, *, node: str, **_: int) -> list[Any]:
            with Store.open(home / "nodes" / "n1" / "store" / "collector", readonly=True) as store:
                return list(store.scan(kind)) if node == "n1" else []

        def get(self, node: str, path: str) -> Any:
            start_ns = int(path.partition("start=")[2].partition("&")[0])
            if "kind=report" in path:
                with Store.open(home / "nodes" / node / "store" / "observer", readonly=True) as store:
                    return {"records": to_builtins(list(store.records("report", Report, start_ns)))}
            if node == "n2" or start_ns > T_NS:
                return {"items": []}
            return {"items": [item(due_ns=T_NS + 4), item(due_ns=T_NS + 5, net="timeout")]}

    gates: Any = Gate()
    span = (T_NS - NS, T_NS + 70 * NS)
    well = {kind: Outcome(n, 0, (), (), (), 0, ()) for kind, n in ((SAMPLE, 2), (REPORT, 1), (BYTES, 1))}
    assert found.asked(["n1", "n2"], gates, ledger_of(), *span) == well
    lost = found.asked(["n1", "n2"], gates, ledger_of(more=True), *span)
    assert [outcome.lost for outcome in lost.values()] == [(("n2", 9),), (("n2", 9),), (("http://h/p1", 9),)]


def test_a_span_is_asked_in_pieces_without_gap() -> None:
    assert list(found.pieces(0, 25, 10)) == [(0, 10), (10, 20), (20, 25)]
    assert list(found.pieces(5, 5, 10)) == []


# --- told ------------------------------------------------------------------------------------------------------------


def test_a_run_is_a_table_a_file_and_a_picture() -> None:
    changes = Changes("n1", "-1")
    for t_s, value in ((1.0, "-1"), (5.0, "50000"), (33.0, "-1")):
        changes.saw(t_s, value)
    deaths = [
        Death(Kill(10.0, NODE, "n2"), 10.0, [1], {"n1": 14.0}, 70.0, 70.0, 76.0, 84.0),
        Death(Kill(30.0, HEAD, "n1"), 30.0, [2], {"n2": 34.0}, None, 45.0, 50.0, 60.0),
        Death(Kill(90.0, ACTOR, "n2", "feed"), 90.0, [3]),
        Death(Kill(95.0, ACTOR, "n2", "feed"), 95.0, problem="there is none"),
    ]
    outcome = Outcome(2, 0, (), (), (), 0, ())
    shown = Shown(["n1", "n2"], 1, "rocksdb", T_NS, [], deaths, [changes], dict.fromkeys(KINDS, outcome))
    shown.acknowledged = [(0.2, 3), (2.5, 4)]
    assert per_second(shown.acknowledged) == ([0.0, 1.0, 2.0], [3, 0, 4])
    assert per_second([]) == ([], [])
    rows = {row["what"]: row for row in table(shown)}
    assert rows["limit restored, after the kill: worst"]["value"] == pytest.approx(3.0)
    assert msgspec.json.decode(msgspec.json.encode(shown), type=Shown) == shown
    assert draw(shown).startswith(b"\x89PNG")
