"""One node's capacity, over all its controllers: raised as far as it goes, tightened always."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from vagus.actors.claims import NodeClaims
from vagus.config import GuardSettings
from vagus.controllers.claims import Claim, Claims, shareable
from vagus.controllers.guard import Guard
from vagus.model import Action, Target

A, B, C = (Target("cgroup", name) for name in ("a", "b", "c"))
CORES = "cpu_cores"


def claims(**held: float) -> Claims:
    found = Claims({CORES: 4.0})
    for name, value in held.items():
        found.claim(Claim(f"of-{name}", Target("cgroup", name), CORES, value))
    return found


def test_what_is_shared_out_is_overcommitted_as_far_as_told_and_less_what_is_reserved() -> None:
    has = {CORES: 4.0, "memory_bytes": 100.0}
    assert shareable(has, GuardSettings()) == has
    assert shareable(has, GuardSettings(overcommit=1.5, reserve={CORES: 1.0})) == {CORES: 5.0, "memory_bytes": 150.0}
    assert shareable(has, GuardSettings(reserve={CORES: 5.0}))[CORES] == 0.0


@pytest.mark.parametrize(
    ("wanted", "current", "granted"),
    [
        (2.0, 1.0, 2.0),  # it fits
        (3.0, 1.0, 2.5),  # as far as the node goes
        (0.5, 3.9, 0.5),  # tightening is always granted
        (3.0, 2.8, 2.8),  # nothing more, and nothing taken away
        (3.0, None, 2.5),  # unlimited so far
    ],
)
def test_what_fits_beside_others(wanted: float, current: float | None, granted: float) -> None:
    found = claims(a=1.0, c=0.5).grant("of-b", B, CORES, wanted, current, 0.1)
    assert found.value == granted
    assert bool(found.note) == (granted < wanted)


def test_who_has_no_limit_yet_is_given_the_least_on_a_full_node() -> None:
    assert claims(a=4.0).grant("of-b", B, CORES, 2.0, None, 0.1).value == 0.1


def test_two_controllers_do_not_steer_one_limit() -> None:
    found = claims(a=1.0).grant("other", A, CORES, 2.0, 1.0, 0.1)
    assert found.value is None
    assert "controller of-a steers cpu_cores of cgroup:a already" in found.note


def test_a_group_below_another_is_part_of_its_share() -> None:
    found = claims(a=3.0)
    below = Target("cgroup", "a/x")
    assert found.grant("of-x", below, CORES, 3.0, 1.0, 0.1).value == 3.0
    found.claim(Claim("of-x", below, CORES, 3.0))
    assert found.grant("of-b", B, CORES, 3.0, 0.5, 0.1).value == 1.0, "counted once"


def test_resources_without_capacity_are_not_shared_out() -> None:
    assert claims(a=4.0).grant("of-b", B, "net_bytes_s", 1e9, 1.0, 1.0).value == 1e9


def test_the_guard_says_when_the_node_is_full() -> None:
    grant = lambda target, resource, wanted, current, least: claims(a=3.0).grant(  # noqa: E731
        "of-b", target, resource, wanted, current, least
    )
    judged = Guard({}, {CORES: 4.0}).judge(Action(B, CORES, 3.0), 1.0, 0, grant=grant)
    assert judged.action is None
    assert judged.full
    assert judged.note == "held: the node has 4, others may use 3"


# --- shared by processes -------------------------------------------------------------------------------------------------


def shared(folder: Path, owner: str) -> NodeClaims:
    return NodeClaims(folder / "claims.json", owner, {CORES: 4.0})


def test_claims_are_seen_by_others_and_settled(tmp_path: Path) -> None:
    one, two = shared(tmp_path, "one"), shared(tmp_path, "two")
    assert one.grant(A, CORES, 3.0, 1.0, 0.1).value == 3.0
    assert two.grant(B, CORES, 2.0, 0.5, 0.1).value == 1.0
    one.settle({(A, CORES): 1.0})
    assert two.grant(B, CORES, 2.0, 0.5, 0.1).value == 2.0
    two.settle({})
    one.settle({})
    assert json.loads((tmp_path / "claims.json").read_text()) == []


def test_a_dry_look_claims_nothing(tmp_path: Path) -> None:
    one, two = shared(tmp_path, "one"), shared(tmp_path, "two")
    one.grant(A, CORES, 3.0, 1.0, 0.1, take=False)
    assert two.grant(B, CORES, 4.0, 0.5, 0.1).value == 4.0


def test_a_claim_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from vagus.actors.claims import NodeClaims; from vagus.model import Target;"
        "NodeClaims(Path(sys.argv[1]), 'gone', {'cpu_cores': 4.0}).grant(Target('cgroup', 'a'), 'cpu_cores', 3.0, 1.0, 0.1)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "claims.json")], check=True, timeout=60)
    assert json.loads((tmp_path / "claims.json").read_text())[0][0][0] == "gone"
    assert shared(tmp_path, "two").grant(B, CORES, 4.0, 0.5, 0.1).value == 4.0


def test_a_damaged_file_is_told_and_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "claims.json").write_text('[[["one"')
    one = shared(tmp_path, "one")
    assert one.grant(A, CORES, 3.0, 1.0, 0.1).value == 3.0
    assert shared(tmp_path, "two").grant(B, CORES, 2.0, 0.5, 0.1).value == 1.0
    nowhere = NodeClaims(tmp_path / "missing/claims.json", "x", {CORES: 4.0})
    assert nowhere.grant(A, CORES, 3.0, 1.0, 0.1).value == 3.0
    assert "cannot share" in nowhere.trouble


def _raise(folder: str, name: str) -> float:
    mine = shared(Path(folder), name)
    current = 0.1
    for _ in range(50):
        granted = mine.grant(Target("cgroup", name), CORES, current * 1.5, current, 0.1)
        current = granted.value or current
        mine.settle({(Target("cgroup", name), CORES): current})
    return current


def test_many_at_once_never_take_more_than_there_is(tmp_path: Path) -> None:
    for number in range(4):
        shared(tmp_path, f"c{number}").settle({(Target("cgroup", f"c{number}"), CORES): 0.1})
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        taken = pool.starmap(_raise, [(str(tmp_path), f"c{n}") for n in range(4)])
        assert sum(taken) <= 4.0 + 1e-9  # all of them are alive: their claims stand
    assert sum(taken) > 3.9
