"""Whatever the features, arms and weights: groups never collide, answers are feasible, propensities exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vagus.clock import ManualClock
from vagus.controllers.decide.decider import Decider
from vagus.controllers.decide.features import group_of
from vagus.controllers.decide.learner import Learner
from vagus.controllers.decide.outstanding import Outstanding
from vagus.controllers.decide.records import ArmSet, Grouping, Outcome, Row, TableUpdate
from vagus.controllers.decide.table import DecisionTable, decode_update, encode_update
from vagus.model import Ack, Decision, Scalar
from vagus.policies import BANDITS

text = st.text(alphabet=":;\\?#ab,= é", max_size=6)
names = st.text(alphabet=":;\\abcdé ", min_size=1, max_size=4)
arm_lists = st.lists(names, min_size=1, max_size=8, unique=True)
weights = st.floats(0.0, 1.0)


class _Edge(Random):
    """Returns the ends of [0, 1) as well."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__(0)
        self._next = list(values)

    def random(self) -> float:
        return self._next.pop() if self._next else super().random()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.none() | text, st.none() | text, st.none() | text), min_size=2, max_size=2, unique=True))
def test_different_values_are_different_groups(rows: list[tuple[str | None, ...]]) -> None:
    keys = ("isp", "city", "os")
    one, other = ({k: v for k, v in zip(keys, row, strict=True) if v is not None} for row in rows)
    assert group_of(one, keys) != group_of(other, keys)


@settings(deadline=None, max_examples=50)
@given(
    arm_lists,
    st.dictionaries(names, weights, min_size=1, max_size=8).filter(lambda table: any(table.values())),
    st.booleans(),
    st.lists(st.sampled_from([0.0, 1.0 - 2.0**-53, 0.5]), max_size=3),
)
def test_answers_are_feasible_and_propensities_are_what_the_table_says(
    arms: list[str], weights: dict[str, float], known: bool, edges: list[float]
) -> None:
    table = DecisionTable(_Edge(edges), ("isp",))
    table.apply(TableUpdate(1, 0, None, {"x": Row(tuple(weights), tuple(weights.values()))}))
    seen = {}
    for _ in range(40):
        decision = table.decide({"isp": "x" if known else "y"}, arms, 0)
        assert decision.arm in arms
        assert 0.0 < decision.propensity <= 1.0
        seen[decision.arm] = decision.propensity
    present = math.fsum(weights.get(arm, 0.0) for arm in arms)
    for arm, propensity in seen.items():
        if not known or not present or arm not in weights:
            expected = 1 / len(arms)
        else:
            expected = weights[arm] / present * sum(a in weights for a in arms) / len(arms)
        assert math.isclose(propensity, expected, rel_tol=1e-9)
    assert math.fsum(seen.values()) <= 1.0 + 1e-9


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(text, st.dictionaries(names, st.floats(0.1, 1.0), min_size=1, max_size=5), max_size=5), st.data()
)
def test_an_update_round_trips(groups: dict[str, dict[str, float]], data: st.DataObject) -> None:
    rows = {
        group: Row(tuple(table), tuple(table.values()), (ArmSet(tuple(table), tuple(table.values())),))
        for group, table in groups.items()
    }
    version = data.draw(st.integers(1, 2**62))
    update = TableUpdate(version, 0, Grouping(group_by=("isp",)), rows, tuple(data.draw(st.lists(text, max_size=3))))
    assert decode_update(encode_update(update)) == update
    table = DecisionTable(Random(0))
    table.apply(update)
    kept = {group: row for group, row in rows.items() if group not in update.gone}
    assert table.full() == TableUpdate(version, 0, Grouping(group_by=("isp",)), kept)


@settings(deadline=None, max_examples=30)
@given(
    st.dictionaries(names, st.sampled_from([0.0, 0.1, 0.25, 0.7, 1.0, 3.0]), min_size=2, max_size=6).filter(
        lambda table: any(table.values())
    ),
    st.integers(0, 1000),
    st.data(),
)
def test_propensities_are_the_frequencies_of_draws(weights: dict[str, float], seed: int, data: st.DataObject) -> None:
    table = DecisionTable(Random(seed))
    table.apply(TableUpdate(1, 0, None, {"": Row(tuple(weights), tuple(weights.values()))}))
    arms = data.draw(st.permutations([*weights, "new"]))[: data.draw(st.integers(1, len(weights) + 1))]
    counts: dict[str, int] = {}
    propensity: dict[str, float] = {}
    for _ in range(2000):
        made = table.decide({}, arms, 0)
        counts[made.arm] = counts.get(made.arm, 0) + 1
        assert propensity.setdefault(made.arm, made.propensity) == made.propensity
    left = 1.0 - math.fsum(propensity.values())  # of arms that were not drawn
    chi_square = sum((counts[arm] - 2000 * share) ** 2 / (2000 * share) for arm, share in propensity.items())
    assert -1e-9 <= left < 0.01
    assert chi_square < 40.0  # of at most 6 degrees of freedom: once in a million


_groups = st.sampled_from(["x", "y", ":;"])
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), _groups, st.lists(names, min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("reward"), st.integers(0, 9), st.floats(-1e100, 1e100)),
        st.tuples(st.just("tick")),
        st.tuples(st.just("move"), _groups, _groups),
        st.tuples(st.just("drop"), _groups),
        st.tuples(st.just("restart")),
    ),
    max_size=40,
)


_MET_SINCE = (("decide", "x", ["a"]), ("decide", ":;", ["a"]))  # one group more than there is room for


@settings(deadline=None, max_examples=60)
@given(_steps, st.sampled_from(sorted(BANDITS)))
@example([*(("decide", group, ["a"]) for group in "xxy"), ("tick",), *_MET_SINCE, ("restart",)], "epsilon")
def test_any_order_of_events_keeps_the_books(steps: list[tuple[object, ...]], policy: str) -> None:
    def make(version: int = 0) -> Learner:
        return Learner(
            policy, {}, np.random.default_rng(1), grouping=Grouping(group_by=("isp",)), max_groups=2, version=version
        )

    learner, table, waiting = make(), DecisionTable(Random(2), ("isp",)), Outstanding(max_open=5)
    made: list[Decision] = []
    rewarded: dict[str, float] = {}
    learned = version = 0
    for step in steps:
        match step:
            case ("decide", group, arms):
                decision = table.decide({"isp": str(group)}, arms, 0)  # type: ignore[arg-type]
                assert decision.arm in decision.arms == tuple(arms)  # type: ignore[arg-type]
                assert 0.0 < decision.propensity <= 1.0
                made.append(decision)
                assert waiting.add(decision, 0)
                assert not waiting.add(decision, 0)
                learner.met(decision.group, decision.arms)
            case ("reward", at, value) if made:
                decision = made[-1 - int(str(at)) % len(made)]
                reward = float(str(value))
                ack, outcome = waiting.join(decision.decision_id, reward, 0)
                if decision not in made[-5:]:
                    assert (ack, outcome) == (Ack.FAILED, None)
                elif decision.decision_id in rewarded:
                    same = rewarded[decision.decision_id] == reward
                    assert (ack, outcome) == (Ack.ACCEPTED if same else Ack.IGNORED, None)
                else:
                    rewarded[decision.decision_id] = reward
                    assert outcome == Outcome(
                        decision.group, decision.arm, reward, decision.propensity, {}, decision.arms
                    )
                    assert ack is Ack.ACCEPTED
                    learner.learn([outcome])
                    learned += 1
            case ("tick",):
                update = learner.tick(0)
                table.apply(encode_update(update))
                assert table.version == learner.version >= version
                assert table.full() == learner.full()
                version = learner.version
                assert len(learner) <= 2
                for row in learner.full().groups.values():
                    answers: list[Row | ArmSet] = [row, *row.sets]
                    for one in answers:
                        assert math.isclose(math.fsum(one.weights), 1.0, abs_tol=1e-9)
                        assert len(one.arms) == len(one.weights)
            case ("move", source, target) if source in learner:
                state = learner.group(str(source))
                learner.absorb(msgspec.structs.replace(state, group=str(target)), 0.5)
            case ("drop", group):
                learner.drop(str(group))
            case ("restart",):
                states = [learner.group(name) for name in learner]
                learner = make(learner.version)
                for state in states:
                    learner.put(state)
                assert [learner.group(state.group) for state in states] == states
                assert learner.version > version or not version
                version = learner.version
                table.apply(learner.full())
        assert len(waiting) <= 5
    assert learner.policy_errors == 0
    assert waiting.rewards == learned == len(rewarded)


class OutstandingBooks(RuleBasedStateMachine):
    """`Outstanding` beside a dictionary that does the same slowly."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Outstanding(max_open=6, max_age_s=10e-9, features=("f",))
        self.model: dict[str, tuple[Decision, int, float | None]] = {}
        self.now_ns = 0
        self.lost = self.refused = self.joined = 0

    @rule(name=st.integers(0, 12).map(str), group=_groups, arm=st.sampled_from("ab"), feature=st.none() | text)
    def add(self, name: str, group: str, arm: str, feature: str | None) -> None:
        features: dict[str, Scalar] = {} if feature is None else {"f": feature, "other": 1}
        decision = Decision(name, 0, group, arm, 0.5, 0, ("a", "b"), features)
        assert self.waiting.add(decision, self.now_ns) == (name not in self.model)
        if name not in self.model:
            self.model[name] = (decision, self.now_ns, None)
            if len(self.model) > 6:
                self._lose(next(iter(self.model)))

    @rule(name=st.integers(0, 13).map(str), reward=st.sampled_from([0.0, 1.0, -2.5]))
    def join(self, name: str, reward: float) -> None:
        ack, outcome = self.waiting.join(name, reward, self.now_ns)
        known = self.model.get(name)
        if known is None or self.now_ns - known[1] > 10:
            assert (ack, outcome) == (Ack.FAILED, None)
            self.refused += 1
        elif known[2] is None:
            decision = known[0]
            features = {name: value for name, value in decision.features.items() if name == "f"}
            assert ack is Ack.ACCEPTED
            assert outcome == Outcome(decision.group, decision.arm, reward, 0.5, features, ("a", "b"))
            self.model[name] = (decision, known[1], reward)
            self.joined += 1
        else:
            assert (ack, outcome) == (Ack.ACCEPTED if known[2] == reward else Ack.IGNORED, None)

    @rule(elapsed_ns=st.integers(0, 8))
    def expire(self, elapsed_ns: int) -> None:
        self.now_ns += elapsed_ns
        before = self.lost
        for name in [name for name, known in self.model.items() if self.now_ns - known[1] > 10]:
            self._lose(name)
        assert self.waiting.expire(self.now_ns) == self.lost - before

    @rule()
    def restart(self) -> None:
        saved = self.waiting.state()
        self.waiting.restore(saved)
        assert self.waiting.state() == saved

    def _lose(self, name: str) -> None:
        self.lost += self.model.pop(name)[2] is None

    @invariant()
    def figures_agree(self) -> None:
        assert self.waiting.figures == {
            "decisions": self.waiting.figures["decisions"],
            "rewards": float(self.joined),
            "open": float(len(self.model)),
            "unjoined": float(self.refused),
            "unrewarded": float(self.lost),
        }


TestOutstandingBooks = OutstandingBooks.TestCase
TestOutstandingBooks.settings = settings(deadline=None, max_examples=40, stateful_step_count=30)


_deeds = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), _groups, st.lists(names, min_size=1, max_size=9, unique=True)),
        st.tuples(
            st.just("columns"), st.lists(_groups, max_size=5), st.lists(names, min_size=1, max_size=9, unique=True)
        ),
        st.tuples(st.just("reward"), st.integers(0, 30), st.integers(-3, 3)),
        st.tuples(st.just("rewards"), st.lists(st.integers(0, 30), max_size=6), st.integers(-3, 3)),
        st.tuples(st.just("tick")),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=50)
@given(_deeds, st.sampled_from(["uniform", "ucb", "thompson"]))
def test_a_decider_learns_each_reward_once_by_whatever_way(deeds: list[tuple[object, ...]], policy: str) -> None:
    decider = Decider(policy, group_by=("isp",), seed=1, tick_s=1e6, clock=ManualClock())
    made: list[tuple[str, str, str]] = []
    rewarded: dict[str, float] = {}
    expected: dict[tuple[str, str], list[float]] = {}

    def note(at: int, value: float, ack: Ack) -> None:
        decision_id, group, arm = made[at % len(made)]
        before = rewarded.setdefault(decision_id, value)
        assert ack is (Ack.ACCEPTED if before == value else Ack.IGNORED)
        if decision_id not in done:
            done.add(decision_id)
            expected.setdefault((group, arm), []).append(value)

    done: set[str] = set()
    for deed in deeds:
        match deed:
            case ("decide", group, arms):
                one = decider.decide({"isp": str(group)}, arms)  # type: ignore[arg-type]
                made.append((one.decision_id, one.group, one.arm))
            case ("columns", groups, arms):
                batch = decider.decide_columns({"isp": groups}, arms)  # type: ignore[arg-type]
                named = [group_of({"isp": group}, ("isp",)) for group in groups]  # type: ignore[attr-defined]
                made += zip(batch.ids, named, batch.names, strict=True)
            case ("reward", at, value) if made:
                number, reward = int(str(at)), float(str(value))
                note(number, reward, decider.update(made[number % len(made)][0], reward))
            case ("rewards", places, value) if made:
                numbers = [int(str(at)) for at in places]  # type: ignore[attr-defined]
                ids = [made[number % len(made)][0] for number in numbers]
                acks = decider.update_columns(ids, [float(str(value))] * len(ids))
                for number, ack in zip(numbers, acks, strict=True):
                    note(number, float(str(value)), ack)
            case ("tick",):
                decider.tick()
    decider.tick()
    learner = decider._learner
    found = {
        (group, arm): (int(known["evidence"]), known["mean"])
        for group in learner
        for arm, known in ((one["arm"], one) for one in learner.explain(group))
        if policy == "uniform" and known["evidence"]
    }
    if policy == "uniform":  # which only counts
        assert found == {
            key: (len(values), pytest.approx(math.fsum(values) / len(values))) for key, values in expected.items()
        }
    assert sum(learner.group(group).rewards for group in learner) == len(done)
    assert decider.figures["rewards"] == len(done)
    assert decider.figures["policy_errors"] == 0.0
