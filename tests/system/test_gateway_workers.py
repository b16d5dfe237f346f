"""Processes that answer decisions on the gateway's port: fed, killed, hung, and gone with the gateway."""

import collections
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import PATIENCE

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, MemoryBackend, serving
from raw_http import request

from vagus.config import AccessRule, ContextSettings
from vagus.controllers.decide.records import Grouping, Row, TableUpdate
from vagus.controllers.decide.table import encode_update
from vagus.gateway import workers as workers_of
from vagus.model import Sample

pytestmark = pytest.mark.system
BODY = {"features": {"isp": "x"}, "arms": ["a", "b"]}


def until(found, what, timeout_s=15.0):
    end = time.monotonic() + timeout_s * PATIENCE
    while not found():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.fixture
def served():
    with serving(processes=2) as running:
        until(lambda: len(running.gateway.workers.pids) == 2, "both workers are ready")
        yield running


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def test_decisions_and_outcomes_by_fresh_connections(served):
    """Each request may reach another process: an outcome finds its decision all the same."""
    for _ in range(200):
        status, _, made = served.ask("POST", "/v1/decide", BODY)
        assert status == 200
        outcome = {"decision_id": made["decision_id"], "reward": 1.0}
        assert served.ask("POST", "/v1/update", outcome)[2] == {"results": ["ACCEPTED"]}
    assert len(served.backend.rewards) == 200
    until(lambda: served.gateway.site.requests["POST", "/v1/decide", 200] == 200, "the workers' counts")
    assert served.gateway.site.failures == 0
    assert served.ask("POST", "/v1/update", {"decision_id": "unknown", "reward": 1})[0] == 404


def test_workers_are_light(served):
    for pid in served.gateway.workers.pids:
        mapped = Path(f"/proc/{pid}/maps").read_text()
        assert not [name for name in ("numpy", "aiohttp", "_raylet", "lmdb", "yaml") if f"/{name}" in mapped]
        anonymous = int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0])
        assert anonymous < 40_000  # kB


def test_one_connection_for_everything(served):
    connection = http.client.HTTPConnection(served.address, timeout=10)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    for path in ("/v1/decide", "/v1/decide", "/v1/status", "/v1/decide", "/v1/sensors", "/v1/decide"):
        if path == "/v1/decide":
            connection.request("POST", path, json.dumps(BODY), headers)
        else:
            connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        assert path != "/v1/decide" or answer["decision"] in "ab"
    connection.close()


def test_pipelined_with_a_large_body_behind(served):
    """All that was read goes along with the socket, in several parts."""
    report = {"observer": "o", "subject": "s", "contexts": {f"c{at}": "h" for at in range(90)}}
    reports = json.dumps({"reports": [report] * 100}).encode()
    sent = request(body=BODY) * 3 + request("/v1/report", reports) + request(body=BODY)
    sent += request("/healthz", method="GET", more=[("Connection", "close")])
    assert len(sent) > 3 * (32 << 10)
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port)), 10) as talking:
        talking.sendall(sent)
        data = b"".join(iter(lambda: talking.recv(1 << 18), b""))
    assert data.count(b"HTTP/1.1 200 OK") == 6, data[-500:]
    assert len(served.backend.reports) == 100


def test_tables_come_down(served):
    def update(version, base, arm):
        weights = (1.0, 0.0) if arm == "a" else (0.0, 1.0)
        made = encode_update(TableUpdate(version, base, None, {"": Row(("a", "b"), weights)}))

        async def apply():
            served.backend.table.apply(made)
            served.gateway.table_changed(made)

        served.call(apply())

    for version, base, arm in ((1, 0, "b"), (2, 1, "a"), (3, 2, "b")):
        update(version, base, arm)
        until(lambda: asked(served, 20) == {(version, arm)}, "all processes have the new table")  # noqa: B023
    stale = encode_update(TableUpdate(9, 8, None, {}))  # on what no worker has: each asks for all
    served.call(tell(served, stale))
    until(lambda: asked(served, 20) == {(3, "b")}, "the workers go on")
    assert served.gateway.site.failures == 0


def test_a_new_worker_begins_with_the_table(served):
    """Its first decision is drawn from what the gateway had: groups, weights, version."""
    grouping = Grouping(group_by=("isp",))
    made = TableUpdate(5, 0, grouping, {"x": Row(("a", "b"), (0.0, 1.0))})

    async def apply():
        served.backend.table.apply(made)  # and nobody tells

    served.call(apply())
    for victim in served.gateway.workers.pids:
        os.kill(victim, signal.SIGKILL)
    until(lambda: served.gateway.workers.restarts == 2, "both are noticed")
    for _ in range(100):
        answer = served.ask("POST", "/v1/decide", BODY)[2]
        assert (answer["group"], answer["version"], answer["decision"]) == ("x", 5, "b")
    until(lambda: len(served.gateway.workers.pids) == 2, "both are there again")
    for _ in range(100):
        answer = served.ask("POST", "/v1/decide", BODY)[2]
        assert (answer["group"], answer["version"], answer["decision"]) == ("x", 5, "b")


async def tell(served, update):
    served.gateway.table_changed(update)


def asked(served, count):
    answers = [served.ask("POST", "/v1/decide", BODY)[2] for _ in range(count)]
    return {(answer["version"], answer["decision"]) for answer in answers}


def test_a_killed_worker_is_replaced_and_no_acknowledged_outcome_is_lost(served):
    """While workers are killed, clients ask and report; whatever was acknowledged is there."""
    acknowledged, unsure = [], collections.Counter()
    end = time.monotonic() + 4.0
    victims = list(served.gateway.workers.pids)

    def client():
        while time.monotonic() < end:
            try:
                status, _, made = served.ask("POST", "/v1/decide", BODY)
                assert status == 200
                outcome = {"decision_id": made["decision_id"], "reward": 1.0}
                status, _, answer = served.ask("POST", "/v1/update", outcome)
                if status == 200 and answer == {"results": ["ACCEPTED"]}:
                    acknowledged.append(made["decision_id"])
                else:
                    unsure[status] += 1
            except (OSError, http.client.HTTPException) as error:  # the killed process had the connection
                unsure[type(error).__name__] += 1

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client) for _ in range(4)]
        for victim in victims:
            time.sleep(0.5)
            os.kill(victim, signal.SIGKILL)
        for one in clients:
            one.result()
    assert len(acknowledged) > 100
    assert set(acknowledged) <= set(served.backend.rewards)
    assert sum(unsure.values()) <= 4 * len(victims), unsure
    until(lambda: len(served.gateway.workers.pids) == 2, "both are there again")
    assert not set(victims) & set(served.gateway.workers.pids)
    assert served.gateway.workers.restarts == 2
    assert all(map(gone, victims))


def test_a_worker_that_hangs_is_replaced(served, monkeypatch):
    monkeypatch.setattr(workers_of, "SILENT_S", 2.5)
    victim = served.gateway.workers.pids[0]
    os.kill(victim, signal.SIGSTOP)
    until(lambda: gone(victim), "it is killed")
    until(lambda: len(served.gateway.workers.pids) == 2, "another one is there")
    assert asked(served, 10) == {(0, "a"), (0, "b")} or len(asked(served, 30)) == 2


def test_workers_end_with_the_gateway():
    with serving(processes=2) as running:
        until(lambda: len(running.gateway.workers.pids) == 2, "both workers are ready")
        pids = running.gateway.workers.pids
        running.ask("POST", "/v1/decide", BODY)
    until(lambda: all(map(gone, pids)), "the workers are gone")
    assert len(running.backend.decisions) == 1


KILLED = """
import sys
sys.path[:0] = [{fixtures!r}]
from gateway_backend import serving
with serving(processes=2) as running:
    while len(running.gateway.workers.pids) < 2: pass
    print(*running.gateway.workers.pids, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("stopped", [False, True])
def test_workers_end_when_the_gateway_is_killed(stopped):
    """Even one that hangs."""
    code = KILLED.format(fixtures=str(Path(__file__).parents[1] / "fixtures"))
    gateway = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        pids = list(map(int, gateway.stdout.readline().split()))
        assert len(pids) == 2
        if stopped:
            os.kill(pids[0], signal.SIGSTOP)
    finally:
        gateway.kill()
        gateway.communicate()
    until(lambda: all(map(gone, pids)), "the workers are gone")


def test_the_port_is_nobody_elses(served):
    from vagus.errors import ConfigError

    port = int(served.address.rpartition(":")[2])
    with pytest.raises(ConfigError, match="is taken"), serving(MemoryBackend(), port=port, processes=2):
        pass
    with serving(MemoryBackend(), port=port, spare_ports=20, processes=2) as other:
        assert other.address != served.address
    assert served.ask("POST", "/v1/decide", BODY)[0] == 200


def test_rules_and_live_numbers_hold_in_workers_too():
    backend = MemoryBackend()

    async def latest(selectors):
        return [Sample(backend.streams["a"][0], time.time_ns(), (0.25, 7))]

    backend.latest = latest
    rule = AccessRule(who=("token:asks",), act=("decide",))
    tokens = {"asks": "a-token-of-one-who-asks", "reads": "a-token-of-one-who-reads"}
    context = {"load": ContextSettings(series="host.cpu.user")}
    from vagus.clock import SystemClock

    settings = {"processes": 1 + 1, "access": (rule,), "tokens": tokens, "context": context, "clock": SystemClock()}
    with serving(backend, **settings) as running:
        until(lambda: len(running.gateway.workers.pids) == 2, "both workers are ready")
        for _ in range(20):
            status, _, answer = running.ask("POST", "/v1/decide", BODY, token=tokens["asks"])
            assert (status, answer["context"]["load.user"]) == (200, 0.25)
            assert running.ask("POST", "/v1/decide", BODY, token=tokens["reads"])[0] == 403
            assert running.ask("POST", "/v1/decide", BODY, token="wrong" * 5)[0] == 403
    assert backend.refusals


class Away(MemoryBackend):
    async def reward(self, rewards):
        from vagus.errors import PeerUnreachable

        raise PeerUnreachable("the learner is away")


def test_what_the_learner_says_comes_through():
    with serving(Away(), processes=2) as running:
        until(lambda: len(running.gateway.workers.pids) == 2, "both workers are ready")
        status, _, answer = running.ask("POST", "/v1/update", {"decision_id": "d", "reward": 1})
        assert (status, answer["error"]["code"], answer["error"]["message"]) == (
            503,
            "unreachable",
            "the learner is away",
        )
