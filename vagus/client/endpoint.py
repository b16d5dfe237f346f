"""Where the gateway is: told, from the environment, or from what the nodes on this machine left in their folders."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any, NamedTuple

from vagus.errors import ConfigError, PeerUnreachable

MAX_FILE_BYTES = 64 << 10


class Endpoint(NamedTuple):
    """A gateway's address and token; node and home are known when it was found in a state folder."""

    url: str
    token: str
    node: str = ""
    home: Path | None = None


def find(url: str = "", token: str = "", home: Path | str | None = None, *, here: bool = False) -> Endpoint:
    """The gateway to use: as given, else $VAGUS_URL and $VAGUS_TOKEN, else a live node of this machine.

    Among several live nodes the one named like this host comes first, then the one started last. A URL without a
    token takes the token of the local node with that URL. here: this machine's, whatever the environment says.
    Raises PeerUnreachable, ConfigError.
    """
    if not here:
        url, token = url or os.environ.get("VAGUS_URL", ""), token or os.environ.get("VAGUS_TOKEN", "")
    url = url.rstrip("/")
    if url:
        address(url)  # a wrong one is said before anything of its token
    if url and token:
        return Endpoint(url, token)
    base = _home(home)
    found = _alive(base)
    if url:
        same = url.replace("//localhost:", "//127.0.0.1:")  # as gateways announce themselves
        found = [entry for entry in found if entry["url"] in (url, same)]
        if not found:
            raise ConfigError(f"no token for {url}: set VAGUS_TOKEN, or pass token=")
    if not found:
        if not all(os.access(folder, os.R_OK | os.X_OK) for folder in _folders(base)):
            raise PeerUnreachable(
                f"{base} is another user's: run as that user, set VAGUS_HOME to your own, or VAGUS_URL and VAGUS_TOKEN"
            )
        raise PeerUnreachable(
            f"no running vagus found under {base / 'nodes'}: run `vagus up`, or set VAGUS_URL and VAGUS_TOKEN"
        )
    unreadable = ""
    for entry in found:
        try:
            text = token or _read(Path(base, "nodes", entry["node"], entry["token_file"])).decode().strip()
            return Endpoint(entry["url"], text, entry["node"], base)
        except (OSError, UnicodeDecodeError) as error:
            unreadable = f"{entry['token_file']}: {error}"
    raise PeerUnreachable(f"vagus runs, but its token cannot be read by this user: {unreadable}; set VAGUS_TOKEN")


def address(url: str) -> tuple[bool, str, int]:
    """Whether it is https, the host and the port of a gateway's URL. Raises ConfigError."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:  # a port beyond 65535, half a bracket
        host = None
    if host is None or parts.scheme not in ("http", "https"):
        raise ConfigError(
            f"gateway address {url[:200]!r} is not http://HOST:PORT, nor https://…: such as http://127.0.0.1:7117"
        )
    return parts.scheme == "https", host, port


def find_all(token: str = "", home: Path | str | None = None) -> list[Endpoint]:
    """Every gateway of this machine's live nodes, the one that `find` prefers first; or the one that $VAGUS_URL names.

    Raises PeerUnreachable, ConfigError.
    """
    first = find(token=token, home=home)
    if first.home is None:
        return [first]
    found = [first]
    for entry in _alive(first.home):
        try:
            if entry["url"] != first.url:
                text = token or _read(Path(first.home, "nodes", entry["node"], entry["token_file"])).decode().strip()
                found.append(Endpoint(entry["url"], text, entry["node"], first.home))
        except (OSError, UnicodeDecodeError):
            continue  # not this user's to use
    return found


def _home(home: Path | str | None) -> Path:
    if home is not None:
        return Path(home)
    from vagus import config  # loaded only when a folder is looked for

    return config.home()


def _folders(base: Path) -> list[Path]:
    """The folders in which announcements would be, as far as they can be listed."""
    try:
        return [base, *base.glob("nodes/*/")] if base.exists() else []
    except OSError:  # it is within another user's
        return [base]


def _alive(base: Path) -> list[dict[str, Any]]:
    """Announcements of gateways whose process lives, best first."""
    host = socket.gethostname()
    ranked = []
    try:
        files = sorted(base.glob("nodes/*/gateway.json"))
    except OSError:
        return []
    for path in files:
        try:
            entry = json.loads(_read(path))
            fields = {name: str(entry[name]) for name in ("url", "token_file", "node")}
            pid = int(entry["pid"])
            started = path.stat().st_mtime_ns
        except (OSError, ValueError, KeyError, TypeError):
            continue  # half-written, from another version, or not ours to read: as good as absent
        if _lives(pid):
            ours = fields["node"] == host or fields["node"].partition(".")[0] == host.partition(".")[0]
            ranked.append((ours, started, fields))
    return [fields for _, _, fields in sorted(ranked, key=lambda item: item[:2], reverse=True)]


def _lives(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return isinstance(pid, int) and pid < 1 << 22
    return True


def _read(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_FILE_BYTES)
