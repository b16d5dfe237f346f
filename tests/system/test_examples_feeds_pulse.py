"""Feature 16, the talk's Pulse.fml: ping and `ssh HOST uptime` as pairs over a list of machines, on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE
from mypy import api as mypy

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "examples/feeds/pulse"
# what is remembered by other options is of no use to these, and the other way round
MYPY = (
    "--strict",
    "--config-file=",
    *("--follow-imports=silent", "--cache-dir", ".mypy_cache/examples"),
)
SSHD_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"

needs_ping = pytest.mark.skipif(shutil.which("ping") is None, reason="there is no ping (iputils-ping)")
needs_sshd = pytest.mark.skipif(
    any(shutil.which(program, path=SSHD_PATH) is None for program in ("sshd", "ssh", "ssh-keygen", "ping")),
    reason="there is no sshd, ssh or ping (openssh-server, openssh-client, iputils-ping)",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "pulse"))


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "VAGUS_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(text: str) -> dict[str, list[str]]:
    return {line.split(",")[0]: line.split(",")[1:] for line in text.splitlines()[1:]}


@needs_ping
def test_pairs_without_ssh_for_each_list(folder: Path) -> None:
    told = run(folder, "pulse.py", "--local", "--every", "1s", "--lists", "2").splitlines()
    for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        own = [line for line in told if line.startswith(f"{address}: 2 of 2 answers, ")]
        assert len(own) == 2
        assert all("; up " in line for line in own)
    assert len(told) == 6


def test_mypy_knows_what_comes(tmp_path: Path) -> None:
    program = tmp_path / "knows.py"
    program.write_text(
        "from pulse import pulse\n"
        "from vagus.feeds import Feed\n"
        "from vagus.feeds.formats.ping import Ping\n"
        "from vagus.feeds.formats.uptime import UptimeLine\n"
        "feed: Feed[tuple[Ping, UptimeLine]] = pulse('machine_list', '24h', ())\n"
        "wrong: Feed[tuple[UptimeLine, Ping]] = pulse('machine_list', '24h', ())\n"
        "reveal_type(feed)\n"
    )
    shutil.copy(EXAMPLE / "pulse.py", tmp_path)
    told, _, _ = mypy.run([*MYPY, str(program)])
    found = [line for line in told.splitlines() if "knows.py" in line]
    assert "Feed[tuple[" in found[-1]
    assert [line.split(":")[1] for line in found if " error: " in line] == ["6"]


@pytest.mark.system
@needs_sshd
def test_pairs_over_a_real_sshd(folder: Path) -> None:
    (folder / "machine_list").write_text(
        "# two that have an sshd, one without, one that is none\n127.0.0.1\n127.0.0.2\n127.0.0.3\nno-host.invalid\n"
    )
    run(folder, "loopback.py", sys.executable, "-m", "vagus", "feed", "run", "pulse.yaml", "--once", "--folder", "out")
    found = rows((folder / "out/stats/stats.csv").read_text())
    assert set(found) == {"127.0.0.1", "127.0.0.2", "127.0.0.3", ""}
    for address in ("127.0.0.1", "127.0.0.2"):
        loss, rtt_ms, load, up_s, failed = found[address]
        assert (float(loss), failed) == (0.0, "")
        assert float(rtt_ms) > 0
        assert float(up_s) > 0
        assert float(load) >= 0
    assert found["127.0.0.3"][2:4] == ["", ""]
    assert "exit status 255" in found["127.0.0.3"][4]
    assert float(found["127.0.0.3"][0]) == 0.0
    assert found[""][:4] == ["", "", "", ""]
    assert not (folder / "ssh_config").exists()


@pytest.mark.system
@needs_sshd
def test_the_program_over_a_real_sshd(folder: Path) -> None:
    told = run(folder, "loopback.py", sys.executable, "pulse.py").splitlines()
    ended = {line.split(":")[0]: line.rpartition("; ")[2] for line in told}
    assert ended.pop("127.0.0.3") == "no uptime"
    assert sorted(ended) == ["127.0.0.1", "127.0.0.2"]
    assert all(text.startswith("up ") for text in ended.values())
