# A program that serves and asks.
from types import SimpleNamespace

import aiohttp.web

request = SimpleNamespace(headers={})
requests = SimpleNamespace(get=lambda url, headers: headers["traceparent"])
url = "http://127.0.0.1:8302/"
