"""Which control group the tasks of a list are in: what a resctrl group measures has its owner's name then."""

from __future__ import annotations

import os
from pathlib import Path

from vagus.cgroup_names import owner_of
from vagus.collectors.cgroup_net import read_beginning
from vagus.errors import CollectError
from vagus.model import MAX_LABEL_VALUE

MAX_TASKS = 8  # that are looked at
MAX_BYTES = 4096


def parse_cgroup(data: bytes) -> str:
    """The path in /proc/PID/cgroup (cgroups(7)), without the leading slash: v1's hierarchy of cpu, else v2's."""
    found = {}
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            found[controller] = path.strip("/")
    return found.get("cpu") or found.get("", "")


def labels_of(root: Path, tasks: str) -> dict[str, str]:
    """Labels cgroup, service, pod, container of the group that all looked-at tasks of the file are in; none if they
    are in several, in the root group, or gone."""
    try:
        ids = read_beginning(tasks, MAX_BYTES).split()
        pids = [task.decode("ascii", "replace") for task in ids[:: max(1, len(ids) // MAX_TASKS)][:MAX_TASKS]]
        groups = {parse_cgroup(read_beginning(f"{root}/proc/{pid}/cgroup", MAX_BYTES)) for pid in pids}
    except CollectError:
        return {}
    if len(groups) != 1 or not (group := groups.pop()):
        return {}
    labels = {"cgroup": group, **owner_of(group).labels()}
    return {name: os.fsencode(text).decode("utf-8", "replace")[-MAX_LABEL_VALUE:] for name, text in labels.items()}
