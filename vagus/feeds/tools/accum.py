"""The tool `accum`: a profile of errors and values, in slices of N items and in all, as XML files; alerts on new extremes.

PADS/D's options: minalert, maxalert, useralert, lesssig, moresig, slicesize, slicefile, totalfile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from vagus.clock import NS
from vagus.config import Settings
from vagus.config.base import Duration
from vagus.errors import ConfigError, VagusError
from vagus.feeds.contracts import Notice, ToolContext
from vagus.feeds.item import Descriptor, Item
from vagus.feeds.tools import checked
from vagus.feeds.tools.accum_profile import Profile
from vagus.feeds.tools.accum_report import report, xml_of
from vagus.feeds.tools.accumulator import Accumulator
from vagus.feeds.tools.files import replace
from vagus.feeds.tools.options import function_of, path_of, seconds_of
from vagus.model import MAX_NAME, Status

MAX_ALERT_TEXT = 500
NUMBER = "{}"  # in the name of slicefile

Count = Annotated[int, msgspec.Meta(ge=0, le=1000)]
Decide = Callable[[Item[Any], Accumulator], Any]


class AccumOptions(Settings, frozen=True):
    """Options of `accum`."""

    minalert: bool | tuple[str, ...] = False  # a notice for a new minimum: of every place, or of these
    maxalert: bool | tuple[str, ...] = False  # the same for a new maximum
    useralert: Any = ""  # module:function of (item, accumulator); what it returns is the text of a notice
    after: Annotated[int, msgspec.Meta(ge=1)] = 10  # numbers that a place must have had before its extremes are news
    again: Duration = "5m"  # a place's next extreme is told after this long
    lesssig: Count = 3  # how many of the least frequent values are reported
    moresig: Count = 10  # how many of the most frequent
    slicesize: Annotated[int, msgspec.Meta(ge=0)] = 0  # items of a slice; 0: no slices
    slicefile: str = "accumslice.xml"  # the newest slice; with {} in it one file each, numbered
    slices: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100  # how many numbered files are kept
    totalfile: str = "accum.xml"  # everything, written at the end, with each slice, and every …
    every: Duration = "60s"
    severity: Literal["maybe_unhealthy", "unhealthy"] = "maybe_unhealthy"  # of its notices, which never end
    report: bool = False  # whether a notice is also a report on the location's health
    webhooks: tuple[str, ...] = ()


class Accum:
    """`Accum(context, slicesize=1000)`; all options: AccumOptions. `total` is what it counted. Raises ConfigError."""

    name = "accum"
    wants_descriptor = True

    def __init__(self, context: ToolContext, **options: Any) -> None:
        self.options = given = checked(AccumOptions, options, {"slicefile": "slicesize", "slices": "slicesize"})
        self._context = context
        if given.slicefile.replace(NUMBER, "", 1) != re.sub(r"[{}]", "", given.slicefile):
            raise ConfigError(f"slicefile {given.slicefile[:80]!r}: {{}} stands for the number of the slice, once")
        self._slice_path = path_of(context, given.slicefile)
        self._total_path = path_of(context, given.totalfile)
        self._every_ns = round(seconds_of("every", given.every, 1.0) * NS)
        self._again_ns = round(seconds_of("again", given.again) * NS)
        self._decide: Decide | None = function_of(given.useralert) if given.useralert else None
        self.total = Accumulator(context.shape)
        self._slice = Accumulator(context.shape) if given.slicesize else self.total
        self._slices = 0
        self._told_ns: dict[tuple[str, str], int] = {}
        self._descriptor: Descriptor | None = None
        self._written_ns: int | None = None  # when the total was
        self._unwritten = True

    def take_descriptor(self, descriptor: Descriptor | None) -> None:
        """Where the errors of the next item are."""
        self._descriptor = descriptor

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        """Counts an item. Raises OSError when a slice cannot be written, VagusError when the user's function fails."""
        descriptor, self._descriptor = self._descriptor, None
        current = self._slice
        current.take(item, descriptor)
        self._unwritten = True
        notices = list(self._extremes(item, current.news))
        try:
            if self._decide is not None:
                notices += self._decided(self._decide, item)
        finally:
            if current is not self.total and current.items >= self.options.slicesize:
                self._end_slice()
        return notices

    def tick(self, now_ns: int) -> Iterable[Notice]:
        """Writes the total, every so often."""
        if self._written_ns is None or now_ns < self._written_ns:
            self._written_ns = now_ns
        if self._unwritten and now_ns - self._written_ns >= self._every_ns:
            self._written_ns = now_ns
            self._write_total()
        return ()

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Writes what there is of the last slice, and the total."""
        if self._slice is not self.total and self._slice.items:
            self._end_slice()
        else:
            self._write_total()
        return ()

    # --- files ---------------------------------------------------------------------------------------------------------

    def _end_slice(self) -> None:
        ended, self._slice = self._slice, Accumulator(self._context.shape)
        self.total.merge(ended)
        self._slices += 1
        replace(self._numbered(self._slices), self._xml(ended, kind="slice", number=self._slices))
        if NUMBER in self._slice_path.name and self._slices > self.options.slices:
            self._numbered(self._slices - self.options.slices).unlink(missing_ok=True)
        self._write_total()

    def _numbered(self, number: int) -> Path:
        return self._slice_path.with_name(self._slice_path.name.replace(NUMBER, str(number)))

    def _write_total(self) -> None:
        whole = self.total
        if self._slice is not whole and self._slice.items:
            whole = Accumulator(self._context.shape)
            whole.merge(self.total)
            whole.merge(self._slice)
        replace(self._total_path, self._xml(whole, kind="total"))
        self._unwritten = False

    def _xml(self, accum: Accumulator, **attributes: str | int) -> bytes:
        found = report(accum, self.options.moresig, self.options.lesssig)
        return xml_of(found, feed=self._context.feed, **attributes).encode()

    # --- alerts --------------------------------------------------------------------------------------------------------

    def _extremes(self, item: Item[Any], news: Mapping[Profile, tuple[float | None, float | None]]) -> Iterator[Notice]:
        for profile, (least, most) in news.items():
            path, total = profile.place.path, self.total.profiles.get(profile.place.path)
            seen = profile.count
            if total is not None and total is not profile:  # of the slices before
                seen += total.count
                least, most = _both(min, least, total.min), _both(max, most, total.max)
            if (
                seen <= self.options.after
                or least is None
                or most is None
                or profile.min is None
                or profile.max is None
            ):
                continue
            if profile.min < least and _chosen(self.options.minalert, path):
                yield from self._extreme(item, path, "minimum", profile.min, least)
            if profile.max > most and _chosen(self.options.maxalert, path):
                yield from self._extreme(item, path, "maximum", profile.max, most)

    def _extreme(self, item: Item[Any], path: str, what: str, value: float, former: float) -> Iterator[Notice]:
        if self._may_tell(path, what, item.meta.arrived_ns):
            text = f"{value} is a new {what} of {path}; it was {former}"
            yield self._notice(item, f"{path} {what}", text, float(value))

    def _may_tell(self, path: str, what: str, now_ns: int) -> bool:
        told_ns = self._told_ns.get((path, what))
        if told_ns is not None and 0 <= now_ns - told_ns < self._again_ns:
            return False
        self._told_ns[path, what] = now_ns
        return True

    def _decided(self, decide: Decide, item: Item[Any]) -> Iterator[Notice]:
        name = getattr(decide, "__qualname__", "useralert")
        try:
            found = decide(item, self._slice)
            text = "" if not found else str(found) if isinstance(found, str) else f"{name} says so"
        except Exception as error:
            raise VagusError(f"useralert {name} raised {type(error).__name__}: {error}") from error
        if text:
            yield self._notice(item, name, text, None)

    def _notice(self, item: Item[Any], rule: str, text: str, value: float | None) -> Notice:
        meta, given = item.meta, self.options
        return Notice(
            tool=self.name,
            feed=self._context.feed,
            subject=meta.location[:MAX_NAME],
            rule=rule[:MAX_NAME],
            status=Status.parse(given.severity),
            t_ns=meta.arrived_ns,
            since_ns=meta.arrived_ns,
            text=text[:MAX_ALERT_TEXT],
            value=value,
            report=given.report,
            webhooks=given.webhooks,
        )


def _both(choose: Callable[[float, float], float], one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else choose(one, other)


def _chosen(option: bool | tuple[str, ...], path: str) -> bool:
    return path in option if isinstance(option, tuple) else option
