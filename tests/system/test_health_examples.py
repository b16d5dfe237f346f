"""The clients of examples/health, run as a person would, against a real observer."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from vagus.actors.health_server import HealthServer
from vagus.config import Config, GatewaySettings

pytestmark = pytest.mark.system
EXAMPLES = Path(__file__).parents[2] / "examples" / "health"
GO_OR_JAVA = [
    pytest.param(command, marks=pytest.mark.skipif(shutil.which(command[0]) is None, reason=f"needs {command[0]}"))
    for command in (("java", str(EXAMPLES / "Report.java")), ("go", "run", str(EXAMPLES / "report.go")))
]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Any]:
    """Runs a command with the address and token of a server: exit code, lines, errors."""
    server = HealthServer(tmp_path, "n1", Config(gateway=GatewaySettings(port=0)))
    await server.start()

    async def run(*command: str, **more: str) -> tuple[int | None, list[str], str]:
        given = {"VAGUS_URL": server.url, "VAGUS_TOKEN": (tmp_path / "token").read_text(), **more}
        folders = {"GOCACHE": str(tmp_path / "go"), "GOPATH": str(tmp_path / "gopath"), "GOFLAGS": "-mod=mod"}
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, **folders, **given},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
        return process.returncode, out.decode().splitlines(), errors.decode()

    yield run
    await server.stop()


@pytest.mark.parametrize("command", GO_OR_JAVA)
async def test_a_program_reports_and_reads_the_verdict(run, command):
    code, lines, errors = await run(*command, "db/2 ü", "read", "UNHEALTHY", "30")
    assert (code, errors) == (0, "")
    assert json.loads(lines[0]) == {"results": ["ACCEPTED"]}
    verdict = json.loads(lines[1])["inference"]
    assert (verdict["subject"], verdict["status"]) == ("db/2 ü", "UNHEALTHY")
    assert verdict["contexts"]["read"]["score"] == 30.0


@pytest.mark.parametrize("command", GO_OR_JAVA)
async def test_a_program_says_what_is_wrong(run, command):
    code, lines, errors = await run(*command, "db@2", "read", "SICK", "30")
    assert (code, lines) == (1, [])
    assert "'SICK' is not one of" in errors


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_reports_and_reads(run):
    code, lines, errors = await run("sh", str(EXAMPLES / "curl.sh"))
    assert (code, errors) == (0, "")
    reported, verdict, panorama, matrix = map(json.loads, lines)
    assert reported == {"results": ["ACCEPTED"]}
    assert verdict["inference"]["contexts"]["ping"]["status"] == "HEALTHY"
    assert list(panorama["panorama"]) == ["shell@1"]
    assert matrix["cells"][0]["contexts"] == {"read": ["UNHEALTHY", 30.0], "ping": ["HEALTHY", 0.0]}


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_says_what_is_wrong(run):
    code, lines, _ = await run("sh", str(EXAMPLES / "curl.sh"), VAGUS_TOKEN="not-the-token-at-all")
    assert code != 0
    assert "token" in lines[0]
