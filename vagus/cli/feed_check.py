"""`vagus feed check`: whether a file of feeds is right: declarations, tools, sources, and a sample of each feed."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.feed_file import feeds_of_file, file_argument, gateway_options
from vagus.cli.output import console, emit_json, json_option
from vagus.cli.view_feed import item_line
from vagus.cli.view_feed_sample import GOOD_NET, MOST_FAULTS, fault_record, faults, render_checked, shape_text
from vagus.errors import ConfigError, VagusError

if TYPE_CHECKING:
    from vagus.actors.feed_local import LocalFeeds
    from vagus.config import FeedSettings
    from vagus.feeds import Feed, Fetched
    from vagus.feeds.directives import Emit, Fetch

LOOK_S = 0.05


@click.command()
@file_argument
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--offline", is_flag=True, help="Fetch nothing: declarations and tools only.")
@json_option
def check(file: Path, names: Sequence[str], offline: bool, as_json: bool) -> None:
    """Loads FILE, makes its tools, fetches each source once, and shows a parsed sample of each feed; writes nothing.

    Of what is broken in a sample it says where, why, and which bytes. The exit status is 1 when FILE or a tool is wrong,
    or a feed brought no value; single locations that fail and single broken fields are only told.

    \b
    Examples:
      vagus feed check comon.yaml
      vagus feed check comon.yaml nodes --offline
      vagus feed check comon.yaml --json | jq '.feeds[] | {name, ok, problems}'
    """
    from vagus.feeds.declared import feeds_of

    settings, wanted = feeds_of_file(file, names)
    found = {name: Checked(name) for name in wanted}
    feeds = feeds_of(settings)
    with tempfile.TemporaryDirectory(prefix="vagus-check-") as folder:
        for feed in settings:
            if feed.name in found:
                found[feed.name].declared(feed, feeds, Path(folder))
    if not offline:
        click.secho("every source is fetched once …", dim=True, err=True)
        asyncio.run(_fetched(settings, found))
    if as_json:
        emit_json({"ok": all(one.ok for one in found.values()), "feeds": [one.record() for one in found.values()]})
    else:
        to = console()
        for one in found.values():
            render_checked(one, to)
    wrong = [one.name for one in found.values() if not one.ok]
    if wrong:
        raise VagusError(f"{file}: {', '.join(wrong)}: see above" if not as_json else f"{file}: {', '.join(wrong)}")


class Checked:
    """What was found of one feed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.shape = ""
        self.tools: list[str] = []
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.fetches: list[tuple[str, Fetched, float]] = []
        self.bases: frozenset[str] = frozenset()
        self.items = self.valueless = 0
        self.sample: Emit | None = None  # the first that has a value, and no errors where there is one
        self.broken: Emit | None = None  # the first of which something could not be parsed
        self.bodies: dict[int, bytes] = {}  # of these two, as they were parsed

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong but single locations and fields."""
        return not self.problems

    def declared(self, settings: FeedSettings, feeds: dict[str, Feed[Any]], folder: Path) -> None:
        """Its shape, its tools, the fields that its expressions ask for."""
        from vagus.feeds.shapes import shape_of
        from vagus.feeds.tools import tools_of

        try:
            self.shape = shape_text(shape_of(feeds[self.name]))
            self.tools = [tool.name for tool in tools_of([settings], feeds, folder).get(self.name, ())]
        except ConfigError as error:
            self.problems.append(str(error))

    def fetched(self, fetch: Fetch, fetched: Fetched, duration_s: float) -> None:
        """One of its sources."""
        self.fetches.append((fetch.location, fetched, duration_s))

    def take(self, emit: Emit, body: bytes) -> None:
        """One of its items."""
        self.items += 1
        self.valueless += emit.item.value is None and emit.item.meta.net.value in GOOD_NET
        best = self.sample is None or (self.sample.item.meta.errors and not emit.item.meta.errors)
        if emit.item.value is not None and best:
            self.sample = emit
            self.bodies[id(emit)] = body
        if emit.item.meta.errors and self.broken is None:
            self.broken = emit
            self.bodies[id(emit)] = body

    def judge(self) -> None:
        """After all was fetched: a feed that brought nothing is wrong."""
        if self.fetches and not any(fetched.net.value in GOOD_NET for _, fetched, _ in self.fetches):
            self.problems.append(f"none of its sources answers: {failure(self.fetches[0])}")
        elif self.valueless and self.sample is None:
            meta = self.broken.item.meta if self.broken is not None else None
            why = f": {meta.location}: {meta.data.value} {meta.note}".rstrip() if meta is not None else ""
            self.problems.append(f"nothing that came has a value{why}")
        elif self.sample is None and self.fetches:
            self.warnings.append("no item passed its conditions")

    def record(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.name,
            "ok": self.ok,
            "shape": self.shape,
            "tools": self.tools,
            "problems": self.problems,
            "warnings": self.warnings,
            "fetches": [
                {
                    "location": shown_(location),
                    "net": fetched.net.value,
                    "note": fetched.note,
                    "size_bytes": len(fetched.body),
                    "duration_s": round(duration_s, 6),
                }
                for location, fetched, duration_s in self.fetches
            ],
            "sample": item_line(self.name, self.sample.item) if self.sample is not None else None,
            "broken": self._broken_record(),
        }

    def _broken_record(self) -> dict[str, Any] | None:
        if self.broken is None:
            return None
        body, descriptor = self.bodies[id(self.broken)], self.broken.descriptor
        told = [] if descriptor is None else list(faults(descriptor))[:MOST_FAULTS]
        return {
            **item_line(self.name, self.broken.item),
            "faults": [fault_record(path, fault, body) for path, fault in told],
        }


def failure(fetch: tuple[str, Fetched, float]) -> str:
    """Which location failed, and how."""
    location, fetched, _ = fetch
    return f"{shown_(location)}: {fetched.net.value}: {fetched.note}".rstrip(": ")


def shown_(location: str) -> str:
    """A location without the user and password of its URL."""
    from vagus.feeds.location import shown

    return shown(location)


async def _fetched(settings: Sequence[FeedSettings], found: dict[str, Checked]) -> None:
    """One tick of all feeds that are wanted and right."""
    from vagus.actors.feed_local import LocalFeeds, once_each
    from vagus.feeds.declared import feeds_of
    from vagus.feeds.preprocess import apply_steps

    wanted = [name for name, one in found.items() if one.ok]
    failures: list[str] = []

    def fetched(fetch: Fetch, got: Fetched, duration_s: float, now_ns: int) -> None:
        for name in wanted:
            if fetch.feed in local.bases_of(name):
                found[name].fetched(fetch, got, duration_s)

    def take(emit: Emit) -> None:
        body = b"" if emit.raw is None else emit.raw.body
        if emit.raw is not None and emit.item.meta.net.value in GOOD_NET:
            base = local.base(emit.raw.meta.feed)
            with contextlib.suppress(ValueError):  # the item says so
                body = apply_steps(base.steps, body, base.max_bytes)
        found[emit.feed].take(emit, body)

    local: LocalFeeds = LocalFeeds(
        feeds_of([once_each(one) for one in settings]),
        only=wanted,
        always=gateway_options(),
        emit=take,
        failed=lambda where, error: failures.append(f"{where}: {error}"),
        fetched=fetched,
    )
    await local.start()
    try:
        while not local.ended:  # noqa: ASYNC110  an engine tells nobody of its end
            await asyncio.sleep(LOOK_S)
    finally:
        await local.stop()
    for name in wanted:
        found[name].judge()
    for failure_ in dict.fromkeys(failures):
        click.secho(failure_, fg="yellow", err=True)
