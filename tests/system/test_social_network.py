"""The social network as its README says: deployed, asked, scaled, killed, and gone."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.fixtures.deployments import lives, until
from vagus.actuators.hierarchy import mounts
from vagus.cli.application import Deployment, load
from vagus.inputs.otlp import Rejects, decode
from vagus.inputs.otlp_traces import read_traces
from vagus.model import Kind, Span
from vagus.traces import Graph
from vagus.traces.critical import critical_path, relation
from vagus.traces.graph import build

pytestmark = [pytest.mark.root, pytest.mark.system]
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/social_network"


class Spans(http.server.ThreadingHTTPServer):
    """Takes the spans of all services, as a node's gateway would."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.taken: list[Span] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def graph(self, operation: str) -> Graph:
        """The newest request whose first span is called so."""
        graphs = [graph for graph in build(self.taken) if graph.spans[graph.root].operation == operation]
        return max(graphs, key=lambda graph: graph.spans[graph.root].start_ns)


class _Taking(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Spans

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/traces":
            self.server.taken += read_traces(decode(body, False, "traces"), "n", Rejects())
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def traced() -> Iterator[Spans]:
    with Spans() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, traced: Spans) -> Iterator[Deployment]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    # under another name than the one that may run on this machine
    settings = msgspec.structs.replace(load(EXAMPLE / "app.yaml"), name=f"test{os.getpid()}")
    environment = {"VAGUS_URL": traced.url, "VAGUS_TOKEN": "none", "VAGUS_TRACE_RATIO": "1"}
    with Deployment(settings, EXAMPLE, tmp_path_factory.mktemp("social"), environment=environment) as made:
        yield made


def ask(app: Deployment, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and JSON, or text where it is none."""
    parts = urlsplit(app.urls("frontend")[0])
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10.0)
    try:
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
        answer = connection.getresponse()
        content = answer.read().decode()
        return answer.status, json.loads(content) if answer.status == 200 else content
    finally:
        connection.close()


def compose(app: Deployment, user: int, text: str, media: int | None = None) -> int:
    body = {"user": user, "password": f"password-{user}", "text": text, "media": media}
    status, answer = ask(app, "/compose", body)
    assert status == 200, answer
    assert answer["link"].startswith(f"/post/{answer['post']}?signature=")
    return int(answer["post"])


def home(app: Deployment, user: int) -> Any:
    status, answer = ask(app, f"/home?user={user}&password=password-{user}")
    assert status == 200, answer
    return answer


def own(app: Deployment, user: int, of: int) -> Any:
    status, answer = ask(app, f"/user?user={user}&of={of}&password=password-{user}")
    assert status == 200, answer
    return answer


def friends(app: Deployment) -> list[list[int]]:
    found: list[list[int]] = json.loads((app.run / "graph.json").read_text())
    return found


def test_ten_services_each_a_process_in_a_group_of_its_own(app: Deployment) -> None:
    assert app.confined, app.unconfined
    (point,) = [mount.point for mount in mounts(Path("/")) if "cpu" in mount.controllers][:1]
    shown = app.shown()
    assert len(shown) == 10 == len({one.pid for one in shown})
    for one in shown:
        assert (point / one.group / f"replica-{one.replica}/cgroup.procs").read_text().split() == [str(one.pid)]


def test_a_post_is_in_the_timelines_of_its_author_of_friends_and_of_whom_it_mentions(app: Deployment) -> None:
    author = 7
    known = friends(app)[author]
    stranger = next(user for user in range(1, 963) if user not in known and user != author)
    other = next(user for user in range(stranger + 1, 963) if user not in known and user != author)
    text = f"Look, @user{stranger} & @nobody: http://example.org/a/long/link <b>"
    post = compose(app, author, text, 12)

    mine = own(app, 3, author)
    assert mine["posts"][0] == post
    assert len(mine["posts"]) == 12
    assert f'<article id="{post}"><h2' in mine["page"]
    assert "user7</h2>" in mine["page"]
    assert f'<a href="/user?name=user{stranger}">@user{stranger}</a> &amp; ' in mine["page"]
    assert "&lt;b&gt;" in mine["page"]
    assert "example.org" not in mine["page"]  # the link is a short one
    assert '<img src="data:' in mine["page"]

    for reader in (known[0], stranger):  # in the background, soon
        until(lambda reader=reader: post in home(app, reader)["posts"], f"it reaches {reader}")  # type: ignore[misc]
    assert post not in home(app, other)["posts"]
    assert len(home(app, other)["posts"]) == 12


def test_a_post_is_a_trace_of_sequential_parallel_and_background_calls(app: Deployment, traced: Spans) -> None:
    begun_ns = time.time_ns()
    compose(app, 11, "Traced.", 3)
    services = {service.name for service in app.settings.services}

    def complete() -> bool:
        try:
            graph = traced.graph("POST /compose")
        except ValueError:  # nothing has come yet
            return False
        ours = graph.spans[graph.root].start_ns >= begun_ns  # not the post of an earlier test
        return ours and {span.service for span in graph.spans} == services and not graph.lost

    until(complete, "all ten services tell")
    graph = traced.graph("POST /compose")
    called = {span.operation: span for span in graph.spans if span.kind is Kind.CLIENT}
    check, put = called["POST user/check"], called["POST compose-post/compose"]
    assert relation(check, put) == "sequential"
    parts = [called[f"POST {part}"] for part in ("unique-id/make", "text/take", "media/store")]
    assert {relation(a, b) for a, b in combinations(parts, 2)} == {"parallel"}
    assert relation(parts[0], called["POST post-storage/write"]) == "sequential"
    (behind,) = (span for span in graph.spans if span.operation == "fan out")
    assert behind.follows
    path = {graph.spans[segment.span].operation for segment in critical_path(graph)}
    assert "POST /compose" in path
    assert "POST /spread" not in path  # nobody waited for it
    assert {span.component for span in graph.spans} == {f"{service}-0" for service in services}


def test_ids_grow_and_a_post_is_read_as_written(app: Deployment) -> None:
    posts = [compose(app, 9, f"Number {n}.") for n in range(4)]
    assert posts == sorted(set(posts))
    answer = own(app, 9, 9)
    assert answer["posts"][:4] == posts[::-1]
    assert "Number 3." in answer["page"]


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/home?user=7&password=wrong", None, 403, "not the password of user 7"),
        ("/home?user=5000&password=x", None, 404, "no user 5000"),
        ("/home?user=7", None, 400, "password"),
        ("/home?user=seven&password=x", None, 400, "seven"),
        ("/user?user=7&of=x&password=password-7", None, 400, "invalid literal"),
        ("/compose", {"user": 7, "password": "password-7", "text": ""}, 400, "1 to 10000"),
        ("/compose", {"user": 7, "password": "x", "text": "a"}, 403, "not the password"),
        ("/nothing", None, 404, ""),
    ],
)
def test_what_is_wrong_is_refused(
    app: Deployment, path: str, body: dict[str, Any] | None, status: int, words: str
) -> None:
    answered, text = ask(app, path, body)
    assert (answered, words in str(text)) == (status, True), text


class Visitors:
    """Asks as fast as it is answered, until stopped; every answer counts."""

    def __init__(self, app: Deployment) -> None:
        self._app = app
        self._stop = threading.Event()
        self.statuses: list[int] = []
        self._threads = [threading.Thread(target=self._visit, args=(n,)) for n in (1, 2)]

    def __enter__(self) -> Visitors:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, user: int) -> None:
        while not self._stop.is_set():
            self.statuses.append(ask(self._app, f"/home?user={user}&password=password-{user}")[0])


def test_replicas_come_and_go_and_no_request_fails(app: Deployment) -> None:
    with Visitors(app) as visitors:
        app.scale("home-timeline", 3)
        app.scale("user", 2)
        before = app.usage()["home-timeline"]
        seen = len(visitors.statuses)
        until(lambda: len(visitors.statuses) > seen + 30, "all replicas are asked")
        app.scale("home-timeline", 1)
        app.scale("user", 1)
        seen = len(visitors.statuses)
        until(lambda: len(visitors.statuses) > seen + 10, "and those that stayed")
    assert set(visitors.statuses) == {200}
    assert app.usage()["home-timeline"] > before
    assert app.dead() == ()


def test_each_replica_takes_its_share(app: Deployment) -> None:
    app.scale("social-graph", 2)
    with Visitors(app) as visitors:
        until(lambda: len(visitors.statuses) > 60, "they are asked")
    clocks = [Path(f"/proc/{one.pid}/schedstat") for one in app.shown() if one.service == "social-graph"]
    used = [int(clock.read_text().split()[0]) for clock in clocks]
    assert len(used) == 2
    app.scale("social-graph", 1)
    assert set(visitors.statuses) == {200}
    assert len(app.urls("social-graph")) == 1


def test_a_killed_replica_is_noticed_replaced_and_its_callers_go_on(app: Deployment) -> None:
    app.scale("media", 2)
    victim = next(one for one in app.shown() if one.service == "media")
    with Visitors(app) as visitors:
        os.kill(victim.pid, signal.SIGKILL)
        until(lambda: any(dead.service == "media" for dead in app.dead()), "it is noticed")
        until(lambda: app.replicas("media") == 2, "it is replaced")
    assert set(visitors.statuses) == {200}  # there was another to ask
    assert victim.pid not in [one.pid for one in app.shown()]
    app.scale("media", 1)


def test_the_database_and_its_cache(app: Deployment) -> None:
    def figures() -> dict[str, int]:
        parts = urlsplit(app.urls("post-storage")[0])
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10.0)
        connection.request("GET", "/figures")
        found: dict[str, int] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    own(app, 1, 500)
    before = figures()
    own(app, 1, 500)
    after = figures()
    assert (after["hits"] - before["hits"], after["misses"] - before["misses"]) == (12, 0)
    for of in range(501, 601):
        own(app, 1, of)
    assert figures()["misses"] - after["misses"] >= 1000
    assert figures()["cached"] == 1000


def test_what_it_costs_is_measured(app: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    import measure

    monkeypatch.setattr(measure, "IDLE_S", 1.0)
    monkeypatch.setattr(measure, "WARM", 3)
    found = asyncio.run(measure.demands(app, 20, 20.0))
    types = {request.name for request in app.settings.requests}
    assert {service: set(row) for service, row in found.items()} == dict.fromkeys(app.usage(), types)
    assert all(cpu_ms >= 0 for row in found.values() for cpu_ms in row.values())
    assert sum(found["frontend"].values()) > 0
    asyncio.run(measure.loaded(app, 10.0, 1.0))
    assert "10 requests at 10/s" in (said := capsys.readouterr().out)
    assert "; 0 failed" in said


def test_the_command_says_where_it_is_and_leaves_nothing(tmp_path: Path) -> None:
    text = (EXAMPLE / "app.yaml").read_text().replace("name: social\n", f"name: command{os.getpid()}\n", 1)
    file = tmp_path / "app.yaml"
    file.write_text(text.replace("{folder}", str(EXAMPLE)))
    command = [sys.executable, "-m", "vagus", "experiment", "app", str(file), "--json", "--run", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            break
    told = json.loads("".join(lines))
    assert told["confined"]
    pids = [replica["pid"] for replica in told["replicas"]]
    assert len(pids) == 10
    assert all(map(lives, pids))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "warning" not in errors
    assert not any(map(lives, pids))
    (point,) = [mount.point for mount in mounts(Path("/")) if "cpu" in mount.controllers][:1]
    assert not (point / f"vagus-app-command{os.getpid()}").exists()


def test_nothing_is_left(app: Deployment) -> None:
    pids = [one.pid for one in app.shown()]
    (point,) = [mount.point for mount in mounts(Path("/")) if "cpu" in mount.controllers][:1]
    group = point / f"vagus-app-{app.settings.name}"
    assert group.is_dir()
    app.stop()
    assert app.problems == []
    assert not any(map(lives, pids))
    assert not group.exists()
