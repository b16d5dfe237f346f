"""Health: reports in, verdicts out, and whether this gateway itself is well."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from aiohttp import web

from vagus import __version__
from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.gateway.access import who_asks
from vagus.gateway.answers import (
    MSGPACK,
    HealthAnswer,
    HealthzAnswer,
    IncompleteAnswer,
    ReportAnswer,
    SubjectAnswer,
    json_response,
    packed_response,
    records_response,
)
from vagus.gateway.errors import ErrorDetail, Problem
from vagus.gateway.fanout import gather, merge_inferences
from vagus.gateway.inputs import ReportBody, ReportsBody, read_body, reports_of
from vagus.gateway.params import HealthParams, HealthzParams, SubjectParams, params_of
from vagus.gateway.permitted import permitted
from vagus.gateway.route import Route, Site
from vagus.model import Ack, Missing, Report, Status, to_builtins

WELL = ("HEALTHY", "STARTING", "DRAINING")
CHECK_NS = NS
MAX_TOLD = 5
MAX_MISSING = 100  # anyone may ask; /v1/status has all of them
ARTICLE = {"node": "a node", "service": "a service", "actor": "an actor"}


async def healthz(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Alive and well? 503 when something is missing of what `expected` in vagus.yaml says there should be; 200 else.

    Without a token only the verdict, so that any prober may ask. Who asks whether this gateway may be used, such as a
    load balancer or a liveness probe, gives `scope=node`: a node that is gone must not take the others along.
    """
    scope = params_of(request, HealthzParams).scope
    now_ns = site.clock.monotonic_ns()
    if site.checked is None or (site.checked[1].done() and now_ns - site.checked[0] > CHECK_NS):
        told = site.checked is not None and not site.checked[1].cancelled()
        before = site.checked[1].result()["missing"] if site.checked is not None and told else ()
        site.checked = (now_ns, asyncio.ensure_future(_check(site, before)))  # asking all actors costs: once for all
    found = dict(await asyncio.shield(site.checked[1]))
    missing = found.pop("missing")
    details = None
    who = site.door.find(request)
    if known := who is not None and site.door.allows(who, "read", "status"):
        own = {"failures": site.failures, "last_failure": site.last_failure, "tails": site.tails}
        details = to_builtins({**found, "nodes": sorted({site.backend.node, *site.backend.nodes()}), "gateway": own})
    if missing and scope == "cluster":
        shown = missing[:MAX_MISSING]
        return _incomplete(site, len(missing), shown if known else tuple(map(_unnamed, shown)), details)
    word: Literal["ok", "degraded"] = "degraded" if found["ill"] else "ok"
    return json_response(HealthzAnswer(word, site.backend.node, __version__, details))


def _incomplete(site: Site, count: int, missing: tuple[Missing, ...], details: dict[str, Any] | None) -> web.Response:
    """503, as an error and with what is missing; count: with those that are not shown."""
    told = ", ".join(f"{one.what or ARTICLE[one.kind]} ({one.why})" for one in missing[:MAX_TOLD])
    more = f" and {count - MAX_TOLD} more" if count > MAX_TOLD else ""
    hint = "`vagus status` says what to do; scope=node asks for this node alone"
    error = ErrorDetail("incomplete", f"not as expected: {told}{more}", "expected", hint)
    answer = IncompleteAnswer(error, "degraded", site.backend.node, __version__, to_builtins(missing), details)
    return json_response(answer, 503)


def _unnamed(one: Missing) -> Missing:
    return Missing("", one.kind, one.why, one.since_ns)


async def _check(site: Site, missing: tuple[Missing, ...]) -> dict[str, Any]:
    """missing: as of the last time; it stands while the node does not say."""
    try:
        status = await asyncio.wait_for(site.backend.status(), site.timeout_s)
    except (Exception, asyncio.CancelledError) as error:
        if isinstance(error, asyncio.CancelledError) and _ending():
            raise
        why = f"{type(error).__name__}: {error}"[:300]
        return {"ill": [site.backend.node], "errors": [why], "unhealthy": [], "missing": missing}
    ill = [actor.name for actor in status.actors if actor.state not in WELL]
    return {"ill": ill, "errors": status.errors, "unhealthy": status.unhealthy, "missing": status.missing}


def _ending() -> bool:
    """Whether it is this task that is cancelled, and not what it waits for. Python 3.10 cannot tell."""
    cancelling = getattr(asyncio.current_task(), "cancelling", None)
    return cancelling is None or bool(cancelling())


async def report(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Reports on subjects, one or up to 1000; ACCEPTED ones survive a crash.

    A report may carry the handle of its observer, which is refused with another's; `node` takes them elsewhere.
    """
    node = params_of(request, SubjectParams).node
    reports, handles = reports_of(*await read_body(site, request), site.clock.time_ns())
    for subject in {report.subject for report in reports}:
        site.door.check(who_asks(request), "send", subject, node)
    acks: list[Ack] = [Ack.FAILED] * len(reports)
    for handle in dict.fromkeys(handles):
        places = [at for at, given in enumerate(handles) if given == handle]
        answers = await _submit(site, [reports[at] for at in places], handle, node)
        for at, ack in zip(places, answers, strict=True):
            acks[at] = ack
    return packed_response(request, ReportAnswer([ack.value for ack in acks]))


async def _submit(site: Site, reports: list[Report], handle: int, node: str) -> list[Ack]:
    if not handle and node in ("", site.backend.node):
        return await asyncio.wait_for(site.backend.report(reports), site.timeout_s)
    node = node or site.backend.node
    gathered = await gather(site.backend, "observer", ("report", (reports, handle)), node, site.timeout_s)
    acks: list[Ack] = gathered.parts[node]
    return acks


async def health(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """All verdicts, the newest of each subject over the cluster."""
    params = params_of(request, HealthParams)
    try:
        wanted = {Status.parse(text.strip()) for text in params.status.split(",") if text.strip()}
    except ConfigError as error:
        raise Problem(422, "invalid", str(error), "query.status") from error
    gathered = await gather(site.backend, "inferences", ("",), params.node, site.timeout_s)
    gathered = permitted(site, request, gathered, lambda inference: inference.subject)
    merged = merge_inferences(gathered.parts.values())
    kept = [inference for inference in merged if not wanted or inference.status in wanted]
    return await records_response(request, "inferences", kept, gathered)


async def subject_health(site: Site, request: web.BaseRequest, subject: str) -> web.StreamResponse:
    """One subject: verdict, contexts with their accusers, the reports behind."""
    params = params_of(request, SubjectParams)
    gathered = await gather(site.backend, "inferences", (subject,), params.node, site.timeout_s)
    gathered = permitted(site, request, gathered, lambda inference: inference.subject)
    merged = merge_inferences(gathered.parts.values())
    if not merged:
        missing = f" ({len(gathered.missing)} nodes did not answer)" if gathered.partial else ""
        hint = "GET /v1/health lists the subjects; POST /v1/report adds one"
        raise Problem(404, "no_data", f"nobody reported on {subject[:200]!r}{missing}", "path.subject", hint)
    return await records_response(request, "inference", merged[0], gathered)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/healthz",
        healthz,
        "Is this gateway alive, and all there that is expected",
        query=HealthzParams,
        answer=HealthzAnswer,
        unwell=IncompleteAnswer,
        public=True,
        errors=(503,),
    ),
    Route(
        "POST",
        "/v1/report",
        report,
        "Report",
        query=SubjectParams,
        body=(ReportBody, ReportsBody),
        answer=ReportAnswer,
        media=(MSGPACK,),
        errors=(404,),
        verb="send",
    ),
    Route("GET", "/v1/health", health, "All verdicts", query=HealthParams, answer=HealthAnswer, errors=(404,)),
    Route(
        "GET",
        "/v1/health/{subject}",
        subject_health,
        "One verdict with its evidence",
        query=SubjectParams,
        answer=SubjectAnswer,
        errors=(404,),
    ),
)
