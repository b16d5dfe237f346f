"""Everything a gateway answers, from Python, as records and numpy arrays; see http.py for how it gets there."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from vagus.client.answers import Answer, decode, decode_json, missing_of
from vagus.client.decided import decision_of
from vagus.client.health import Health
from vagus.client.http import MSGPACK, Http
from vagus.config import seconds
from vagus.errors import ConfigError, NoData, PeerUnreachable
from vagus.model import (
    Acted,
    Action,
    ControlState,
    Decision,
    DirectoryEntry,
    Event,
    FeedStatus,
    Meta,
    NodeStatus,
    Receipt,
    Report,
    Reward,
    Scalar,
    SensorInfo,
)

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

    from vagus.client.endpoint import Endpoint
    from vagus.client.series import Series
    from vagus.client.tail import Tail


class Connection(Health):
    """A gateway as an object; each method is one request. Use it in a `with`, or `close` it.

    Errors are those of vagus.errors: ConfigError when the question is wrong, NoData when nothing is known,
    PeerUnreachable when the gateway does not answer. Answers over the cluster have `.partial` and `.missing`.
    """

    find_again: Callable[[], Endpoint] | None = None  # where a subscription looks when its gateway is gone

    # --- samples -----------------------------------------------------------------------------------------------------

    def sensors(self, selector: str = "*", node: str = "", history: bool = False) -> Answer[SensorInfo]:
        """The streams that match, with the span of time that is stored of each; with `history` also those that ended."""
        query = {"selector": selector, "node": node, "history": int(history)}
        return self._records("/v1/sensors", query, "sensors", SensorInfo)

    def directory(self, type: str = "", node: str = "", history: bool = False) -> Answer[DirectoryEntry]:
        """What can be discovered: type is stream, gateway, observer, feed, policy or actuator; empty: all of them."""
        return self._records(
            "/v1/directory", {"type": type, "node": node, "history": int(history)}, "entries", DirectoryEntry
        )

    def path(self, a: str, b: str, history: bool = False) -> dict[str, Any]:
        """The hops from node `a` to `b` (a node, a device, an address) and the streams at each, as GET /v1/path has it.

        Raises NoData for an end that is not known.
        """
        body, _ = self.request("GET", "/v1/path", query={"from": a, "to": b, "history": int(history)})
        answer: dict[str, Any] = decode_json(body, dict[str, Any])
        return answer

    def query(
        self,
        selector: str,
        since: str | float = "",
        start: str | int = "",
        end: str | int = "",
        limit: int = 0,
        rate: bool = False,
        node: str = "",
    ) -> Answer[Series]:
        """Samples as a list of series with numpy arrays, one for each stream.

        since: how far back, such as `5m` (the default) or seconds; or start and end: RFC 3339 text or t_ns.
        limit: newest ticks of each stream; rate: counters per second.
        """
        from vagus.client.series import unpack

        query = {
            "selector": selector,
            "since": since,
            "start": start,
            "end": end,
            "limit": limit,
            "rate": int(rate),
            "node": node,
            "format": "msgpack",
        }
        body, headers = self.request("GET", "/v1/query", query=query)
        return Answer(unpack(body), missing_of(headers))

    def tail(self, selector: str = "*", node: str = "") -> Tail:
        """Live samples from now on, over this one connection: `subscribe` without its patience."""
        return self.subscribe(selector, node=node, patience="0s")

    def subscribe(
        self,
        selector: str = "",
        *,
        events: str = "",
        since: str | float = 0.0,
        node: str = "",
        direct: bool = False,
        patience: str | float = "60s",
        after: str = "",
    ) -> Tail:
        """Past to present, each item once: an iterator that is also a context manager, and goes on where it broke off.

        selector: samples (default: all, or none with `events`); events: glob patterns of names, such as `log.*`;
        since: how far back to begin, such as `5m`; 0: now; patience: how long a lost gateway is tried again; after:
        `positions()` of an earlier one; direct: ask the node of the streams itself, not through this gateway.
        """
        from vagus.client.tail import Tail

        asked: Http = self._direct(selector or "*", node) if direct else self
        query = {"selector": selector, "events": events, "node": node, "after": after}

        def open_(more: Mapping[str, Any]) -> tuple[HTTPResponse, HTTPConnection]:
            nonlocal asked
            try:
                return asked._stream("/v1/tail", {**query, **more})
            except PeerUnreachable:
                found = self.find_again() if self.find_again is not None and not direct else None
                if found is None or found.url == asked.url:
                    raise
                asked = Http(found.url, found.token, self.timeout_s)  # it listens elsewhere since it was replaced
                return asked._stream("/v1/tail", {**query, **more})

        return Tail(open_, asked.url, seconds(patience), seconds(since))

    def _direct(self, selector: str, node: str) -> Http:
        """The gateway of the one node that has the streams, as the directory says. Raises NoData, ConfigError."""
        # where none is live, those that have ended can still be read
        found = self.sensors(selector, node=node) or self.sensors(selector, node=node, history=True)
        nodes = {node} if node else {entry.stream.node for entry in found}
        if len(nodes) != 1:
            what = f"streams of {len(nodes)} nodes ({', '.join(sorted(nodes)[:5])})" if nodes else "no stream"
            raise ConfigError(f"direct: {selector!r} selects {what}; it must be one node's, or name the node")
        urls = {entry.online for entry in found if entry.online}
        if not urls:
            urls = {status.gateway for status in self.status() if status.node in nodes and status.gateway}
        if not urls:
            raise NoData(f"direct: it is not known where {', '.join(nodes)} can be reached; is its collector running?")
        return Http(min(urls), self._headers["Authorization"].partition(" ")[2], self.timeout_s)

    # --- decisions ---------------------------------------------------------------------------------------------------

    def decide(self, features: Mapping[str, Scalar], arms: Sequence[str]) -> Decision:
        """One of `arms` for these features, with the propensity of the draw; keep its decision_id for `update`."""
        body = msgspec.msgpack.encode({"features": dict(features), "arms": list(arms)})
        answer, _ = self.request("POST", "/v1/decide", body=body)
        return decision_of(answer, features, arms, time.time_ns())

    def update(self, decision_id: str, reward: float) -> str:
        """The outcome of a decision, larger is better; sending it again changes nothing. Raises NoData."""
        return self._results("/v1/update", {"decision_id": decision_id, "reward": reward}, idempotent=True)[0]

    # --- resource control --------------------------------------------------------------------------------------------

    def state(self, controller: str, node: str = "", *, after_ns: int = 0) -> ControlState:
        """What a controller saw at its last step, and the limits in force; NaN: not known, or no limit.

        after_ns: `t_ns` of the state before: waits for the next step, for a few seconds at most. Raises NoData.
        """
        query = {"controller": controller, "node": node, "after": after_ns or ""}
        body, _ = self.request("GET", "/v1/state", query=query, accept=MSGPACK)
        return decode(body, ControlState)

    def act(self, controller: str, wishes: Iterable[Action], node: str = "", *, wait: bool = True) -> Acted:
        """Wishes limits of a controller with the policy `remote`; they stand until others come. None: all stays.

        wishes: Actions, or what has their fields; each passes the guard at the controller's next step. wait: for that
        step, and so for the receipts. Raises ConfigError, with nothing taken, NoData.
        """
        body = {
            "controller": controller,
            "node": node,
            "wait": wait,
            "actions": [
                {
                    "target": str(wish.target),
                    "resource": wish.resource,
                    "value": wish.value,
                    "reason": wish.reason,
                    "confidence": wish.confidence,
                }
                for wish in wishes
            ],
        }
        # wished once more, it is wished all the same
        answer, _ = self.request(
            "POST", "/v1/action", body=msgspec.msgpack.encode(body), accept=MSGPACK, idempotent=True
        )
        return decode(answer, Acted)

    # --- the rest ----------------------------------------------------------------------------------------------------

    def status(self) -> Answer[NodeStatus]:
        """What each node says of itself."""
        return self._records("/v1/status", {}, "nodes", NodeStatus)

    def records(
        self,
        kind: str,
        since: str | float = "1h",
        limit: int = 100,
        *,
        event: str = "",
        where: Sequence[str] = (),
        level: str = "",
        node: str = "",
    ) -> Answer[Any]:
        """Stored events, receipts, decisions, rewards, reports or feed items (`item`), newest first.

        node: ask this one only. Of events: event: a name, `log.*`, or `log.*{node="a"}`; where: predicates on fields, all of which must hold,
        such as `VAL>2`; level: the least.
        """
        query = {"kind": kind, "since": since, "limit": limit, "event": event, "where": tuple(where), "level": level}
        return self._records("/v1/records", {**query, "node": node}, "records", _RECORDS.get(kind, Any))

    def feeds(self, node: str = "") -> Answer[FeedStatus]:
        """Each declared feed at each node that fetches some of it."""
        return self._records("/v1/feeds", {"node": node}, "feeds", FeedStatus)

    def feed_items(
        self, feed: str, limit: int = 100, since: str | float = "", node: str = ""
    ) -> Answer[dict[str, Any]]:
        """Items of a feed, oldest first, each with `node`, `meta` and `value`; since: out of the archive. Raises NoData."""
        query = {"limit": limit, "since": since, "node": node}
        body, _ = self.request("GET", f"/v1/feeds/{quote(feed, safe='')}/items", query=query)
        answer = decode_json(body, _ItemsBody)
        return Answer(answer.items, [(missing["node"], missing["error"]) for missing in answer.missing])

    def overview(self) -> Generator[tuple[str, bytes], None, None]:
        """The cluster at a glance as GET /v1/overview sends it, live: name and JSON of each section as it differs.

        Name and JSON are empty when the gateway only says that it lives. Raises PeerUnreachable when it falls silent or
        ends.
        """
        from vagus.client.sse import events

        response, connection = self._stream("/v1/overview", {})
        try:
            yield from events(response, self.url)
        finally:
            connection.close()
            response.close()

    def get(self, path: str) -> Any:
        """Any path of the gateway: JSON as builtins, anything else as text."""
        body, headers = self.request("GET", path)
        if headers.get("Content-Type", "").startswith("application/json"):
            return decode_json(body, Any)
        return body.decode()


class _ItemsBody(msgspec.Struct):
    items: list[dict[str, Any]]
    missing: list[dict[str, str]] = []


_RECORDS: Mapping[str, Any] = {
    "event": Event,
    "item": Meta,
    "receipt": Receipt,
    "decision": Decision,
    "reward": Reward,
    "report": Report,
}
