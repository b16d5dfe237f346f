"""In-place resize of pods through the API server (Kubernetes 1.33 and later): `pod:NAMESPACE/NAME[/CONTAINER]`.

The spec is the wish, status.containerStatuses[].resources what is in force: the first is written, by a patch of the
subresource `resize`, the second is read, and waited for. What the server or the kubelet refuses is quoted.
https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from vagus.actuators import Plan, Usage
from vagus.actuators.api_server import NAMESPACE_FILE, STRATEGIC, ApiServer
from vagus.actuators.pod_quality import quality
from vagus.config import ActSettings, KubernetesSettings, seconds
from vagus.errors import ActuateError, NoData, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, read_text
from vagus.undo.quantity import cores, parse, size
from vagus.undo.resized import actual

_KEYS = {"cpu_cores": "cpu", "memory_bytes": "memory"}
_REPLACED = "metadata.uid: Invalid value"  # the server's words: a pod of that name, but not that pod
_SHRINKS_SINCE = (1, 34)  # memory limits can be lowered without a restart


class Found(NamedTuple):
    """A pod as the server has it now, and the container that is meant."""

    url: str
    pod: dict[str, Any]
    container: str

    @property
    def spec(self) -> dict[str, Any]:
        every = self.pod["spec"]["containers"]
        found: dict[str, Any] = next(one for one in every if one["name"] == self.container)
        return found

    def wish(self, which: str, key: str) -> str | None:
        """What the spec asks for: which is `limits` or `requests`."""
        return ((self.spec.get("resources") or {}).get(which) or {}).get(key)

    def restarts(self, key: str) -> bool:
        """Whether the container is restarted for a change of it."""
        return any(
            policy.get("resourceName") == key and policy.get("restartPolicy") == "RestartContainer"
            for policy in self.spec.get("resizePolicy") or ()
        )


class Pod:
    """Limits containers; requests follow only where they must, and the quality of service never changes."""

    name = "pod"
    dry = False
    kinds: tuple[str, ...] = ("pod",)
    resources: tuple[str, ...] = tuple(_KEYS)

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = Path(root)
        self._server = ApiServer(KubernetesSettings())

    def configure(self, settings: ActSettings, folder: Path) -> None:
        self._server = ApiServer(settings.kubernetes)

    def supports(self, target: Target) -> tuple[str, ...]:
        """Those that have a limit: one that is set can be changed, but never removed again. Raises Unsupported."""
        found = self._find(target)
        possible, problems = [], []
        for resource in self.resources:
            try:
                self._check(found, resource)
                possible.append(resource)
            except Unsupported as error:
                problems.append(str(error))
        if not possible:
            raise Unsupported("; ".join(problems))
        return tuple(possible)

    def usage(self, target: Target) -> Usage:
        """Unknown: the kubelet's figures are its own. Raises ActuateError when there is no such pod."""
        self._find(target)
        return Usage(math.nan)

    def read(self, target: Target, resource: str) -> float | None:
        """The limit in force; None without one. Raises ActuateError, Unsupported."""
        key = self._key(target, resource)
        found = self._find(target)
        if found.wish("limits", key) is None:
            return None
        try:
            limit = actual(found.pod, found.container, key)
        except ValueError as error:
            raise ActuateError(f"cannot read {resource} of {target}: {error}") from error
        if limit is None:
            raise ActuateError(f"{target}: its container {found.container} does not run, or its node cannot resize")
        return float(limit)

    def plan(self, action: Action) -> Plan:
        """Asks the server whether it would take the patch (dryRun), too. Raises Rejected, Unsupported, ActuateError."""
        key = self._key(action.target, action.resource)
        found = self._find(action.target)
        limit, request = self._check(found, action.resource)
        if action.value is None:
            raise Unsupported(f"{action.target}: a limit that is set cannot be removed in place, only changed")
        wanted = cores(action.value) if key == "cpu" and math.isfinite(action.value) else ""
        wanted = size(action.value) if key == "memory" and math.isfinite(action.value) else wanted
        if not wanted or parse(wanted) <= 0:
            raise Rejected(found.url, f"{action.value}", f"{action.resource} must be a finite number above 0")
        if key == "memory" and parse(wanted) > parse(limit) and not self._shrinks(found, key):
            raise Unsupported(
                f"{action.target}: before Kubernetes 1.34 a memory limit that was raised cannot be lowered again in place"
            )
        asked = self._request(found, key, limit, request, wanted)
        body = _patch(found, key, wanted, asked)
        self._rehearse(found, body)
        told = {"method": "PATCH", "headers": STRATEGIC, "gone": [_REPLACED], **self._server.files}
        url, part = f"{found.url}/resize", f"{found.container}/{key}"
        within_s = seconds(self._server.settings.within)
        wait: dict[str, Any] = {"container": found.container, "resource": key, "quantity": wanted, "within_s": within_s}
        wait |= self._server.files
        return Plan(
            (Step("http", url, _json({**told, "body": body}), part), Step("resized", found.url, _json(wait), part)),
            (Step("http", url, _json({**told, "body": _patch(found, key, limit, request)}), part),),
            float(parse(wanted)),
            1e-9,
        )

    # --- the pod -----------------------------------------------------------------------------------------------------

    def _find(self, target: Target) -> Found:
        if target.kind not in self.kinds:
            raise Unsupported(f"{self.name} resizes pod:NAMESPACE/NAME and pod:NAMESPACE/NAME/CONTAINER, not {target}")
        parts = target.name.split("/")
        if len(parts) == 1:
            parts.insert(0, _own_namespace(target))
        if len(parts) > 3 or not all(parts):
            raise Unsupported(f"{target} is not pod:NAMESPACE/NAME or pod:NAMESPACE/NAME/CONTAINER")
        url = self._server.pod_url(parts[0], parts[1])
        try:
            pod = self._server.get(url)
        except NoData as error:
            raise ActuateError(f"{target} does not exist: {error}") from error
        try:
            names = [str(container["name"]) for container in pod["spec"]["containers"]]
            _ = str(pod["metadata"]["uid"])
        except (KeyError, TypeError) as error:
            raise ActuateError(f"{url} answers no pod: {type(error).__name__} {error}") from error
        if len(parts) == 2 and len(names) == 1:
            return Found(url, pod, names[0])
        if len(parts) == 2 or parts[2] not in names:
            raise Unsupported(
                f"{target}: name one of its containers, as {target.kind}:{'/'.join(parts[:2])}/{names[0]}"
                f"; it has {', '.join(names)}"
            )
        return Found(url, pod, parts[2])

    def _key(self, target: Target, resource: str) -> str:
        if resource not in _KEYS:
            raise Unsupported(f"{self.name} cannot limit {resource} of {target}, only {', '.join(_KEYS)}")
        return _KEYS[resource]

    def _check(self, found: Found, resource: str) -> tuple[str, str]:
        """The wished limit and request, as quantities. Raises Unsupported: this container's cannot be changed."""
        key = self._key(Target("pod", found.container), resource)
        limit = found.wish("limits", key)
        where = f"container {found.container} of {found.url}"
        spec = found.pod["spec"]
        if limit is None:
            raise Unsupported(
                f"{where} has no {key} limit: one that is set in place cannot be removed again; give it one in its manifest"
            )
        if spec.get("resources"):
            raise Unsupported(f"{where}: its pod has limits as a whole (spec.resources), which are not resized here")
        if found.restarts(key) and not self._server.settings.restart:
            raise Unsupported(
                f"{where} would be restarted by a change of {key}, says its resizePolicy; "
                "set act.kubernetes.restart: true if it may be"
            )
        return limit, found.wish("requests", key) or limit

    def _shrinks(self, found: Found, key: str) -> bool:
        """Whether a limit that is raised now can be lowered again: restoring is that."""
        try:
            return found.restarts(key) or self._server.version() >= _SHRINKS_SINCE
        except NoData as error:
            raise ActuateError(f"the API server does not tell its version: {error}") from error

    def _request(self, found: Found, key: str, limit: str, request: str, wanted: str) -> str:
        """The request to go with a limit. Raises Rejected when the quality of service would change."""
        before = quality(found.pod)
        if before == "Guaranteed" or parse(request) > parse(wanted):
            request = wanted
        after = quality(found.pod, found.container, key, wanted, request)
        if before != after:
            raise Rejected(
                found.url,
                wanted,
                f"its quality of service would change from {before} to {after}, which a resize may not; keep the {key} "
                f"limit above {found.wish('requests', key) or limit}, which it requests",
            )
        return request

    def _rehearse(self, found: Found, body: str) -> None:
        """Raises Rejected with the server's words; nothing is changed."""
        answer = self._server.ask(f"{found.url}/resize?dryRun=All", "PATCH", STRATEGIC, body)
        if answer.status >= 300:
            hint = ""
            if answer.status == 404:
                hint = "; pods can be resized since Kubernetes 1.33"
            elif answer.status in (401, 403):
                hint = "; the role needs `patch` on pods/resize"
            raise Rejected(f"{found.url}/resize", body, f"{answer.words()}{hint}")


def _patch(found: Found, key: str, limit: str, request: str) -> str:
    """A strategic merge patch: containers are told by their names; the uid says which pod is meant."""
    resources = {"limits": {key: limit}, "requests": {key: request}}
    container = {"name": found.container, "resources": resources}
    return _json({"metadata": {"uid": found.pod["metadata"]["uid"]}, "spec": {"containers": [container]}})


def _own_namespace(target: Target) -> str:
    try:
        return read_text(NAMESPACE_FILE)
    except OSError as error:
        raise Unsupported(
            f"{target} names no namespace, and this is no pod: use pod:NAMESPACE/{target.name}"
        ) from error


def _json(told: dict[str, Any]) -> str:
    return json.dumps(told, separators=(",", ":"))
