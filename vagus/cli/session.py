"""The connection of a command to a gateway, and what commands share when they ask it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.clock import NS
from vagus.config import seconds
from vagus.errors import ConfigError, VagusError, unwritable

if TYPE_CHECKING:
    from vagus.client.connection import Connection
    from vagus.client.endpoint import Endpoint

AHEAD_S = 3600  # as far as a gateway lets clocks differ
YEAR_2100_NS = 4_102_444_800 * NS
DEFAULT_PORT = 7117

node_option = click.option("--node", default="", metavar="NODE", help="Ask only this node; default: all of them.")


def _take_server(ctx: click.Context, param: click.Parameter, value: str) -> None:
    if value and not ctx.resilient_parsing:
        ctx.find_root().obj.url = server_url(value, param, ctx)


server_option = click.option(
    *("--server", "-server"),
    default="",
    metavar="ADDR",
    expose_value=False,
    callback=_take_server,
    help="Gateway to ask, HOST[:PORT] or a URL; the same as --url.",
)


def server_url(text: str, param: click.Parameter | None = None, ctx: click.Context | None = None) -> str:
    """The gateway's URL from `HOST`, `HOST:PORT` or a URL. Raises BadParameter."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else DEFAULT_PORT)
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query or parts.username:
        raise click.BadParameter(f"{text[:80]!r} is not HOST, HOST:PORT, http://HOST:PORT or https://…", ctx, param)
    if host == "localhost" and parts.scheme == "http":
        host = "127.0.0.1"  # as gateways announce themselves
    return f"{parts.scheme}://[{host}]:{port}" if ":" in host else f"{parts.scheme}://{host}:{port}"


def endpoint_of(ctx: click.Context) -> Endpoint:
    """The gateway that the global options (or this machine's state folder) name. Raises ConfigError, PeerUnreachable."""
    from vagus.client import endpoint

    options = ctx.find_root().obj
    try:
        return endpoint.find(options.url, options.token, home=options.home or None)
    except ConfigError as error:
        if options.url and not options.token and str(error).startswith("no token"):
            raise ConfigError(
                f"no token for {options.url}, where nothing of this user's state folder listens: is that the address? "
                "Else give --token TOKEN, or set VAGUS_TOKEN (of that server: the file HOME/token)"
            ) from error
        raise


@contextlib.contextmanager
def connected(ctx: click.Context) -> Iterator[Connection]:
    """A connection to the gateway that the global options (or this machine's state folder) name."""
    from vagus.client.connection import Connection

    found = endpoint_of(ctx)
    connection = Connection(found.url, found.token)
    connection.find_again = lambda: endpoint_of(ctx)
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: Connection, path: str, **params: Any) -> dict[str, Any]:
    """The JSON object that the gateway answers to GET `path`; parameters that are empty are left out."""
    body, _ = connection.request("GET", path, query=params)
    return _object(connection, path, body)


def post(connection: Connection, path: str, document: dict[str, Any], **params: Any) -> dict[str, Any]:
    """The JSON object that the gateway answers to POST `path` with a document."""
    import msgspec

    body, _ = connection.request("POST", path, query=params, body=msgspec.msgpack.encode(document))
    return _object(connection, path, body)


def _object(connection: Connection, path: str, body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise VagusError(f"{connection.url} answered {path} with something that is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise VagusError(f"{connection.url} answered {path} with something that is not a JSON object")
    return answer


if TYPE_CHECKING:
    _Text = click.ParamType[str]  # generic for the type checker only
else:
    _Text = click.ParamType


class Span(_Text):
    """A duration such as `30s`, `5m`, `24h`; kept as text, checked here."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            seconds(str(value) or 0)  # empty: not given
        except ConfigError as error:
            self.fail(str(error), param, ctx)
        return str(value).strip()


class Moment(_Text):
    """A time: RFC 3339, `YYYY-MM-DD HH:MM[:SS]` of this machine's time zone, or nanoseconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        if not text:
            return ""
        t_ns = self._nanoseconds(text, param, ctx)
        if not 0 <= t_ns < YEAR_2100_NS:
            self.fail(f"{text!r} is not between 1970 and 2100", param, ctx)
        if t_ns > time.time_ns() + AHEAD_S * NS:
            self.fail(f"{text!r} lies in the future", param, ctx)
        return str(t_ns)

    def _nanoseconds(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if text.isascii() and text.isdigit():
            if len(text) <= 11:
                self.fail(f"{text} looks like seconds; nanoseconds since the epoch are expected", param, ctx)
            return int(text[:30])
        try:
            moment = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "zZ" else text)
            return round(moment.timestamp() * 1e6) * 1000  # a naive time is local
        except (ValueError, OverflowError, OSError):
            self.fail(f"{text!r} is no time such as 2026-01-31T12:00:00Z or '2026-01-31 12:00'", param, ctx)


def span_params(since: str, start: str, end: str, default: str = "5m") -> dict[str, str]:
    """The parameters that name a span of time: `since` back from now (or from `end`), or from `start`."""
    if since and start:
        raise click.UsageError("--since and --start exclude each other.")
    if start:
        if int(start) >= (int(end) if end else time.time_ns()):
            raise click.UsageError(f"--start {_moment(start)} is not before {_moment(end) if end else 'now'}.")
        return {"start": start, **({"end": end} if end else {})}
    if not seconds(since or default):
        raise click.UsageError(f"--since {since} is no time at all.")
    if end:
        return {"start": str(int(end) - round(seconds(since or default) * NS)), "end": end}
    return {"since": since or default}


def _moment(t_ns: str) -> str:
    """Local date and time to the second."""
    return datetime.fromtimestamp(int(t_ns) // NS).isoformat(" ")


def check_file(path: Path) -> None:
    """Raises VagusError unless a file can be written there; asked before anything is fetched for it."""
    folder = path.parent
    if not folder.is_dir():
        raise VagusError(f"cannot write {path}: there is no folder {folder}; make it first")
    if path.is_dir():
        raise VagusError(f"cannot write {path}: it is a folder; name a file in it")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise VagusError(f"cannot write {path}: permission denied; name a place that this user may write")


def make_folder(path: Path) -> None:
    """Makes a folder that the user named, where it is missing. Raises VagusError with the reason."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VagusError(unwritable(path, error)) from error


def write_file(path: Path, content: bytes) -> None:
    """Writes a file that the user named. Raises VagusError with the reason."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise VagusError(unwritable(path, error)) from error
