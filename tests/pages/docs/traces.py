# A program that serves and asks, within its loop.
import asyncio
from types import SimpleNamespace

import aiohttp.web

request = SimpleNamespace(headers={})
requests = SimpleNamespace(get=lambda url, headers: headers["traceparent"])
url = "http://127.0.0.1:8302/"
asyncio._set_running_loop(asyncio.new_event_loop())
