"""A real browser for tests: Debian's chromium without a window, driven over the DevTools protocol.

async with browser() as page:
    await page.open(url)
    await page.until("document.title == 'x'")
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (apt-get install chromium)")
START_TIMEOUT_S = 60.0
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions"),
    *("--disable-default-apps", "--remote-debugging-port=0", "--hide-scrollbars", "--force-color-profile=srgb"),
)


class Page:
    """One tab. `errors`: exceptions, failed loads and violations of the page's policy, as text."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.errors: list[str] = []
        self._socket = socket
        self._calls = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loaded = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())

    async def open(self, url: str) -> None:
        """Loads a URL and waits for its load event."""
        self._loaded.clear()
        answer = await self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer["errorText"]
        await asyncio.wait_for(self._loaded.wait(), START_TIMEOUT_S)

    async def run(self, script: str) -> Any:
        """The value of an expression in the page, awaited; an exception there fails here."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        details = answer.get("exceptionDetails")
        assert details is None, details.get("exception", {}).get("description", details["text"])
        return answer["result"].get("value")

    async def until(self, script: str, timeout_s: float = 20.0) -> Any:
        """The value of an expression as soon as it is true; it is looked at with every frame that the page draws."""
        loop = f"""new Promise((done, fail) => {{
            const end = performance.now() + {timeout_s * 1000};
            const look = () => {{
                let value;
                try {{ value = {script}; }} catch (error) {{ return fail(error); }}
                if (value) done(value);
                else if (performance.now() > end) fail(new Error("not true in time: " + document.body.innerText));
                else setTimeout(look, 10);
            }};
            look();
        }})"""
        return await self.run(loop)

    async def press(self, key: str, text: str = "") -> None:
        """A real key press, such as `Tab`, `Enter`, `ArrowDown`."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        more = {"windowsVirtualKeyCode": codes.get(key, 0), "key": key, "code": key}
        text = text or {"Enter": "\r"}.get(key, "")
        await self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **more)
        await self.call("Input.dispatchKeyEvent", type="keyUp", **more)

    async def click(self, selector: str) -> None:
        """A real mouse click into the middle of the first element that matches."""
        place = await self.run(
            f"(() => {{ const b = document.querySelector({json.dumps(selector)}).getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    async def appear(self, *, dark: bool = False, width: int = 1280, height: int = 800) -> None:
        """How large the window is, and which colours its user prefers."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path) -> None:
        """What the window shows, as PNG."""
        path.write_bytes(base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"]))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol."""
        self._calls += 1
        answer = self._waiting[self._calls] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._calls, "method": method, "params": params})
        return await asyncio.wait_for(answer, START_TIMEOUT_S)

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                waiting = self._waiting.pop(said["id"])
                if "error" in said:
                    waiting.set_exception(RuntimeError(str(said["error"])))
                else:
                    waiting.set_result(said["result"])
            elif said["method"] == "Page.loadEventFired":
                self._loaded.set()
            elif said["method"] == "Runtime.exceptionThrown":
                details = said["params"]["exceptionDetails"]
                self.errors.append(str(details.get("exception", {}).get("description", details["text"])))
            elif said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.errors.append(said["params"]["entry"]["text"])


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """A browser of its own with one tab, and an empty profile that is removed afterwards."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="vagus-browser-", ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *(CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "HOME": profile},
            start_new_session=True,
        )
        draining = None
        try:
            port = await asyncio.wait_for(_port(process), START_TIMEOUT_S)
            draining = asyncio.ensure_future(_drain(process))
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    (tab,) = [t for t in await answer.json(content_type=None) if t["type"] == "page"]
                async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    page = Page(socket)
                    for domain in ("Page", "Runtime", "Log"):
                        await page.call(f"{domain}.enable")
                    try:
                        yield page
                    finally:
                        with contextlib.suppress(RuntimeError, ConnectionError, asyncio.TimeoutError):
                            await page.call("Browser.close")
                        await page.close()
        finally:
            try:
                await asyncio.wait_for(process.wait(), 10)
            except asyncio.TimeoutError:
                process.kill()
                await process.wait()
            if draining is not None:
                draining.cancel()
                await asyncio.gather(draining, return_exceptions=True)


async def _port(process: asyncio.subprocess.Process) -> int:
    """The port that chromium chose: it says so on its standard error."""
    assert process.stderr is not None
    said = b""
    while line := await process.stderr.readline():
        said += line
        if line.startswith(b"DevTools listening on ws://"):
            return int(line.split(b":")[2].split(b"/")[0])
    raise RuntimeError(f"chromium ended: {said.decode(errors='replace')[-1000:]}")


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(65536):
        pass
