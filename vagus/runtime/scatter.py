"""The same work on several nodes of the cluster at once, as Ray tasks; what it gives comes as it comes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from vagus.errors import NoData, PeerUnreachable
from vagus.runtime import cluster as ray_cluster
from vagus.runtime.connect import connected
from vagus.runtime.names import node_names


def perform(work: str, argument: bytes) -> Iterator[bytes]:
    """`module:function` of an argument; the function gives bytes. Runs in the task."""
    module, _, name = work.partition(":")
    yield from getattr(import_module(module), name)(argument)


def scatter(home: Path, work: str, arguments: Mapping[str, Sequence[bytes]]) -> Iterator[tuple[str, bytes | Exception]]:
    """Runs `work` once for each argument, at the node that it stands under.

    Gives (node, what the work gave) in the order of arrival, and an exception where a task ended with one. Closing the
    iterator cancels the tasks. Raises PeerUnreachable without a cluster, NoData for a node that there is not.
    """
    cluster = ray_cluster.read(home)
    if cluster is None:
        raise PeerUnreachable(f"no running vagus found under {home}: run `vagus up`")
    with connected(home, cluster):
        ray: Any = import_module("ray")

        ids = {name: key for key, name in node_names(ray.nodes()).items()}
        unknown = set(arguments) - set(ids)
        if unknown:
            raise NoData(f"no node {', '.join(sorted(unknown))}; there are {', '.join(sorted(ids))}")
        yield from _gathered(ray, work, [(node, ids[node], one) for node, every in arguments.items() for one in every])


def _gathered(ray: Any, work: str, tasks: Sequence[tuple[str, str, bytes]]) -> Iterator[tuple[str, bytes | Exception]]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    came: queue.SimpleQueue[tuple[str, bytes | Exception | None]] = queue.SimpleQueue()
    remote = ray.remote(num_cpus=0, max_retries=0, num_returns="streaming")(perform)
    running = []

    def follow(node: str, results: Any) -> None:
        try:
            for reference in results:
                came.put((node, ray.get(reference)))
        except Exception as error:  # of the work, or of Ray
            came.put((node, error))
        came.put((node, None))

    for node, node_id, argument in tasks:
        results = remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(
            work, argument
        )
        running.append(results)
        threading.Thread(target=follow, args=(node, results), daemon=True).start()
    left = len(tasks)
    try:
        while left:
            node, result = came.get()
            if result is None:
                left -= 1
            else:
                yield node, result
    finally:
        if left:
            for results in running:
                with contextlib.suppress(Exception):  # it is over already
                    ray.cancel(results, force=True)
