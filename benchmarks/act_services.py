"""Tunables, replicas and pods: planned, set and read back, beside the bare requests that this takes.

Run: python -m benchmarks.act_services [--json] [--quick]
The service is a process of its own; the API server is one that answers from memory on loopback.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from vagus.actuators import Actuator, configure
from vagus.actuators.apply import apply
from vagus.actuators.pod import Pod
from vagus.actuators.tunable import TunableActuator
from vagus.config import ActSettings, KubernetesSettings, run_folder
from vagus.model import Action, Target

SERVICE = """
import sys, vagus
from vagus.client.tunable_server import SERVER
held = [4]
vagus.tunable("streams", low=1, high=64, whole=True, get=lambda: held[0], set=lambda v: held.__setitem__(0, v),
              service="bench")
assert SERVER.wait(10), SERVER.problem
print("ready", flush=True)
sys.stdin.read()
"""


def median_ms(call: Callable[[int], object], times: int) -> float:
    """Median milliseconds of a call, which gets the number of the round."""
    took = []
    for i in range(times + 5):
        begin = time.perf_counter_ns()
        call(i)
        took.append(time.perf_counter_ns() - begin)
    return statistics.median(took[5:]) / 1e6


def acted_ms(actuator: Actuator, target: Target, resource: str, values: tuple[float, float], times: int) -> float:
    """One change: planned, performed, read back."""

    def change(i: int) -> None:
        plan = actuator.plan(Action(target, resource, values[i % 2]))
        apply(plan)
        assert plan.shown(actuator.read(target, resource))

    return median_ms(change, times)


def tunables(times: int) -> tuple[float, float]:
    """Milliseconds of a change, and of a bare exchange of one line over a unix socket with the same service."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "VAGUS_HOME": home}
        command = [sys.executable, "-c", SERVICE]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as service:
            assert service.stdout is not None
            service.stdout.readline()
            actuator = TunableActuator()
            configure(actuator, ActSettings(), run_folder(Path(home)))
            changed = acted_ms(actuator, Target("tunable", "bench"), "streams", (8.0, 9.0), times)
            (path,) = actuator.folder.glob("*.sock")
            line = json.dumps(
                {"do": "get", "service": "bench", "instance": str(service.pid), "name": "streams"}
            ).encode()

            def bare(_: int) -> None:
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(str(path))
                    sock.sendall(line + b"\n")
                    assert sock.recv(4096).endswith(b"\n")

            once = median_ms(bare, times)
            assert service.stdin is not None
            service.stdin.close()
        return changed, once


class Handler(BaseHTTPRequestHandler):
    """A pod that is resized at once."""

    protocol_version = "HTTP/1.1"
    pod: dict[str, Any]

    def do_GET(self) -> None:
        self._say()

    def do_PATCH(self) -> None:
        patch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "dryRun" not in self.path:
            resources = patch["spec"]["containers"][0]["resources"]
            for which, amounts in resources.items():
                self.pod["spec"]["containers"][0]["resources"][which].update(amounts)
        self._say()

    def _say(self) -> None:
        body = json.dumps(self.pod).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def pods(times: int) -> tuple[float, float]:
    """Milliseconds of a change, and of one bare request to the same server."""
    amounts = {"cpu": "500m", "memory": "128Mi"}
    resources = {"limits": dict(amounts), "requests": {"cpu": "100m", "memory": "64Mi"}}
    Handler.pod = {
        "kind": "Pod",
        "metadata": {"uid": "1", "generation": 1},
        "spec": {"containers": [{"name": "app", "resources": resources}]},
        "status": {"containerStatuses": [{"name": "app", "resources": resources}]},
    }
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        actuator = Pod()
        url = f"http://127.0.0.1:{server.server_port}"
        told = ActSettings(kubernetes=KubernetesSettings(url=url, token_file="", ca_file=""))
        configure(actuator, told, Path("/nonexistent"))
        changed = acted_ms(actuator, Target("pod", "shop/web-0"), "cpu_cores", (0.5, 0.6), times)

        def bare(_: int) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
            connection.request("GET", "/api/v1/namespaces/shop/pods/web-0")
            connection.getresponse().read()
            connection.close()

        return changed, median_ms(bare, times)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def rows(times: int) -> list[dict[str, Any]]:
    """What was measured. A change of a tunable is three exchanges and four looks at what is announced; of a pod five
    requests: a look, a rehearsal, the patch, the look that waits for the kubelet, the reading back."""
    found = []
    for what, (changed, once), most_ms in (("tunable", tunables(times), 1.0), ("pod", pods(times), 20.0)):
        row = {"what": f"{what}: planned, set, read back", "value": changed, "unit": "ms"}
        found.append(
            {**row, "bar": f"≤ {most_ms:g} ms", "met": changed <= most_ms, "peer": f"bare request {once:.3f} ms"}
        )
        ratio = {"what": f"{what}: beside one bare request", "value": changed / once, "unit": "×"}
        found.append({**ratio, "bar": "", "met": None})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    found = rows(30 if options.quick else 300)
    if options.json:
        print(json.dumps(found))
        return
    for row in found:
        met = {True: "met", False: "MISSED", None: ""}[row["met"]]
        print(f"{row['what']:40} {row['value']:9.3f} {row['unit']:3} {row['bar']} {met}")


if __name__ == "__main__":
    main()
