"""A step that changes nothing: it waits until the kubelet has resized a container in place.

path is the pod's URL; value is JSON: container, resource (cpu or memory), quantity, within_s, token_file, ca_file.
The API server accepts a resize at once; whether the node can do it is told later, by the pod's conditions: pending
(Deferred, Infeasible) or in progress, there perhaps with an error.
"""

from __future__ import annotations

import errno
import json
import time
from fractions import Fraction
from typing import Any

from vagus.errors import Rejected
from vagus.undo import Step
from vagus.undo.http import request
from vagus.undo.quantity import parse

_PAUSE_S = 0.05
_MAX_PAUSE_S = 0.5


def resized(step: Step) -> None:
    """Raises OSError (ENOENT: the pod is gone), Rejected with the kubelet's words."""
    try:
        told: dict[str, Any] = json.loads(step.value)
        container, resource, wanted = str(told["container"]), str(told["resource"]), parse(str(told["quantity"]))
        within_s, files = float(told["within_s"]), (str(told["token_file"]), str(told["ca_file"]))
    except (ValueError, TypeError, KeyError) as error:
        raise Rejected(step.path, step.value[:200], f"the step is malformed: {error}") from error
    deadline, pause_s = time.monotonic() + within_s, _PAUSE_S
    while True:
        pod = _pod(step.path, files)
        found = actual(pod, container, resource)
        if found == wanted:
            return
        late = time.monotonic() >= deadline
        why = refusal(pod, surely=not late)
        if why or late:
            say = why or f"not done within {within_s:g} s, it is {'unknown' if found is None else float(found):g} still"
            raise Rejected(step.path, str(told["quantity"]), f"the kubelet: {say}")
        time.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))
        pause_s = min(2 * pause_s, _MAX_PAUSE_S)


def actual(pod: dict[str, Any], container: str, resource: str) -> Fraction | None:
    """The limit that is in force now, as the node tells it; None when it tells none. Raises ValueError."""
    status = pod.get("status") or {}
    for told in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
        if told.get("name") == container:
            text = ((told.get("resources") or {}).get("limits") or {}).get(resource)
            return None if text is None else parse(str(text))
    return None


def refusal(pod: dict[str, Any], surely: bool = True) -> str:
    """Why the kubelet does not resize, `Infeasible: Node didn't have enough capacity: …`; empty when it may yet.

    surely: only what speaks of the present wish; a condition may be left over from an earlier one, and says so only by
    its observedGeneration, which older servers do not have.
    """
    generation = (pod.get("metadata") or {}).get("generation")
    for told in (pod.get("status") or {}).get("conditions") or ():
        kind, reason = told.get("type"), told.get("reason") or ""
        pending = kind == "PodResizePending"
        if told.get("status") != "True" or not (pending or (kind == "PodResizeInProgress" and reason == "Error")):
            continue
        observed = told.get("observedGeneration")
        if surely and (observed is None or generation is None or observed < generation):
            continue
        return f"{reason or kind}: {told.get('message') or 'without a message'}"[:500]
    return ""


def _pod(url: str, files: tuple[str, str]) -> dict[str, Any]:
    answer = request(url, token_file=files[0], ca_file=files[1])
    if answer.status == 404:
        raise OSError(errno.ENOENT, answer.words())
    if answer.status != 200:
        raise OSError(errno.EIO, answer.words())
    try:
        pod = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise OSError(errno.EPROTO, f"{url} answered no JSON: {error}"[:300]) from error
    if not isinstance(pod, dict):
        raise OSError(errno.EPROTO, f"{url} answered no object")
    return pod
