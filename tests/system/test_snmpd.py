"""The SNMP collector against Debian's snmpd on loopback: versions 2c and 3, restarts, wrong secrets, garbage."""

from __future__ import annotations

import itertools
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from snmp_agent import SNMPD, USER, Agent

from vagus.collectors.device import DeviceCollector
from vagus.collectors.run import Runner
from vagus.config import CollectSettings, SnmpSettings
from vagus.errors import CollectError
from vagus.model import Event, Sample

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(SNMPD is None, reason="snmpd is not installed (Debian: snmpd)"),
]
pytest.importorskip("pysnmp", reason="the extra `snmp` is not installed")


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    agent = Agent(tmp_path_factory.mktemp("agent"), "router-1")
    agent.start()
    yield agent
    agent.stop()


PATIENT = "5s"  # who answers is given time, on a busy machine too; short limits are for those that never answer


def v2c(agent: Agent, **more: object) -> SnmpSettings:
    given = {"community_file": str(agent.community_file), "every": "0.1s", "timeout": PATIENT, **more}
    return SnmpSettings(host="127.0.0.1", port=agent.port, **given)


def v3(agent: Agent, **more: object) -> SnmpSettings:
    given = {"user": USER, "key_file": str(agent.key_file), "every": "0.1s", "timeout": PATIENT, "name": "v3", **more}
    return SnmpSettings(host="127.0.0.1", port=agent.port, version="3", **given)


class Watched:
    """A collector that is called until what is waited for has come."""

    def __init__(self, *devices: SnmpSettings) -> None:
        self.collector = DeviceCollector("n1", Path("/"), CollectSettings(snmp=devices))
        self.records: list[Sample | Event] = []

    def until(self, check: Callable[[], object], within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s * PATIENCE
        while not check():
            assert time.monotonic() < deadline, f"not within {within_s} s; {len(self.records)} records"
            self.records += self.collector.collect(0)
            time.sleep(0.01)

    def events(self, name: str, device: str = "") -> list[Event]:
        found = [r for r in self.records if isinstance(r, Event) and r.event == name]
        return [e for e in found if device in ("", e.fields["device"])]

    def samples(self, kind: str, **labels: str) -> list[dict[str, float]]:
        return [
            {"t_ns": r.t_ns, **dict(zip((f.name for f in r.stream.fields), r.values, strict=True))}
            for r in self.records
            if isinstance(r, Sample) and r.stream.kind == kind and labels.items() <= r.stream.labels.items()
        ]


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(*devices: SnmpSettings) -> Watched:
        made.append(Watched(*devices))
        return made[-1]

    yield make
    for watched in made:
        watched.collector.close()
        watched.collector.close()


def test_devices_are_read_and_their_counters_move(agent, watch):
    watched = watch(v2c(agent), v3(agent))
    for label in ("router-1", "v3"):

        def moved(label: str = label) -> bool:  # snmpd reads the kernel's counters anew every few seconds
            lo = watched.samples("snmp.interface", device=label, interface="lo")
            return (
                len(lo) >= 3 and lo[-1]["rx_bytes"] > lo[0]["rx_bytes"] and lo[-1]["rx_packets"] > lo[0]["rx_packets"]
            )

        watched.until(moved)  # our own requests go over it
        lo = watched.samples("snmp.interface", device=label, interface="lo")
        assert (lo[0]["oper_up"], lo[0]["admin_up"]) == (1, 1)
        assert all(a["t_ns"] < b["t_ns"] for a, b in itertools.pairwise(lo))
        system = watched.samples("snmp.system", device=label)[-1]
        assert system["up"] == 1
        assert 0 < system["response_s"] < 20
        assert system["interfaces"] >= 1
        kinds = {r.stream.kind for r in watched.records if isinstance(r, Sample)}
        assert kinds >= {"snmp.system", "snmp.interface", "snmp.ip", "snmp.load", "snmp.cpu", "snmp.memory"}
        assert watched.samples("snmp.load", device=label)[-1]["load1"] >= 0


@pytest.mark.parametrize("how", [v2c, v3])
def test_a_device_that_is_stopped_and_started_again(tmp_path, watch, how):
    agent = Agent(tmp_path, "router-2")
    agent.start()
    try:
        watched = watch(how(agent, name="d", timeout="2s"))
        watched.until(lambda: len(watched.samples("snmp.system", device="d")) >= 2)
        agent.stop()
        watched.until(lambda: watched.events("device.unreachable"))
        watched.until(lambda: watched.samples("snmp.system")[-1]["up"] == 0)
        assert "does not answer" in str(watched.events("device.unreachable")[0].fields["error"])
        before = watched.samples("snmp.interface", interface="lo")[-1]
        agent.start()
        watched.until(lambda: watched.events("device.recovered"))
        assert watched.events("device.recovered")[0].fields["down_s"] > 0
        watched.until(lambda: watched.samples("snmp.system")[-1]["up"] == 1)
        after = watched.samples("snmp.interface", interface="lo")[-1]
        assert after["rx_bytes"] >= before["rx_bytes"], "the kernel's counters went on: no reset is made up"
        assert len(watched.events("device.unreachable")) == 1
    finally:
        agent.stop()


def test_wrong_secrets_are_told_apart(agent, watch, tmp_path):
    wrong = {}
    for name, phrases in {"auth": "not the phrase\na privacy phrase", "priv": "an auth phrase\nnot the phrase"}.items():
        wrong[name] = tmp_path / name
        wrong[name].write_text(phrases)
    watched = watch(
        v2c(agent, name="community", community_file="", timeout="0.1s"),
        v3(agent, name="auth", key_file=str(wrong["auth"])),
        v3(agent, name="priv", key_file=str(wrong["priv"]), timeout="0.1s"),
        v3(agent, name="user", user="nobody"),
        v3(agent, name="level", auth="none"),
        v2c(agent, name="well"),
    )
    watched.until(
        lambda: {e.fields["device"] for e in watched.events("device.unreachable")} >= {*wrong, "user", "level"}
    )
    watched.until(lambda: watched.events("device.unreachable", "community"))
    said = {e.fields["device"]: str(e.fields["error"]) for e in watched.events("device.unreachable")}
    assert "another community" in said["community"]
    assert "phrase of authentication" in said["auth"]
    assert "phrase of privacy" in said["priv"]
    assert "no such user" in said["user"]
    assert "security level" in said["level"]
    assert "well" not in said
    watched.until(lambda: watched.samples("snmp.system", device="well"))


def test_garbage_is_no_answer_and_harms_nobody(agent, watch):
    noise = [b"", b"\x30", b"\x00" * 60, b"\x30\x82\xff\xff" + b"\x02" * 50, bytes(range(256)), b"\x30\x03\x02\x01\x01"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        asked = threading.Event()

        def babble() -> None:
            while True:
                try:
                    data, peer = server.recvfrom(2000)
                except OSError:
                    return
                if data == b"end":
                    return
                for text in (*noise, data, data[:-3], data[:10] + b"\xff" + data[11:]):
                    server.sendto(text, peer)
                asked.set()

        thread = threading.Thread(target=babble)
        thread.start()
        try:
            port = server.getsockname()[1]
            babbling = SnmpSettings(host="127.0.0.1", port=port, name="babble", every="0.1s", timeout="0.1s")
            watched = watch(babbling, v2c(agent, name="well"))
            watched.until(lambda: watched.events("device.unreachable", "babble"))
            assert asked.is_set()
            watched.until(lambda: len(watched.samples("snmp.system", device="babble")) >= 2)
            watched.until(lambda: len(watched.samples("snmp.system", device="well")) >= 3)
            assert {s["up"] for s in watched.samples("snmp.system", device="babble")} == {0}
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
                stop.sendto(b"end", server.getsockname())
            thread.join(10)


def test_what_must_be_set_right_here_is_a_collect_error(agent, watch, tmp_path):
    short = tmp_path / "short"
    short.write_text("short\nphrases\n")
    watched = watch(
        v2c(agent, name="missing", community_file="/no/such/file"), v3(agent, name="short", key_file=str(short))
    )
    said = ""
    deadline = time.monotonic() + 20 * PATIENCE
    while not ("/no/such/file" in said and "8 characters" in said):
        assert time.monotonic() < deadline, said
        try:
            watched.records += watched.collector.collect(0)
        except CollectError as error:
            said = str(error)
        time.sleep(0.01)


def test_without_pysnmp_the_collector_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pysnmp", None)
    settings = CollectSettings(collectors=("snmp",), snmp=(SnmpSettings(host="127.0.0.1"),))
    runner = Runner.from_settings("n1", settings)
    runner.tick(10**9)
    assert "pip install" in runner.failing()["snmp"]
    runner.close()


def test_two_devices_of_one_name_are_told_apart(agent, watch):
    watched = watch(v2c(agent), v2c(agent, timeout="6s"))
    watched.until(lambda: len({r.stream.labels["device"] for r in watched.records if isinstance(r, Sample)}) == 2)
    names = {r.stream.labels["device"] for r in watched.records if isinstance(r, Sample)}
    assert names == {"router-1", f"router-1#127.0.0.1:{agent.port}"}


def test_nothing_is_imported_without_devices():
    import subprocess

    code = (
        "import sys; from pathlib import Path; from vagus.collectors.device import DeviceCollector as D\n"
        "from vagus.config import CollectSettings as C\n"
        "assert list(D('n', Path('/'), C()).collect(1)) == []\n"
        "assert not [m for m in sys.modules if m.startswith(('pysnmp', 'pyasn1', 'cryptography'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
