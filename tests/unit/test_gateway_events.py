"""GET /v1/records of events by name, fields, level and time; the command that asks it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from cli_gateway import Gateway, serve

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import Served, serving


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("event=disk.*", ["disk.full"]),
        ("event=*", ["disk.full", "start"]),
        ("where=" + quote("bytes>2"), ["disk.full"]),
        ("where=" + quote("bytes>2") + "&where=" + quote("bytes<3"), []),
        ("where=" + quote("node=a") + "&event=start", ["start"]),
        ("event=" + quote('*{node="b"}'), []),
        ("level=warning", []),
        ("start=1&end=1700000000000000000", ["disk.full", "start"]),
    ],
)
def test_events_by_name_fields_and_level(served: Served, query: str, expected: list[str]) -> None:
    status, _, answer = served.ask("GET", f"/v1/records?kind=event&{query}")
    assert status == 200, answer
    assert [event["event"] for event in answer["records"]] == expected


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("kind=event&where=VAL", "predicate 'VAL'"),
        ("kind=event&event=" + quote("a{b"), "missing '}'"),
        ("kind=event&level=loud", "loud"),
        ("kind=receipt&where=a=1", "not for receipts"),
        ("kind=event&since=1h&start=1", "since excludes start"),
        ("kind=event&" + "&".join(["where=a=1"] * 21), "length <= 20"),
        ("kind=event&event=a&event=b", "given twice"),
    ],
)
def test_malformed_questions_are_422(served: Served, query: str, says: str) -> None:
    status, _, answer = served.ask("GET", f"/v1/records?{query}")
    assert status == 422
    assert says in answer["error"]["message"]


def test_the_command_asks_with_predicates() -> None:
    with serve(Gateway()) as gateway:
        asked = ("--event", "log.*", "--where", "VAL>2", "--where", "DST=10.1.1.11", "--level", "warning")
        result = gateway.run("events", *asked)
        assert result.exit_code == 0, result.stderr
        _, path, params, _ = gateway.asked[-1]
        assert (path, params["event"], params["level"]) == ("/v1/records", "log.*", "warning")
        assert params["where"] == "VAL>2"  # the first of them; how both arrive, the tests above show
        refused = gateway.run("events", "--record", "receipt", "--where", "a=1")
        assert refused.exit_code == 2
        assert "not for --record receipt" in refused.stderr
