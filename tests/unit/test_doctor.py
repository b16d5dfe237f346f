"""The doctor on machines that are folders: what each finds, costs and needs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vagus.cli import cli
from vagus.runtime import cluster
from vagus.runtime import doctor as doctor_module
from vagus.runtime.checkup import Check, ClockState, Machine, kernel_clock
from vagus.runtime.doctor import RAY_ENVIRONMENT, doctor, short_form

NOW_NS = 1_790_000_000 * 10**9
RELEASE = "6.1.0-18-amd64"
WELL = {
    "proc/sys/kernel/osrelease": f"{RELEASE}\n",
    "proc/self/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
    "proc/pressure/cpu": "some avg10=0.00\n",
    "proc/pressure/io": "some avg10=0.00\n",
    "proc/pressure/memory": "some avg10=0.00\n",
    "proc/cpuinfo": "processor: 0\nflags\t\t: fpu rdt_a cqm_occup_llc cqm_mbm_total cat_l3 cdp_l3 mba\n",
    "proc/filesystems": "nodev\tresctrl\n\text4\n",
    "sys/fs/resctrl/info/L3/cbm_mask": "fff\n",
    "sys/fs/resctrl/info/MB/bandwidth_gran": "10\n",
    "sys/fs/resctrl/info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n",
    f"lib/modules/{RELEASE}/modules.builtin": "kernel/net/sched/sch_fq_codel.ko\n",
    f"lib/modules/{RELEASE}/modules.dep": "kernel/net/sched/sch_netem.ko.xz:\nkernel/net/sched/sch_htb.ko.xz: a.ko\n",
    "proc/self/status": "Name:\tx\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
    "proc/self/limits": "Limit  Soft Limit  Hard Limit  Units\nMax open files            65536   65536   files\n",
    "proc/net/tcp": "  sl  local_address\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
}
Build = Callable[..., Machine]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A machine of files: WELL, with some replaced, or absent where None."""

    def make(files: Mapping[str, str | None] = {}, **more: Any) -> Machine:
        for name, text in {**WELL, **files}.items():
            if text is not None:
                path = tmp_path / "root" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        (tmp_path / "root/dev/shm").mkdir(parents=True, exist_ok=True)
        given = {"home": tmp_path / "home", "time_ns": lambda: NOW_NS, "clock_state": lambda: ClockState(True, 2e-4)}
        given["ray_address"] = ""
        return Machine(root=tmp_path / "root", **{**given, **more})

    return make


def checks_of(machine: Machine) -> dict[str, Check]:
    more = {name: getattr(machine, name) for name in ("home", "ports", "time_ns", "clock_state", "ray_address")}
    return {check.name: check for check in doctor(machine.root, **more)}


def test_a_machine_that_has_everything(build: Build) -> None:
    found = checks_of(build())
    lacking = {name: check for name, check in found.items() if check.ok != "yes"}
    assert set(lacking) == {"resctrl.cdp"}  # it is a mount option, and a machine is well without
    assert "-o cdp" in lacking["resctrl.cdp"].needs
    assert found["cgroup"].value == "v2; writable: cpu, memory, io, cpuset"
    assert found["resctrl"].value == "mounted: CMT, MBM, CAT, MBA"
    assert found["traffic"].value == "htb, netem, fq_codel"
    assert found["clock"].value == "synchronised, within 0.2 ms, source tsc"


def test_every_lack_says_what_it_costs_and_needs(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = doctor(tmp_path / "empty", home=tmp_path, clock_state=lambda: None)
    lacking = [check for check in found if check.ok != "yes"]
    assert {"kernel", "cgroup", "psi", "resctrl", "traffic", "permission", "clock", "shm", "files"} <= {
        check.name for check in lacking
    }
    assert [check.name for check in lacking if not (check.cost and check.needs)] == []
    assert [check.name for check in found if check.ok == "yes" and check.cost] == []
    assert len({check.name for check in found}) == len(found)


@pytest.mark.parametrize(
    ("release", "ok"), [("6.1.0", "yes"), ("4.20.1-x", "yes"), ("4.19.0", "degraded"), ("3.10.0", "no"), ("", "no")]
)
def test_kernel(build: Build, release: str, ok: str) -> None:
    assert checks_of(build({"proc/sys/kernel/osrelease": release}))["kernel"].ok == ok


def test_cgroup_v1_beside_an_empty_v2(build: Build) -> None:
    mounts = (
        "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n"
        "cgroup /sys/fs/cgroup/memory cgroup ro,relatime,memory 0 0\n"
        "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
    )
    files = {
        "proc/self/mounts": mounts,
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "1",
        "sys/fs/cgroup/unified/cgroup.controllers": "hugetlb\n",
    }
    found = checks_of(build(files))
    assert found["cgroup.cpu"].value == "v1, writable"
    assert (found["cgroup.memory"].ok, found["cgroup.memory"].value) == ("degraded", "v1, mounted read-only")
    assert found["cgroup.io"].ok == "no"
    assert (found["cgroup"].ok, found["cgroup"].value) == ("degraded", "v1 and v2; writable: cpu")


def test_cgroup_v1_without_bandwidth_control(build: Build) -> None:
    mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
    found = checks_of(build({"proc/self/mounts": mounts}))["cgroup.cpu"]
    assert (found.ok, found.needs) == ("no", "a kernel whose cpu controller has cpu.cfs_quota_us")


def test_resctrl_that_is_not_mounted(build: Build) -> None:
    mounted = [name for name in WELL if name.startswith("sys/fs/resctrl")]
    found = checks_of(build(dict.fromkeys(mounted)))
    assert (found["resctrl"].ok, found["resctrl"].value) == ("degraded", "supported, not mounted")
    assert "mount -t resctrl" in found["resctrl"].needs
    assert found["resctrl.cat"].value == "L3: unused"


def test_resctrl_without_the_kernel(build: Build) -> None:
    absent: dict[str, str | None] = dict.fromkeys(n for n in WELL if n.startswith("sys/fs/resctrl"))
    found = checks_of(build({**absent, "proc/filesystems": "ext4\n"}))["resctrl"]
    assert "CONFIG_X86_CPU_RESCTRL" in found.needs


def test_resctrl_l2_and_cdp(build: Build) -> None:
    found = checks_of(build({"sys/fs/resctrl/info/L2/cbm_mask": "f", "sys/fs/resctrl/info/L3CODE/cbm_mask": "f"}))
    assert found["resctrl.cat"].value == "L3, L2"
    assert found["resctrl.cdp"].value == "L3"


def test_psi_switched_off(build: Build) -> None:
    off = {f"proc/pressure/{name}": "" for name in ("cpu", "io", "memory")}
    found = checks_of(build(off))["psi"]
    assert (found.ok, found.needs) == ("degraded", "boot with the kernel parameter psi=1")


def test_traffic_from_the_kernel_symbols(build: Build) -> None:
    absent: dict[str, str | None] = {name: None for name in WELL if name.startswith("lib/modules")}
    found = checks_of(build({**absent, "proc/kallsyms": "0 t htb_init\n0 t htb_init_x\n0 t xnetem_init\n"}))
    assert [found[f"traffic.{n}"].ok for n in ("htb", "netem", "fq_codel")] == ["yes", "no", "no"]
    assert found["traffic"].value == "htb; no netem, fq_codel"


def test_permissions_of_a_user(build: Build) -> None:
    found = checks_of(build({"proc/self/status": "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000001000\n"}))
    assert found["permission.cap_net_admin"].ok == "yes"
    assert found["permission.cap_sys_admin"].ok == "no"
    assert found["permission"].value == "uid 1000, without root, CAP_SYS_ADMIN, CAP_SYS_PTRACE"


def listening(port: int, inode: int) -> str:
    return f"   0: 0100007F:{port:04X} 00000000:0000 0A 0:0 00:0 0 0 0 {inode} 1\n"


def test_ports_and_who_has_them(build: Build) -> None:
    tcp = "  sl  local_address\n" + listening(7117, 11) + listening(6379, 22) + listening(8265, 33)
    files = {
        "proc/net/tcp": tcp,
        "proc/501/cmdline": "/usr/bin/nginx\0-g\0",
        "proc/502/cmdline": "/opt/ray/gcs_server\0--x\0",
    }
    machine = build(files)
    for pid, inode in ((501, 11), (502, 22)):
        fd = machine.root / f"proc/{pid}/fd"
        fd.mkdir()
        (fd / "3").symlink_to(f"socket:[{inode}]")
    found = checks_of(machine)
    taken = "7117 taken by nginx (pid 501); vagus up takes another"
    assert (found["port.gateway"].ok, found["port.gateway"].value) == ("yes", taken)
    assert found["port.ray"].value == "6379 taken by gcs_server (pid 502); vagus up takes another"  # not this home's
    assert found["port.dashboard"].value == "8265 taken by another user's process; vagus up takes another"
    (machine.root / "proc/502/comm").write_text("gcs_server\n")
    (machine.root / "proc/502/environ").write_text("VAGUS_CLUSTER_ID=ours\0")
    of_home(machine, id="ours")
    found = checks_of(machine)
    assert found["port.ray"].value == "6379 used by gcs_server (pid 502)"
    assert found["port.gateway"].value == taken


def of_home(machine: Machine, **more: Any) -> None:
    """What `vagus up` leaves in the state folder."""
    assert machine.home is not None
    given: dict[str, Any] = {"address": "127.0.0.2:6379", "started_ray": True, **more}
    cluster.write(machine.home, cluster.ClusterFile(**given))


def test_a_clock_that_stepped_back(build: Build, tmp_path: Path) -> None:
    data = tmp_path / "home/nodes/a/store/collector/data.mdb"
    data.parent.mkdir(parents=True)
    data.touch()  # now, decades or years from the machine's time
    ahead_s = data.stat().st_mtime_ns / 1e9 - 600
    found = checks_of(build(time_ns=lambda: int(ahead_s * 1e9)))["clock"]
    assert found.ok == "degraded"
    assert found.value.startswith("stepped back: stored data are 600 s ahead")


def test_a_clock_that_nobody_keeps(build: Build) -> None:
    found = checks_of(build(clock_state=lambda: ClockState(False, 16.0)))["clock"]
    assert (found.ok, found.needs) == ("degraded", "chrony or systemd-timesyncd running")


def test_the_kernel_clock_answers_without_privilege() -> None:
    state = kernel_clock()
    assert state is None or state.max_error_s >= 0


def test_the_environment_of_this_home_s_ray(build: Build) -> None:
    assert checks_of(build())["ray_environment"].ok == "yes"  # none runs: vagus up will see to it
    environ = {name: value for name, (value, _) in RAY_ENVIRONMENT.items()} | {"VAGUS_CLUSTER_ID": "ours"}
    text = "\0".join(f"{name}={value}" for name, value in environ.items() if name != "RAY_AUTH_MODE")
    machine = build({
        "proc/70/comm": "raylet\n", "proc/70/environ": "VAGUS_CLUSTER_ID=theirs\0",
        "proc/77/comm": "raylet\n", "proc/77/environ": text,
    })  # fmt: skip
    assert checks_of(machine)["ray_environment"].value.startswith("no Ray of vagus runs here")
    of_home(machine, id="ours")
    found = checks_of(machine)["ray_environment"]
    assert (found.ok, found.needs) == ("degraded", "before `ray start`: export RAY_AUTH_MODE=token")
    (machine.root / "proc/77/environ").write_text(text + "\0RAY_AUTH_MODE=token\0")
    assert checks_of(machine)["ray_environment"].value.endswith("(pid 77)")


@pytest.mark.parametrize(
    ("address", "pid"), [("10.0.0.1:6400", "81"), ("localhost:6500", "82"), ("auto", "81"), ("h:1", ""), ("", "")]
)
def test_the_ray_that_an_address_names(build: Build, address: str, pid: str) -> None:
    files: dict[str, str | None] = {
        "proc/81/comm": "raylet\n", "proc/81/cmdline": "raylet\0--gcs-address=10.0.0.1:6400\0", "proc/81/environ": "A=1",
        "proc/82/comm": "gcs_server\n", "proc/82/cmdline": "gcs_server\0--gcs_server_port=6500", "proc/82/environ": "A=1",
    }  # fmt: skip
    value = checks_of(build(files, ray_address=address))["ray_environment"].value
    assert (f"(pid {pid})" in value) if pid else value.startswith("no Ray")
    joined = build(files)
    of_home(joined, id="x", started_ray=False, address=address)
    assert checks_of(joined)["ray_environment"].value == value


def test_few_open_files(build: Build) -> None:
    found = checks_of(build({"proc/self/limits": "Max open files   1024   4096   files\n"}))["files"]
    assert (found.ok, found.value) == ("degraded", "1024 open files")


def test_a_check_that_fails_hides_nothing(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def check_broken(machine: Machine) -> list[Check]:
        raise ZeroDivisionError("strange machine")

    monkeypatch.setattr(doctor_module, "CHECKS", (check_broken, *doctor_module.CHECKS))
    found = checks_of(build())
    assert "ZeroDivisionError" in found["broken"].value
    assert found["kernel"].ok == "yes"


def test_short_form(build: Build) -> None:
    lines = short_form(list(checks_of(build()).values()))
    assert lines == [
        f"Linux {RELEASE} · Python {sys.version.split()[0]} · Ray {ray_version()} · cgroup v2; writable: cpu, memory, io, cpuset"
    ]
    lacking = [Check(f"c{n}", "no", "absent", "much", "money") for n in range(9)]
    assert short_form([*lacking, Check("c0.part", "no", "absent", "x", "y")], most=2) == [
        "c0: absent – much",
        "c1: absent – much",
        "and 7 more: vagus doctor",
    ]


def ray_version() -> str:
    from importlib.metadata import version

    return version("ray")


def test_doctor_command_on_this_machine() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    checks = json.loads(result.stdout)["checks"]
    assert {"kernel", "cgroup", "resctrl.cmt", "psi", "traffic.htb", "port.gateway", "clock"} <= {
        check["name"] for check in checks
    }
    assert {check["ok"] for check in checks} <= {"yes", "no", "degraded"}
    plain = CliRunner().invoke(cli, ["doctor"]).stdout
    assert "\x1b" not in plain
    assert "kernel" in plain
    detailed = CliRunner().invoke(cli, ["doctor", "--details"]).stdout
    assert "resctrl.cmt" in detailed
    assert "resctrl.cmt" not in plain


def test_doctor_never_imports_ray() -> None:
    code = "import sys; from vagus.runtime.doctor import doctor; doctor(); assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
