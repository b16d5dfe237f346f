"""`vagus submit` and `vagus job` against a small real job server, through Ray's own client: no Ray runs."""

from __future__ import annotations

import asyncio
import io
import json
import shlex
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from vagus.cli import cli
from vagus.errors import NoData, PeerUnreachable, VagusError
from vagus.runtime import cluster as ray_cluster
from vagus.runtime import jobs as jobs_module
from vagus.runtime.cluster import ClusterFile
from vagus.runtime.jobs import Jobs, here, jobs

TOKEN = "t" * 64
SOURCE = "class Gentle:\n    period_s = 1.0\n    def step(self, view): return []\n"


class Server:
    """Ray's job server: one job, `raysubmit_1`. Breaks the log's connection after its first piece when `breaks`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.submitted: dict[str, Any] = {}
        self.files: dict[str, str] = {}
        self.log = ["Running entrypoint\n", "mine runs on n1\n"]
        self.status, self.message = "RUNNING", ""
        self.breaks = 0
        self.refuses = ""
        self.url = ""

    def routes(self) -> web.Application:
        made = web.Application(middlewares=[self._seen], client_max_size=1 << 26)
        made.router.add_get("/api/version", self._version)
        made.router.add_route("*", "/api/packages/{protocol}/{name}", self._package)
        made.router.add_post("/api/jobs/", self._submit)
        made.router.add_get("/api/jobs/", self._list)
        made.router.add_get("/api/jobs/{id}", self._info)
        made.router.add_post("/api/jobs/{id}/stop", self._stop)
        made.router.add_get("/api/jobs/{id}/logs", self._logs)
        made.router.add_get("/api/jobs/{id}/logs/tail", self._tail)
        return made

    @web.middleware
    async def _seen(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401, text="Unauthorized: Missing authentication token")
        if request.match_info.get("id", "raysubmit_1") != "raysubmit_1":
            return web.Response(status=404, text="Job x does not exist")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": "2.60.0", "ray_commit": "x"})

    async def _package(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(status=404)
        with zipfile.ZipFile(io.BytesIO(await request.read())) as packed:
            self.files = {name: packed.read(name).decode() for name in packed.namelist() if not name.endswith("/")}
        return web.Response()

    async def _submit(self, request: web.Request) -> web.Response:
        if self.refuses:
            return web.Response(status=500, text=f"Traceback\n{self.refuses}")
        self.submitted = await request.json()
        return web.json_response({"job_id": "raysubmit_1", "submission_id": "raysubmit_1"})

    def _job(self) -> dict[str, Any]:
        return {
            "type": "SUBMISSION",
            "submission_id": "raysubmit_1",
            "status": self.status,
            "entrypoint": "vagus run c.yaml",
            "message": self.message,
            "metadata": {"vagus.controller": "mine"},
            "start_time": 1_700_000_000_000,
            "end_time": 1_700_000_060_000 if self.status != "RUNNING" else None,
        }

    async def _list(self, _: web.Request) -> web.Response:
        other = {**self._job(), "submission_id": "raysubmit_0", "metadata": None, "start_time": 5}
        return web.json_response(
            [self._job(), other, {**other, "type": "DRIVER", "submission_id": None, "job_id": "01"}]
        )

    async def _info(self, _: web.Request) -> web.Response:
        return web.json_response(self._job())

    async def _stop(self, _: web.Request) -> web.Response:
        was, self.status = self.status, "STOPPED" if self.status == "RUNNING" else self.status
        return web.json_response({"stopped": was == "RUNNING"})

    async def _logs(self, _: web.Request) -> web.Response:
        return web.json_response({"logs": "".join(self.log)})

    async def _tail(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for text in self.log:
            await socket.send_str(text)
            if self.breaks:
                self.breaks -= 1
                request.transport.abort()  # type: ignore[union-attr]
                return socket
        self.status = "SUCCEEDED" if self.status == "RUNNING" else self.status
        await socket.close()
        return socket


@pytest.fixture
def server() -> Iterator[Server]:
    made, loop, started = Server(), asyncio.new_event_loop(), threading.Event()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(made.routes())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def serve() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    assert started.wait(10)
    yield made
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "VAGUS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "gentle.py").write_text(SOURCE)


@pytest.fixture
def home(server: Server, tmp_path: Path) -> Path:
    """The state folder of a machine on which `vagus up` started a head with this server."""
    (tmp_path / "token").write_text(TOKEN)
    cluster = ClusterFile(
        id="c1",
        address="127.0.0.2:1",
        started_ray=True,
        dashboard=server.url,
        auth_token_path=str(tmp_path / "token"),
    )
    (tmp_path / "home").mkdir()
    ray_cluster.write(tmp_path / "home", cluster)
    return tmp_path / "home"


def vagus(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(home), *arguments])


def test_a_job_is_the_same_run_in_a_folder_with_two_files(server: Server, home: Path) -> None:
    Path("c.yaml").write_text("name: mine\npolicy: gentle.py:Gentle\n")
    Path("other.txt").write_text("not sent")
    result = vagus(home, "submit", "c.yaml", "--option", "text=a b", "--arm", "--for", "5s")
    assert result.exit_code == 0, result.output
    words = shlex.split(server.submitted["entrypoint"])
    assert words[:5] == [sys.executable, "-m", "vagus", "run", "controller/c.yaml"]
    assert words[5:] == ["--policy=controller/gentle.py:Gentle", "--option=text=a b", "--arm", "--for=5s"]
    assert server.files == {"controller/c.yaml": Path("c.yaml").read_text(), "controller/gentle.py": SOURCE}
    assert server.submitted["metadata"] == {"vagus.controller": "mine"}
    assert server.submitted["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "20"}
    assert "mine was submitted as raysubmit_1" in result.stdout
    assert "vagus job stop raysubmit_1" in result.stdout
    assert ("GET", "/api/jobs/raysubmit_1/logs/tail") not in server.asked
    assert list(Path().glob("vagus-job-*")) == [], "the folder was for the way"


@pytest.mark.parametrize(("status", "code"), [("RUNNING", 0), ("STOPPED", 0), ("FAILED", 1)])
def test_waiting_shows_the_log_and_exits_as_the_job_ended(server: Server, home: Path, status: str, code: int) -> None:
    server.status = status
    server.message = "failed with exit code 1, last available logs (truncated to 20,000 chars):\nmore"
    result = vagus(home, "submit", "gentle.py", "--wait")
    assert result.exit_code == code
    assert "Running entrypoint\nmine runs on n1\n" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert (
        last
        == {
            "RUNNING": "raysubmit_1: succeeded",
            "STOPPED": "raysubmit_1: stopped",
            "FAILED": "raysubmit_1: failed: failed with exit code 1",
        }[status]
    )


def test_with_json_the_log_is_on_standard_error(server: Server, home: Path) -> None:
    result = vagus(home, "submit", "gentle.py", "--wait", "--json")
    first, last = (json.loads(line) for line in result.stdout.splitlines())
    assert first == {"job": "raysubmit_1", "controller": "gentle"}
    assert (last["status"], last["controller"], last["job"]) == ("SUCCEEDED", "mine", "raysubmit_1")
    assert result.stderr == "".join(server.log)
    assert shlex.split(server.submitted["entrypoint"])[-1] == "--json"


def test_a_log_whose_connection_breaks_goes_on_where_it_was(server: Server, home: Path, monkeypatch) -> None:
    monkeypatch.setattr(jobs_module, "POLL_S", 0.001)
    server.breaks = 2
    result = vagus(home, "job", "log", "raysubmit_1", "-f")
    assert result.exit_code == 0, result.output
    assert result.stdout == "".join(server.log) + "raysubmit_1: succeeded\n"
    assert server.asked.count(("GET", "/api/jobs/raysubmit_1/logs/tail")) == 3


def test_the_rest_of_a_log_that_broke_as_the_job_ended_is_shown(server: Server, home: Path) -> None:
    server.breaks, server.status = 1, "FAILED"
    result = vagus(home, "job", "log", "raysubmit_1", "-f")
    assert result.exit_code == 1
    assert result.stdout == "".join(server.log) + "raysubmit_1: failed\n"


def test_a_log_that_breaks_again_and_again_is_given_up(server: Server, home: Path, monkeypatch) -> None:
    monkeypatch.setattr(jobs_module, "POLL_S", 0.0)
    server.log, server.breaks = ["x"], 100
    result = vagus(home, "job", "log", "raysubmit_1", "-f")
    assert result.exit_code == 1
    assert "cannot be followed" in result.stderr
    assert "the job goes on" in result.stderr


def test_an_interrupt_while_waiting_leaves_the_job_and_says_how_to_end_it(
    server: Server, home: Path, monkeypatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Jobs, "follow", interrupted)
    result = vagus(home, "submit", "gentle.py", "--wait")
    assert result.exit_code == 130
    assert "raysubmit_1 goes on; vagus job stop raysubmit_1 ends it" in result.stderr
    assert server.status == "RUNNING"


def test_jobs_are_listed_shown_and_stopped(server: Server, home: Path) -> None:
    lines = vagus(home, "job", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["job", "raysubmit_1"]
    assert lines[1].split()[1:3] == ["running", "mine"]
    everyone = json.loads(vagus(home, "job", "list", "--all", "--json").stdout)["jobs"]
    assert [(one["job"], one["controller"]) for one in everyone] == [("raysubmit_0", ""), ("raysubmit_1", "mine")]
    assert vagus(home, "job", "log", "raysubmit_1").stdout == "".join(server.log)
    stopped = vagus(home, "job", "stop", "raysubmit_1")
    assert (stopped.exit_code, stopped.stdout) == (0, "raysubmit_1: stopped\n")
    again = json.loads(vagus(home, "job", "stop", "raysubmit_1", "--json").stdout)
    assert (again["status"], again["stopped"]) == ("STOPPED", False)


@pytest.mark.parametrize("command", [("log",), ("log", "-f"), ("stop",)])
def test_a_job_that_there_is_not(home: Path, command: tuple[str, ...]) -> None:
    result = vagus(home, "job", command[0], "raysubmit_9", *command[1:])
    assert result.exit_code == 1
    assert "there is no job 'raysubmit_9'; `vagus job list` shows" in result.stderr


def test_a_job_that_does_not_end_when_asked_to(server: Server, home: Path, monkeypatch) -> None:
    with jobs(home) as found, pytest.raises(VagusError, match="is running still, 0 s after"):
        found.ended("raysubmit_1", within_s=0.0)


def test_what_the_server_refuses_is_a_line(server: Server, home: Path) -> None:
    server.refuses = "no room"
    result = vagus(home, "submit", "gentle.py")
    assert result.exit_code == 1
    assert "error: the job server refused: Request failed with status code 500" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_wrong_token_is_told(server: Server, home: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x" * 64)
    result = vagus(home, "job", "list")
    assert result.exit_code == 1
    assert "no job server at http://127.0.0.1:" in result.stderr
    assert "oken" in result.stderr


def test_a_cluster_without_a_job_server_says_what_to_do(home: Path) -> None:
    cluster = ray_cluster.read(home)
    assert cluster is not None
    cluster.dashboard = f"http://127.0.0.1:{ray_cluster.free_port(1, '127.0.0.1')}"
    ray_cluster.write(home, cluster)
    result = vagus(home, "submit", "gentle.py")
    assert result.exit_code == 1
    for words in ("no job server at http://127.0.0.1:", "ssh -L", "RAY_API_SERVER_ADDRESS", "`vagus run` on a node"):
        assert words in result.stderr


def test_without_a_cluster_the_server_is_the_one_that_the_environment_names(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "nowhere"
    with (
        pytest.raises(PeerUnreachable, match="run `vagus up`, or set RAY_API_SERVER_ADDRESS"),
        jobs(nowhere),
    ):
        pass
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", server.url)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    assert not here(nowhere)
    result = vagus(nowhere, "submit", "gentle.py")
    assert result.exit_code == 0, result.output
    assert shlex.split(server.submitted["entrypoint"])[:2] == ["vagus", "run"], "whatever its Python is called there"
    assert not nowhere.exists()
    with jobs(nowhere) as found, pytest.raises(NoData):
        found.info("raysubmit_9")


@pytest.mark.parametrize("command", ["submit", "job"])
def test_what_cannot_be_submitted_is_refused_before_anything_is_asked(server: Server, home: Path, command: str) -> None:
    Path("broken.py").write_text("class A\n")
    bad = [("none.yaml",), ("broken.py",), ("gentle.py", "--target", "nothing:x"), ("gentle.py", "--for", "soon")]
    for arguments in bad if command == "submit" else [("nothing",), ("log",), ("stop",)]:
        result = vagus(home, command, *arguments)
        assert result.exit_code in (1, 2)
        assert "Traceback" not in result.output
    assert server.asked == []
