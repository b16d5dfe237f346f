"""The systemd units: systemd finds nothing wrong with them, and what they call exists."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from vagus.cli import cli

FOLDER = Path(__file__).parents[2] / "packaging" / "systemd"
UNITS = ["vagus.service", "vagus-health@.service"]
PROGRAM = "/opt/vagus/bin/vagus"


def lines(unit: str, key: str) -> list[str]:
    text = (FOLDER / unit).read_text()
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(f"{key}=")]


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_wrong(unit: str, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    copied = tmp_path / unit.replace("@", "@pano0")
    copied.write_text((FOLDER / unit).read_text().replace(PROGRAM, sys.executable))
    done = subprocess.run([analyze, "verify", "--man=no", str(copied)], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if unit.partition(".")[0].rstrip("@") in line]
    assert (done.returncode, said) == (0, []), done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_what_they_call_exists(unit: str) -> None:
    calls = lines(unit, "ExecStart") + lines(unit, "ExecStop")
    assert calls
    for call in calls:
        program, *args = shlex.split(call.replace("%i", "pano0").replace("$VAGUS_UP", ""))
        assert program == PROGRAM
        shown = CliRunner().invoke(cli, [*args, "--help"])
        assert shown.exit_code == 0, shown.output
        command, options = args[:2] if args[0] == "health" else args[:1], [a for a in args if a.startswith("--")]
        assert f"Usage: vagus {' '.join(command)}" in shown.output
        assert all(option in shown.output for option in options)


def test_health_alone_is_closed_in() -> None:
    for key, value in (("NoNewPrivileges", "yes"), ("ProtectSystem", "strict"), ("CapabilityBoundingSet", "")):
        assert lines("vagus-health@.service", key) == [value]
    home = lines("vagus-health@.service", "Environment")[0].partition("=")[2]
    assert home == f"/var/lib/{lines('vagus-health@.service', 'StateDirectory')[0]}", "the only folder it may write"
