"""`vagus.connect()`, `up()`, `down()`, `stream()`: the Python API of a program that uses vagus."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from vagus import config as configuration
from vagus.client.connection import Connection
from vagus.client.endpoint import Endpoint, find
from vagus.clock import NS
from vagus.config import Config, load
from vagus.errors import ConfigError, NoData
from vagus.model import SensorInfo

if TYPE_CHECKING:
    from datetime import datetime

    from vagus.feeds.feed import Feed
    from vagus.feeds.stream import Stream
    from vagus.store.batch import Batch

T = TypeVar("T")

MAX_RECORDS = 10_000


class Vagus(Connection):
    """A connection to the node's gateway that can also spawn controllers (which loads Ray when called)."""

    home: Path = Path()

    def sql(self, statement: str, since: str | float = "1h", node: str = "") -> Any:
        """The result of one SQL statement (DuckDB's) over streams and events, as a pyarrow.Table.

        Tables: see vagus.store.sql; those that the statement names are fetched, from `since` on. Needs `vagus[sql]`.
        Raises ConfigError, Unsupported.
        """
        from vagus.store.sql import query

        now_ns = time.time_ns()
        start_ns = max(0, now_ns - round(configuration.seconds(since) * NS))
        return query(statement, Tables(self, start_ns, now_ns + NS, node))

    def spawn(self, controller: Any, name: str, *, on: str = "every-node", **settings: Any) -> list[str]:
        """Runs a controller class (see vagus.controllers.Controller) as supervised actors; returns their names.

        controller: None for the registered policy that `policy=` names.
        on: `every-node`, `head` or a node's name; settings: keys of controller.yaml, such as target, period, limits,
        armed. Raises ConfigError when the name is taken or the class does not start.
        """
        from vagus.runtime.spawn import settings_for, spawn

        return spawn(self.home, settings_for(name, on, **settings), controller)

    def remove(self, name: str) -> bool:
        """Stops a spawned controller everywhere and restores its limits; False when there is none of that name."""
        from vagus.runtime.spawn import remove

        return remove(self.home, name)


class Tables:
    """What SQL reads, through a gateway (see vagus.store.sql.Source); `say` is told what is missing."""

    def __init__(
        self,
        gateway: Connection,
        start_ns: int,
        end_ns: int,
        node: str = "",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._gateway = gateway
        self._start_ns = start_ns
        self._end_ns = end_ns
        self._node = node
        self._say = say

    def sensors(self) -> Sequence[SensorInfo]:
        """The directory, with what has ended."""
        return self._gateway.sensors(node=self._node, history=True)

    def batches(self, kind: str) -> Sequence[Batch]:
        """The samples of a kind."""
        from vagus.client.answers import missing_of
        from vagus.store.export import from_msgpack

        query = {
            "selector": kind,
            "start": self._start_ns,
            "end": self._end_ns,
            "node": self._node,
            "format": "msgpack",
        }
        body, headers = self._gateway.request("GET", "/v1/query", query=query)
        for name, why in missing_of(headers):
            self._say(f"{kind}: partial, without {name}: {why}")
        return [batch for batch in from_msgpack(body) if batch.stream.kind == kind]

    def records(self, kind: str) -> Sequence[Any]:
        """The newest records of a kind."""
        since_s = (time.time_ns() - self._start_ns) / NS
        found = self._gateway.records(kind, since=f"{since_s:.3f}", limit=MAX_RECORDS)
        if len(found) == MAX_RECORDS:
            self._say(f"{kind}: only the newest {MAX_RECORDS} are read; narrow the span, or read a store's folder")
        return [record for record in found if self._start_ns <= record.t_ns < self._end_ns]


def connect(url: str = "", token: str = "", *, home: str = "", timeout_s: float = 10.0) -> Vagus:
    """A connection to this node's gateway, or to the given one. Loads neither Ray nor numpy. Raises PeerUnreachable."""
    folder = configuration.home(Config(home=home))
    return _connected(lambda: find(url, token, home=folder), folder, timeout_s)


def connect_here(home: str = "", *, timeout_s: float = 10.0) -> Vagus:
    """As `connect`, to this machine's own node even where $VAGUS_URL names another gateway. Raises PeerUnreachable."""
    folder = configuration.home(Config(home=home))
    return _connected(lambda: find(home=folder, here=True), folder, timeout_s)


def _connected(find_it: Callable[[], Endpoint], folder: Path, timeout_s: float) -> Vagus:
    endpoint = find_it()
    connection = Vagus(endpoint.url, endpoint.token, timeout_s=timeout_s)
    connection.home = folder
    connection.find_again = find_it
    return connection


def up(
    config: Config | str | Path | None = None,
    *,
    address: str = "",
    arm: bool | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Vagus:
    """Makes sure that vagus runs on this machine, as `vagus up` does, and connects; `say` is told each step.

    arm: True lets controllers act, False stops them and restores, None leaves it as configured.

    Raises VagusError.
    """
    from vagus.runtime import launch

    settings = load(config, Config) if isinstance(config, (str, Path)) else config or Config()
    launch.up(settings, address=address, arm=arm, say=say)
    return connect_here(settings.home)


def down(*, home: str = "") -> list[str]:
    """Stops vagus on this machine, as `vagus down` does; returns what could not be undone."""
    from vagus.runtime import launch

    return launch.down(configuration.home(Config(home=home)))


@overload
def stream(
    feed: Feed[T],
    name: str = "",
    *,
    folder: str | Path = "",
    archive: str | Path = "",
    since: float | datetime = 0,
    until: float | datetime | None = None,
) -> Stream[T]: ...
@overload
def stream(
    feed: str | Path,
    name: str = "",
    *,
    folder: str | Path = "",
    archive: str | Path = "",
    since: float | datetime = 0,
    until: float | datetime | None = None,
) -> Stream[Any]: ...
def stream(
    feed: Feed[Any] | str | Path,
    name: str = "",
    *,
    folder: str | Path = "",
    archive: str | Path = "",
    since: float | datetime = 0,
    until: float | datetime | None = None,
) -> Stream[Any]:
    """A feed's items, fetched by this process from now on, without Ray and without a running vagus; `close` ends it.

    feed: declared in Python (vagus.feeds), or the YAML file that declares it, then with its name (unless it is the
    only one there); `gateway:` is what `connect()` finds. folder: keeps the raw bytes there, and goes on where it
    ended; a stream runs no tools. archive: instead of fetching, the items once more of such a folder (of `vagus feed
    run`, too), from `since` until `until` (seconds since the epoch, or times). Raises ConfigError, NoData, StoreError.
    """
    from vagus.actors import feed_stream
    from vagus.feeds.feed import Feed
    from vagus.feeds.stream import later_than
    from vagus.model import MAX_T_NS

    feeds: dict[str, Feed[Any]]
    if isinstance(feed, Feed):
        name = name or feed.name or "feed"
        feeds = {name: feed}
    else:
        from vagus.actors.feed_local import feeds_in
        from vagus.feeds.declared import feeds_of

        feeds = feeds_of(feeds_in(feed))
        name = name or (next(iter(feeds)) if len(feeds) == 1 else "")
        if name not in feeds:
            what = f"there is no feed {name!r}" if name else "which feed is meant? Give its name"
            raise NoData(f"{feed}: {what}; there are: {', '.join(feeds)}")
    if not archive:
        if since or until is not None:
            raise ConfigError("stream: since and until are for an archive")
        always = {"gateway": {"find": lambda: find()[:2]}}  # as `connect` without arguments
        return feed_stream.live(feeds, name, Path(folder) if folder else None, always)
    end_ns = MAX_T_NS if until is None else later_than(until).t_ns
    return feed_stream.archived(feeds, name, Path(archive), later_than(since).t_ns, end_ns)
