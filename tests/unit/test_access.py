"""Access rules: open without any, deny by default with one; refusals become few events."""

from __future__ import annotations

import pytest

from vagus.access import CLUSTER, MAX_KINDS, Access, Principal, Refusals
from vagus.clock import NS
from vagus.config import AccessRule, Config, decode
from vagus.errors import ConfigError, Refused

ALICE, ULM = Principal("token", "alice"), Principal("listener", "ulm")
RULES = (
    AccessRule(who=("token:cluster",), send=("*",), read=("*",), act=("*",)),
    AccessRule(who=("token:alice", "uid:10??"), nodes=("n[12]",), read=("host.*",)),
    AccessRule(who=("listener:*",), send=("app.*", "log.*")),
)


def test_without_rules_everything_is_allowed() -> None:
    access = Access((), "n1")
    assert access.open
    assert access.allows(ALICE, "act", "throttle")


@pytest.mark.parametrize(
    ("node", "who", "verb", "what", "allowed"),
    [
        ("n1", CLUSTER, "act", "throttle", True),
        ("n1", ALICE, "read", "host.cpu", True),
        ("n3", ALICE, "read", "host.cpu", False),  # a rule of other nodes
        ("n1", ALICE, "read", "net.link", False),
        ("n1", ALICE, "send", "host.cpu", False),
        ("n2", Principal("uid", "1000"), "read", "host.memory", True),
        ("n2", Principal("uid", "0"), "read", "host.memory", False),
        ("n9", ULM, "send", "app.start", True),
        ("n9", ULM, "send", "host.cpu", False),
        ("n9", Principal("token", "mallory"), "read", "host.cpu", False),
    ],
)
def test_what_no_rule_allows_is_refused(node: str, who: Principal, verb: str, what: str, allowed: bool) -> None:
    access = Access(RULES, node)
    assert access.allows(who, verb, what) is allowed  # type: ignore[arg-type]
    if not allowed:
        with pytest.raises(Refused, match=f"{who} may not {verb}"):
            access.check(who, verb, what)  # type: ignore[arg-type]


def test_rules_for_other_nodes_alone_still_deny_here() -> None:
    assert not Access(RULES[1:2], "n3").allows(CLUSTER, "read", "host.cpu")


def test_a_rule_without_anybody_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="who"):
        decode(b"access: [{who: [], read: ['*']}]", Config, "x")
    rules = decode(b"tokens: {a: /a}\naccess: [{who: ['token:a'], read: ['*']}]", Config, "x").access
    assert Access(rules, "n").allows(Principal("token", "a"), "read", "x")


@pytest.mark.says("refusals-told")
def test_a_refusal_is_told_at_once_and_then_once_a_minute() -> None:
    refusals = Refusals("n1", "gateway")
    first = refusals.note("token:alice", "read", "host.cpu", 100 * NS)
    assert first is not None
    assert first.event == "access.refused"
    assert first.fields == {"who": "token:alice", "verb": "read", "what": "host.cpu", "times": 1}
    assert [refusals.note("token:alice", "read", "host.cpu", (100 + i) * NS) for i in range(60)] == [None] * 60
    later = refusals.note("token:alice", "read", "host.cpu", 161 * NS)
    assert later is not None
    assert later.fields["times"] == 61
    assert refusals.note("token:alice", "send", "host.cpu", 161 * NS) is not None  # another kind
    assert refusals.count == 63


def test_a_flood_of_kinds_takes_bounded_memory_and_events() -> None:
    refusals = Refusals("n1", "gateway")
    told = [refusals.note(f"token:{i}", "read", "x" * 10_000, 1) for i in range(3 * MAX_KINDS)]
    assert sum(e is not None for e in told) == MAX_KINDS + 1
    assert len(refusals._told) <= MAX_KINDS + 1
    assert all(len(str(e.fields["what"])) <= 200 for e in told if e)
