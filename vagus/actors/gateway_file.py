"""Where host programs and the command line find a node's gateway: `gateway.json` in its folder, and its token."""

from __future__ import annotations

import json
import os
from pathlib import Path

from vagus.config import write_private

FILE = "gateway.json"


def announce(folder: Path, node: str, url: str, token: str) -> None:
    """Says that this process serves the node's gateway. Raises OSError."""
    token_file = folder / "token"
    write_private(token_file, token.encode())
    content = {"url": url, "token_file": str(token_file), "node": node, "pid": os.getpid()}
    write_private(folder / FILE, json.dumps(content).encode())


def withdraw(folder: Path) -> None:
    """Says that it no longer does. Idempotent."""
    (folder / FILE).unlink(missing_ok=True)
