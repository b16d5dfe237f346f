"""One look at a service: by TCP, HTTP, a unix socket, a pid file, or a file that it touches. These block."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from vagus.config import HeartbeatSettings, seconds
from vagus.errors import ConfigError

_ADDRESS = re.compile(r"\[?([^\[\]]+?)\]?:(\d{1,5})\Z")
_MAX_PID_BYTES = 32

Check = Callable[[], str]
"""Looks once; returns why the service is down, or nothing. May raise OSError or ValueError, which mean the same."""


def parse_check(settings: HeartbeatSettings, root: Path) -> Check:
    """The check that `settings.check` describes; paths of files are below `root`. Raises ConfigError."""
    timeout_s = seconds(settings.timeout)
    scheme, colon, rest = settings.check.partition(":")
    where = f"heartbeats: {settings.service}: check {settings.check[:100]!r}"
    if scheme == "tcp":
        found = _ADDRESS.match(rest)
        if not found or not 0 < int(found[2]) < 65536:
            raise ConfigError(f"{where} is not tcp:HOST:PORT")
        host, port = found[1], int(found[2])
        return lambda: _tcp(host, port, timeout_s)
    if scheme in ("http", "https"):
        parts = urlsplit(settings.check)
        try:
            valid = bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        if not valid or not settings.check.isprintable() or " " in settings.check:
            raise ConfigError(f"{where} is not http://HOST[:PORT][/PATH]")
        return lambda: _http(settings.check, timeout_s)
    if not rest.startswith("/") or not colon or scheme not in ("unix", "pidfile", "file"):
        raise ConfigError(f"{where} is none of tcp:HOST:PORT, http://…, https://…, unix:/…, pidfile:/…, file:/…")
    path = str(root / rest.lstrip("/"))
    if scheme == "unix":
        return lambda: _unix(path, timeout_s)
    if scheme == "pidfile":
        return lambda: _pidfile(path, root)
    # touched every `every`: twice that is one touch missed
    return lambda: _file(path, 2 * seconds(settings.every) + timeout_s)


def _tcp(host: str, port: int, timeout_s: float) -> str:
    with socket.create_connection((host, port), timeout=timeout_s):
        return ""


def _unix(path: str, timeout_s: float) -> str:
    with socket.socket(socket.AF_UNIX) as asked:
        asked.settimeout(timeout_s)
        asked.connect(path)
    return ""


def _http(url: str, timeout_s: float) -> str:
    import http.client

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(str(parts.hostname), parts.port, timeout=timeout_s)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": "vagus", "Connection": "close"})
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        return f"no HTTP answer: {type(error).__name__} {error}"
    finally:
        connection.close()
    return "" if status < 400 else f"HTTP status {status}"


def _pidfile(path: str, root: Path) -> str:
    with open(path, "rb") as file:
        text = file.read(_MAX_PID_BYTES).strip()
    if not text.isdigit() or text == b"0":
        return f"{path} holds no pid"
    try:
        stat = (root / "proc" / text.decode() / "stat").read_bytes()
    except OSError:
        return f"process {text.decode()} is gone"
    return f"process {text.decode()} is a zombie" if stat[stat.rfind(b")") + 2 :][:1] in (b"Z", b"X") else ""


def _file(path: str, most_s: float) -> str:
    age_s = time.time() - os.stat(path).st_mtime
    return f"{path} was not touched for {age_s:.0f} s" if age_s > most_s else ""
