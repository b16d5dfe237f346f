"""Which changed verdicts a webhook is told of, by whom, and when to try again. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from vagus.clock import NS
from vagus.config import WebhookSettings
from vagus.model import Inference, Status, to_builtins

FIRST_RETRY_S = 1.0
MAX_RETRY_S = 60.0
KEEP_NS = 3600 * NS
"""For so long a change is worth telling to a server that was away."""
MAX_TOLD_REPORTS = 20


def wanted(hook: WebhookSettings, subject: str, status: Status, was: Status) -> bool:
    """Whether the settings name this change."""
    if not any(fnmatchcase(subject, pattern) for pattern in hook.subjects):
        return False
    named = {Status.parse(text) for text in hook.statuses}
    return not named or bool({status, was} & named)


def speaker(subject: str, nodes: Iterable[str]) -> str:
    """Which of the nodes tells of a subject, so that it is told once: the same on all, and few change when one goes.

    Highest random weight (Thaler and Ravishankar, 1998). "" without nodes.
    """
    return max(
        nodes, key=lambda node: hashlib.blake2b(f"{node}\0{subject}".encode(), digest_size=8).digest(), default=""
    )


def message(inference: Inference, was: Status, node: str, strategy: str) -> dict[str, Any]:
    """What is posted: the change, the contexts with their accusers, the newest reports of those who accuse."""
    accusers = {name for verdict in inference.contexts.values() for name in verdict.accusers}
    reports = sorted((r for r in inference.reports if r.observer in accusers), key=lambda r: r.t_ns, reverse=True)
    return {
        "event": "health.changed",
        "t_ns": inference.t_ns,
        "node": node,
        "subject": inference.subject,
        "status": inference.status.name,
        "was": was.name,
        "strategy": strategy,
        "contexts": to_builtins(inference.contexts),
        "reports": to_builtins(reports[:MAX_TOLD_REPORTS]),
    }


def retry_s(failures: int) -> float:
    """How long to wait after so many failures in a row."""
    return min(MAX_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 20))


def worth_another_try(http_status: int) -> bool:
    """Whether an answer means "later" rather than "never"."""
    return http_status >= 500 or http_status in (408, 425, 429)
