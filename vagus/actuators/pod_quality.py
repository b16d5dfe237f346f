"""A pod's quality of service, from what its containers request and are limited to (apimachinery's ComputePodQOS)."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from vagus.undo.quantity import parse

_COUNTED = ("cpu", "memory")


def quality(pod: dict[str, Any], container: str = "", key: str = "", limit: str = "", request: str = "") -> str:
    """`Guaranteed`, `Burstable` or `BestEffort`; with the last arguments, after that change of one container.

    Guaranteed: each container has limits of CPU and memory, and requests just these. Raises ValueError.
    """
    guaranteed, any_set = True, False
    for one in _containers(pod):
        resources = one.get("resources") or {}
        limits = _amounts(resources.get("limits"))
        requests = _amounts(resources.get("requests"))
        if one.get("name") == container:
            limits[key], requests[key] = parse(limit), parse(request)
        any_set = any_set or bool(limits or requests)
        guaranteed = guaranteed and all(
            name in limits and requests.get(name, limits[name]) == limits[name] for name in _COUNTED
        )
    return "Guaranteed" if guaranteed else "Burstable" if any_set else "BestEffort"


def _containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    spec = pod["spec"]
    yield from spec.get("containers") or ()
    yield from spec.get("initContainers") or ()


def _amounts(told: dict[str, str] | None) -> dict[str, Fraction]:
    """Zero counts as unset."""
    found = {name: parse(str((told or {})[name])) for name in _COUNTED if name in (told or {})}
    return {name: amount for name, amount in found.items() if amount}
