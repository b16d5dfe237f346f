"""`vagus experiment slo` on a cluster, an application and control groups of its own: what it writes, and what is left."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import PATIENCE

from vagus.cli.experiment import slo_results
from vagus.cli.openloop.log import read_log

pytestmark = [pytest.mark.system, pytest.mark.root, pytest.mark.timeout(300)]

NAME = f"t{os.getpid()}"
SERVICE = """
import argparse, json, time
from aiohttp import ClientSession, web

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
parser.add_argument("--run")
parser.add_argument("--next", default="")
options = parser.parse_args()

async def work(request):
    if options.next:
        with open(f"{options.run}/endpoints.json") as file:
            url = json.load(file)[options.next][0]
        async with request.app["client"].get(url + "/work") as answer:
            await answer.read()
    until = time.thread_time() + 0.003
    while time.thread_time() < until:
        pass
    return web.Response(text="done")

async def healthz(request):
    return web.Response(text="ok")

async def client(app):
    app["client"] = ClientSession()
    yield
    await app["client"].close()

app = web.Application()
app.router.add_get("/work", work)
app.router.add_get("/healthz", healthz)
app.cleanup_ctx.append(client)
web.run_app(app, host="127.0.0.1", port=options.port, print=None)
"""
APPLICATION = f"""
name: {NAME}
entry: front
services:
  - name: front
    command: ["{{python}}", "{{folder}}/service.py", "--port", "{{port}}", "--run", "{{run}}", "--next", "back"]
  - name: back
    scales: false
    command: ["{{python}}", "{{folder}}/service.py", "--port", "{{port}}", "--run", "{{run}}"]
requests:
  - {{name: read, path: /work}}
"""
CAMPAIGN = """
name: hogs
injections:
  - {type: cpu, intensity: 0.3 cores, target: "service:any", at: 2s, duration: 4s}
  - {type: cpu, intensity: 0.3 cores, target: "service:back", at: 8s, duration: 4s}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """All that the experiment makes is in here: short, since Ray's sockets are deep in it."""
    made = Path(tempfile.mkdtemp(prefix="vx", dir="/tmp"))
    (made / "app").mkdir()
    (made / "app/service.py").write_text(SERVICE)
    (made / "app/app.yaml").write_text(APPLICATION)
    (made / "app/inject.yaml").write_text(CAMPAIGN)
    (made / "app/trace.txt").write_text("10\n20\n30\n20\n")
    (made / "tmp").mkdir()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "VAGUS_"))}
    return {**kept, "TMPDIR": str(folder / "tmp"), "VAGUS_HOME": str(folder / "tmp/unused")}


def command(folder: Path, *more: str) -> list[str]:
    app = folder / "app"
    return [
        *(sys.executable, "-m", "vagus", "experiment", "slo", "--app", str(app / "app.yaml")),
        *("--trace", str(app / "trace.txt"), "--inject", str(app / "inject.yaml"), "--rate", "20", "--slo", "100"),
        *("--minutes", "0.25", "--warm", "6s", "-o", str(folder / "out"), *more),
    ]


def left_behind(folder: Path) -> list[str]:
    """Processes that know of the folder, groups of the application, and temporary files."""
    found = [str(path) for path in (folder / "tmp").iterdir()]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"**/vagus-app-{NAME}*")]
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), process.environ().get("VAGUS_HOME", "")]
            if process.pid != os.getpid() and any(str(folder) in text for text in told):
                found.append(f"{process.pid} {process.name()}")
        except psutil.Error:
            continue
    return found


def done(folder: Path, *more: str) -> dict[str, Any]:
    ran = subprocess.run(
        command(folder, "--json", *more),
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=280 * PATIENCE,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told: dict[str, Any] = json.loads(ran.stdout)
    return told


def test_two_policies_then_a_third_one_with_resume(folder: Path) -> None:
    told = done(folder, "--policies", "none,captain")
    none, captain = told["rows"]
    assert (none["variant"], captain["variant"]) == ("none", "captain")
    assert none["requests"] == captain["requests"] > 200  # the same load
    assert none["requested_cores"] is None
    assert 0.1 <= captain["requested_cores"] <= 2.0
    assert none["actions"] == 0 < captain["actions"]
    assert (folder / "out/report.html").stat().st_size > 10_000
    assert left_behind(folder) == []

    results = slo_results.load(folder / "out")
    log = read_log(folder / "out" / results.runs[0].log)
    assert (log.scheduled_s < 0).any()
    first, second = results.runs
    assert not first.error
    assert not second.error
    for run in (first, second):
        assert [(hit.service, hit.why) for hit in run.injected][1] == ("back", "done")
        assert run.sampled is not None
        assert run.windows is not None
        assert len(run.sampled.t_s) >= 30
        assert max(run.sampled.used_cores["back"]) > 0.2  # the hog is in its group
    assert [hit.service for hit in first.injected] == [hit.service for hit in second.injected]
    assert first.sampled is not None
    assert set(first.sampled.limit_cores["front"]) == {None}
    assert second.sampled is not None
    assert second.sampled.limit_cores["front"][0] == 0.2  # as it began

    # the autoscaler needs a variant of its own: the known one waits 15 s before it counts for the first time
    (folder / "app/mine.yaml").write_text(
        "variants:\n  - {name: hpa, policy: hpa, guarded: false, replica_cores: 0.2, options: {target_ratio: 0.1, sync_s: 3}}\n"
    )
    again = done(folder, "--policies", "none,captain,hpa", "--variants", str(folder / "app/mine.yaml"), "--resume")
    assert [row["variant"] for row in again["rows"]] == ["none", "captain", "hpa"]
    assert again["rows"][:2] == told["rows"]  # what was done is not done again
    hpa = slo_results.load(folder / "out").runs[2]
    assert hpa.sampled is not None
    assert max(hpa.sampled.replicas["front"]) > 1
    assert set(hpa.sampled.replicas["back"]) == {1}
    assert set(hpa.sampled.limit_cores["back"]) == {0.5}
    assert max(cores or 0.0 for cores in hpa.sampled.limit_cores["front"]) == pytest.approx(
        0.2 * max(hpa.sampled.replicas["front"]), rel=0.6
    )
    assert left_behind(folder) == []


@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGINT, b"1/1 captain"), (signal.SIGTERM, b"1/1 captain"), (signal.SIGTERM, b"actors: ")],
    ids=["Ctrl-C in a run", "SIGTERM in a run", "SIGTERM while it starts"],
)
def test_an_interrupted_experiment_leaves_nothing_behind(number: int, word: bytes, folder: Path) -> None:
    with subprocess.Popen(
        command(folder, "--policies", "captain"),
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            assert process.stderr is not None
            said = []
            while not said or word not in said[-1]:
                ready, _, _ = select.select([process.stderr], [], [], 120.0)
                said.append(process.stderr.readline() if ready else b"")
                assert said[-1], said
            if word == b"1/1 captain":  # in the middle of a run: the controller has limited something
                captain_limits(folder)
            process.send_signal(number)
            while select.select([process.stderr], [], [], 60.0)[0] and process.stderr.readline():
                pass
            assert process.wait(60.0) != 0
        finally:
            process.kill()
    assert left_behind(folder) == []


def captain_limits(folder: Path) -> None:
    """Waits until a controller of the experiment's cluster holds a limit."""
    import time

    until_s = time.monotonic() + 60.0
    while time.monotonic() < until_s:
        for claims in (folder / "tmp").glob("vagus-trial-*/n1/nodes/*/claims.json"):
            if "slo-captain-1" in claims.read_text():
                return
        time.sleep(0.1)
    raise AssertionError("no limit was set")
