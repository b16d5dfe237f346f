"""A cluster of several nodes on this machine alone, under a folder of its own: for experiments that break it.

Each node is a Ray node with a mark of its own in the environment of its processes, so that exactly they can be killed,
and are gone at the end. A cluster that the user runs is neither used nor touched.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from vagus.config import Config
from vagus.errors import PeerUnreachable, VagusError
from vagus.runtime import cluster as ray_cluster
from vagus.runtime import launch
from vagus.runtime.cluster import ClusterFile

Say = Callable[[str], None]
CPUS = 2
END_S = 10.0


class Trial:
    """nodes: their names; the first is Ray's head. config: of vagus there; its home and ports become the trial's own.

    lasting: Ray's head keeps its tables on disk (RocksDB, alpha in Ray 2.60): the other nodes outlive its end.
    """

    def __init__(
        self, nodes: Sequence[str], config: Config, say: Say = lambda _: None, *, lasting: bool = False
    ) -> None:
        self.nodes = tuple(nodes)
        self.folder = Path(tempfile.mkdtemp(prefix="vagus-trial-"))
        self.home = self.folder / self.nodes[0]
        self.clusters: dict[str, ClusterFile] = {}
        self.say: Say = say
        self.config = msgspec.structs.replace(config, home=str(self.home))
        kept = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(self.folder / "gcs")}
        self._head_settings = kept if lasting else {}

    def start(self) -> None:
        """Starts the nodes, then vagus on them; returns when all is healthy. Raises VagusError."""
        for node in self.nodes:
            (self.folder / node).mkdir(mode=0o700)
        head = self.nodes[0]
        self._start(head)
        for node in self.nodes[1:]:  # one after the other: two at once choose the same ports
            self._start(node, self.clusters[head])
        launch.up(self.config, say=self.say)

    def restart(self, node: str) -> None:
        """Starts Ray on a node again that was killed or ended by itself, with its name, state folder and address.

        The head's port is the one of before. vagus' supervisor gives a node its actors; without `lasting` a new head has
        none, until `vagus up`. Raises VagusError.
        """
        self.kill_node(node)  # of one that ended by itself an agent may still be ending
        before, head = self.clusters[node], self.nodes[0]
        if node == head:
            self._start(node, again=before)
            return
        shutil.rmtree(before.temp_dir, ignore_errors=True)  # what it left there; its sockets are below the head's
        self._start(node, self.clusters[head])

    def running(self, node: str) -> bool:
        """Whether the node's raylet is there."""
        return ray_cluster.running(self.clusters[node])

    def _start(self, node: str, head: ClusterFile | None = None, again: ClusterFile | None = None) -> None:
        options = [f"--labels=vagus/node={node}", f"--num-cpus={CPUS}"]
        if head is None:
            options.append("--include-dashboard=false")  # it would take seconds
        else:  # nodes are told apart by address, and all of 127/8 is this machine
            options.append(f"--node-ip-address=127.0.0.{2 + self.nodes.index(node)}")
        address = head.address if head else ""
        self.clusters[node] = ray_cluster.start(
            self.folder / node,
            join=address,
            head=head,
            options=options,
            say=self.say,
            again=again,
            settings=self._head_settings if head is None else {},
        )

    def gateway(self, node: str) -> dict[str, Any]:
        """What the node's gateway says of itself: url, pid, token_file. Raises PeerUnreachable while there is none."""
        path = self.home / "nodes" / node / "gateway.json"
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise PeerUnreachable(f"no gateway at {node}: {error}") from error
        return found

    def token(self) -> str:
        """The gateways' token."""
        return (self.home / "token").read_text().strip()

    def kill(self, pid: int) -> None:
        """Ends one process of the trial with SIGKILL. Raises VagusError when it is none of the trial's."""
        for process in self.processes():
            if process.pid == pid:
                with contextlib.suppress(psutil.Error):
                    process.kill()
                return
        raise VagusError(f"process {pid} is none of this experiment's")

    def kill_node(self, node: str) -> None:
        """Ends every process of a node with SIGKILL, as when its power is cut."""
        deadline = time.monotonic() + END_S
        while (found := self.processes(node)) and time.monotonic() < deadline:
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGKILL)
            psutil.wait_procs(found, timeout=1.0)

    def processes(self, node: str = "") -> list[psutil.Process]:
        """Those of a node, or of all."""
        named = [self.clusters[node]] if node else list(self.clusters.values())
        return [process for cluster in named for process in ray_cluster.processes(cluster.id)]

    def stop(self) -> list[str]:
        """Ends all that was started and removes the folder. Returns what could not be undone. Idempotent."""
        problems: list[str] = []
        for node, cluster in reversed(list(self.clusters.items())):
            at_once = msgspec.structs.replace(cluster, head=True)  # nobody to take leave of
            problems += ray_cluster.stop(self.folder / node, at_once)
        # of a start that was interrupted before it told its cluster
        for node in self.nodes:
            with contextlib.suppress(VagusError):
                left = ray_cluster.read(self.folder / node)
                if left is not None and left.id not in {one.id for one in self.clusters.values()}:
                    problems += ray_cluster.stop(self.folder / node, left)
        if self.home.exists():
            problems += launch.down(self.home)  # sockets; nothing runs there any more
        shutil.rmtree(self.folder, ignore_errors=True)
        self.clusters.clear()
        return problems
