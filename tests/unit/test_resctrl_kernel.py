"""The resctrl that tests run against: the kernel's checks and words, each as rdtgroup.c and ctrlmondata.c have it."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from tests.fixtures.resctrl_kernel import Kernel
from tests.fixtures.resctrl_machines import PROFILES, Bandwidth, Cache, Profile
from tests.fixtures.resctrl_tasks import Task

INIT = Task(0, 0, 1)


def refused(kernel: Kernel, path: str, text: str, uid: int = 0) -> tuple[int, str]:
    with pytest.raises(OSError) as caught:
        kernel.write(path, text.encode(), uid)
    return caught.value.errno or 0, kernel.read("/info/last_cmd_status")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("L3:0=0", "Mask out of range"),
        ("L3:0=1fffff", "Mask out of range"),
        ("L3:0=5", "The mask 5 has non-consecutive 1-bits"),
        ("L3:0=xyz", "Non-hex character in the mask xyz"),
        ("L3:0", "Missing '=' or non-numeric domain"),
        ("L3:a=1", "Missing '=' or non-numeric domain"),
        ("L3: 0=1", "Missing '=' or non-numeric domain"),
        ("L3:0=1;0=1", "Duplicate domain 0"),
        ("L3", "Missing ':'"),
        ("", "Missing ':'"),
        ("L3:", "Missing 'L3' value"),
        ("L4:0=1", "Unknown or unsupported resource name 'L4'"),
        ("L3:7=1", "ok"),  # an unknown domain is refused without a word
        ("MB:0=9", "MB value 9 out of range [10,100]"),
        ("MB:0=101", "MB value 101 out of range [10,100]"),
        ("MB:0=ten", "Invalid MB value ten"),
    ],
)
def test_a_line_is_refused_in_its_words(line: str, words: str) -> None:
    kernel = Kernel(PROFILES["intel"])
    before = kernel.read("/schemata")
    assert refused(kernel, "/schemata", line + "\n") == (errno.EINVAL, words + "\n")
    assert kernel.read("/schemata") == before
    kernel.write("/schemata", b"L3:0=f\n")
    assert kernel.read("/info/last_cmd_status") == "ok\n"


def test_a_schemata_needs_its_newline_and_fits_a_page() -> None:
    kernel = Kernel(PROFILES["intel"])
    assert refused(kernel, "/schemata", "L3:0=f")[0] == errno.EINVAL
    assert refused(kernel, "/schemata", "L3:0=f\n" * 1000)[0] == errno.E2BIG


def test_lines_take_effect_together_but_the_software_controllers_at_once() -> None:
    kernel = Kernel(PROFILES["intel"])
    refused(kernel, "/schemata", "L3:0=f\nMB:0=20\nL3:1=5\n")
    assert kernel.read("/schemata") == "    MB:0=100;1=100\n    L3:0=fffff;1=fffff\n"
    kernel.write("/schemata", b"L3:0=f\nMB:1=21\n")
    assert kernel.read("/schemata") == "    MB:0=100;1=30\n    L3:0=f;1=fffff\n"
    kernel = Kernel(PROFILES["mbps"])
    refused(kernel, "/schemata", "MB:0=512\nL3:1=5\n")
    assert kernel.read("/schemata") == "MB:0=512;1=4294967295\nL3:0=7ff;1=7ff\n"


def test_bits_of_haswell_and_of_amd() -> None:
    haswell = Kernel(PROFILES["haswell"])
    assert refused(haswell, "/schemata", "L3:0=1\n")[1] == "Need at least 2 bits in the mask\n"
    amd = Kernel(PROFILES["amd"])
    amd.write("/schemata", b"L3:0=f00f;1=0\nMB:0=17\nSMBA:3=8\n")
    assert amd.read("/schemata").split() == [
        "SMBA:0=2048;1=2048;2=2048;3=8",
        "MB:0=17;1=2048;2=2048;3=2048",
        "L3:0=f00f;1=0;2=ffff;3=ffff",
    ]
    assert refused(amd, "/schemata", "MB:0=2049\n")[1] == "MB value 2049 out of range [0,2048]\n"
    assert amd.read("/info/MB/delay_linear") == "0\n"


def test_code_and_data_halve_the_classes() -> None:
    kernel = Kernel(PROFILES["cdp"])
    assert kernel.folder("/info") == ["last_cmd_status", "MB", "L3DATA", "L3CODE", "L3_MON"]
    assert kernel.read("/info/L3CODE/num_closids") == "8\n"
    assert kernel.read("/schemata").split()[1:] == ["L3DATA:0=fffff;1=fffff", "L3CODE:0=fffff;1=fffff"]


def test_exclusive_groups() -> None:
    kernel = Kernel(Profile(l3=Cache(bits=8, shareable=0x80)))
    kernel.mkdir("/a")
    assert refused(kernel, "/a/mode", "exclusive\n") == (errno.EINVAL, "Schemata overlaps\n")
    kernel.write("/schemata", b"L3:0=f;1=f\n")
    kernel.write("/a/schemata", b"L3:0=70;1=70\n")
    kernel.write("/a/mode", b"exclusive\n")
    assert kernel.read("/a/mode") == "exclusive\n"
    assert kernel.read("/info/L3/bit_usage") == "0=HEEESSSS;1=HEEESSSS\n"
    assert refused(kernel, "/schemata", "L3:0=1f\n")[1] == "Overlaps with exclusive group\n"
    assert refused(kernel, "/a/schemata", "L3:0=7e\n")[1] == "Overlaps with other group\n"
    kernel.mkdir("/b")  # gets the lowest run of what is not exclusive
    assert kernel.read("/b/schemata").split()[1] == "L3:0=f;1=f"
    assert refused(kernel, "/b/mode", "pseudo-locksetup\n")[1] == "Unknown or unsupported mode\n"
    without = Kernel(Profile(l3=None, events=()))
    without.mkdir("/a")
    assert refused(without, "/a/mode", "exclusive\n")[1] == "Cannot be exclusive without CAT/CDP\n"


def made(kernel: Kernel, path: str) -> int:
    try:
        kernel.mkdir(path)
    except OSError as error:
        return error.errno or -1
    return 0


def test_classes_and_monitoring_ids_run_out() -> None:
    now = [0]
    profile = replace(PROFILES["intel"], mb=Bandwidth(closids=3), rmids=4, limbo_s=2.0)
    kernel = Kernel(profile, clock_ns=lambda: now[0])
    assert [made(kernel, f"/{name}") for name in "abc"] == [0, 0, errno.ENOSPC]
    assert kernel.read("/info/last_cmd_status") == "Out of CLOSIDs\n"
    assert [made(kernel, f"/mon_groups/{name}") for name in "xy"] == [0, errno.ENOSPC]
    assert kernel.read("/info/last_cmd_status") == "Out of RMIDs\n"
    kernel.rmdir("/a")
    assert made(kernel, "/c") == errno.EBUSY, "the cache still has lines of the old one"
    assert kernel.read("/info/last_cmd_status") == "Out of RMIDs\n"
    now[0] = 3 * 10**9
    assert made(kernel, "/c") == 0


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/info", errno.EEXIST),
        ("/schemata", errno.EEXIST),
        ("/a", errno.EEXIST),
        ("/a/b", errno.EPERM),
        ("/mon_groups/mon_groups", errno.EPERM),
        ("/info/x", errno.ENODEV),
        ("/no/x", errno.ENOENT),
        ("/x\n", errno.EINVAL),
    ],
)
def test_folders_that_cannot_be_made(path: str, number: int) -> None:
    kernel = Kernel(PROFILES["intel"])
    kernel.mkdir("/a")
    assert made(kernel, path) == number


@pytest.mark.parametrize("path", ["/info", "/mon_groups", "/mon_data", "/a/mon_groups", "/"])
def test_folders_that_cannot_be_removed(path: str) -> None:
    kernel = Kernel(PROFILES["intel"])
    kernel.mkdir("/a")
    with pytest.raises(OSError, match="not permitted"):
        kernel.rmdir(path)


def test_tasks_move_one_after_the_other_until_one_fails() -> None:
    tasks = {1: INIT, 5: Task(1, 7, 2), 6: Task(5, 7, 3), 7: Task(1, 8, 4)}
    kernel = Kernel(PROFILES["intel"], lambda: dict(tasks))
    kernel.mkdir("/a")
    assert refused(kernel, "/a/tasks", "5,99,6\n") == (
        errno.ESRCH,
        "No task 99\nError while processing task 99\n",
    )
    assert kernel.read("/a/tasks") == "5\n"
    assert refused(kernel, "/a/tasks", "x\n")[1] == "Task list parsing error pid x\n"
    assert refused(kernel, "/a/tasks", "-3\n")[1] == "Invalid pid -3\n"
    assert refused(kernel, "/a/tasks", "7\n", uid=7)[0] == errno.EPERM
    kernel.write("/a/tasks", b"6\n", uid=7)
    tasks[8] = Task(6, 7, 5)  # forked: inherits
    assert kernel.read("/a/tasks") == "5\n6\n8\n"
    tasks[8] = Task(1, 7, 6)  # another task with that id
    assert kernel.read("/a/tasks") == "5\n6\n"
    kernel.rmdir("/a")
    assert kernel.read("/tasks") == "1\n5\n6\n7\n8\n"


def test_monitoring_groups_hold_tasks_of_their_control_group() -> None:
    kernel = Kernel(PROFILES["intel"], lambda: {1: INIT, 5: Task(1, 0, 2)})
    kernel.mkdir("/a")
    kernel.mkdir("/a/mon_groups/m")
    assert refused(kernel, "/a/mon_groups/m/tasks", "5\n") == (
        errno.EINVAL,
        "Can't move task to different control group\nError while processing task 5\n",
    )
    kernel.write("/a/tasks", b"5\n")
    kernel.write("/a/mon_groups/m/tasks", b"5\n")
    assert (kernel.read("/a/tasks"), kernel.read("/a/mon_groups/m/tasks")) == ("5\n", "5\n")
    assert "schemata" not in (kernel.folder("/a/mon_groups/m") or [])
    kernel.rmdir("/a/mon_groups/m")
    assert kernel.read("/a/tasks") == "5\n"


def test_processors() -> None:
    kernel = Kernel(replace(PROFILES["intel"], cpus=40))
    assert kernel.read("/cpus") == "ff,ffffffff\n"
    kernel.mkdir("/a")
    kernel.write("/a/cpus_list", b"0-2,5\n")
    assert (kernel.read("/a/cpus"), kernel.read("/cpus_list")) == ("00,00000027\n", "3-4,6-39\n")
    assert refused(kernel, "/a/cpus_list", "64\n")[1] == "Can only assign online CPUs\n"
    assert refused(kernel, "/a/cpus_list", "5-2\n")[1] == "Bad CPU list/mask\n"
    assert refused(kernel, "/cpus", "0\n")[1] == "Can't drop CPUs from default group\n"
    kernel.mkdir("/a/mon_groups/m")
    assert refused(kernel, "/a/mon_groups/m/cpus", "8\n")[1].startswith("Can only add CPUs to mongroup")
    kernel.rmdir("/a")
    assert kernel.read("/cpus_list") == "0-39\n"


def test_counters_advance_or_say_why_not() -> None:
    now = [0]
    kernel = Kernel(PROFILES["intel"], clock_ns=lambda: now[0])
    path = "/mon_data/mon_L3_01/mbm_total_bytes"
    first = int(kernel.read(path))
    now[0] = 10**9
    assert int(kernel.read(path)) > first
    kernel.says[1, "mbm_total_bytes"] = "Unavailable"
    assert kernel.read(path) == "Unavailable\n"
    assert made(Kernel(PROFILES["unmonitored"]), "/mon_groups/x") == errno.ENOENT


def test_sizes_modes_and_what_is_read_only() -> None:
    kernel = Kernel(PROFILES["intel"])
    kernel.mkdir("/a", (7, 8))
    kernel.write("/a/schemata", b"L3:0=f\n")
    assert kernel.read("/a/size").split() == ["MB:0=100;1=100", "L3:0=11534336;1=57671680"]
    assert [oct(kernel.stat(path)[0]) for path in ("/a", "/a/schemata", "/a/size")] == [
        "0o40755",
        "0o100644",
        "0o100444",
    ]
    assert kernel.stat("/a/tasks")[1:] == (7, 8)
    assert refused(kernel, "/a/size", "1\n")[0] == errno.EINVAL
    assert refused(kernel, "/a/nothing", "1\n")[0] == errno.ENOENT
