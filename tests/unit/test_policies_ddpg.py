"""DDPG: what it learns, what it refuses, and that chance is the seed's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vagus.errors import ConfigError, PolicyError
from vagus.policies.ddpg import DDPG
from vagus.policies.hyper import Hyper
from vagus.policies.noise import Noise
from vagus.policies.replay import Replay

QUICK = {"actor_rate": 3e-3, "critic_rate": 1e-2, "tau": 0.05, "warmup": 1}


def filled(model: DDPG, count: int = 200, seed: int = 0, done: float = 0.0) -> DDPG:
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-1, 1, (count, 2 * model.state_dim + model.action_dim + 2)).astype(np.float32)
    rows[:, -1] = done
    model.remember_all(rows)
    return model


# --- what it learns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hyper",
    [{}, {"joins": 0}, {"critics": 2, "delay": 2, "smoothing": 0.1, "joins": 0}],
    ids=["plain", "joins-0", "td3"],
)
def test_it_finds_the_best_action_of_a_bandit_that_depends_on_the_state(hyper: dict[str, object]) -> None:
    model = DDPG(1, 2, 1, **QUICK, **hyper)
    rng = np.random.default_rng(2)
    states = rng.uniform(-1, 1, (2000, 1)).astype(np.float32)
    actions = rng.uniform(-1, 1, (2000, 2)).astype(np.float32)
    best = np.hstack([0.5 * states, np.full_like(states, -0.3)])
    model.remember_all(states, actions, -((actions - best) ** 2).sum(1), states, np.ones(2000))
    model.learn(1500)
    found = model.act_all([[-0.8], [0.0], [0.8]], explore=False)
    np.testing.assert_allclose(found, [[-0.4, -0.3], [0.0, -0.3], [0.4, -0.3]], atol=0.12)


@pytest.mark.parametrize("joins", [0, 1])
def test_it_steers_a_linear_system_about_as_well_as_the_exact_solution(joins: int) -> None:
    """x' = x + 0.5 a, paid -x² - 0.1 a²: the discounted Riccati equation, iterated, is the peer."""
    gamma, worth = 0.9, 0.0
    for _ in range(1000):
        gain = gamma * worth * 0.5 / (0.1 + gamma * worth * 0.25)
        worth = 1.0 + gamma * worth - gamma * worth * 0.5 * gain

    def cost(act: object) -> float:
        total = 0.0
        for x in (-0.9, -0.4, 0.5, 0.8):
            for step in range(40):
                a = max(min(float(act(x)), 1.0), -1.0)  # type: ignore[operator]
                total += gamma**step * (x * x + 0.1 * a * a)
                x += 0.5 * a
        return total

    model = DDPG(1, 1, 3, **QUICK, gamma=gamma, joins=joins)
    rng = np.random.default_rng(7)
    x, a = rng.uniform(-1.2, 1.2, (2000, 1)), rng.uniform(-1, 1, (2000, 1))
    model.remember_all(x, a, -(x * x + 0.1 * a * a)[:, 0], x + 0.5 * a, np.zeros(2000))
    model.learn(1500)
    best = cost(lambda x: -gain * x)
    assert best <= cost(lambda x: model.act([x], False)[0]) < (1.1 if joins == 0 else 1.4) * best
    assert cost(lambda x: 0.0) > 2.9 * best  # the bound above means something


@pytest.mark.parametrize(("done", "worth"), [(True, 1.0), (False, 2.0)])
def test_after_the_end_nothing_follows_and_after_a_cut_it_goes_on(done: bool, worth: float) -> None:
    model = DDPG(1, 1, 0, **QUICK, gamma=0.5)
    for _ in range(64):
        model.remember([0.3], [0.0], 1.0, [0.3], done)
    model.learn(600)
    assert -model.learn()["actor"] == pytest.approx(worth, abs=0.05)


def test_it_imitates_and_keeps_a_slope_where_the_log_has_none() -> None:
    model = DDPG(2, 2, 0, actor_rate=5e-3)
    rng = np.random.default_rng(0)
    states = rng.uniform(-1, 1, (500, 2)).astype(np.float32)
    before = model.weights()
    losses = model.imitate(states, np.hstack([np.ones((500, 1)), states[:, :1] / 2]), 800)
    assert losses["imitation"] < 0.01
    found = model.act_all([[0.8, 0.1], [-0.8, 0.1]], explore=False)
    np.testing.assert_allclose(found, [[0.97, 0.4], [0.97, -0.4]], atol=0.02)
    assert model.weights() != before
    np.testing.assert_array_equal(model._target_actor.flat, model._actor.flat)
    assert model.imitate(states, states, 0) == {}
    with pytest.raises(ConfigError, match=r"actions \(500, 1\) to imitate"):
        model.imitate(states, states[:, :1], 1)
    with pytest.raises(PolicyError, match="an action with numbers"):
        model.imitate(states, np.full((500, 2), np.nan), 1)


def test_a_critic_learns_alone_where_that_is_asked() -> None:
    model = filled(DDPG(2, 1, 0))
    actor = model._actor.flat.copy()
    assert model.learn(20, actor=False).keys() == {"critic"}
    np.testing.assert_array_equal(model._actor.flat, actor)
    assert model.learn(20).keys() == {"critic", "actor"}
    assert (model._actor.flat != actor).any()
    assert model.steps == 40


def test_with_a_delay_the_actor_and_the_targets_move_only_every_so_many_updates() -> None:
    model = filled(DDPG(2, 1, 0, delay=3))
    target, actor = model._target.copy(), model._actor.flat.copy()
    assert "actor" not in model.learn(2)
    np.testing.assert_array_equal(model._target, target)
    np.testing.assert_array_equal(model._actor.flat, actor)
    assert "actor" in model.learn(1)
    assert (model._target != target).any()


def test_targets_begin_equal_and_follow_slowly() -> None:
    model = filled(DDPG(3, 2, 0, tau=0.1))
    np.testing.assert_array_equal(model._target, model._flat)
    before = model._target.copy()
    model.learn()
    np.testing.assert_allclose(model._target, before + 0.1 * (model._flat - before), rtol=1e-4, atol=1e-8)


def test_last_layers_begin_small_and_the_others_by_their_inputs() -> None:
    model = DDPG(16, 2, 0)
    first, _, last = model._actor.layers
    assert 0.002 < np.abs(last).max() <= 0.003
    assert 0.2 < np.abs(first).max() <= 0.25
    assert np.abs(DDPG(16, 2, 0, final=0)._actor.layers[-1]).max() > 0.1
    # FIRM's critic: 40, then 40 + action, then 1
    assert [layer.shape for layer in model._critics[0].layers] == [(40, 17), (40, 43), (1, 41)]


def test_it_waits_for_its_warm_up() -> None:
    model = DDPG(2, 1, 0, warmup=50)
    filled(model, 49)
    assert model.learn(5) == {}
    assert model.steps == 0
    filled(model, 1)
    assert model.learn(5)["critic"] > 0
    assert model.learn(0) == {}
    assert model.steps == 5


# --- acting ----------------------------------------------------------------------------------------------------------


def test_actions_are_within_one_and_the_same_one_by_one_or_together() -> None:
    model = DDPG(4, 3, 5, final=0, sigma=3.0)
    states = np.random.default_rng(1).uniform(-2, 2, (6, 4))
    together = model.act_all(states, explore=False)
    assert together.shape == (6, 3)
    assert together.dtype == np.float32
    for state, action in zip(states, together, strict=True):
        np.testing.assert_allclose(model.act(state, explore=False), action, rtol=1e-5, atol=1e-6)
    wild = np.concatenate([model.act_all(states), [model.act(state) for state in states]])
    assert np.abs(wild).max() == 1.0
    assert (np.abs(wild - np.tile(together, (2, 1))) > 0.01).any()


def test_an_action_is_the_callers_own() -> None:
    model = DDPG(2, 1, 0)
    first = model.act([0.1, 0.2], explore=False)
    kept = first.copy()
    model.act([0.9, -0.9], explore=False)
    np.testing.assert_array_equal(first, kept)
    many = model.act_all([[0.1, 0.2]], explore=False)
    kept = many.copy()
    model.act_all([[0.9, -0.9]], explore=False)
    np.testing.assert_array_equal(many, kept)


def test_chance_is_the_seeds() -> None:
    def lived(seed: int) -> bytes:
        model = DDPG(2, 1, seed)
        for _ in range(80):
            action = model.act([0.1, 0.2])
            model.remember([0.1, 0.2], action, float(action[0]), [0.2, 0.1], False)
            model.learn()
        return model.weights()

    assert lived(1) == lived(1)
    assert lived(1) != lived(2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_states_that_are_not_numbers_are_refused(bad: float) -> None:
    model = DDPG(2, 1, 0)
    with pytest.raises(PolicyError, match="a state with numbers that are not finite"):
        model.act([0.0, bad])
    with pytest.raises(PolicyError, match="a state with numbers that are not finite"):
        model.act_all([[0.0, 0.0], [0.0, bad]])
    assert np.isfinite(model.act([0.0, 1e30])).all()  # a number, though a large one
    assert np.isfinite(model.act_all([[0.0, 1e30]])).all()


@pytest.mark.parametrize("place", range(5))
def test_transitions_with_what_is_no_number_are_refused_and_not_remembered(place: int) -> None:
    model = DDPG(1, 1, 0)
    given: list[object] = [[0.0], [0.0], 0.0, [0.0], 0.0]
    given[place] = [math.nan] if place in (0, 1, 3) else math.nan
    with pytest.raises(PolicyError, match="a transition with numbers that are not finite"):
        model.remember(*given)  # type: ignore[arg-type]
    rows = np.zeros((3, 5))
    rows[1, place] = math.inf
    with pytest.raises(PolicyError, match="a transition with numbers that are not finite"):
        model.remember_all(rows)
    assert model.replay.size == 0


def test_shapes_that_do_not_fit_are_refused() -> None:
    model = DDPG(3, 1, 0)
    with pytest.raises(ConfigError, match=r"a state of shape \(1,\); it must be \(3,\)"):
        model.act([1.0])
    with pytest.raises(ConfigError, match=r"states of shape \(3,\); they must be \(n, 3\)"):
        model.act_all([1.0, 2.0, 3.0])
    with pytest.raises(ConfigError, match=r"transitions of shape \(2, 8\); they must be \(n, 9\)"):
        model.remember_all(np.zeros((2, 8)))
    model.remember_all(np.zeros((0, 9)))
    assert model.act_all(np.zeros((0, 3))).shape == (0, 1)


def test_huge_rewards_do_not_break_it() -> None:
    model = filled(DDPG(2, 1, 0, critic_rate=1e-2))
    rows = np.zeros((50, 7), np.float32)
    rows[:, 3] = np.linspace(-1e30, 1e30, 50)
    model.remember_all(rows)
    model.remember([0.0, 0.0], [0.0], 3e38, [0.0, 0.0], False)
    for _ in range(10):
        assert all(math.isfinite(loss) for loss in model.learn(100).values())
    assert np.isfinite(model.act([0.5, 0.5])).all()


def test_a_callers_rows_stay_as_they_were() -> None:
    rows = np.full((2, 5), 1e30, np.float32)
    DDPG(1, 1).remember_all(rows)
    assert (rows == np.float32(1e30)).all()


def test_values_stay_within_what_rewards_make_possible() -> None:
    """Targets are cut, so that a critic that has run away comes back."""
    model = filled(DDPG(1, 1, 0, **QUICK))
    for critic in (*model._critics, *model._target_critics):
        critic.flat[-1] = 1e6  # its last bias
    model._sample()
    model._learn_critics()
    assert 0 < model._values.max() <= model._highest / (1 - 0.9) < 11
    for critic in model._target_critics:
        critic.flat[-1] = -1e6
    model._learn_critics()
    assert model._lowest / (1 - 0.9) == pytest.approx(model._values.min())
    assert -11 < model._values.min() < 0


def test_of_two_critics_the_lesser_counts() -> None:
    model = filled(DDPG(1, 1, 0, **QUICK, gamma=0.5, critics=2))
    for critic, always in zip(model._target_critics, (0.2, 0.6), strict=True):
        critic.flat[:] = 0.0
        critic.flat[-1] = always  # its last bias
    model._sample()
    model._learn_critics()
    np.testing.assert_allclose(model._values, model._rewards + 0.5 * 0.2, atol=1e-6)


def test_networks_that_diverged_are_told() -> None:
    model = filled(DDPG(2, 1, 0))
    model._critics[0].flat[:] = 1e30
    with pytest.raises(PolicyError, match="the networks diverged; load a checkpoint"):
        model.learn()
    model._actor.flat[:] = np.nan
    with pytest.raises(PolicyError, match="the model's action is not a number; load another checkpoint"):
        model.act([0.0, 0.0])
    with pytest.raises(PolicyError, match="the model's action is not a number"):
        model.act_all([[0.0, 0.0]], explore=False)


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyper", "said"),
    [
        ({"gama": 0.9}, "unknown field `gama`.*options: actor_layers, "),
        ({"gamma": 1.0}, r"<= 0.9999 - at `\$.gamma`"),
        ({"actor_layers": [0]}, r"`\$.actor_layers\[0\]`"),
        ({"actor_layers": []}, r"length >= 1 - at `\$.actor_layers`"),
        ({"critic_rate": math.nan}, r"`\$.critic_rate`"),
        ({"batch": True}, r"got `bool` - at `\$.batch`"),
        ({"noise": "pink"}, "Invalid enum value 'pink'"),
        ({"joins": 3}, "hyper.joins=3: the critic has layers 0 to 2"),
        ({"memory": 10_000_000}, r"hyper.memory=10000000: .* more than 512 MiB; remember fewer"),
        ({"actor_layers": [1024, 1024, 1024]}, "networks of .* numbers; at most 1048576"),
    ],
)
def test_options_that_cannot_be_are_named(hyper: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        DDPG(20, 2, **hyper)


@pytest.mark.parametrize("dims", [(0, 1), (1, 0), (1001, 1), (1.5, 1)])
def test_dimensions_that_cannot_be_are_named(dims: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"(state|action)_dim=.* must be a whole number from 1 to 1000"):
        DDPG(*dims)


def test_the_defaults_are_firms() -> None:
    h = Hyper()
    assert (h.actor_layers, h.critic_layers, h.joins, h.final) == ((40, 40), (40, 40), 1, 0.003)
    assert (h.actor_rate, h.critic_rate, h.batch, h.memory) == (3e-4, 3e-3, 64, 100_000)
    assert (h.gamma, h.tau, h.noise, h.theta, h.sigma) == (0.9, 0.001, "ou", 0.15, 0.2)
    assert DDPG(2, 1, actor_layers=[8, 9]).hyper.actor_layers == (8, 9)  # as YAML gives them


# --- its parts -------------------------------------------------------------------------------------------------------


def test_noise_lingers_as_it_should() -> None:
    rng, noise = np.random.default_rng(0), Noise(0.15, 0.2)
    seen = np.array([noise.next(rng, (3,)) for _ in range(20_000)])
    late = seen[200:]
    assert late.std() == pytest.approx(0.2 / math.sqrt(1 - 0.85**2), rel=0.05)
    assert np.corrcoef(late[1:, 0], late[:-1, 0])[0, 1] == pytest.approx(0.85, abs=0.02)
    assert abs(np.corrcoef(late[:, 0], late[:, 1])[0, 1]) < 0.06
    plain = np.array([Noise(1.0, 0.2).next(rng, (1,))[0] for _ in range(10_000)])
    assert plain.std() == pytest.approx(0.2, rel=0.05)
    noise.begin()
    assert np.abs(noise.next(rng, (3,))).max() < 1.0
    assert noise.next(rng, (4, 2)).shape == (4, 2)


def test_the_replay_keeps_the_last_rows_whatever_their_number() -> None:
    kept, expected = Replay(5, 1), []
    for count in (1, 3, 0, 4, 5, 12, 2):
        rows = np.arange(len(expected), len(expected) + count, dtype=np.float32)
        kept.add(rows[:, None])
        expected += rows.tolist()
        assert sorted(kept.kept()[:, 0].tolist()) == expected[-5:]
    kept.add_one(np.array([99.0], np.float32))
    assert sorted(kept.kept()[:, 0].tolist()) == [*expected[-4:], 99.0]


def test_samples_are_even_and_only_of_what_is_there() -> None:
    kept, rng = Replay(1000, 2), np.random.default_rng(0)
    kept.add(np.stack([np.arange(10), -np.arange(10)], 1).astype(np.float32))
    out = np.empty((10_000, 2), np.float32)
    kept.sample(rng, out)
    np.testing.assert_array_equal(out[:, 0], -out[:, 1])
    counts = np.bincount(out[:, 0].astype(int), minlength=10)
    assert len(counts) == 10
    assert (abs(counts - 1000) < 150).all()
