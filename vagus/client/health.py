"""Health as a gateway answers it: reports in, verdicts and the views behind them out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from vagus.client.answers import Answer, decode, decode_json
from vagus.client.http import MSGPACK, Http
from vagus.config import seconds
from vagus.errors import VagusError
from vagus.model import Ack, Inference, Metric, Report, Status

Context = Metric | tuple[str | Status, float] | str | Status


class Health(Http):
    """What a Connection asks and tells of health, and how it reads records."""

    def report(
        self,
        subject: str,
        contexts: Mapping[str, Context],
        observer: str = "",
        *,
        handle: int = 0,
        ttl: str | float = 0.0,
    ) -> str:
        """Says how `subject` is, for instance `{"read": ("UNHEALTHY", 30)}`; ACCEPTED, IGNORED or FAILED.

        handle: as `register` gave it for this observer; ttl: for how long it counts (0: as the node says).
        """
        from vagus.client.track import default_observer

        body = {
            "observer": observer or default_observer(),
            "subject": subject,
            "t_ns": time.time_ns(),
            "contexts": {context: _context(given) for context, given in contexts.items()},
            **_given(handle=handle, ttl_ns=round(seconds(ttl) * 1e9)),
        }
        return self._results("/v1/report", body)[0]

    def submit(self, reports: Sequence[Report], handle: int = 0) -> list[Ack]:
        """An answer for each of up to 1000 reports."""
        return [Ack(text) for text in self._results("/v1/report", {"reports": bodies_of(reports, handle)})]

    def register(self, module: str, observer: str) -> int:
        """The handle of a module's observer: the same pair has the same one; the observer is watched from then on."""
        answer, _ = self.request("POST", "/v1/register", body=_packed(module=module, observer=observer))
        return decode_json(answer, _Registered).handle

    def unregister(self, handle: int) -> bool:
        """Gives a handle back; False: it was none."""
        answer, _ = self.request("POST", "/v1/unregister", body=_packed(handle=handle))
        return decode_json(answer, _Result).result == "ACCEPTED"

    def watch(self, subject: str) -> None:
        """What other nodes report on `subject` counts at this one again."""
        self.request("POST", "/v1/watch", body=_packed(subject=subject), idempotent=True)

    def unwatch(self, subject: str) -> None:
        """Forgets `subject` at this node, until it is watched or reported on there."""
        self.request("POST", "/v1/unwatch", body=_packed(subject=subject), idempotent=True)

    def inference(self, subject: str) -> Inference:
        """The verdict on a subject with its accusers and the reports behind. Raises NoData."""
        body, _ = self.request("GET", f"/v1/health/{quote(subject, safe='')}", accept=MSGPACK)
        return decode(body, _InferenceBody).inference

    def health(self, status: str = "") -> Answer[Inference]:
        """All verdicts, the newest of each subject; `status` narrows, comma-separated."""
        return self._records("/v1/health", {"status": status}, "inferences", Inference)

    def panorama(self, subject: str, observer: str = "", node: str = "") -> dict[str, tuple[Report, ...]]:
        """Each observer's last reports on a subject, at most ten, oldest first. Raises NoData."""
        path, query = f"/v1/health/{quote(subject, safe='')}/panorama", {"observer": observer, "node": node}
        body, _ = self.request("GET", path, query=query, accept=MSGPACK)
        return decode(body, _PanoramaBody).panorama

    def _records(self, path: str, query: Mapping[str, Any], name: str, kind: Any) -> Answer[Any]:
        body, _ = self.request("GET", path, query=query, accept=MSGPACK)
        answer = decode(body, dict[str, Any])
        try:
            records = msgspec.convert(answer.get(name), list[kind])
        except msgspec.ValidationError as error:
            raise VagusError(
                f"{self.url} answered {path} in an unknown form: {error}; are both of one version?"
            ) from error
        return Answer(records, [(entry["node"], entry["error"]) for entry in answer.get("missing", ())])

    def _results(self, path: str, body: Mapping[str, Any], idempotent: bool = False) -> list[str]:
        answer, _ = self.request("POST", path, body=msgspec.msgpack.encode(body), idempotent=idempotent)
        return decode_json(answer, _ResultsBody).results


def bodies_of(reports: Iterable[Report], handle: int = 0) -> list[dict[str, Any]]:
    """Reports as POST /v1/report takes them; what is not said is left out, for gateways of before it could be."""
    return [
        {
            "observer": report.observer,
            "subject": report.subject,
            "t_ns": report.t_ns,
            "contexts": {name: (metric.status.name, metric.score) for name, metric in report.contexts.items()},
            **_given(ttl_ns=report.ttl_ns, doubt=report.doubt, handle=handle),
        }
        for report in reports
    ]


class _InferenceBody(msgspec.Struct):
    inference: Inference


class _PanoramaBody(msgspec.Struct):
    panorama: dict[str, tuple[Report, ...]]


class _Registered(msgspec.Struct):
    handle: int


class _Result(msgspec.Struct):
    result: str


class _ResultsBody(msgspec.Struct):
    results: list[str]


def _packed(**fields: Any) -> bytes:
    return msgspec.msgpack.encode(fields)


def _given(**fields: int) -> dict[str, int]:
    return {name: value for name, value in fields.items() if value}


def _context(given: Context) -> tuple[str, float]:
    if isinstance(given, Metric):
        return given.status.name, given.score
    status, score = given if isinstance(given, tuple) else (given, 0.0)
    return (status.name if isinstance(status, Status) else status), float(score)
