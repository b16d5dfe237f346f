"""Decisions asked for within a trace: answered by the front as all others, and they crowd nobody out of its memory."""

from __future__ import annotations

import http.client
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, MemoryBackend, serving

from vagus.client.trace_context import make, text


def test_requests_with_a_trace_are_answered_and_not_remembered():
    backend = MemoryBackend(())
    with serving(backend) as served:
        connection = http.client.HTTPConnection(served.address, timeout=10)
        body = json.dumps({"arms": ["a", "b"]}).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        front = served.gateway._front
        assert front is not None
        for traced in (False, True, True, False, True):
            sent = {**headers, **({"Traceparent": text(make()), "tracestate": "a=1"} if traced else {})}
            connection.request("POST", "/v1/decide", body, sent)
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["decision"] in "ab") == (200, True)
            assert len(front.known) == 1
        assert len(backend.decisions) == 5
        connection.close()
