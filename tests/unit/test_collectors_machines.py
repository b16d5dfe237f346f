"""All file collectors on captured trees: every file is read without a failure; also with many cores, and odd sensors."""

import shutil
from pathlib import Path

import pytest

from vagus.collectors import COLLECTORS
from vagus.collectors.clock_offset import ClockOffset, Timex, values
from vagus.collectors.hardware import Hardware, Raid
from vagus.collectors.packets import Conntrack, Softnet
from vagus.collectors.run import Runner
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Sample

FIXTURES = Path(__file__).parents[1] / "fixtures"
VM = FIXTURES / "proc-debian12-vm-cgroup2"
T = 1_700_000_000 * 10**9
NS = 10**9
NAMES = ("host", "pressure", "network", "cgroup", "process", "resctrl")


def tick(runner, t_ns=T):
    return {
        f"{record.stream.kind}.{field.name} {' '.join(record.stream.labels.values())}".strip(): value
        for record in runner.tick(t_ns)
        if isinstance(record, Sample)
        for field, value in zip(record.stream.fields, record.values, strict=True)
    }


@pytest.fixture
def runner():
    made = []

    def make(root):
        made.append(Runner.from_settings("n", CollectSettings(collectors=NAMES, root=str(root))))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_an_emulated_machine_with_debians_kernel(runner):
    machine = runner(VM)
    got = tick(machine)
    assert machine.failing() == {}
    assert got["host.disk.writes nullb0"] == 576
    assert not [name for name in got if "zram0" in name]  # never used
    assert got["host.process.total"] == 9
    assert got["cgroup.cpu.nr_throttled system.slice/web.service web.service"] == 42
    assert got["net.conntrack.max"] == 7680
    assert "net.softnet.processed" in got
    assert got["pressure.cpu.some_total"] > 0
    assert len(got) > 500


def test_many_cores_made_of_a_captured_machine(runner, tmp_path):
    cores = 256
    root = tmp_path / "many"
    shutil.copytree(VM, root)
    lines = (VM / "proc/stat").read_text().splitlines(keepends=True)
    one = next(line for line in lines if line.startswith("cpu0"))
    others = [line for line in lines if not line.startswith("cpu")]
    stat = [lines[0], *(one.replace("cpu0", f"cpu{i}") for i in range(cores)), *others]
    (root / "proc/stat").write_text("".join(stat))
    softnet = (VM / "proc/net/softnet_stat").read_text().splitlines(keepends=True)[0]
    (root / "proc/net/softnet_stat").write_text(softnet.replace("00000000", "00000002", 1) * cores)
    machine = runner(root)
    got = tick(machine)
    assert machine.failing() == {}
    assert len([name for name in got if name.startswith("host.core.idle")]) == cores
    assert got["net.softnet.processed"] == 2 * cores


def write(root, path, content):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def test_softnet_goes_on_when_a_core_wraps(tmp_path):
    part = Softnet("n", tmp_path)
    assert part.read(T) == []
    write(tmp_path, "proc/net/softnet_stat", "fffffff0 00000001 00000002 0\n00000010 00000000 00000000 0\n")
    assert part.read(T)[0].values == (0xFFFFFFF0 + 0x10, 1, 2)
    write(tmp_path, "proc/net/softnet_stat", "00000005 00000001 00000003 0\n00000020 00000000 00000000 0\n")
    assert part.read(T)[0].values == (0xFFFFFFF0 + 0x10 + 0x15 + 0x10, 1, 3)
    write(tmp_path, "proc/net/softnet_stat", "00000005 00000001\n")
    with pytest.raises(CollectError, match="truncated"):
        part.read(T)
    part.close()


def test_conntrack(tmp_path):
    part = Conntrack("n", tmp_path)
    assert part.read(T) == []
    write(tmp_path, "proc/sys/net/netfilter/nf_conntrack_count", "12\n")
    write(tmp_path, "proc/sys/net/netfilter/nf_conntrack_max", "7680\n")
    assert part.read(T)[0].values == (12, 7680)
    part.close()


def test_hardware_sensors(tmp_path):
    chip = "sys/class/hwmon/hwmon2"
    write(tmp_path, f"{chip}/name", "coretemp\n")
    write(tmp_path, f"{chip}/temp1_input", "45500\n")
    write(tmp_path, f"{chip}/temp1_label", "Package id 0\n")
    write(tmp_path, f"{chip}/fan1_input", "1200\n")
    write(tmp_path, f"{chip}/temp2_input", "not now\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/type", "x86_pkg_temp\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "-5000\n")
    write(tmp_path, "sys/class/powercap/intel-rapl:0/name", "package-0\n")
    write(tmp_path, "sys/class/powercap/intel-rapl:0/energy_uj", "262143328850\n")
    write(tmp_path, "sys/devices/system/edac/mc/mc0/ce_count", "3\n")
    write(tmp_path, "sys/devices/system/edac/mc/mc0/ue_count", "1\n")
    part = Hardware("n", tmp_path)
    got = {(s.stream.kind, *s.stream.labels.values()): s.values for s in part.read(T)}
    assert got == {
        ("host.temperature", "hwmon2 coretemp Package id 0"): (45.5,),
        ("host.temperature", "thermal_zone0 x86_pkg_temp"): (-5.0,),
        ("host.fan", "hwmon2 coretemp fan1"): (1200.0,),
        ("host.energy", "intel-rapl:0 package-0"): (262143.32885,),
        ("host.memory_errors", "mc0", "corrected"): (3.0,),
        ("host.memory_errors", "mc0", "uncorrected"): (1.0,),
    }
    assert list(part.read(T + NS)) == []  # not at every tick
    first = {s.stream.key: s.stream for s in part.read(T + 10 * NS)}
    again = {s.stream.key: s.stream for s in part.read(T + 70 * NS)}
    assert len(first) == 6
    assert all(first[key] is stream for key, stream in again.items())
    assert list(Hardware("n", tmp_path / "none").read(T)) == []


def test_raid(tmp_path):
    part = Raid("n", tmp_path)
    assert list(part.read(T)) == []
    content = """Personalities : [raid1] [raid6]
md0 : active raid1 sdb1[1] sda1[0]
      1046528 blocks super 1.2 [2/2] [UU]

md1 : active (auto-read-only) raid5 sdd[2](F) sdc[1] sdb[0]
      2095104 blocks level 5, 512k chunk, algorithm 2 [3/2] [UU_]

unused devices: <none>
"""
    write(tmp_path, "proc/mdstat", content)
    got = {s.stream.labels["array"]: s.values for s in part.read(T + 10 * NS)}
    assert got == {"md0": (2, 2, 1), "md1": (3, 2, 1)}
    part.close()


def test_clock_discipline():
    found = Timex(offset=1500, freq=-65536 * 2, maxerror=16000, esterror=500, status=0x2001, tai=37)
    assert values(0, found) == (1, 1.5e-6, -2.0, 0.016, 0.0005, 37)
    found.status = 0x0041
    assert values(5, found)[:2] == (0, 0.0015)
    (sample,) = ClockOffset("n").read(T)
    assert 0 <= sample.values[3] <= 3600


@pytest.mark.parametrize("name", sorted(COLLECTORS))
def test_one_file_gone_never_stops_the_runner(name, tmp_path):
    shutil.copytree(VM, tmp_path / "r")
    (tmp_path / "r/proc/mounts").unlink()
    (tmp_path / "r/proc/uptime").unlink()
    runner = Runner.from_settings("n", CollectSettings(collectors=(name,), root=str(tmp_path / "r")))
    assert isinstance(runner.tick(T)[-1], Sample)
    runner.close()
