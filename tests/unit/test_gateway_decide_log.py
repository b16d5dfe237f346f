"""GET /v1/decide/log and /v1/decide/explain of a real gateway over a node in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, Served, serving

from vagus.clock import NS
from vagus.controllers.decide.records import Grouping, Row, Rule, TableUpdate
from vagus.errors import PeerUnreachable
from vagus.model import Decision, Reward


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as gateway:
        yield gateway


def put(served: Served, number: int, group: str = "g", reward: float | None = None) -> None:
    made = Decision(f"d{number}", NOW_NS - number * NS, group, "a", 0.25, 3, ("a", "b"))
    served.backend.decisions[made.decision_id] = made
    if reward is not None:
        served.backend.rewards[made.decision_id] = Reward(made.decision_id, NOW_NS, reward)


def test_the_log_has_what_became_of_decisions(served: Served) -> None:
    put(served, 1, reward=2.5)
    put(served, 3, "h")
    put(served, 2)
    status, _, answer = served.ask("GET", "/v1/decide/log")
    assert status == 200
    assert [(d["decision_id"], d["reward"]) for d in answer["decisions"]] == [("d1", 2.5), ("d2", None), ("d3", None)]
    first = answer["decisions"][0]
    assert (first["group"], first["arm"], first["propensity"], first["arms"]) == ("g", "a", 0.25, ["a", "b"])
    assert (first["t_ns"], first["reward_t_ns"]) == (NOW_NS - NS, NOW_NS)
    assert answer["partial"] is False


def test_group_span_and_limit(served: Served) -> None:
    for number in range(8, 0, -1):  # oldest first, as they come
        put(served, number, "" if number % 2 else "g")

    def ids(query: str) -> list[str]:
        _, _, answer = served.ask("GET", f"/v1/decide/log?{query}")
        return [d["decision_id"] for d in answer["decisions"]]

    assert ids("group=g") == ["d2", "d4", "d6", "d8"]
    assert ids("group=") == ["d1", "d3", "d5", "d7"]  # the one group of all has an empty name
    assert ids("limit=2") == ["d1", "d2"]
    assert ids("since=3.5s") == ["d1", "d2", "d3"]
    assert ids(f"start={NOW_NS - 6 * NS}&end={NOW_NS - 4 * NS}") == ["d5", "d6"]
    assert ids(f"end={NOW_NS - 4 * NS}&limit=1") == ["d5"]


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "since=x", "group=a&group=b", "what=1", "node=x"])
def test_wrong_questions(served: Served, query: str) -> None:
    status, _, answer = served.ask("GET", f"/v1/decide/log?{query}")
    assert status == (404 if query == "node=x" else 422)
    assert answer["error"]["message"]


RULES = Rule("isp", {"x": Rule("city", {"Bern": "bern"}, "elsewhere"), "y": "group-y"})


def with_table(served: Served) -> None:
    row = Row(("a", "b"), (0.75, 0.25))
    served.backend.table.apply(TableUpdate(7, 0, Grouping(2, (), RULES, "asn"), {"bern": row}))
    served.backend.groups["bern"] = {
        "policy": "ucb",
        "options": {"bonus": 0.5},
        "leader": "b",
        "epoch": 2,
        "rewards": 40,
        "arms": [{"arm": "a", "probability": 0.9, "mean": 1.5, "evidence": 30.0, "bonus": float("nan")}],
    }


def test_explain_says_way_weights_and_what_is_known(served: Served) -> None:
    with_table(served)
    status, _, answer = served.ask("GET", "/v1/decide/explain?feature=isp%3Dx&feature=city%3DBern")
    assert status == 200
    assert (answer["group"], answer["way"]) == ("bern", ["isp=x", "city=Bern"])
    assert (answer["policy"], answer["leader"], answer["epoch"], answer["rewards"]) == ("ucb", "b", 2, 40.0)
    assert (answer["version"], answer["options"], answer["note"]) == (7, {"bonus": 0.5}, "")
    a, b = answer["arms"]
    assert (a["arm"], a["probability"]) == ("a", 0.75)  # what is drawn from, not what will be
    assert a["figures"] == {"mean": 1.5, "evidence": 30.0, "bonus": None}
    assert (b["arm"], b["probability"], b["figures"]) == ("b", 0.25, {})
    assert served.ask("GET", "/v1/decide/explain?group=bern")[2]["way"] == []


def test_explain_of_what_no_rule_has(served: Served) -> None:
    with_table(served)
    _, _, answer = served.ask("GET", "/v1/decide/explain?feature=isp%3Dx&feature=city%3DRoma")
    assert (answer["group"], answer["way"]) == ("elsewhere", ["isp=x", "city=Roma: rest"])
    assert "drawn evenly" in answer["note"]
    assert "no group 'elsewhere' is known here" in answer["note"]
    _, _, answer = served.ask("GET", "/v1/decide/explain?feature=isp%3Dz&feature=asn%3D7")
    assert (answer["group"], answer["way"]) == ("asn=7", ["isp=z: no rule", "asn=7: fallback"])
    status, _, answer = served.ask("GET", "/v1/decide/explain?group=nowhere")
    assert status == 404
    assert "no group 'nowhere'" in answer["error"]["message"]


def test_without_its_leader_a_group_is_still_explained(served: Served) -> None:
    with_table(served)
    served.backend.broken = PeerUnreachable("vagus:decide@b does not answer")
    status, _, answer = served.ask("GET", "/v1/decide/explain?group=bern")
    assert status == 200
    assert [arm["probability"] for arm in answer["arms"]] == [0.75, 0.25]
    assert "vagus:decide@b does not answer" in answer["note"]


@pytest.mark.parametrize("query", ["", "?group="])
def test_without_a_name_the_group_of_all_is_explained(served: Served, query: str) -> None:
    served.backend.table.apply(TableUpdate(1, groups={"": Row(("a", "b"), (0.75, 0.25))}))
    status, _, answer = served.ask("GET", f"/v1/decide/explain{query}")
    assert (status, answer["group"]) == (200, "")
    assert [arm["probability"] for arm in answer["arms"]] == [0.75, 0.25]


@pytest.mark.parametrize("query", ["group=a&feature=b%3Dc", "feature=b", "group=a&what=1", "feature=" + "x" * 1001])
def test_wrong_questions_to_explain(served: Served, query: str) -> None:
    status, _, answer = served.ask("GET", f"/v1/decide/explain?{query}")
    assert status == 422
    assert answer["error"]["message"]
