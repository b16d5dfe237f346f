"""Prometheus' HTTP service discovery: where each node's gateway is scraped.

https://prometheus.io/docs/prometheus/latest/http_sd/: a list of target groups; a target that is left out is forgotten
with its series, so that a node which does not answer for a while keeps its last known address.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from aiohttp import web
from msgspec import Meta

from vagus import __version__
from vagus.errors import PeerUnreachable
from vagus.gateway.access import who_asks
from vagus.gateway.answers import json_response
from vagus.gateway.fanout import gather
from vagus.gateway.params import NoParams, params_of
from vagus.gateway.route import Route, Site

MAX_KNOWN = 10_000


class TargetGroup(msgspec.Struct, frozen=True):
    """The gateway of one node; labels that begin with `__` are for Prometheus' relabelling."""

    targets: Annotated[list[str], Meta(description="host:port")]
    labels: dict[str, str]


async def discover(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """The gateways of all nodes, as Prometheus' http_sd_configs wants them; scraping needs the token, too."""
    params_of(request, NoParams)
    known = site.gateways
    try:
        gathered = await gather(site.backend, "status", (), "", site.timeout_s)
        answered = {node: status.gateway for node, status in gathered.parts.items() if status.gateway}
    except PeerUnreachable:
        if not known:
            raise
        answered = {}
    known.update(answered)
    for node in [node for node in known if node not in {site.backend.node, *site.backend.nodes()}]:
        del known[node]  # it left the cluster
    seen = [node for node in sorted(known) if site.door.allows(who_asks(request), "read", "status", node)]
    return json_response([_group(site, node, known[node], node in answered) for node in seen])


def _group(site: Site, node: str, url: str, answered: bool) -> TargetGroup:
    parts = urlsplit(url)
    labels = {
        "__scheme__": parts.scheme,
        "__metrics_path__": "/metrics",
        "__meta_vagus_node": node,
        "__meta_vagus_cluster": site.backend.cluster,
        "__meta_vagus_version": __version__,
        "__meta_vagus_answers": str(answered).lower(),
    }
    return TargetGroup([parts.netloc], labels)


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v1/sd",
        discover,
        "Gateways, for Prometheus",
        query=NoParams,
        answer=None,
        media=("application/json",),
        what="status",
    ),
)
