"""Feature 17, the sky survey: objects of a catalogue with their images, by configuration and by program."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import PATIENCE

pytestmark = pytest.mark.system

EXAMPLE = Path(__file__).parents[2] / "examples/feeds/sloan"
COUNT = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "sloan"))


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


def test_images_are_kept_and_paired_by_configuration_alone(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    settings = folder / "sloan.yaml"
    settings.write_text(settings.read_text().replace(":8472/", f":{port}/"))
    command = (sys.executable, "-m", "vagus", "feed", "run", "sloan.yaml", "--once")
    run(folder, "sky.py", "--port", port, "--count", str(COUNT), *command)
    made = folder / "sloan.feeds"
    [packed] = (made / "images/archive").glob("*.tar")
    with tarfile.open(packed) as tar:
        kept = {member.name.rpartition("_")[2][:4]: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert set(kept) == {str(1000 + number) for number in range(COUNT)}
    missing = {"1009", "1019", "1029"}
    for objid, body in kept.items():
        assert len(body) == (0 if objid in missing else len(b"P5 32 32 255\n") + 32 * 32)
    told = (made / "images/missing.csv").read_text().splitlines()[1:]
    assert {line.partition(".pgm")[0][-4:] for line in told} == missing
    pairs = [line.split(",") for line in (made / "pairs/pairs.csv").read_text().splitlines()[1:]]
    assert len(pairs) >= 3
    for objid, flux, width, failed in pairs:
        assert float(flux) > 0
        assert (width, failed) == (("", "HTTP 404 Not Found") if objid in missing else ("32", ""))


def test_the_typed_program(folder: Path) -> None:
    told = run(folder, "sloan.py", "--redshift", "2").splitlines()
    assert "1002 GALAXY z=2.7309: 32x32, mean 24.6" in told
    assert "1019.pgm: status HTTP 404 Not Found" in told
    assert all(float(line.split("z=")[1].split(":")[0]) > 2 for line in told if "z=" in line)
