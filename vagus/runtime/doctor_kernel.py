"""Checks of what the kernel and the processor offer: versions, cgroups, resctrl, PSI, traffic classes, capabilities.

Only reads: no module is loaded, nothing mounted, nothing tried out.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterable

from vagus.runtime.checkup import Answer, Check, Machine


def check_kernel(machine: Machine) -> list[Check]:
    """The release, against the versions that brought what vagus uses."""
    release = machine.read("proc/sys/kernel/osrelease").strip()
    found = re.match(r"(\d+)\.(\d+)", release)
    if not found:
        return [
            Check("kernel", "no", release or "unknown", "nothing can be sensed without /proc", "Linux, /proc mounted")
        ]
    version = (int(found[1]), int(found[2]))
    if version >= (4, 20):
        return [Check("kernel", "yes", release)]
    if version >= (4, 15):
        return [Check("kernel", "degraded", release, "no pressure (PSI), which came with 4.20", "Linux 4.20 or later")]
    return [Check("kernel", "no", release, "no cgroup v2 CPU limits (4.15), no PSI (4.20)", "Linux 4.20 or later")]


# --- cgroups ---------------------------------------------------------------------------------------------------------

_CONTROLLERS = {  # our name: (v1 name, v2 name, a file that shows that limits are compiled in for v1, what it costs)
    "cpu": ("cpu", "cpu", "cpu.cfs_quota_us", "CPU limits stay dry"),
    "memory": ("memory", "memory", "memory.limit_in_bytes", "memory limits stay dry"),
    "io": ("blkio", "io", "blkio.throttle.read_bps_device", "disk bandwidth limits stay dry"),
    "cpuset": ("cpuset", "cpuset", "cpuset.cpus", "services cannot be pinned to cores"),
}


def check_cgroup(machine: Machine) -> list[Check]:
    """Which version controls what, and whether this process may write there."""
    v1: dict[str, tuple[str, bool]] = {}
    v2: tuple[str, bool] | None = None
    for line in machine.read("proc/self/mounts").splitlines():
        parts = line.split()
        if len(parts) < 4 or parts[2] not in ("cgroup", "cgroup2"):
            continue
        options = parts[3].split(",")
        mount = (parts[1].replace("\\040", " ").lstrip("/"), "rw" in options)
        if parts[2] == "cgroup2":
            v2 = v2 or mount
        else:
            v1.update(dict.fromkeys(options, mount))
    unified = machine.read(f"{v2[0]}/cgroup.controllers").split() if v2 else []
    checks: list[Check] = []
    for name, (old, new, proof, cost) in _CONTROLLERS.items():
        mount_needs = f"the {new} controller: mounted (v1) or listed in cgroup.controllers (v2)"
        where: tuple[str, bool] | None = None
        if v2 and new in unified:
            where, label = v2, "v2"
        elif old in v1 and machine.exists(f"{v1[old][0]}/{proof}"):
            where, label = v1[old], "v1"
        elif old in v1 and not machine.exists(f"{v1[old][0]}/{proof}"):
            mount_needs = f"a kernel whose {old} controller has {proof}"
        if where is None:
            checks.append(Check(f"cgroup.{name}", "no", "absent", cost, mount_needs))
            continue
        path = machine.path(where[0])
        why = "" if where[1] else "mounted read-only"
        if where[1] and not os.access(path, os.W_OK):
            why = "no permission"
        if why:
            needs = "root, or a delegated group (systemd: Delegate=yes); in a container, /sys/fs/cgroup writable"
            checks.append(Check(f"cgroup.{name}", "degraded", f"{label}, {why}", cost, needs))
        else:
            checks.append(Check(f"cgroup.{name}", "yes", f"{label}, writable"))
    versions = [
        text for text, present in (("v1", any(o in v1 for o, *_ in _CONTROLLERS.values())), ("v2", v2)) if present
    ]
    if not versions:
        whole = Check("cgroup", "no", "none mounted", "no limit can be set", "mount -t cgroup2 none /sys/fs/cgroup")
    else:
        good = [c.name.partition(".")[2] for c in checks if c.ok == "yes"]
        text = f"{' and '.join(versions)}; writable: {', '.join(good) or 'nothing'}"
        poor = [c for c in checks if c.ok != "yes"]
        whole = Check(
            "cgroup",
            "yes" if not poor else "degraded",
            text,
            "; ".join(c.cost for c in poor),
            poor[0].needs if poor else "",
        )
    return [whole, *checks]


# --- resctrl ---------------------------------------------------------------------------------------------------------

# feature: (flags of /proc/cpuinfo by level, folders or files of info/ by level, what it costs to lack it)
_RESCTRL: dict[str, tuple[dict[str, tuple[str, ...]], dict[str, str], str]] = {
    "cmt": ({"L3": ("cqm_occup_llc",)}, {"L3": "L3_MON:llc_occupancy"}, "who fills the cache is not seen"),
    "mbm": (
        {"L3": ("cqm_mbm_total", "cqm_mbm_local")},
        {"L3": "L3_MON:mbm_"},
        "who uses the memory bandwidth is not seen",
    ),
    "cat": (
        {"L3": ("cat_l3",), "L2": ("cat_l2",)},
        {"L3": "L3|L3CODE", "L2": "L2|L2CODE"},
        "the cache cannot be partitioned",
    ),
    "cdp": (
        {"L3": ("cdp_l3",), "L2": ("cdp_l2",)},
        {"L3": "L3CODE", "L2": "L2CODE"},
        "code and data cannot be given cache apart",
    ),
    "mba": ({"MB": ("mba",)}, {"MB": "MB"}, "memory bandwidth cannot be limited"),
}


def check_resctrl(machine: Machine) -> list[Check]:
    """Intel RDT and AMD QoS: from the processor's flags, and what the mounted file system offers."""
    flags = _cpu_flags(machine.read("proc/cpuinfo", 1 << 16))
    info = machine.names("sys/fs/resctrl/info")
    in_kernel = "resctrl" in machine.read("proc/filesystems").split()
    details: list[Check] = []
    for name, (by_flag, by_info, cost) in _RESCTRL.items():
        hardware = [level for level, wanted in by_flag.items() if flags.intersection(wanted)]
        mounted = [level for level, where in by_info.items() if _offered(machine, info, where)]
        if mounted:
            details.append(Check(f"resctrl.{name}", "yes", ", ".join(mounted)))
        elif not hardware:
            details.append(Check(f"resctrl.{name}", "no", "not in this processor", cost, _OTHER_CPU))
        elif info and name == "cdp":
            needs = "mount -t resctrl -o cdp resctrl /sys/fs/resctrl"
            details.append(Check(f"resctrl.{name}", "degraded", f"{', '.join(hardware)}: off", cost, needs))
        else:
            needs = _MOUNT if in_kernel else _OTHER_KERNEL
            if info:
                needs = "the kernel parameter rdt=… leaves this feature out, or the kernel does not know this processor"
            details.append(Check(f"resctrl.{name}", "degraded", f"{', '.join(hardware)}: unused", cost, needs))
    usable = [c.name.partition(".")[2].upper() for c in details if c.ok == "yes"]
    cost = "cache and memory bandwidth are neither seen nor limited"
    if usable:
        whole = Check("resctrl", "yes", f"mounted: {', '.join(usable)}")
    elif any(c.ok == "degraded" for c in details):
        value = "supported, not mounted" if in_kernel else "in the processor, not in the kernel"
        whole = Check("resctrl", "degraded", value, cost, _MOUNT if in_kernel else _OTHER_KERNEL)
    else:
        whole = Check("resctrl", "no", "not in this processor (or hidden by the hypervisor)", cost, _OTHER_CPU)
    return [whole, *details]


_MOUNT = "mount -t resctrl resctrl /sys/fs/resctrl (as root)"
_OTHER_KERNEL = "a kernel with CONFIG_X86_CPU_RESCTRL"
_OTHER_CPU = "a processor with Intel RDT or AMD QoS, not hidden by a hypervisor"


def _cpu_flags(cpuinfo: str) -> set[str]:
    found = re.search(r"^flags\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    return set(found[1].split()) if found else set()


def _offered(machine: Machine, info: list[str], where: str) -> bool:
    folder, _, feature = where.partition(":")
    if feature:
        features = machine.read(f"sys/fs/resctrl/info/{folder}/mon_features").split()
        return any(f.startswith(feature) for f in features)
    return any(name in info for name in folder.split("|"))


# --- pressure, traffic, permissions ----------------------------------------------------------------------------------


def check_psi(machine: Machine) -> list[Check]:
    """Pressure stall information: present and switched on (a kernel may have it and refuse to read it)."""
    readable = [name for name in machine.names("proc/pressure") if machine.read(f"proc/pressure/{name}")]
    if {"cpu", "memory", "io"} <= set(readable):
        return [Check("psi", "yes", ", ".join(readable))]
    cost = "how long work waits for CPU, memory and disks is not seen"
    if machine.exists("proc/pressure"):
        return [Check("psi", "degraded", "in the kernel, switched off", cost, "boot with the kernel parameter psi=1")]
    return [
        Check("psi", "no", "absent", cost, "Linux 4.20 with CONFIG_PSI, booted with psi=1 where it is off by default")
    ]


_TRAFFIC = {
    "htb": ("sch_htb", "NET_SCH_HTB", "htb_init", "outgoing bandwidth cannot be limited per service"),
    "netem": ("sch_netem", "NET_SCH_NETEM", "netem_init", "delay and loss are injected in user space only"),
    "fq_codel": ("sch_fq_codel", "NET_SCH_FQ_CODEL", "fq_codel_init", "classes queue first in, first out"),
}


def check_traffic(machine: Machine) -> list[Check]:
    """Queueing disciplines: loaded, built in, or a module that `tc` would load; nothing is tried out."""
    release = machine.read("proc/sys/kernel/osrelease").strip()
    loaded = {line.split(" ", 1)[0] for line in machine.read("proc/modules").splitlines()}
    builtin = _module_names(machine.read(f"lib/modules/{release}/modules.builtin").splitlines())
    loadable = _module_names(
        line.partition(":")[0] for line in machine.read(f"lib/modules/{release}/modules.dep", 1 << 24).splitlines()
    )
    config = _kernel_config(machine, release)
    symbols: str | None = None
    checks: list[Check] = []
    for name, (module, option, symbol, cost) in _TRAFFIC.items():
        found = ""
        if module in loaded:
            found = "loaded"
        elif module in builtin or f"CONFIG_{option}=y" in config or machine.exists(f"sys/module/{module}"):
            found = "built in"
        elif module in loadable:
            found = "module"
        elif not config and not builtin:
            if symbols is None:
                symbols = machine.read("proc/kallsyms", 1 << 25)
            found = "built in" if f" {symbol}\n" in symbols else ""
        if found:
            checks.append(Check(f"traffic.{name}", "yes", found))
        else:
            needs = f"a kernel with CONFIG_{option}, or its module {module}"
            checks.append(Check(f"traffic.{name}", "no", "absent", cost, needs))
    have = [c.name.partition(".")[2] for c in checks if c.ok == "yes"]
    lack = [c for c in checks if c.ok != "yes"]
    lacking = ", ".join(c.name.partition(".")[2] for c in lack)
    ok: Answer = "yes" if not lack else "degraded" if have else "no"
    whole = Check(
        "traffic",
        ok,
        "; ".join(filter(None, (", ".join(have), lacking and "no " + lacking))),
        "; ".join(c.cost for c in lack),
        "; ".join(c.needs for c in lack),
    )
    return [whole, *checks]


def _module_names(paths: Iterable[str]) -> set[str]:
    return {re.sub(r"\.ko(\.\w+)?$", "", os.path.basename(path.strip())).replace("-", "_") for path in paths}


def _kernel_config(machine: Machine, release: str) -> set[str]:
    try:
        with gzip.open(machine.path("proc/config.gz"), "rb") as file:
            text = file.read(1 << 22).decode("utf-8", "replace")
    except (OSError, EOFError):
        text = machine.read(f"boot/config-{release}")
    return set(text.split("\n")) if text else set()


_CAPABILITIES = {
    "cap_sys_admin": (21, "resctrl and new cgroup mounts are out of reach"),
    "cap_net_admin": (12, "traffic classes cannot be set"),
    "cap_sys_ptrace": (19, "open files and sockets of other users' processes are not seen"),
}


def check_permissions(machine: Machine) -> list[Check]:
    """Who this process is, and which of the capabilities that vagus can use it holds."""
    status = dict(line.partition(":")[::2] for line in machine.read("proc/self/status").splitlines())
    uid = (status.get("Uid") or "-1 -1").split()[1]
    try:
        effective = int(status.get("CapEff", "0").strip() or "0", 16)
    except ValueError:
        effective = 0
    checks = [
        Check("permission.root", "yes", "root")
        if uid == "0"
        else Check(
            "permission.root", "degraded", f"uid {uid}", "actuators stay dry unless delegated", "root, or delegation"
        )
    ]
    for name, (bit, cost) in _CAPABILITIES.items():
        if effective >> bit & 1:
            checks.append(Check(f"permission.{name}", "yes", "held"))
        else:
            needs = f"root, or systemd AmbientCapabilities={name.upper()}, or docker --cap-add {name[4:].upper()}"
            checks.append(Check(f"permission.{name}", "no", "not held", cost, needs))
    lack = [c for c in checks if c.ok != "yes"]
    whole = Check(
        "permission",
        "yes" if not lack else "degraded",
        ("root" if uid == "0" else f"uid {uid}") + (f", without {', '.join(map(_privilege, lack))}" if lack else ""),
        "; ".join(dict.fromkeys(c.cost for c in lack)),
        lack[-1].needs if lack else "",
    )
    return [whole, *checks]


def _privilege(check: Check) -> str:
    name = check.name.partition(".")[2]
    return name if name == "root" else name.upper()
