"""Parts of the social network that need no deployment: its graph, timelines, pictures, and who is called."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from aiohttp import web

EXAMPLE = Path(__file__).parents[2] / "examples/social_network"
MODULES = ("pictures", "prepare", "service", "timelines")


class Modules:
    """Those of the example that only define."""

    pictures: ModuleType
    prepare: ModuleType
    service: ModuleType
    timelines: ModuleType


@pytest.fixture(scope="module")
def social() -> Iterator[type[Modules]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        for name in MODULES:
            setattr(Modules, name, __import__(name))
        yield Modules
    for name in MODULES:
        sys.modules.pop(name)


# --- what it begins with -----------------------------------------------------------------------------------------------


def test_the_graph_is_as_large_as_the_seeds_and_has_a_heavy_tail(social: type[Modules]) -> None:
    friends = social.prepare.graph()
    assert friends == social.prepare.graph()
    assert friends != social.prepare.graph(seed=2)
    assert friends[0] == []  # users are numbered from 1
    degrees = [len(found) for found in friends[1:]]
    assert len(degrees) == 962
    assert sum(degrees) == 2 * 18_812
    assert all(user not in found for user, found in enumerate(friends))
    assert all(user in friends[friend] for user, found in enumerate(friends) for friend in found)
    assert min(degrees) >= 1
    assert max(degrees) == 310  # eight times the mean
    assert statistics.median(degrees) < statistics.mean(degrees) - 5


def test_what_it_begins_with_is_whole_and_kept(
    social: type[Modules], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(social.prepare, "PICTURES", 5)
    social.prepare.prepare(tmp_path, seed=3, work=0.01, users=30, ties=60)
    friends = json.loads((tmp_path / "graph.json").read_text())
    posts = social.prepare.open_posts(tmp_path / "posts.sqlite")
    stored = dict(posts.execute("SELECT id, author FROM posts"))
    posts.close()
    assert len(stored) == 30 * social.prepare.FIRST_POSTS
    home, own = (social.timelines.Timelines(tmp_path / name) for name in ("home.lmdb", "user.lmdb"))
    for user in range(1, 31):
        wanted = sorted((post for post, author in stored.items() if author == user), reverse=True)
        assert [post for post, _ in own.read(user)] == wanted
        of_friends = sorted((p for p, author in stored.items() if author in friends[user]), reverse=True)
        assert [post for post, _ in home.read(user)] == of_friends[: social.timelines.KEPT]
    for timelines in (home, own):
        timelines.close()
    before = (tmp_path / "users.sqlite").stat().st_mtime_ns
    social.prepare.prepare(tmp_path, seed=3, work=0.01, users=30, ties=60)
    assert (tmp_path / "users.sqlite").stat().st_mtime_ns == before
    social.prepare.prepare(tmp_path, seed=4, work=0.01, users=30, ties=60)
    assert (tmp_path / "users.sqlite").stat().st_mtime_ns > before


def test_timelines_keep_the_newest_once(social: type[Modules], tmp_path: Path) -> None:
    kept = social.timelines.KEPT
    timelines, other = (social.timelines.Timelines(tmp_path / name) for name in ("a", "b"))
    for post in range(kept + 10):
        assert timelines.add([1, 2], post, 5) == 2
    assert timelines.add([1], kept + 9, 5) == 0  # once more is once
    assert timelines.read(1) == [(post, 5) for post in range(kept + 9, 9, -1)]
    assert timelines.read(2, 2) == [(kept + 9, 5), (kept + 8, 5)]
    assert timelines.read(3) == other.read(1) == []
    timelines.close()
    other.close()


def test_pictures_come_back_small(social: type[Modules], tmp_path: Path) -> None:
    pictures = social.pictures.Pictures(tmp_path)
    size = pictures.store(7)
    assert 0.3 < size / social.pictures.SIZE < 0.7
    small = pictures.preview(7)
    assert small is not None
    assert pictures.preview(8) is None
    pictures.store(7 + social.pictures.KEPT)  # takes its place
    assert pictures.preview(7) != small
    pictures.close()


# --- who is called -----------------------------------------------------------------------------------------------------


def listed(run: Path, **urls: list[str]) -> None:
    (run / "new").write_text(json.dumps(urls))
    (run / "new").replace(run / "endpoints.json")


def chosen(peers: object, name: str) -> list[str]:
    peers._looked_s = -1.0  # type: ignore[attr-defined]
    return [replica.url for replica in peers.choose(name)]  # type: ignore[attr-defined]


def test_the_idlest_replica_is_called_in_turn_and_the_list_is_looked_at_again(
    social: type[Modules], tmp_path: Path
) -> None:
    peers = social.service.Peers(tmp_path)
    assert chosen(peers, "a") == []
    listed(tmp_path, a=["u1", "u2", "u3"])
    assert sorted(chosen(peers, "a")) == ["u1", "u2", "u3"]
    assert {chosen(peers, "a")[0] for _ in range(3)} == {"u1", "u2", "u3"}
    first, second, third = peers.choose("a")
    first.pending, second.pending, third.pending = 2, 1, 3
    assert chosen(peers, "a") == [second.url, first.url, third.url]
    second.rests_until_s = float("inf")
    assert chosen(peers, "a") == [first.url, third.url, second.url]
    kept = first.url
    listed(tmp_path, a=[kept, "u9"])
    assert chosen(peers, "a") == ["u9", kept]  # what was known of one that stays is known still
    (tmp_path / "endpoints.json").write_text("{")
    assert chosen(peers, "a") == ["u9", kept]


async def test_one_that_cannot_be_reached_is_passed_over(social: type[Modules], tmp_path: Path) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("traceparent", ""))
        if request.path == "/refuses":
            return web.Response(status=403, text="not you")
        return web.json_response({"got": await request.json()})

    app = web.Application()
    app.router.add_post("/{any}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    good = runner.addresses[0][1]
    closed = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    dead = closed.sockets[0].getsockname()[1]
    closed.close()
    await closed.wait_closed()

    listed(tmp_path, a=[f"http://127.0.0.1:{dead}", f"http://127.0.0.1:{good}"], b=[f"http://127.0.0.1:{dead}"])
    peers = social.service.Peers(tmp_path)
    await peers.open()
    try:
        for n in range(4):
            assert await peers.call("a", "/x", {"n": n}) == {"got": {"n": n}}
        assert len(seen) == 4
        assert len(set(seen)) == 4  # each a trace of its own
        (resting,) = (r for r in peers.choose("a") if r.rests_until_s)
        assert resting.url.endswith(str(dead))
        for service, path, status, words in (("a", "/refuses", 403, "a: not you"), ("b", "/x", 502, "cannot be reached"), ("c", "/x", 502, "no replica is listed")):  # fmt: skip
            with pytest.raises(social.service.Failed, match=words) as caught:
                await peers.call(service, path, {})
            assert caught.value.status == status
        assert [r.pending for r in peers.choose("a")] == [0, 0]
    finally:
        await peers.close()
        await runner.cleanup()


def test_each_service_of_the_file_has_its_program() -> None:
    from vagus.cli.application import load

    for service in load(EXAMPLE / "app.yaml").services:
        program = service.command[1].replace("{folder}", str(EXAMPLE))
        assert os.path.basename(program) == f"{service.name.replace('-', '_')}.py"
        assert os.path.exists(program)


def test_what_it_costs_was_measured_for_each_service_and_type() -> None:
    from vagus.cli.application import load

    settings = load(EXAMPLE / "app.yaml")
    found = json.loads((EXAMPLE / "demands.json").read_text())
    assert set(found) == {service.name for service in settings.services}
    types = [request.name for request in settings.requests]
    assert all(list(row) == types and all(cost >= 0 for cost in row.values()) for row in found.values())
    weights = {request.name: request.weight for request in settings.requests}
    mean_ms = sum(weight * sum(row[name] for row in found.values()) for name, weight in weights.items())
    assert 8 <= mean_ms / sum(weights.values()) <= 14


def test_the_traces_are_those_that_make_py_makes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, EXAMPLE / "traces/make.py", tmp_path], check=True, timeout=60)
    kept = {path.name: path.read_text() for path in (EXAMPLE / "traces").glob("*.txt")}
    assert kept == {path.name: path.read_text() for path in tmp_path.iterdir()}


def test_what_was_trained_fits_the_application() -> None:
    from vagus.environments.applications import social_network
    from vagus.environments.rates import Rates, made
    from vagus.environments.simulated import SimulatedWorld
    from vagus.policies import JOINT_POLICIES

    world = SimulatedWorld(social_network(), made(Rates(mean_hz=45), 30, seed=1), slo_s=0.25)
    for name, options in (
        ("tower", {"trained": str(EXAMPLE / "trained/tower.json")}),
        ("ddpg", {"checkpoint": str(EXAMPLE / "trained/ddpg.npz")}),
    ):
        policy = JOINT_POLICIES.make(name, world.field, np.random.default_rng(0), **options)
        seen = world.reset(seed=1)
        wishes = list(policy.step(seen.signals, seen.objective, 0.0))
        assert {wish.target for wish in wishes} <= set(world.field.targets), name
