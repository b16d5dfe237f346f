"""Protect: less for the neighbour while others suffer, more when they have been well; wrong options are refused."""

from __future__ import annotations

import math

import msgspec
import pytest

from vagus.controllers.protect import Protect
from vagus.controllers.view import Snapshot
from vagus.errors import ConfigError
from vagus.model import Inference, Receipt, Status, Target

TARGET = Target.parse("cgroup:hog")


def view(status: Status | None, *receipts: Receipt) -> Snapshot:
    found = [] if status is None else [Inference("db", 1, status, {}, ("me",))]
    return Snapshot("a", 1, [], found, list(receipts))


def receipt(after: float | None, *, resource: str = "cpu_cores", error: str = "") -> Receipt:
    return Receipt(
        t_ns=1, node="a", controller="p", actuator="dry", target=TARGET, resource=resource,
        before=None, requested=after, after=after, dry=True, reason="", error=error,
    )  # fmt: skip


def asked(protect: Protect, seen: Snapshot) -> list[float]:
    return [action.value for action in protect.step(seen)]


def test_it_halves_while_they_suffer_and_gives_back_slowly_when_all_is_well():
    protect = Protect(["db"], "cgroup:hog", high=4.0, increase=0.5, patience=2)
    assert asked(protect, view(Status.UNHEALTHY)) == [2.0]
    assert asked(protect, view(Status.UNHEALTHY, receipt(2.0))) == [1.0]
    assert asked(protect, view(Status.HEALTHY, receipt(1.0))) == []
    assert asked(protect, view(Status.HEALTHY)) == []
    assert asked(protect, view(Status.HEALTHY)) == [1.5]


@pytest.mark.parametrize("status", [None, Status.NA, Status.PENDING])
def test_who_is_not_known_asks_for_nothing(status):
    assert asked(Protect(["db"], "cgroup:hog"), view(status)) == []


def test_what_the_kernel_made_of_it_is_where_it_stands():
    protect = Protect(["db"], "cgroup:hog", high=4.0, low=0.5)
    asked(protect, view(Status.UNHEALTHY, receipt(1.0)))
    assert asked(protect, view(Status.UNHEALTHY, receipt(9.0, resource="memory_bytes"))) == [0.5]
    assert asked(protect, view(Status.UNHEALTHY, receipt(3.0, error="refused"))) == [0.5]
    assert asked(protect, view(Status.UNHEALTHY, receipt(None))) == [2.0], "the limit was lifted meanwhile"


@pytest.mark.parametrize(
    "options",
    [{"subjects": "db"}, {"subjects": []}, {"low": 0.0}, {"low": 2.0}, {"high": math.inf}, {"factor": 1.0}, {"increase": 0.0}],
)  # fmt: skip
def test_wrong_options_are_refused(options):
    with pytest.raises(ConfigError, match="protect:"):
        Protect(**{"subjects": ["db"], "target": "cgroup:hog", **options})


def test_a_held_dry_wish_does_not_make_it_forget_what_it_would_have_set():
    protect = Protect(["db"], "cgroup:hog", high=4.0)
    assert asked(protect, view(Status.UNHEALTHY)) == [2.0]
    held = msgspec.structs.replace(receipt(None), note="held: cool-down")
    assert asked(protect, view(Status.UNHEALTHY, receipt(2.0), held)) == [1.0]
    assert asked(protect, view(Status.UNHEALTHY, msgspec.structs.replace(held, dry=False))) == [2.0]
