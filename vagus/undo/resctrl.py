"""Steps on resctrl, and its own words for a refusal (Documentation/filesystems/resctrl.rst).

`gather`: all tasks of value, JSON such as {"proc": "/proc", "pid": 4711} or {"proc": "/proc", "groups": [folders]}, go
into the group whose tasks file is path, again and again until none is outside: threads start while others are moved,
and inherit the group. With "within", only those that are in that tasks file. Undone by `return` or `rmdir`.
`return`: all tasks of the group whose tasks file is path go into the one whose tasks file is value.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable

from vagus.undo import Step
from vagus.undo.text import read_text

_ROUNDS = 50
_MAX_GROUPS = 10_000
_MONITORING = "/mon_groups/"
# with other errors the command was not reached, and the words are those of an earlier one
_EXPLAINED = (errno.EINVAL, errno.ENOSPC, errno.EBUSY, errno.ESRCH, errno.EPERM)


def last_words(path: str, number: int | None) -> str:
    """What info/last_cmd_status says of the command on path that failed with this errno; empty where there is none."""
    folder = path
    for _ in range(4 if number in _EXPLAINED else 0):  # a file of a monitoring group is four levels below the root
        folder = os.path.dirname(folder)
        try:
            words = read_text(f"{folder}/info/last_cmd_status")
        except OSError:
            continue
        return "" if words == "ok" else "; ".join(words.splitlines())[:500]
    return ""


def gather(step: Step) -> None:
    """Raises OSError, ValueError, KeyError."""
    source = json.loads(step.value)
    for _ in range(_ROUNDS):
        wanted = set(tasks_of(source))
        if "within" in source:
            wanted &= _tasks(source["within"])
        outside = wanted - _tasks(step.path)
        if not outside:
            return
        _move(outside, step.path)
    raise OSError(errno.EBUSY, f"new tasks keep appearing outside {step.path}")


def give_back(step: Step) -> None:
    """Raises OSError."""
    for _ in range(_ROUNDS):
        tasks = _tasks(step.path)
        if not tasks:
            return
        _move(tasks, step.value)
    raise OSError(errno.EBUSY, f"tasks keep appearing in {step.path}")


def tasks_of(source: dict[str, object]) -> list[int]:
    """Ids of the threads of a process and its descendants, or of all processes in these cgroups and those below."""
    proc = str(source["proc"])
    pid, groups = source.get("pid"), source.get("groups")
    if isinstance(pid, int):
        pids = _descendants(proc, pid)
    elif isinstance(groups, list):
        pids = _inside([str(group) for group in groups])
    else:
        raise ValueError("a source of tasks has pid or groups")
    found = []
    for each in pids:
        try:
            found += [int(name) for name in os.listdir(f"{proc}/{each}/task")]
        except OSError:
            continue  # it has just ended
    return found


def _inside(groups: list[str]) -> set[int]:
    pids: set[int] = set()
    todo = groups
    for _ in range(_MAX_GROUPS):
        if not todo:
            break
        folder = todo.pop()
        try:
            pids.update(map(int, read_text(f"{folder}/cgroup.procs").split()))
            with os.scandir(folder) as entries:
                todo += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # a group that has just gone
    return pids - {0}


def _descendants(proc: str, pid: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for name in os.listdir(proc):
        if name.isdigit():
            try:
                with open(f"{proc}/{name}/stat", "rb") as file:
                    parent = int(file.read(4096).rpartition(b")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            children.setdefault(parent, []).append(int(name))
    found, todo = set(), [pid]
    while todo:
        each = todo.pop()
        if each not in found:
            found.add(each)
            todo += children.get(each, [])
    return found


def _tasks(path: str) -> set[int]:
    return set(map(int, read_text(path).split()))


def _move(tasks: Iterable[int], path: str) -> None:
    """One write for each task: older kernels take no lists, and stop at the first that has ended."""
    control = path.partition(_MONITORING)[0] + "/tasks" if _MONITORING in path else ""
    for task in tasks:
        try:
            if control:  # a monitoring group takes only what its control group has
                _put(control, task)
            _put(path, task)
        except ProcessLookupError:
            continue  # it has ended since


def _put(path: str, task: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"%d\n" % task)
    finally:
        os.close(fd)
