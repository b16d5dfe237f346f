"""`vagus experiment slo`: which runs there are, on which slices and with which injections."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.fixtures.slo_results_made import SERVICES, plan, results
from vagus.cli.experiment.slo_injections import aimed, timetable
from vagus.cli.experiment.slo_plan import check_same, left, product, turns
from vagus.cli.experiment.slo_results import Run
from vagus.cli.experiment.slo_variants import KNOWN
from vagus.config import CampaignSettings, InjectionSettings
from vagus.errors import ConfigError

# --- order and slices ------------------------------------------------------------------------------------------------


def test_each_seed_has_a_slice_of_its_own_and_begins_with_another_variant() -> None:
    found = turns(("a", "b", "c"), (1, 2, 3), 600.0, 300.0, 3600.0)
    assert [t.variant for t in found] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert [t.offset_s for t in found] == [600.0] * 3 + [900.0] * 3 + [1200.0] * 3


def test_slices_go_on_at_the_begin_of_the_trace_behind_its_end() -> None:
    assert [t.offset_s for t in turns(("a",), (1, 2, 3), 700.0, 300.0, 1000.0)] == [700.0, 0.0, 300.0]


def test_what_is_left_is_what_was_not_done_or_went_wrong() -> None:
    every = turns(("a", "b"), (1, 2), 0.0, 10.0, 100.0)
    done = results(Run(variant="a", seed=1, begun=""), Run(variant="b", seed=1, begun="", error="it broke"))
    assert [(t.variant, t.seed) for t in left(every, done)] == [("b", 1), ("b", 2), ("a", 2)]


def test_going_on_with_another_experiment_is_refused_and_a_further_variant_is_not() -> None:
    before = plan()
    check_same(before, plan(variants=(KNOWN["none"], KNOWN["aimd"], KNOWN["captain"])), Path("f"))
    with pytest.raises(ConfigError, match=r"f has results of another experiment: its slo_s is 0\.2, now 0\.1"):
        check_same(before, plan(slo_s=0.1), Path("f"))
    changed = msgspec.structs.replace(KNOWN["aimd"], start_cores=0.3)
    check_same(plan(files={"a.npz": "1"}), plan(files={"b.npz": "2"}), Path("f"))
    with pytest.raises(ConfigError, match=r"f has results of another a\.npz"):
        check_same(plan(files={"a.npz": "1"}), plan(files={"a.npz": "2"}), Path("f"))
    with pytest.raises(ConfigError, match="its variants is"):
        check_same(before, plan(variants=(KNOWN["none"], changed)), Path("f"))


def test_traces_are_multiplied_each_by_its_own_mean() -> None:
    text = product({"a": [1.0, 3.0], "b": [10.0, 10.0, 10.0]})
    assert [float(line) for line in text.split()] == [0.5, 1.5]


def test_traces_of_which_one_has_no_requests_where_the_other_has_are_refused() -> None:
    with pytest.raises(ConfigError, match="b: a trace without requests"):
        product({"a": [1.0, 3.0], "b": [0.0]})
    with pytest.raises(ConfigError, match="the product of a, b is a trace without requests"):
        product({"a": [1.0, 0.0], "b": [0.0, 1.0]})


# --- injections ------------------------------------------------------------------------------------------------------


def campaign(*lines: dict[str, Any], **more: Any) -> CampaignSettings:
    made = tuple(InjectionSettings(type="cpu", intensity="0.3 cores", **line) for line in lines)
    return CampaignSettings(name="c", injections=made, **more)


HOG = {"target": "service:any", "duration": "10s", "jitter": "5s"}


def test_a_seed_is_a_timetable_and_another_seed_another() -> None:
    settings = campaign(HOG, repeat=40, pause="20s")
    first = timetable(settings, SERVICES, 1, 300.0)
    assert first == timetable(settings, SERVICES, 1, 300.0)
    assert first != timetable(settings, SERVICES, 2, 300.0)
    assert len(first) == 9  # one in 35 s, the last one just within
    assert all(due.end_s <= 300.0 for due in first)
    hit = [due.settings.component for due in first]
    assert set(hit) <= set(SERVICES)
    assert all(a != b for a, b in pairwise(hit))
    # a longer run begins as a shorter one
    assert timetable(settings, SERVICES, 1, 900.0)[:9] == first


def test_a_service_becomes_its_group() -> None:
    line = {"target": "service:users", "duration": "5s", "at": "10s"}
    (due,) = aimed(timetable(campaign(line), SERVICES, 0, 60.0), {"users": "vagus-app-x/users/replica-0"})
    assert due.settings.target == "cgroup:vagus-app-x/users/replica-0"
    assert due.settings.component == "users"


@pytest.mark.parametrize("target", ["", "cgroup:web", "service:nobody", "users"])
def test_other_targets_are_refused_with_the_line(target: str) -> None:
    with pytest.raises(ConfigError, match=r"injections\[0\]: target .*service:front"):
        timetable(campaign({"target": target, "duration": "5s"}), SERVICES, 0, 60.0)
