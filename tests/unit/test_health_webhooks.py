"""Webhooks: who is told what, once, and again when nobody took it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web

from vagus.actors.webhooks import Webhooks
from vagus.config import WebhookSettings
from vagus.errors import ConfigError
from vagus.health import webhooks
from vagus.model import Inference, Metric, Report, Status, Verdict

U, H = Status.UNHEALTHY, Status.HEALTHY


def inference(subject: str = "db", status: Status = U, t_ns: int | None = None) -> Inference:
    import time

    now = time.time_ns() if t_ns is None else t_ns
    report = Report("api", subject, now, {"read": Metric(status, 3)}, "n1", 1)
    other = Report("web", subject, now, {"read": Metric(H, 3)}, "n1", 2)
    verdict = Verdict(status, 3, ("api",) if status > Status.PENDING else ())
    return Inference(subject, now, status, {"read": verdict}, ("api", "web"), "paper", (report, other))


@pytest.mark.parametrize(
    ("hook", "subject", "status", "was", "told"),
    [
        ({}, "db", U, H, True),
        ({"subjects": ("db*", "x")}, "db@1", U, H, True),
        ({"subjects": ("x",)}, "db@1", U, H, False),
        ({"statuses": ("UNHEALTHY",)}, "db", U, H, True),
        ({"statuses": ("u",)}, "db", H, U, True),
        ({"statuses": ("DEAD",)}, "db", H, U, False),
    ],
)
def test_the_settings_name_the_changes(
    hook: dict[str, Any], subject: str, status: Status, was: Status, told: bool
) -> None:
    settings = WebhookSettings(url="http://127.0.0.1:1/", **hook)
    assert webhooks.wanted(settings, subject, status, was) is told


def test_one_node_speaks_of_a_subject_and_few_change_when_it_goes() -> None:
    nodes = [f"n{n}" for n in range(10)]
    subjects = [f"s{n}" for n in range(1000)]
    before = {s: webhooks.speaker(s, nodes) for s in subjects}
    assert before == {s: webhooks.speaker(s, reversed(nodes)) for s in subjects}
    assert min(list(before.values()).count(n) for n in nodes) > 50
    after = {s: webhooks.speaker(s, nodes[1:]) for s in subjects}
    assert all(after[s] == before[s] for s in subjects if before[s] != "n0")
    assert webhooks.speaker("s", []) == ""


def test_a_message_has_the_accusers_reports_alone() -> None:
    body = webhooks.message(inference(), H, "n1", "paper")
    assert (body["subject"], body["status"], body["was"]) == ("db", "UNHEALTHY", "HEALTHY")
    assert [report["observer"] for report in body["reports"]] == ["api"]
    assert body["contexts"]["read"]["accusers"] == ["api"]


class Server:
    """Takes what is posted, and answers as told, then 200."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.got: asyncio.Queue[tuple[dict[str, Any], dict[str, str]]] = asyncio.Queue()

    async def __aenter__(self) -> Server:
        app = web.Application()
        app.router.add_post("/hook", self.take)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    async def take(self, request: web.Request) -> web.Response:
        self.got.put_nowait((await request.json(), dict(request.headers)))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)


async def test_a_change_is_posted_with_the_token_and_tried_again(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(webhooks, "FIRST_RETRY_S", 0.01)
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "token").chmod(0o600)
    async with Server(503, 200, 400, 200) as server:
        hook = WebhookSettings(url=server.url, token_file=str(tmp_path / "token"))
        hooks = Webhooks([hook], "n1", None)
        await hooks.start()
        hooks.note(inference("db"), H)
        first, again = await server.got.get(), await server.got.get()
        assert first[0] == again[0]
        assert first[0]["subject"] == "db"
        assert first[1]["Authorization"] == "Bearer secret"
        assert first[1]["Idempotency-Key"] == again[1]["Idempotency-Key"]
        hooks.note(inference("web"), H)  # 400: never taken, so not told again
        hooks.note(inference("last"), H)
        assert [(await server.got.get())[0]["subject"] for _ in range(2)] == ["web", "last"]
        while hooks.counts["told"] < 2:
            await asyncio.sleep(0)
        assert (hooks.counts["failed"], hooks.counts["refused"]) == (1, 1)
        assert "HTTP 400" in hooks.last_error
        await hooks.stop()
        await hooks.stop()


async def test_a_server_that_is_away_costs_a_bounded_queue_and_old_changes_are_dropped() -> None:
    hooks = Webhooks([WebhookSettings(url="http://127.0.0.1:9/")], "n1", None)
    for n in range(1100):
        hooks.note(inference(f"s{n}"), H)
    assert hooks.counts["dropped"] == 100
    async with Server() as server:
        hooks = Webhooks([WebhookSettings(url=server.url)], "n1", None)
        hooks.note(inference("old", t_ns=1), H)
        hooks.note(inference("new"), H)
        await hooks.start()
        assert (await server.got.get())[0]["subject"] == "new"
        assert hooks.counts["dropped"] == 1
        await hooks.stop()


async def test_a_server_that_redirects_hangs_or_answers_without_end_holds_nothing_up() -> None:
    served: list[str] = []
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * (1 << 20))
        ended.set()
        return response

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async def elsewhere(request: web.Request) -> web.Response:
        served.append(request.path)
        return web.Response()

    async def silent(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    app = web.Application()
    for handler in (endless, redirect, elsewhere, silent):
        app.router.add_post(f"/{handler.__name__}/secret", handler)
    app.router.add_post("/elsewhere", elsewhere)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server = f"http://127.0.0.1:{runner.addresses[0][1]}"
    urls = [f"{server}/{name}/secret" for name in ("endless", "redirect", "silent")]
    hooks = Webhooks([WebhookSettings(url=url, timeout="200ms") for url in urls], "n1", None)
    await hooks.start()
    hooks.note(inference("db"), H)
    await asyncio.wait_for(ended.wait(), 10)
    while hooks.counts.total() < 3:
        await asyncio.sleep(0.01)
    assert hooks.counts == {"told": 1, "refused": 1, "failed": 1}
    assert served == [], "nobody else is told"
    assert hooks.last_error.startswith(f"webhook {server}: TimeoutError")
    assert "secret" not in hooks.last_error, "a path may be all that a server asks for"
    await hooks.stop()
    await runner.cleanup()


async def test_only_the_speaker_tells() -> None:
    nodes = ["n1", "n2", "n3"]
    hooks = [Webhooks([WebhookSettings(url="http://127.0.0.1:9/")], node, lambda: nodes) for node in nodes]
    for hook in hooks:
        hook.note(inference("db"), H)
    assert sum(len(hook._lines[0].waiting) for hook in hooks) == 1


def test_bad_settings_are_refused(tmp_path: Any) -> None:
    with pytest.raises(ConfigError, match="status 'ill'"):
        Webhooks([WebhookSettings(url="http://x/", statuses=("ill",))], "n1", None).note(inference(), H)
    with pytest.raises(ConfigError, match="webhook"):
        Webhooks([WebhookSettings(url="http://x/", token_file=str(tmp_path / "absent"))], "n1", None)
    with pytest.raises(ConfigError, match=r"webhooks\[0\].url"):
        Webhooks([WebhookSettings(url="http://[x/")], "n1", None)
    assert not Webhooks([], "n1", None)
