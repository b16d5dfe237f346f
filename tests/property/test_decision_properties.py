"""Whatever the features, arms and weights: groups never collide, answers are feasible, propensities exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.controllers.decide.features import group_of
from vagus.controllers.decide.table import ArmSet, DecisionTable, TableSnapshot, decode_snapshot, encode_snapshot
from vagus.controllers.learner import DecisionService
from vagus.model import Ack, Reward
from vagus.policies import OLD_BANDITS

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


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.none() | text, st.none() | text, st.none() | text), min_size=2, max_size=2, unique=True))
def test_different_values_are_different_groups(rows: list[tuple[str | None, ...]]) -> None:
    keys = ("isp", "city", "os")
    one, other = ({k: v for k, v in zip(keys, row, strict=True) if v is not None} for row in rows)
    assert group_of(one, keys) != group_of(other, keys)


@settings(deadline=None, max_examples=100)
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
    table.replace(TableSnapshot(1, ("isp",), {"x": weights}))
    seen = {}
    for _ in range(60):
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
def test_a_snapshot_round_trips(groups: dict[str, dict[str, float]], data: st.DataObject) -> None:
    sets = {group: (ArmSet(tuple(table), tuple(table.values())),) for group, table in groups.items()}
    snapshot = TableSnapshot(data.draw(st.integers(0, 2**62)), ("isp",), groups, sets)
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.sampled_from(["x", "y"]), st.lists(names, min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("reward"), st.integers(0, 9), st.floats(-1e100, 1e100)),
        st.tuples(st.just("tick")),
        st.tuples(st.just("restart")),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=60)
@given(_steps, st.sampled_from(sorted(OLD_BANDITS)))
def test_any_order_of_events_keeps_the_books(steps: list[tuple[object, ...]], policy: str) -> None:
    def make() -> DecisionService:
        rng = Random(1)
        return DecisionService(lambda r: OLD_BANDITS.make(policy, r), rng, policy=policy, group_by=("isp",), max_open=5)

    service, table = make(), DecisionTable(Random(2), ("isp",))
    ids: list[str] = []
    rewarded: dict[str, float] = {}
    version = 0
    for step in steps:
        match step:
            case ("decide", group, arms):
                decision = table.decide({"isp": str(group)}, arms, 0)  # type: ignore[arg-type]
                ids.append(decision.decision_id)
                assert service.decided([decision, decision], 0) == [decision]
            case ("reward", at, value) if ids:
                name = ids[-1 - int(str(at)) % len(ids)]
                (ack,) = service.rewarded([Reward(name, 0, float(str(value)))], 0)
                kept = ids[-5:]
                if name not in kept:
                    assert ack is Ack.FAILED
                else:
                    assert ack is (
                        Ack.ACCEPTED if rewarded.setdefault(name, float(str(value))) == value else Ack.IGNORED
                    )
            case ("tick",):
                table.replace(service.tick(0))
                assert service.snapshot.version >= version
                version = service.snapshot.version
                for probabilities in service.snapshot.groups.values():
                    assert math.isclose(math.fsum(probabilities.values()), 1.0, abs_tol=1e-9)
            case ("restart",):
                state = service.state()
                service = make()
                service.restore(state)
                assert service.state()["groups"] == state["groups"]
                assert service.state()["open"] == state["open"]
        assert service.open <= 5
    assert service.policy_errors == 0
