"""Steps on resctrl, and its own words for a refusal (Documentation/filesystems/resctrl.rst).

`gather`: all tasks of value, a `Source` as JSON, go into the group whose tasks file is path, again and again until none
is outside: threads start while others are moved, and inherit the group. Undone by `return` or `rmdir`.
`return`: all tasks of the group whose tasks file is path go into the one whose tasks file is value.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

import msgspec

from vagus.errors import Rejected
from vagus.undo import Step
from vagus.undo.text import read_text

_ROUNDS = 50
_MAX_GROUPS = 10_000
_MONITORING = "/mon_groups/"
# with other errors the command was not reached, and the words are those of an earlier one
_EXPLAINED = (errno.EINVAL, errno.ENOSPC, errno.EBUSY, errno.ESRCH, errno.EPERM)


class Source(msgspec.Struct, frozen=True):
    """Whose threads: of a process and its descendants, or of all processes in these cgroups and those below.

    proc: where /proc is. within: only those that are in this tasks file.
    """

    proc: str
    pid: int = 0
    groups: tuple[str, ...] = ()
    within: str = ""


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
    """Raises OSError, Rejected."""
    try:
        source = msgspec.json.decode(step.value, type=Source)
    except msgspec.DecodeError as error:
        raise Rejected(step.path, step.value, f"this says not whose tasks: {error}") from error
    for _ in range(_ROUNDS):
        wanted = tasks_of(source)
        if source.within:
            wanted &= _tasks(source.within)
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


def tasks_of(source: Source) -> set[int]:
    """Ids of all its threads now. Raises OSError where /proc cannot be listed."""
    pids = _descendants(source.proc, source.pid) if source.pid else _inside(list(source.groups))
    found: set[int] = set()
    for pid in pids:
        try:
            found.update(map(int, os.listdir(f"{source.proc}/{pid}/task")))
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
