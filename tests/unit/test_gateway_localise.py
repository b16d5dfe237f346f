"""GET /v1/localise of a real gateway over a node in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, Served, serving

from vagus.clock import NS
from vagus.controllers.localise import Ranking, Suspect


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as gateway:
        yield gateway


def ranked(ago_s: int, *suspects: Suspect) -> Ranking:
    return Ranking(NOW_NS - ago_s * NS, suspects, 50, bool(suspects), 20.0, 90.0)


def test_the_latest_ranking_with_its_evidence(served: Served) -> None:
    cart = Suspect("cart", 0.8, {"ri": 0.9, "ci": float("nan")}, "cpu", "cart is slow")
    served.backend.ranked = [ranked(5, cart), ranked(15)]
    status, _, answer = served.ask("GET", "/v1/localise")
    assert status == 200
    (ranking,) = answer["rankings"]
    assert (ranking["t_ns"], ranking["slow"], ranking["normal_p99_ms"]) == (NOW_NS - 5 * NS, True, None)
    assert ranking["suspects"] == [
        {
            "component": "cart",
            "score": 0.8,
            "features": {"ri": 0.9, "ci": None},
            "resource": "cpu",
            "says": "cart is slow",
            "probability": None,
        }
    ]


def test_recent_ones_too(served: Served) -> None:
    served.backend.ranked = [ranked(5), ranked(15), ranked(400)]

    def times(query: str) -> list[int]:
        return [one["t_ns"] for one in served.ask("GET", f"/v1/localise{query}")[2]["rankings"]]

    assert times("?since=1m") == [NOW_NS - 5 * NS, NOW_NS - 15 * NS]
    assert times("?since=1m&limit=1") == [NOW_NS - 5 * NS]
    assert times(f"?start={NOW_NS - 500 * NS}") == [NOW_NS - at * NS for at in (5, 15, 400)]


def test_nothing_yet_and_nobody_there(served: Served) -> None:
    assert served.ask("GET", "/v1/localise")[2] == {"rankings": []}
    served.backend.ranked = None
    assert served.ask("GET", "/v1/localise")[0] == 404


@pytest.mark.parametrize("query", ["?since=x", "?limit=0", "?limit=101", "?start=nope", "?other=1"])
def test_malformed_questions(served: Served, query: str) -> None:
    assert served.ask("GET", f"/v1/localise{query}")[0] == 422
