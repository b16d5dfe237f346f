"""Limits that are wished from outside: what stands, what is refused, and what happens when nobody speaks any more."""

from __future__ import annotations

import math
import threading

import pytest

from vagus.config import ControllerSettings, LimitSettings
from vagus.controllers.joint import JointController
from vagus.controllers.load import load
from vagus.controllers.view import Snapshot
from vagus.errors import ConfigError, PolicyError
from vagus.model import Action, Target
from vagus.policies import Field, Wish
from vagus.policies.remote import Remote

WEB, DB = "cgroup:shop/web", "cgroup:shop/db"
FIELD = Field((WEB, DB), {"cpu_cores": (0.1, 2.0), "llc_ways": (1, 8)})
SEEN = {WEB: {"usage_cores": 0.2}, DB: {"usage_cores": 0.1}}


def made(**options: object) -> Remote:
    return Remote(FIELD, None, **options)  # type: ignore[arg-type]


def test_until_the_first_word_it_waits_for_ever():
    policy = made(silence="1s")
    assert list(policy.step(SEEN, {}, 0.0)) == []
    assert list(policy.step(SEEN, {}, 1e6)) == []


def test_a_wish_stands_until_another_comes():
    policy = made()
    assert policy.tell([Wish(WEB, "cpu_cores", 0.5), Wish(DB, "llc_ways@1", 2)]) == 1
    for now_s in (1.0, 2.0):
        assert set(policy.step(SEEN, {}, now_s)) == {Wish(WEB, "cpu_cores", 0.5), Wish(DB, "llc_ways@1", 2)}
    policy.tell([Wish(WEB, "cpu_cores", 0.9)])
    assert {(w.target, w.value) for w in policy.step(SEEN, {}, 3.0)} == {(WEB, 0.9), (DB, 2)}
    assert policy.taken == policy.told == 2
    assert [w.target for w in policy.step({WEB: SEEN[WEB]}, {}, 4.0)] == [WEB], "what cannot be seen is left alone"


def test_silence_is_a_failure_and_what_was_wished_before_it_is_forgotten():
    policy = made(silence="2s")
    policy.tell([Wish(WEB, "cpu_cores", 0.5)])
    assert list(policy.step(SEEN, {}, 10.0))
    assert list(policy.step(SEEN, {}, 12.0)), "not longer than the silence"
    for now_s in (12.1, 13.0):
        with pytest.raises(PolicyError, match=r"nothing was heard for .* s .*silence is 2 s.*POST /v1/action"):
            policy.step(SEEN, {}, now_s)
    policy.tell([])
    assert list(policy.step(SEEN, {}, 14.0)) == []


def test_a_word_without_wishes_keeps_what_stands():
    policy = made(silence="2s")
    policy.tell([Wish(WEB, "cpu_cores", 0.5)])
    for now_s in range(0, 20, 2):
        assert list(policy.step(SEEN, {}, now_s)) == [Wish(WEB, "cpu_cores", 0.5)]
        policy.tell([])


def test_a_step_that_comes_late_is_not_the_outsiders_silence():
    policy = made(silence="1s")
    policy.tell([Wish(WEB, "cpu_cores", 0.5)])
    list(policy.step(SEEN, {}, 0.0))
    policy.tell([Wish(WEB, "cpu_cores", 0.6)])
    assert list(policy.step(SEEN, {}, 60.0)) == [Wish(WEB, "cpu_cores", 0.6)]


@pytest.mark.parametrize(
    ("wish", "match"),
    [
        (Wish("cgroup:other", "cpu_cores", 1.0), r"actions\[1\].*'cgroup:other' is not steered here.*shop/web"),
        (Wish(WEB, "memory_bytes", 1e9), r"actions\[1\].*'memory_bytes'.*cpu_cores"),
        (Wish(WEB, "cpu_cores", 0.0), "not a limit"),
        (Wish(WEB, "cpu_cores", -1.0), "not a limit"),
        (Wish(WEB, "cpu_cores", math.nan), "not a limit"),
        (Wish(WEB, "cpu_cores", math.inf), "not a limit"),
        (Wish(WEB, "cpu_cores", 1.0, "", 1.5), "confidence"),
        (Wish(WEB, "cpu_cores", 1.0, "", math.nan), "confidence"),
    ],
)
def test_one_that_is_wrong_spoils_all(wish: Wish, match: str):
    policy = made()
    with pytest.raises(ConfigError, match=match):
        policy.tell([Wish(WEB, "cpu_cores", 0.5), wish])
    assert policy.told == 0
    assert list(policy.step(SEEN, {}, 0.0)) == []


@pytest.mark.parametrize("silence", ["0s", "soon", True, None, 1e9, math.nan, -1])
def test_silence_is_a_duration(silence: object):
    with pytest.raises(ConfigError):
        made(silence=silence)


def test_without_bounds_cores_are_steered():
    policy = Remote(Field((WEB,), {}))
    policy.tell([Wish(WEB, "cpu_cores", 0.5)])
    with pytest.raises(ConfigError, match="llc_ways"):
        policy.tell([Wish(WEB, "llc_ways", 2)])


def test_words_from_many_threads_are_all_taken():
    policy, over = made(), threading.Event()
    seen: list[int] = []

    def steps() -> None:
        while not over.is_set():
            list(policy.step(SEEN, {}, 0.0))
            seen.append(policy.taken)

    stepping = threading.Thread(target=steps)
    stepping.start()
    tellers = [
        threading.Thread(target=lambda: [policy.tell([Wish(WEB, "cpu_cores", 0.5)]) for _ in range(200)])
        for _ in range(4)
    ]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    over.set()
    stepping.join()
    assert seen == sorted(seen)
    list(policy.step(SEEN, {}, 0.0))
    assert policy.taken == policy.told == 800


def test_what_is_wished_passes_the_shield_which_does_nothing_by_itself_before():
    web = Target.parse(WEB)
    settings = ControllerSettings(
        name="c", policy="remote", targets=(WEB, DB), limits={"cpu_cores": LimitSettings(min=0.1, max=2.0)}
    )
    controller = load(settings)
    assert isinstance(controller, JointController)
    assert isinstance(controller.policy, Remote)

    def wanted(usage: float, throttled: float) -> list[Action]:
        seen = {"usage_cores": usage, "limit_cores": 0.5, "throttled_ratio": throttled, "elapsed_s": 1.0}
        return [a for a in controller.step(Snapshot("n", 0, by_target={web: seen})) if isinstance(a, Action)]

    for _ in range(3):
        assert wanted(0.5, 0.9) == [], "nobody has said anything yet"
    controller.policy.tell([Wish(WEB, "cpu_cores", 0.2, "cheap")])
    (kept,) = wanted(0.4, 0.0)
    assert kept.value == pytest.approx(0.42)
    assert "uses 0.4 cores (the policy wished 0.2)" in kept.reason
    controller.policy.tell([Wish(WEB, "cpu_cores", 0.45, "less")])
    (own,) = wanted(0.4, 0.0)
    assert (own.value, own.reason) == (0.45, "remote: less")
