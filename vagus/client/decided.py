"""Decisions and outcomes on the wire of a gateway: what is asked, and what its answer means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from vagus.client.answers import decode_json
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import Decision, Scalar

DECIDE = b"/v1/decide"
UPDATE = b"/v1/update"
MAX_BATCH = 1000
"""Requests or outcomes in one body, as gateways take them."""
Request = tuple[Mapping[str, Scalar], tuple[str, ...]]
_encode = msgspec.json.Encoder().encode


class _Made(msgspec.Struct):
    decision: str
    decision_id: str
    propensity: float
    group: str
    version: int
    context: dict[str, Scalar] = {}  # features that the gateway added


class _MadeMany(msgspec.Struct):
    decisions: list[_Made]


class _Results(msgspec.Struct):
    results: list[str]


def made_at(decision_id: str) -> str:
    """What stands in an id for the node that made the decision, and whose outcomes go there; empty where nothing does."""
    tag, separator, _ = decision_id.partition("-")
    return tag if separator else ""


def requests_body(requests: Sequence[Request]) -> bytes:
    """One request, or several in one body. Raises ConfigError for features that are no JSON."""
    try:
        if len(requests) == 1:
            features, arms = requests[0]
            return _encode({"features": dict(features), "arms": arms})
        return _encode({"requests": [{"features": dict(features), "arms": arms} for features, arms in requests]})
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(
            f"features and arms cannot be sent: {error}; values are text, numbers, true or false"
        ) from error


def updates_body(outcomes: Iterable[tuple[str, float]]) -> bytes:
    """Outcomes by decision id. Raises ConfigError for an id that is no Unicode."""
    try:
        return _encode({"updates": [{"decision_id": name, "reward": reward} for name, reward in outcomes]})
    except ValueError as error:
        raise ConfigError(f"a decision's id cannot be sent: {error}") from error


def decision_of(body: bytes, features: Mapping[str, Scalar], arms: Sequence[str], now_ns: int) -> Decision:
    """The answer to one request. Raises VagusError when it is none."""
    return _decision(decode_json(body, _Made), features, arms, now_ns)


def decisions_of(body: bytes, requests: Sequence[Request], now_ns: int) -> list[Decision]:
    """The answers to the requests of one body, in their order. Raises VagusError, PeerUnreachable."""
    if len(requests) == 1:
        return [checked(decision_of(body, *requests[0], now_ns))]
    made = decode_json(body, _MadeMany).decisions
    if len(made) != len(requests):
        raise PeerUnreachable(f"{len(made)} decisions came back for {len(requests)} requests")
    pairs = zip(made, requests, strict=True)
    return [checked(_decision(one, features, arms, now_ns)) for one, (features, arms) in pairs]


def results_of(body: bytes, count: int) -> list[str]:
    """A word for each outcome. Raises VagusError, PeerUnreachable."""
    results = decode_json(body, _Results).results
    if len(results) != count:
        raise PeerUnreachable(f"{len(results)} results came back for {count} outcomes")
    return results


def checked(decision: Decision) -> Decision:
    """The decision, when it can be one: an arm that was asked for, a probability. Raises PeerUnreachable."""
    if decision.arm not in decision.arms:
        raise PeerUnreachable(f"the answer {decision.arm[:80]!r} is not among the arms that were asked for")
    if not (0 < decision.propensity <= 1 and decision.decision_id):
        raise PeerUnreachable(f"the answer has propensity {decision.propensity} and id {decision.decision_id[:80]!r}")
    return decision


def _decision(made: _Made, features: Mapping[str, Scalar], arms: Sequence[str], now_ns: int) -> Decision:
    known: dict[str, Any] = {**features, **made.context}
    name, propensity = made.decision_id, made.propensity
    return Decision(name, now_ns, made.group, made.decision, propensity, made.version, tuple(arms), known)
