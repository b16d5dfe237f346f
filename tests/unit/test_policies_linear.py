"""Contextual policies: what every registered one keeps, and LinUCB beside its formulas."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from vagus.errors import ConfigError
from vagus.model import Scalar
from vagus.policies import CONTEXTUAL, Contextual
from vagus.policies.encoding import Encoding, Place
from vagus.policies.linear import MAX_ARMS, MAX_MODEL_BYTES, LinearUCB

NAMES = list(CONTEXTUAL)
ARMS = ["a", "b:;\\é", "c", "d"]


def request(rng: np.random.Generator) -> dict[str, Scalar]:
    return {
        "isp": f"i{rng.integers(4)}",
        "mobile": bool(rng.random() < 0.5),
        "load": float(rng.normal(50.0, 20.0)),
        "hour": int(rng.integers(24)),
    }


def worth(features: dict[str, Scalar], arm: int) -> float:
    """Which arm is best depends on the provider and on the load."""
    return float(features["isp"] == f"i{arm}") + (0.02 * (float(features["load"]) - 50.0) if arm == 3 else 0.0)


def learned(name: str, seed: int = 1, *, rewards: int = 1500, offset: float = 0.0, scale: float = 1.0) -> Contextual:
    policy, rng = CONTEXTUAL.make(name), np.random.default_rng(seed)
    for at in range(rewards):
        features, arm = request(rng), int(rng.integers(4))
        policy.learn(features, ARMS[arm], offset + scale * (worth(features, arm) + rng.normal(0.0, 0.2)))
        if at % 20 == 19:
            policy.tick()
    return policy


def is_distribution(weights: list[float], count: int) -> bool:
    return len(weights) == count and min(weights) >= 0.0 and math.isclose(math.fsum(weights), 1.0, abs_tol=1e-9)


def probes(count: int = 20) -> list[dict[str, Scalar]]:
    rng = np.random.default_rng(9)
    return [request(rng) for _ in range(count)]


def close(one: Contextual, other: Contextual, tolerance: float = 1e-3) -> bool:
    return all(
        np.abs(np.subtract(one.weights(features, ARMS), other.weights(features, ARMS))).max() < tolerance
        for features in probes()
    )


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_probabilities_of_any_arms(name: str) -> None:
    odd: dict[str, Scalar] = {"isp": 3, "load": "heavy", "x": math.nan, "y": math.inf, "z": -(2**62), "ä": ""}
    many = [f"m{at}" for at in range(1000)]
    for policy in (CONTEXTUAL.make(name), learned(name, rewards=100)):
        for arms in (ARMS, ARMS[:1], ARMS[::-1], ["new"], many):
            for features in (odd, {}, *probes(2)):
                assert is_distribution(policy.weights(features, arms), len(arms))
        policy.learn(odd, "a", 1.0)
        assert is_distribution(policy.weights(odd, ARMS), 4)


@pytest.mark.parametrize("name", NAMES)
def test_the_best_arm_depends_on_the_request(name: str) -> None:
    policy = learned(name)
    for isp in range(3):
        weights = policy.weights({"isp": f"i{isp}", "mobile": True, "load": 20.0, "hour": 5}, ARMS)
        assert weights[isp] > 0.8
    assert policy.weights({"isp": "i0", "mobile": False, "load": 140.0, "hour": 5}, ARMS)[3] > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_never_seen_is_explored(name: str) -> None:
    policy = learned(name)
    assert policy.weights(probes(1)[0], [*ARMS, "new"])[4] > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_model_travels(name: str) -> None:
    policy, other = learned(name), CONTEXTUAL.make(name)
    other.load(policy.model())
    assert other.model() == policy.model()
    assert close(policy, other)
    rng = np.random.default_rng(4)
    for one in (policy, other):
        one.learn(request(rng), "a", 1.0)
        one.tick()
    assert is_distribution(other.weights(probes(1)[0], ARMS), 4)


@pytest.mark.parametrize("name", NAMES)
def test_two_halves_are_the_whole(name: str) -> None:
    policy, other = learned(name), CONTEXTUAL.make(name)
    other.absorb(policy.model(), 0.5)
    other.absorb(policy.model(), 0.5)
    assert close(policy, other)


@pytest.mark.parametrize("name", NAMES)
def test_what_others_learned_helps(name: str) -> None:
    mixed = learned(name, 1, rewards=700)
    mixed.absorb(learned(name, 2, rewards=800).model(), 1.0)  # other scales, other order of places
    for isp in range(3):
        weights = mixed.weights({"isp": f"i{isp}", "mobile": True, "load": 20.0, "hour": 5}, ARMS)
        assert weights[isp] > 0.8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("offset", "scale"), [(1e9, 1.0), (0.0, 1e-9), (0.0, 1e9), (-5.0, 3.0)])
def test_the_unit_of_rewards_does_not_matter(name: str, offset: float, scale: float) -> None:
    assert close(learned(name, rewards=600), learned(name, rewards=600, offset=offset, scale=scale))


@pytest.mark.parametrize("name", NAMES)
def test_the_world_may_change(name: str) -> None:
    policy, rng = CONTEXTUAL.make(name), np.random.default_rng(1)
    for best in ("a", "b:;\\é"):
        for _ in range(1200):
            features = request(rng)
            weights = policy.weights(features, ARMS)
            arm = ARMS[int(rng.choice(4, p=weights))]
            policy.learn(features, arm, float(arm == best) + rng.normal(0.0, 0.2))
            policy.tick()
        assert np.mean([policy.weights(features, ARMS)[ARMS.index(best)] for features in probes()]) > 0.7


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pair", [(1e100, -1e100), (1e-300, -1e-300), (1e15, 1e15 + 1), (0.0, 0.0)])
def test_extreme_rewards_stay_finite(name: str, pair: tuple[float, float]) -> None:
    policy = CONTEXTUAL.make(name)
    for at in range(60):
        policy.learn({"load": 10.0 ** (at % 90), "isp": str(at)}, "a", pair[at % 2])
        policy.tick()
        assert is_distribution(policy.weights({"load": 1e90, "isp": "3"}, ["a", "b"]), 2)
    other = CONTEXTUAL.make(name)
    other.load(policy.model())
    assert is_distribution(other.weights({"load": 1e90, "isp": "3"}, ["a", "b"]), 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_long_silence_does_no_harm(name: str) -> None:
    policy = learned(name, rewards=200)
    for _ in range(20_000):
        policy.tick()
    assert is_distribution(policy.weights(probes(1)[0], ARMS), 4)
    policy.learn(probes(1)[0], "a", 1.0)
    assert is_distribution(policy.weights(probes(1)[0], ARMS), 4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("reward", [math.nan, math.inf, -math.inf, 1e101])
def test_a_reward_that_is_no_number_is_refused(name: str, reward: float) -> None:
    policy = learned(name, rewards=50)
    before = policy.model()
    with pytest.raises(ConfigError, match="finite"):
        policy.learn({"isp": "new"}, "a", reward)
    assert policy.model() == before


@pytest.mark.parametrize("name", NAMES)
def test_other_models_are_refused_with_nothing_changed(name: str) -> None:
    policy = learned(name, rewards=50)
    before = policy.model()
    for broken in (b"", b"\x00", b"\xc1", before[:-1], before + b"x", b"x" * (MAX_MODEL_BYTES + 1)):
        with pytest.raises(ConfigError):
            policy.load(broken)
        with pytest.raises(ConfigError):
            policy.absorb(broken, 0.5)
    assert policy.model() == before


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_arms_and_values_makes_a_small_model(name: str) -> None:
    policy = CONTEXTUAL.make(name)
    for at in range(1200):
        policy.learn({f"f{at % 90}": f"{at}" * 100, "n": at, f"n{at}": 1.5}, f"arm{at % 1100}" * 20, float(at % 7))
    assert len(policy.model()) <= MAX_MODEL_BYTES
    other = CONTEXTUAL.make(name)
    other.load(policy.model())
    assert is_distribution(other.weights({"n": 3}, [f"arm{at}" * 20 for at in range(1000)]), 1000)


def parts(model: bytes) -> list[Any]:
    return msgspec.msgpack.decode(model, type=list[Any])


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 99),  # a format to come
        (1, 7),  # another dimension
        (2, [["n x", 1.0, 0.0, 0.0, 0.0, 0.0]]),  # a scale of 0
        (2, [[f"tx={at}"] for at in range(200)]),  # more places than there are
        (3, [-1.0, 0.0, 0.0]),
        (3, [math.nan, 0.0, 0.0]),
        (4, ["a", "a", "c", "d"]),
        (4, ["a"]),
        (5, b"123"),
    ],
)
def test_models_with_impossible_parts_are_refused(at: int, value: object) -> None:
    policy = learned("linear", rewards=50)
    broken = parts(policy.model())
    broken[at] = value
    with pytest.raises(ConfigError, match="linear model"):
        LinearUCB().load(msgspec.msgpack.encode(broken))


def test_nan_sums_are_refused() -> None:
    broken = parts(learned("linear", rewards=50).model())
    broken[5] = np.full(len(broken[5]) // 4, np.nan, "<f4").tobytes()
    with pytest.raises(ConfigError, match="linear model"):
        LinearUCB().load(msgspec.msgpack.encode(broken))


def test_probabilities_by_the_formulas() -> None:
    """Ridge regression over one number, and inverse gap weighting, by hand."""
    policy = LinearUCB(gamma=1.0, bonus=0.5, sharpness=2.0, ridge=1.0, dimension=4)
    rng = np.random.default_rng(3)
    seen: dict[str, list[tuple[float, float]]] = {"a": [], "b": []}
    for at in range(64):  # a power of two: the scale in use is that of all values
        value, arm = float(rng.normal()), "ab"[at % 2]
        reward = (value if arm == "a" else -value) + float(rng.normal())
        policy.learn({"x": value}, arm, reward)
        seen[arm].append((value, reward))
    values = np.array([value for arm in "ab" for value, _ in seen[arm]])
    rewards = np.array([reward for arm in "ab" for _, reward in seen[arm]])
    scores = []
    now = np.array([1.0, (0.3 - values.mean()) / values.std()])
    for arm in "ab":
        design = np.array([[1.0, (value - values.mean()) / values.std()] for value, _ in seen[arm]])
        inverse = np.linalg.inv(design.T @ design + np.eye(2))
        beta = inverse @ design.T @ (np.array([reward for _, reward in seen[arm]]) - rewards.mean())
        scores.append(float(beta @ now) / rewards.std() + 0.5 * math.sqrt(now @ inverse @ now))
    gap = abs(scores[0] - scores[1])
    less = 1.0 / (2.0 + 2.0 * math.sqrt(2 * 64 / 4) * gap)
    expected = [1.0 - less, less] if scores[0] > scores[1] else [less, 1.0 - less]
    assert policy.weights({"x": 0.3}, ["a", "b"]) == pytest.approx(expected, rel=0.02)


def test_what_is_old_counts_for_less() -> None:
    policy = LinearUCB(gamma=0.995)
    for _ in range(500):
        policy.learn({}, "a", 1.0)
    for _ in range(2000):
        policy.tick()
    for _ in range(20):
        policy.learn({}, "a", 0.0)
        policy.learn({}, "b", 0.5)
    assert policy.weights({}, ["a", "b"])[1] > 0.5  # all of a's rewards together have the mean .96


def test_of_two_alike_the_one_less_known_is_tried_more() -> None:
    rng = np.random.default_rng(1)
    policy = LinearUCB()
    for at in range(500):
        policy.learn({}, "b" if at % 100 == 0 else "a", float(rng.normal()) if at % 100 else 0.0)
    assert policy.weights({}, ["a", "b"])[1] > 0.8


def test_an_arm_never_seen_counts_as_the_mean_not_as_the_first_reward() -> None:
    policy = LinearUCB(bonus=0.0)
    policy.learn({}, "a", 50.0)
    for _ in range(500):
        policy.learn({}, "a", 1.0)
        policy.learn({}, "b", 0.0)
    shares = policy.weights({}, ["a", "b", "new"])
    assert shares[0] > shares[2] > shares[1]


def test_places_are_given_and_then_shared() -> None:
    encoding = Encoding(8)  # 1, five given, two shared
    for at in range(9):
        encoding.see({"isp": f"i{at}", "up": True} if at else {"x": 5.0})
    known = [encoding.vector({"isp": f"i{at}"}) for at in range(1, 9)]
    assert sum(np.flatnonzero(vector).tolist() == [0, place] for place, vector in enumerate(known, 2)) >= 1
    assert all(np.abs(vector[1:]).sum() == 1.0 for vector in known)
    assert len({tuple(vector) for vector in known}) > 4
    assert len(encoding.places) == 5


def test_no_two_values_share_a_place_whatever_signs_are_in_them() -> None:
    encoding = Encoding(16)
    pairs: list[tuple[str, Scalar]] = [("a", "b=c"), ("a=b", "c"), ("a:", "b;c"), ("a", ":b;c"), ("a", True), ("a", 1)]
    for name, value in pairs:
        encoding.see({name: value})
    assert len(encoding.places) == len(pairs)


def test_another_scale_is_an_exact_change() -> None:
    one, two = Encoding(8), Encoding(8)
    for encoding, centre in ((one, 10.0), (two, -3.0)):
        at = encoding.give(Place("nx"))
        encoding.rescaled(at, centre, 7.0 + centre / 10.0)
    old = one.vector({"x": 12.0})
    change = two.taking(one)
    assert change.T @ old == pytest.approx(two.vector({"x": 12.0}))
    change = one.rescaled(1, 11.0, 2.0)
    assert change.T @ old == pytest.approx(one.vector({"x": 12.0}))


def test_numbers_far_away_are_cut() -> None:
    encoding = Encoding(8)
    for at in range(64):
        encoding.see({"x": float(at % 2)})
    assert abs(encoding.vector({"x": 1e90})[1]) <= 4.0


def test_the_arm_of_which_least_is_known_makes_room() -> None:
    policy = LinearUCB(dimension=2, gamma=0.9)
    for at in range(MAX_ARMS):
        policy.learn({}, f"a{at}", 1.0)
        if at == 0:
            policy.learn({}, "a0", 1.0)
    policy.learn({}, "more", 1.0)
    assert len(policy.arms) == MAX_ARMS
    assert {"a0", "more"} <= set(policy.arms)
    assert sorted(policy.arms.values()) == list(range(MAX_ARMS))


@pytest.mark.parametrize(
    "options",
    [{"gamma": 0}, {"bonus": -1}, {"sharpness": math.nan}, {"ridge": 0}, {"dimension": 0}, {"dimension": 500}],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="linear"):
        CONTEXTUAL.make("linear", **options)
