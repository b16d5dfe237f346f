"""`vagus doctor`: what this machine supports, and what each missing thing costs and needs. Pure; reads only.

Never imports Ray: a broken Ray is one of the things that it must be able to say.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from textwrap import shorten
from typing import Any

from vagus.runtime import doctor_kernel as kernel
from vagus.runtime.checkup import Check, Machine
from vagus.runtime.cluster import MARK
from vagus.runtime.cluster import read as cluster_of

RAY_MINIMUM = (2, 60)
RAY_ENVIRONMENT: Mapping[str, tuple[str, str]] = {
    "RAY_AUTH_MODE": ("token", "anyone who reaches a Ray port can run code"),
    "RAY_USAGE_STATS_ENABLED": ("0", "Ray reports usage to its makers"),
    "RAY_enable_autoscaler_v2": ("0", "`ray up` on a local provider never starts its workers"),
    "RAY_grpc_client_keepalive_time_ms": ("10000", "a short partition leaves connections half open for minutes"),
    "RAY_grpc_client_keepalive_timeout_ms": ("10000", "a short partition leaves connections half open for minutes"),
    "RAY_health_check_failure_threshold": ("20", "Ray declares a slow node dead for good"),
    "RAY_gcs_rpc_server_reconnect_timeout_s": ("600", "nodes die one minute after the head is lost"),
    "RAY_worker_niceness": ("0", "vagus runs at nice 15 and falls silent when the machine is busy"),
}
"""What a Ray cluster should be started with: variable → (value, what its lack costs)."""


def doctor(root: Path = Path("/"), **machine: Any) -> list[Check]:
    """Every check of the machine whose files are below `root`; keyword arguments are those of Machine.

    A check that fails is an answer of its own ("cannot be checked") and never stops the rest.
    """
    seen = Machine(root=root, **machine)
    checks: list[Check] = []
    for check in CHECKS:
        try:
            checks += check(seen)
        except Exception as error:  # a strange machine must not hide the other answers
            name = check.__name__.removeprefix("check_")
            checks.append(Check(name, "degraded", f"cannot be checked: {error!r}", "unknown", "please report this"))
    return checks


def short_form(checks: Sequence[Check], most: int = 6) -> list[str]:
    """A few lines for `vagus up`: what is there on one line, then each thing that lacks and what that costs."""
    whole = {c.name: c for c in checks if "." not in c.name}
    facts = [f"{label} {whole[name].value}" for name, label in _FACTS.items() if name in whole]
    lacking = [c for c in whole.values() if c.ok != "yes"]
    lines = [" · ".join(facts)] if facts else []
    worst_first = sorted(lacking, key=lambda c: c.ok != "no")[:most]
    lines += [shorten(f"{c.name}: {c.value} – {c.cost}", 150, placeholder=" …") for c in worst_first]
    if len(lacking) > most:
        lines.append(f"and {len(lacking) - most} more: vagus doctor")
    return lines


_FACTS = {"kernel": "Linux", "python": "Python", "ray": "Ray", "cgroup": "cgroup"}


# --- Python and Ray --------------------------------------------------------------------------------------------------


def check_python(machine: Machine) -> list[Check]:
    """The interpreter that runs this; an older one than pyproject allows does not come so far."""
    return [Check("python", "yes", platform.python_version())]


def check_ray(machine: Machine) -> list[Check]:
    """The installed Ray, by its metadata: importing it takes seconds and may be what is broken."""
    try:
        found = version("ray")
    except PackageNotFoundError:
        return [Check("ray", "no", "not installed", "no actors: nothing runs", "pip install 'ray[default]>=2.60'")]
    numbers = tuple(int(n) for n in re.findall(r"\d+", found)[:2])
    if numbers >= RAY_MINIMUM:
        return [Check("ray", "yes", found)]
    return [Check("ray", "degraded", found, "untested with vagus", "pip install -U 'ray[default]>=2.60'")]


def check_ray_environment(machine: Machine) -> list[Check]:
    """Recommended variables, in the environment of the Ray that vagus uses; before that, `vagus up` sees to them."""
    count = len(RAY_ENVIRONMENT)
    pid, environ = _running_ray(machine)
    if not pid:
        return [Check("ray_environment", "yes", f"no Ray of vagus runs here; vagus up sets all {count}")]
    lacking = {k: v for k, (v, _) in RAY_ENVIRONMENT.items() if environ.get(k) != v}
    if not lacking:
        return [Check("ray_environment", "yes", f"all {count} set in Ray (pid {pid})")]
    cost = "; ".join(dict.fromkeys(RAY_ENVIRONMENT[k][1] for k in lacking))
    value = f"{len(lacking)} of {count} not as recommended in Ray (pid {pid})"
    needs = "before `ray start`: export " + " ".join(f"{k}={v}" for k, v in lacking.items())
    return [Check("ray_environment", "degraded", value, cost, needs)]


def _running_ray(machine: Machine) -> tuple[str, Mapping[str, str]]:
    """A daemon of the Ray that `vagus up` started for this home or joined, else of the one that RAY_ADDRESS names."""
    cluster = cluster_of(machine.home) if machine.home else None
    address = cluster.address if cluster else machine.ray_address
    for pid in machine.pids():
        if machine.read(f"proc/{pid}/comm").strip() in ("raylet", "gcs_server"):
            raw = machine.read(f"proc/{pid}/environ")  # empty when it is another user's
            environ = {k: v for k, _, v in (item.partition("=") for item in raw.split("\0"))}
            if cluster and cluster.started_ray:
                found = environ.get(MARK) == cluster.id
            else:
                found = _serves(machine.read(f"proc/{pid}/cmdline").split("\0"), address)
            if raw and found:
                return pid, environ
    return "", {}


def _serves(arguments: Sequence[str], address: str) -> bool:
    """Whether a daemon of Ray belongs to the cluster at `host:port` (or `auto`: whatever runs here).

    By the port: the host has many names, and no two clusters share a port of this machine.
    """
    port = address.rpartition(":")[2]
    if not address or address == "auto":
        return bool(address)
    return any(
        a == f"--gcs_server_port={port}" or (a.startswith("--gcs-address=") and a.endswith(f":{port}"))
        for a in arguments
    )


# --- ports, clock, space, limits -------------------------------------------------------------------------------------

_OURS = re.compile(r"raylet|gcs_server|ray::|vagus|dashboard", re.IGNORECASE)


def check_ports(machine: Machine) -> list[Check]:
    """Whether the ports are free, or who listens on them. A taken one lacks nothing: `vagus up` takes another."""
    inodes: dict[int, str] = {}
    for table in ("tcp", "tcp6"):
        for line in machine.read(f"proc/net/{table}", 1 << 22).splitlines()[1:]:
            parts = line.split()
            if len(parts) > 9 and parts[3] == "0A":  # LISTEN
                inodes.setdefault(int(parts[1].rpartition(":")[2], 16), parts[9])
    owners = _socket_owners(machine, {inodes[p] for p in machine.ports.values() if p in inodes})
    ours = bool(_running_ray(machine)[0])
    checks: list[Check] = []
    for name, port in machine.ports.items():
        if port not in inodes:
            checks.append(Check(f"port.{name}", "yes", f"{port} free"))
            continue
        owner = owners.get(inodes[port], "another user's process")
        if ours and _OURS.search(owner):
            checks.append(Check(f"port.{name}", "yes", f"{port} used by {owner}"))
        else:
            checks.append(Check(f"port.{name}", "yes", f"{port} taken by {owner}; vagus up takes another"))
    return [Check("port", "yes", "; ".join(f"{c.name.partition('.')[2]} {c.value}" for c in checks)), *checks]


def _socket_owners(machine: Machine, inodes: set[str]) -> dict[str, str]:
    owners: dict[str, str] = {}
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    for pid in machine.pids() if wanted else ():
        for fd in machine.names(f"proc/{pid}/fd"):
            try:
                target = os.readlink(machine.path(f"proc/{pid}/fd/{fd}"))
            except OSError:
                continue
            if target in wanted:
                command = machine.read(f"proc/{pid}/cmdline", 4096).split("\0")
                name = os.path.basename(command[0]) or machine.read(f"proc/{pid}/comm").strip()
                module = next((c for c in command[1:4] if _OURS.search(c)), "")
                owners[wanted[target]] = " ".join(filter(None, (name, os.path.basename(module)))) + f" (pid {pid})"
    return owners


def check_clock(machine: Machine) -> list[Check]:
    """Whether the kernel's clock is disciplined, and whether it stands behind what is already stored (a step back)."""
    source = machine.read("sys/devices/system/clocksource/clocksource0/current_clocksource").strip()
    detail = f", source {source}" if source else ""
    ahead_s = (_newest_stored_ns(machine) - machine.time_ns()) / 1e9
    if ahead_s > 5:
        cost = "new samples sort before stored ones until the clock catches up"
        value = f"stepped back: stored data are {ahead_s:.0f} s ahead of it{detail}"
        return [Check("clock", "degraded", value, cost, "set the clock, then keep it with chrony or systemd-timesyncd")]
    state = machine.clock_state()
    if state is None:
        return [Check("clock", "degraded", f"unknown{detail}", "times of nodes may differ", "adjtimex(2) allowed")]
    if state.synchronised:
        return [Check("clock", "yes", f"synchronised, within {state.max_error_s * 1e3:.3g} ms{detail}")]
    cost = "times of different nodes may differ: joins across nodes and one-way delays are off by as much"
    return [Check("clock", "degraded", f"not synchronised{detail}", cost, "chrony or systemd-timesyncd running")]


def _newest_stored_ns(machine: Machine) -> int:
    if machine.home is None:
        return 0
    newest = 0
    for path in machine.home.glob("nodes/*/store/*/data.mdb"):
        try:
            newest = max(newest, path.stat().st_mtime_ns)
        except OSError:
            continue
    return newest


def check_shm(machine: Machine) -> list[Check]:
    """Shared memory, where Ray keeps its objects: it takes 30 % of memory by default."""
    size = _free(machine.path("dev/shm"))
    if size is None:
        return [Check("shm", "no", "absent", "Ray keeps objects on disk, ten times slower", "mount a tmpfs on dev/shm")]
    found = re.search(r"^MemTotal:\s+(\d+) kB", machine.read("proc/meminfo"), re.MULTILINE)
    wanted = min(0.3 * int(found[1]) * 1024, 200e9) if found else 0
    if size[0] >= wanted:
        return [Check("shm", "yes", f"{_bytes(size[0])}")]
    cost = "Ray keeps objects in /tmp, slower, or refuses large ones"
    needs = (
        f"{_bytes(wanted)} of shared memory (docker run --shm-size={wanted / 2**30:.0f}g), or a smaller object store"
    )
    return [Check("shm", "degraded", _bytes(size[0]), cost, needs)]


def check_disk(machine: Machine) -> list[Check]:
    """Free space where vagus keeps its data, against the default retention."""
    if machine.home is None:
        return []
    folder = machine.home
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    size = _free(folder)
    free = size[1] if size else 0
    text = f"{_bytes(free)} free in {machine.home}"
    if not os.access(folder, os.W_OK):
        return [Check("disk", "no", f"{machine.home} cannot be written", "nothing is stored", "--home FOLDER of yours")]
    if free >= 4 << 30:
        return [Check("disk", "yes", text)]
    cost = "nothing is stored soon" if free < 256 << 20 else "less is kept than store.retain_bytes allows (4 GiB)"
    return [
        Check("disk", "no" if free < 256 << 20 else "degraded", text, cost, "space, or a smaller store.retain_bytes")
    ]


def check_files(machine: Machine) -> list[Check]:
    """The limit of open files; Ray advises 65536 and fails strangely with few."""
    found = re.search(r"^Max open files\s+(\S+)", machine.read("proc/self/limits"), re.MULTILINE)
    soft = found[1] if found else "unknown"
    if soft == "unlimited" or (soft.isdigit() and int(soft) >= 8192):
        return [Check("files", "yes", f"{soft} open files")]
    return [
        Check(
            "files", "degraded", f"{soft} open files", "Ray and the gateway run out with many peers", "ulimit -n 65536"
        )
    ]


def _free(path: Path) -> tuple[int, int] | None:
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"


CHECKS: tuple[Callable[[Machine], list[Check]], ...] = (
    kernel.check_kernel,
    check_python,
    check_ray,
    check_ray_environment,
    kernel.check_cgroup,
    kernel.check_psi,
    kernel.check_resctrl,
    kernel.check_traffic,
    kernel.check_permissions,
    check_ports,
    check_clock,
    check_shm,
    check_disk,
    check_files,
)
