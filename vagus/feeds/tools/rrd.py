"""Round-robin databases of rrdtool: a file for each location, of the numbers of its items, of a size that stays."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec

from vagus.clock import NS
from vagus.config import Duration, Settings
from vagus.errors import ConfigError, StoreError
from vagus.feeds.containers import slug
from vagus.feeds.contracts import Notice, ToolContext
from vagus.feeds.item import Item
from vagus.feeds.tools import checked, rrdtool
from vagus.feeds.tools.fields import Key, Numbers
from vagus.feeds.tools.options import path_of, seconds_of

DEFAULT_STEP_S = 300  # rrdtool's own
BATCH = 1_000  # values of one file that wait; then, or after `flush`, all are written
MAX_WAITING = 5_000  # of one file, while rrdtool fails; the oldest give way
VALUES_A_COMMAND = 200
MAX_SOURCES = 200  # of one file
_ARCHIVE = re.compile(r"(AVERAGE|MIN|MAX|LAST):0?\.\d{1,6}:\d{1,9}:\d{1,9}")
_INDEX = re.compile(r"ds\[(\w+)\]\.index = \d+")
_LAST = re.compile(r"last_update = (\d+)")
_COLOURS = ("1f77b4", "ff7f0e", "2ca02c", "d62728", "9467bd", "8c564b", "e377c2", "7f7f7f", "bcbd22", "17becf")


class RrdOptions(Settings, frozen=True):
    """Options of `rrd`."""

    folder: str = "rrd"
    fields: tuple[str, ...] | dict[str, str] = ()  # numbers (expressions, or name: expression); empty: all there are
    key: str = ""  # what a file is of: an expression; empty: the location
    step: Duration = 0  # 0: the feed's period, or rrdtool's own 300 s
    heartbeat: Duration = 0  # after so long a value is unknown; 0: twice the step
    types: dict[str, Literal["gauge", "counter", "derive", "absolute"]] = msgspec.field(
        default_factory=dict
    )  # of fields; gauge is the default
    archives: tuple[str, ...] = ()  # as rrdtool has them: AVERAGE:0.5:1:2880; empty: a day, a week, a month, a year
    max_files: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    flush: Duration = "10s"  # how long a value may wait to be written
    graph: Duration = 0  # also a PNG of so long a time, beside each file; 0: none
    graph_every: Duration = "5m"


class Rrd:
    """`Rrd(context, fields=["load1"], step="5m")`; all options: RrdOptions. Raises ConfigError, also without rrdtool.

    Times are those that items were scheduled for, in whole seconds; what is not later than the newest value of its file
    (a replay) is left out. New fields become data sources of files that exist.
    """

    name = "rrd"

    def __init__(self, context: ToolContext, **options: Any) -> None:
        self.options = given = checked(RrdOptions, options, {"graph_every": "graph"})
        self._program = rrdtool.find_program()
        self._folder = path_of(context, given.folder)
        self._numbers = Numbers(given.fields, context)
        unknown = given.types.keys() - set(self._numbers.names)
        if unknown and self._numbers.names:
            raise ConfigError(
                f"types: {', '.join(sorted(unknown))}: not one of the fields {', '.join(self._numbers.names)}"
            )
        self._key = Key(given.key, context)
        step_s = seconds_of("step", given.step) or context.period_s or DEFAULT_STEP_S
        self._step_s = max(1, round(step_s))
        self._heartbeat_s = (
            max(1, round(seconds_of("heartbeat", given.heartbeat))) if given.heartbeat else 2 * self._step_s
        )
        self._flush_ns = round(seconds_of("flush", given.flush) * NS)
        self._graph_s = round(seconds_of("graph", given.graph))
        self._graph_ns = round(seconds_of("graph_every", given.graph_every, 1.0) * NS)
        for archive in given.archives:
            if not _ARCHIVE.fullmatch(archive):
                raise ConfigError(f"archives: {archive!r} is not like AVERAGE:0.5:1:2880")
        self._archives = given.archives or _archives(self._step_s)
        self._files: dict[str, _File] = {}  # by key
        self._since_ns: int | None = None
        self._graphed_ns: int | None = None
        self.lost = 0  # values that gave way

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        """Notes an item's numbers. Raises StoreError."""
        found = self._numbers.of(item)
        key = self._key.of(item)
        if not found or key is None:
            return ()
        file = self._files.get(key)
        if file is None:
            if len(self._files) >= self.options.max_files:
                raise StoreError(
                    f"{self._folder} has {len(self._files)} files: no more for {key[:80]!r}; raise max_files"
                )
            file = self._files[key] = _File(f"{slug(key, 100)}.rrd")
        if len(file.waiting) == MAX_WAITING:
            self.lost += 1
        file.waiting.append((item.meta.due_ns // NS, found))
        now_ns = item.meta.arrived_ns
        if self._since_ns is None:
            self._since_ns = now_ns
        if len(file.waiting) % BATCH == 0 or not 0 <= now_ns - self._since_ns < self._flush_ns:
            self._since_ns = now_ns  # where it fails, it is tried again as late as this
            self._write()
        return ()

    def tick(self, now_ns: int) -> Iterable[Notice]:
        """Writes what waited for long enough, and draws. Raises StoreError."""
        if self._since_ns is not None and not 0 <= now_ns - self._since_ns < self._flush_ns:
            self._since_ns = now_ns
            self._write()
        if self._graph_s and (self._graphed_ns is None or not 0 <= now_ns - self._graphed_ns < self._graph_ns):
            self._graphed_ns = now_ns
            self._draw()
        return ()

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Writes what waits. Raises StoreError."""
        self._write()
        if self._graph_s:
            self._draw()
        return ()

    # --- rrdtool -------------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        files = [file for file in self._files.values() if file.waiting]
        if files:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._look(files)
            commands: list[str] = []
            for file in files:
                commands += self._commands(file)
            for file in files:
                file.known = False  # where it fails, the files are looked at again
            errors = [answer.error for answer in self._run(commands) if answer.error]
            for file in files:
                file.waiting.clear()
                file.known = not errors
            if errors:
                raise StoreError(f"rrdtool refused {len(errors)} of {len(commands)} commands, such as: {errors[0]}")
        self._since_ns = None

    def _run(self, commands: list[str]) -> list[rrdtool.Answer]:
        return rrdtool.run(self._program, self._folder, commands) if commands else []

    def _look(self, files: list[_File]) -> None:
        """What files that exist already hold."""
        unknown = [file for file in files if not file.known]
        there = [file for file in unknown if (self._folder / file.name).exists()]
        for file, answer in zip(there, self._run([f"info {file.name}" for file in there]), strict=True):
            if answer.error:
                raise StoreError(
                    f"{self._folder / file.name} is no file of rrdtool, or damaged: {answer.error}; move it away"
                )
            text = "\n".join(answer.lines)
            file.sources = set(_INDEX.findall(text))
            file.last_s = max(map(int, _LAST.findall(text)), default=0)
        for file in unknown:
            if file not in there:
                file.sources, file.last_s = set(), 0
            file.known = True

    def _commands(self, file: _File) -> list[str]:
        rows: list[tuple[int, dict[str, float]]] = []
        for t_s, found in sorted(file.waiting, key=lambda row: row[0]):
            if t_s > (rows[-1][0] if rows else file.last_s):
                rows.append((t_s, {rrdtool.ds_name(name): value for name, value in found.items()}))
        if not rows:
            return []
        fields = {rrdtool.ds_name(name): name for _, found in file.waiting for name in found}
        fresh = sorted(fields.keys() - file.sources)[: max(0, MAX_SOURCES - len(file.sources))]
        sources = [f"DS:{ds}:{self._type(fields[ds])}:{self._heartbeat_s}:U:U" for ds in fresh]
        commands = []
        if sources and file.sources:
            commands.append(" ".join((f"tune {file.name}", *sources)))
        elif sources:
            archives = (f"RRA:{archive}" for archive in self._archives)
            commands.append(
                " ".join((f"create {file.name} --start {rows[0][0] - 1} --step {self._step_s}", *sources, *archives))
            )
        file.sources.update(fresh)
        names = sorted(file.sources)
        for at in range(0, len(rows), VALUES_A_COMMAND):
            values = (
                ":".join((str(t_s), *(_number(found.get(ds), self._whole(fields.get(ds, ds))) for ds in names)))
                for t_s, found in rows[at : at + VALUES_A_COMMAND]
            )
            commands.append(f"update {file.name} --template {':'.join(names)} {' '.join(values)}")
        file.last_s = rows[-1][0]
        return commands

    def _type(self, field: str) -> str:
        return self.options.types.get(field, "gauge").upper()

    def _whole(self, field: str) -> bool:
        """Whether rrdtool takes whole numbers only."""
        return self._type(field) in ("COUNTER", "DERIVE")

    def _draw(self) -> None:
        """A PNG beside each file, at once whole."""
        files = [file for file in self._files.values() if file.sources and file.last_s]
        commands = []
        for file in files:
            words = [f"graph .{file.stem}.png.new --start {file.last_s - self._graph_s} --end {file.last_s}"]
            words.append("--width 800 --height 300")
            for n, ds in enumerate(sorted(file.sources)[:20]):
                words += (f"DEF:v{n}={file.name}:{ds}:AVERAGE", f"LINE1:v{n}#{_COLOURS[n % 10]}:{ds}")
            commands.append(" ".join(words))
        errors = []
        for file, answer in zip(files, self._run(commands), strict=True):
            temporary = self._folder / f".{file.stem}.png.new"
            if answer.error:
                errors.append(answer.error)
                temporary.unlink(missing_ok=True)
            else:
                temporary.replace(self._folder / f"{file.stem}.png")
        if errors:
            raise StoreError(f"rrdtool drew {len(files) - len(errors)} of {len(files)} graphs: {errors[0]}")


class _File:
    def __init__(self, name: str) -> None:
        self.name = name
        self.stem = name.removesuffix(".rrd")
        self.sources: set[str] = set()
        self.last_s = 0
        self.known = False
        self.waiting: deque[tuple[int, dict[str, float]]] = deque(maxlen=MAX_WAITING)


def _archives(step_s: int) -> tuple[str, ...]:
    """A day at each step, a week of 5 minutes, a month of half hours, a year of 6 hours: averages and extremes."""
    found: list[str] = []
    for span_s, each_s in ((86400, step_s), (7 * 86400, 300), (31 * 86400, 1800), (366 * 86400, 21600)):
        steps = max(1, round(each_s / step_s))
        rows = max(10, -(-span_s // (steps * step_s)))
        if steps > 1 or not found:
            found += [
                f"{kind}:0.5:{steps}:{rows}" for kind in (("AVERAGE", "MIN", "MAX") if steps > 1 else ("AVERAGE",))
            ]
    return tuple(found)


def _number(value: float | None, whole: bool) -> str:
    if value is None:
        return "U"
    return str(round(value)) if whole else repr(value)
