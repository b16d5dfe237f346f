"""By which labels the collector's streams of a target, or of a component, are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vagus.model import Target

Key = tuple[str, str]
"""A label and its value; of container ids the first digits."""
ID = 12  # digits of a container's id that are enough to name it (docker's short id, a container's host name)


def key_of(target: Target) -> Key | None:
    """Of a target; None for a kind whose targets have no streams of their own."""
    if target.kind == "cgroup":
        return "cgroup", target.name.strip("/")
    if target.kind == "systemd":
        return "service", target.name
    if target.kind == "container":
        return "container", target.name[:ID]
    if target.kind == "pod":
        return "hostname", target.name.rpartition("/")[2]
    if target.kind == "resctrl":
        return "group", target.name
    return None


def keys_of(labels: Mapping[str, str]) -> Iterator[Key]:
    """All by which a stream with these labels may be found."""
    for label in ("cgroup", "service", "pod", "hostname", "group"):
        if label in labels:
            yield label, labels[label]
    if "container" in labels:
        yield "container", labels["container"][:ID]
