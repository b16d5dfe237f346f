"""The types of feeds, as mypy sees them in a user's program."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.system

SAMPLE = """
from typing_extensions import assert_type

from vagus.feeds import Feed, Record, all_, any_, base, dict_, every, failover, lines, list_, once, pair, proc, union
from vagus.feeds import refeed


class Ping(Record):
    sent: int
    lost: int


class Uptime(Record):
    load: float


class Host(Record):
    name: str


ping = base(proc("ping", "-c2", "h"), once("60s"), Ping)
uptime = base(proc("ssh", "h", "uptime"), once("60s"), Uptime)
hosts = base(all_("file:hosts"), every("24h", timeout="5s"), lines(Host))


def stats(host: Host) -> Feed[tuple[Ping, Uptime]]:
    return pair(
        base(proc("ping", "-c2", host.name), once("60s"), Ping),
        base(proc("ssh", host.name, "uptime"), once("60s"), Uptime),
    )


assert_type(ping, Feed[Ping])
assert_type(pair(ping, uptime), Feed[tuple[Ping, Uptime]])
assert_type(hosts, Feed[list[Host]])
assert_type(hosts.flatten(), Feed[Host])
assert_type(hosts.flatten().foreach(stats), Feed[tuple[Ping, Uptime]])
assert_type(ping.map(lambda p: p.lost / p.sent), Feed[float])
assert_type(pair(ping, uptime).where(lambda both: both[1].load > 2), Feed[tuple[Ping, Uptime]])
assert_type(hosts.flatten().where("name == 1"), Feed[Host])
assert_type(union(ping, uptime).where(Ping), Feed[Ping])
assert_type(list_([ping, ping]), Feed[list[Ping]])
assert_type(dict_({"a": ping}), Feed[dict[str, Ping]])
assert_type(failover(ping, ping), Feed[Ping])
assert_type(refeed(ping).named("again"), Feed[Ping])
bad_map: Feed[str] = ping.map(lambda p: p.sent)  # E: arg-type
ping.map(lambda p: p.nowhere)  # E: attr-defined
hosts.flatten().foreach(lambda host: host.name)  # E: arg-type
base(any_("file:x"), "5m", Ping)  # E: call-overload
every("5m")  # E: call-arg
"""


@pytest.mark.timeout(300)
def test_types_flow_through_the_algebra(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    root = Path(__file__).parents[2]
    sample = tmp_path / "sample.py"
    sample.write_text(SAMPLE)
    options = [
        "--config-file",
        str(root / "pyproject.toml"),
        "--cache-dir",
        str(root / ".mypy_cache"),
        "--show-error-codes",
    ]
    out, err, _ = api.run([*options, "--no-error-summary", "--hide-error-context", str(sample)])
    wanted = [
        (number, line.partition("# E: ")[2]) for number, line in enumerate(SAMPLE.splitlines(), 1) if "# E: " in line
    ]
    found = {
        (int(line.split(":")[1]), line.rpartition("[")[2].rstrip("]"))
        for line in out.splitlines()
        if "sample.py" in line and ": error:" in line
    }
    assert {number for number, _ in found} == {number for number, _ in wanted}, out + err
    assert found >= set(wanted)
