"""docs/http.md names every route of the gateway."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROUTES = (ROOT / "docs/http.md").read_text().split("## Routes")[1].split("\n\n")[0]
TOLD = set(re.findall(r"(/[\w./{}]*)", ROUTES))
PATHS = [
    path
    for path in json.loads((ROOT / "schemas/openapi.json").read_text())["paths"]
    if "." not in path.rsplit("/", 1)[1]
]


@pytest.mark.parametrize("path", [*PATHS, "/openapi.json"])
def test_a_route_is_told(path: str) -> None:
    named = re.compile(re.sub(r"\\{\w+\\}", r"([A-Z]+|{\\w+})", re.escape(path)))
    assert any(named.fullmatch(told) for told in TOLD), f"docs/http.md says nothing of {path}"
