"""Requests to a Kubernetes API server, and what its refusals mean."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from vagus.config import KubernetesSettings
from vagus.errors import ActuateError, NoData, Unsupported
from vagus.undo import reason
from vagus.undo.http import Answer, request

NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}


class ApiServer:
    """Where the API server is and how it is spoken to; one request a call, nothing kept."""

    def __init__(self, settings: KubernetesSettings, environment: Mapping[str, str] = os.environ) -> None:
        self.settings = settings
        self._environment = environment
        self._version: tuple[int, int] | None = None

    @property
    def url(self) -> str:
        """Raises Unsupported: it is neither set nor in the environment of a pod."""
        if self.settings.url:
            return self.settings.url.rstrip("/")
        host = self._environment.get("KUBERNETES_SERVICE_HOST", "")
        if not host:
            raise Unsupported(
                "not in a pod of Kubernetes, and act.kubernetes.url is not set: name the API server there"
            )
        port = self._environment.get("KUBERNETES_SERVICE_PORT", "443")
        return f"https://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def files(self) -> dict[str, str]:
        """What steps and requests are made with: token_file and ca_file."""
        return {"token_file": self.settings.token_file, "ca_file": self.settings.ca_file}

    def pod_url(self, namespace: str, name: str) -> str:
        return f"{self.url}/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"

    def version(self) -> tuple[int, int]:
        """Such as (1, 36); asked once. Raises ActuateError."""
        if self._version is None:
            told = self.get(f"{self.url}/version")
            digits = ["".join(c for c in str(told.get(key, "")) if c.isdigit()) for key in ("major", "minor")]
            self._version = (int(digits[0] or 0), int(digits[1] or 0))  # a minor may be `33+`
        return self._version

    def get(self, url: str) -> dict[str, Any]:
        """A JSON object. Raises NoData when there is none, Unsupported without permission, ActuateError."""
        answer = self.ask(url, "GET")
        if answer.status == 404:
            raise NoData(answer.words())
        _check(url, answer)
        return self._object(url, answer)

    def ask(self, url: str, method: str, headers: Mapping[str, str] | None = None, body: str = "") -> Answer:
        """Any request. Raises ActuateError when the server does not answer."""
        try:
            return request(url, method, headers, body.encode(), self.settings.token_file, self.settings.ca_file)
        except OSError as error:
            raise ActuateError(f"cannot ask the API server at {url}: {reason(error)}") from error

    def _object(self, url: str, answer: Answer) -> dict[str, Any]:
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise ActuateError(f"{url} answers no JSON: {error}"[:300]) from error
        if not isinstance(found, dict):
            raise ActuateError(f"{url} answers no JSON object")
        return found


def _check(url: str, answer: Answer) -> None:
    if answer.status in (401, 403):
        raise Unsupported(
            f"the API server allows it not: {answer.words()}; the role needs `get` on pods and `patch` on pods/resize"
        )
    if answer.status != 200:
        raise ActuateError(f"the API server refuses {url}: {answer.words()}")
