"""A clock that steps by an hour, back and forth: what counts afterwards is what is said now, and nothing is lost for good."""

from __future__ import annotations

from random import Random

from vagus.clock import NS
from vagus.health.gossip import Gossip, Send
from vagus.health.local import LocalStore
from vagus.health.strategy_paper import Paper
from vagus.health.views import VIEW
from vagus.model import Ack, Metric, Report, Status

H, U, NA = Status.HEALTHY, Status.UNHEALTHY, Status.NA
NOW = 1_700_000_000 * NS
HOUR = 3600 * NS


def said(status: Status, t_ns: int, subject: str = "db") -> Report:
    return Report("api", subject, t_ns, {"read": Metric(status, 20)})


def verdict(local: LocalStore, subject: str = "db") -> Status | None:
    found = local.inference(subject)
    return found.status if found else None


def test_reports_of_before_the_clock_was_set_back_do_not_outweigh_those_of_now() -> None:
    local = LocalStore("n1", Paper())
    for n in range(VIEW):
        local.submit(said(H, NOW + n * NS), NOW + n * NS)
    local.submit(said(H, NOW, "queue"), NOW + 10 * NS)
    back = NOW - HOUR
    assert local.submit(said(U, back), back)[0] is Ack.ACCEPTED
    assert verdict(local) == U
    (change,) = local.tick(back + NS)
    assert (change.subject, change.status) == ("queue", NA), "nobody has said anything of it by this clock"
    assert (len(local), local.counts["withdrawn"]) == (1, 2)
    assert verdict(local) == U


def test_a_step_forward_and_back_leaves_what_is_said_now() -> None:
    local = LocalStore("n1", Paper())
    local.submit(said(U, NOW), NOW)
    (change,) = local.tick(NOW + HOUR)
    assert change.status == NA, "too old by this clock"
    local.submit(said(U, NOW + HOUR), NOW + HOUR)
    local.tick(NOW)
    assert verdict(local) is None
    local.submit(said(H, NOW), NOW)
    assert verdict(local) == H


def test_a_moment_earlier_is_no_step() -> None:
    local = LocalStore("n1", Paper())
    local.submit(said(U, NOW + 50 * NS), NOW)
    local.tick(NOW - NS // 2)
    assert (verdict(local), local.counts["withdrawn"]) == (U, 0)


def test_what_a_wrong_clock_withdrew_comes_back_from_the_peers_once_it_is_right() -> None:
    stores = {name: LocalStore(name, Paper()) for name in ("n1", "n2")}
    sides = {name: Gossip(name, Random(1), local=local) for name, local in stores.items()}
    for name, side in sides.items():
        side.peers(stores.keys() - {name})

    def deliver(sender: str, sends: list[Send], now_ns: int) -> None:
        for send in sends:
            for to in send.to:
                new, answers = sides[to].on_message(sender, send.payload, now_ns)
                for report in new:
                    stores[to].merge(report, now_ns)
                deliver(to, answers, now_ns)

    for name, local in stores.items():
        report = local.submit(said(U, NOW, f"seen by {name}"), NOW)[1]
        deliver(name, sides[name].on_local([report], NOW), NOW)
    assert len(stores["n1"]) == len(stores["n2"]) == 2
    stores["n1"].tick(NOW - HOUR)
    sides["n1"].tick(NOW - HOUR)
    assert (len(stores["n1"]), len(sides["n1"])) == (0, 0)
    stores["n1"].tick(NOW + 2 * NS)
    for name, side in sides.items():
        deliver(name, side.tick(NOW + 2 * NS), NOW + 2 * NS)
    assert stores["n1"].panoramas() == stores["n2"].panoramas()
    assert {i.subject: i.status for i in stores["n1"].inferences()} == {"seen by n1": U, "seen by n2": U}
    assert len(sides["n1"]) == 2
