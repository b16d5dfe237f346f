"""Everything a gateway answers, from Python: plain HTTP/1.1 with kept-alive connections, nothing else loaded.

Thread-safe and fork-safe: each call takes a connection from a small pool of this process.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from vagus.client.answers import Answer, error_of, missing_of
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.model import (
    Decision,
    Event,
    Inference,
    Meta,
    Metric,
    NodeStatus,
    Receipt,
    Report,
    Reward,
    Scalar,
    SensorInfo,
    Status,
)

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

    from vagus.client.series import Series
    from vagus.client.tail import Tail

T = TypeVar("T")
C = TypeVar("C", bound="Connection")
MSGPACK = "application/msgpack"
MAX_IDLE = 8
MAX_ANSWER_BYTES = 1 << 30

Context = Metric | tuple[str | Status, float] | str | Status


class Connection:
    """A gateway as an object; each method is one request. Use it in a `with`, or `close` it.

    Errors are those of vagus.errors: ConfigError when the question is wrong, NoData when nothing is known,
    PeerUnreachable when the gateway does not answer. Answers over the cluster have `.partial` and `.missing`.
    """

    def __init__(self, url: str, token: str, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ConfigError(f"gateway address {url!r} is not http://HOST:PORT")
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self._host = parts.hostname
        self._port = parts.port or 80
        self._headers = {"Authorization": f"Bearer {token}"}
        self._idle: list[HTTPConnection] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()

    # --- samples -----------------------------------------------------------------------------------------------------

    def sensors(self, selector: str = "*", node: str = "") -> Answer[SensorInfo]:
        """The streams that match, with the span of time that is stored of each."""
        return self._records("/v1/sensors", {"selector": selector, "node": node}, "sensors", SensorInfo)

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
        """Live samples from now on: an iterator of ticks, which is also a context manager."""
        from vagus.client.tail import Tail

        response, connection = self._stream("/v1/tail", {"selector": selector, "node": node})
        return Tail(response, connection, self.url)

    # --- health ------------------------------------------------------------------------------------------------------

    def report(self, subject: str, contexts: Mapping[str, Context], observer: str = "") -> str:
        """Says how `subject` is, for instance `{"read": ("UNHEALTHY", 30)}`; ACCEPTED, IGNORED or FAILED."""
        from vagus.client.reporter import default_observer

        body = {
            "observer": observer or default_observer(),
            "subject": subject,
            "t_ns": time.time_ns(),
            "contexts": {context: _context(given) for context, given in contexts.items()},
        }
        return self._results("/v1/report", body)[0]

    def inference(self, subject: str) -> Inference:
        """The verdict on a subject with its accusers and the reports behind. Raises NoData."""
        body, _ = self.request("GET", f"/v1/health/{quote(subject, safe='')}", accept=MSGPACK)
        return _decode(body, _InferenceBody).inference

    def health(self, status: str = "") -> Answer[Inference]:
        """All verdicts, the newest of each subject; `status` narrows, comma-separated."""
        return self._records("/v1/health", {"status": status}, "inferences", Inference)

    # --- decisions ---------------------------------------------------------------------------------------------------

    def decide(self, features: Mapping[str, Scalar], arms: Sequence[str]) -> Decision:
        """One of `arms` for these features, with the propensity of the draw; keep its decision_id for `update`."""
        body = msgspec.msgpack.encode({"features": dict(features), "arms": list(arms)})
        answer, _ = self.request("POST", "/v1/decide", body=body)
        made = _decode_json(answer, _DecideBody)
        return Decision(
            made.decision_id,
            time.time_ns(),
            made.group,
            made.decision,
            made.propensity,
            made.version,
            tuple(arms),
            dict(features),
        )

    def update(self, decision_id: str, reward: float) -> str:
        """The outcome of a decision, larger is better; sending it again changes nothing. Raises NoData."""
        return self._results("/v1/update", {"decision_id": decision_id, "reward": reward}, idempotent=True)[0]

    # --- the rest ----------------------------------------------------------------------------------------------------

    def status(self) -> Answer[NodeStatus]:
        """What each node says of itself."""
        return self._records("/v1/status", {}, "nodes", NodeStatus)

    def records(self, kind: str, since: str | float = "1h", limit: int = 100) -> Answer[Any]:
        """Stored events, receipts, decisions, rewards, reports or feed items (`item`), newest first."""
        query = {"kind": kind, "since": since, "limit": limit}
        return self._records("/v1/records", query, "records", _RECORDS.get(kind, Any))

    def get(self, path: str) -> Any:
        """Any path of the gateway: JSON as builtins, anything else as text."""
        body, headers = self.request("GET", path)
        if headers.get("Content-Type", "").startswith("application/json"):
            return _decode_json(body, Any)
        return body.decode()

    def close(self) -> None:
        """Closes idle connections; the object may be used again."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def __enter__(self: C) -> C:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    # --- one request -------------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        accept: str = "",
        idempotent: bool | None = None,
    ) -> tuple[bytes, Mapping[str, str]]:
        """The body and headers of a successful answer; `body` is MessagePack. Other answers raise.

        An idempotent request (a GET, unless said otherwise) whose kept-alive connection dropped is sent once more.
        """
        tries = 2 if (method == "GET" if idempotent is None else idempotent) else 1
        for left in range(tries - 1, -1, -1):
            connection, fresh = self._take()
            try:
                response = self._send(connection, method, path, query, body, accept)
                answer = response.read(MAX_ANSWER_BYTES)
            except Exception as error:
                connection.close()
                if left and not fresh and isinstance(error, ConnectionError):
                    continue
                raise self._unreachable(error) from error
            except BaseException:
                connection.close()  # interrupted half-way: what would come next on it is not known
                raise
            if response.will_close:
                connection.close()
            else:
                self._give(connection)
            if response.status >= 400:
                raise error_of(response.status, answer, self.url)
            return answer, dict(response.headers.items())
        raise AssertionError("unreachable: the last try returns or raises")

    def _stream(self, path: str, query: Mapping[str, Any]) -> tuple[HTTPResponse, HTTPConnection]:
        connection = self._new()
        try:
            response = self._send(connection, "GET", path, query, None, "")
            answer = response.read(MAX_ANSWER_BYTES) if response.status >= 400 else b""
        except Exception as error:
            connection.close()
            raise self._unreachable(error) from error
        if response.status >= 400:
            connection.close()
            raise error_of(response.status, answer, self.url)
        return response, connection

    def _send(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: bytes | None,
        accept: str,
    ) -> HTTPResponse:
        if query:
            pairs = [f"{name}={quote(str(value), safe='')}" for name, value in query.items() if value not in ("", None)]
            path = f"{path}?{'&'.join(pairs)}"
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = MSGPACK
        if accept:
            headers["Accept"] = accept
        connection.request(method, path, body=body, headers=headers)
        return connection.getresponse()

    def _take(self) -> tuple[HTTPConnection, bool]:
        with self._lock:
            if self._pid != os.getpid():
                self._pid, self._idle = os.getpid(), []  # after a fork: the parent's connections are not ours
            while self._idle:
                connection = self._idle.pop()
                if connection.sock is not None and not _readable(connection.sock):
                    return connection, False
                connection.close()  # the gateway closed it meanwhile
        return self._new(), True

    def _give(self, connection: HTTPConnection) -> None:
        with self._lock:
            if len(self._idle) < MAX_IDLE and self._pid == os.getpid():
                self._idle.append(connection)
                return
        connection.close()

    def _new(self) -> HTTPConnection:
        from http.client import HTTPConnection  # 25 ms: not before it is needed

        return HTTPConnection(self._host, self._port, timeout=self.timeout_s)

    def _unreachable(self, error: Exception) -> VagusError:
        if isinstance(error, ValueError) or type(error).__name__ == "InvalidURL":
            return ConfigError(f"the request to {self.url} cannot be made: {error}")
        if isinstance(error, TimeoutError):
            return PeerUnreachable(f"{self.url} did not answer within {self.timeout_s:g} s")
        return PeerUnreachable(
            f"{self.url} cannot be reached ({type(error).__name__}: {error}): is it running? `vagus up` starts it"
        )

    def _records(self, path: str, query: Mapping[str, Any], name: str, kind: Any) -> Answer[Any]:
        body, _ = self.request("GET", path, query=query, accept=MSGPACK)
        answer = _decode(body, dict[str, Any])
        try:
            records = msgspec.convert(answer.get(name), list[kind])
        except msgspec.ValidationError as error:
            raise VagusError(
                f"{self.url} answered {path} in an unknown form: {error}; are both of one version?"
            ) from error
        return Answer(records, [(entry["node"], entry["error"]) for entry in answer.get("missing", ())])

    def _results(self, path: str, body: Mapping[str, Any], idempotent: bool = False) -> list[str]:
        answer, _ = self.request("POST", path, body=msgspec.msgpack.encode(body), idempotent=idempotent)
        return _decode_json(answer, _ResultsBody).results


class _InferenceBody(msgspec.Struct):
    inference: Inference


class _DecideBody(msgspec.Struct):
    decision: str
    decision_id: str
    propensity: float
    group: str
    version: int


class _ResultsBody(msgspec.Struct):
    results: list[str]


_RECORDS: Mapping[str, Any] = {
    "event": Event,
    "item": Meta,
    "receipt": Receipt,
    "decision": Decision,
    "reward": Reward,
    "report": Report,
}


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise VagusError(f"the gateway's answer cannot be read: {error}; are both of one version?") from error


def _decode_json(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise VagusError(f"the gateway's answer cannot be read: {error}; are both of one version?") from error


def _context(given: Context) -> tuple[str, float]:
    if isinstance(given, Metric):
        return given.status.name, given.score
    status, score = given if isinstance(given, tuple) else (given, 0.0)
    return (status.name if isinstance(status, Status) else status), float(score)


def _readable(sock: Any) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
