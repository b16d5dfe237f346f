"""`vagus health logtail`: reports out of a log file, or out of what another program prints."""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

import click

from vagus.cli.lazy import one_line
from vagus.cli.output import clock_time, counted, emit_ndjson, json_option
from vagus.cli.session import endpoint_of, server_option
from vagus.client.answers import NotTaken
from vagus.clock import NS
from vagus.errors import ConfigError, Refused, VagusError
from vagus.health.log_window import MERGE_S, STALE_S, LogWindow
from vagus.model import Report

if TYPE_CHECKING:
    from vagus.health import LogFilter

POLL_S = 0.2
MAX_LINE_BYTES = 64 << 10  # of what another program prints; a file's lines are cut at 8 KiB
MAX_WAITING = 10_000  # reports that nobody took yet; the oldest go first
RETRY_S = 1.0
LAST_TRY_S = 5.0
MAX_BATCH = 100
MAX_S = 1e10


class Lines(NamedTuple):
    """Whole lines, and when they were written."""

    lines: list[bytes]
    t_ns: int


@click.command()
@click.argument("plugin")
@click.argument("file")
@click.option(
    "--ensemble", default="", metavar="FILE", help="Addresses of servers: lines server.ID=HOST:PORT (zoo.cfg)."
)
@click.option(
    "--filter", "filter_file", default="", metavar="FILE", help="A filter file, instead of the plugin's rules."
)
@click.option(
    "--stale", default=STALE_S, show_default=True, metavar="S", help="Skip older events; -1: none is too old."
)
@click.option("--merge", default=MERGE_S, show_default=True, metavar="S", help="Report the same again only after this.")
@click.option(
    "--follow/--once", default=None, help="Wait for more, or end with the file.  [default: follow, but --dry-run]"
)
@click.option(
    "--timezone", "zone", default="", metavar="TZ", help="Of times without an offset.  [default: this machine's]"
)
@click.option("--observer", default="", metavar="NAME", help="Report as NAME.  [default: who wrote the line]")
@click.option("--node", default="", metavar="NAME", help="What this machine is called.  [default: its host name]")
@click.option("--dry-run", is_flag=True, help="Print events, report nothing.")
@server_option
@json_option
@click.pass_context
def logtail(
    ctx: click.Context,
    plugin: str,
    file: str,
    ensemble: str,
    filter_file: str,
    stale: float,
    merge: float,
    follow: bool | None,
    zone: str,
    observer: str,
    node: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Prints the events in a log, and reports them to the node (its own, or that of --server).

    Plugins: zookeeper, hdfs, hbase, cassandra, kafka, syslog, journald, kernel. FILE is read from its begin and
    followed, also when it is rotated or truncated; `-` is standard input. Every event is printed; of equal ones (the
    same subject, context, status and score) within --merge only the first is reported. While no node answers, the last
    10000 reports wait.

    A filter file is Panorama's: {"FilterTree": [{"Chain": [{"Field", "Operator", "Pattern", "CaptureResult"}],
    "Classifier": {"Context", "Subject", "Status", "Score"}}]}.

    \b
    Examples:
      vagus health logtail zookeeper zookeeper.out --ensemble zoo.cfg --filter zoo_filter.json
      vagus health logtail kafka server.log --stale -1 --dry-run --json | jq -r .subject | sort | uniq -c
      vagus health logtail syslog /var/log/syslog --timezone Europe/Zurich
      journalctl -f -o json | vagus health logtail journald -
    """
    from vagus.actors.log_filters import addresses_of, make_log_filter

    if not (0 <= merge < MAX_S and (0 <= stale < MAX_S or stale == -1)):
        raise click.UsageError("--stale is seconds or -1, --merge is seconds.")
    made = make_log_filter(
        plugin,
        node,
        filter_file=filter_file,
        ensemble=ensemble,
        timezone=zone,
        observer=observer,
        resolve=addresses_of,
    )
    window = LogWindow(stale, merge)
    outbox = None if dry_run else Outbox(_sender(ctx), lambda text: click.secho(text, fg="yellow", err=True))
    source = stdin_lines() if file == "-" else file_lines(file, not dry_run if follow is None else follow)
    tail = LogTail(made, "stdin" if file == "-" else file, window, outbox, as_json)
    try:
        for part in source:
            tail.take(part)
    except KeyboardInterrupt:
        pass  # that is how it ends
    finally:
        unsent = outbox.close() if outbox else 0
    click.secho(tail.summary(), dim=True, err=True)
    if unsent:
        raise VagusError(f"{counted(unsent, 'report')} could not be delivered: no node took them; is vagus up?")
    if outbox is not None and outbox.refused:
        raise VagusError(f"{counted(outbox.refused, 'report')} refused, as told above")


class LogTail:
    """Lines in, events out: printed, and reported unless they are the same again."""

    def __init__(
        self, log_filter: LogFilter, path: str, window: LogWindow, outbox: Outbox | None, as_json: bool
    ) -> None:
        self._filter = log_filter
        self._path = path
        self._window = window
        self._outbox = outbox
        self._as_json = as_json
        self.lines = self.events = self.reports = 0

    def take(self, part: Lines) -> None:
        """Reads some lines, prints their events; lets waiting reports go."""
        read, path, t_ns = self._filter.read, self._path, part.t_ns
        for line in part.lines:
            report = read(line.rstrip(b"\r").decode("utf-8", "surrogateescape"), path, t_ns)
            if report is not None and self._window.fresh(report, time.time_ns()):
                self._event(report)
        self.lines += len(part.lines)
        if self._outbox is not None:
            self._outbox.flush(time.monotonic())

    def _event(self, report: Report) -> None:
        self.events += 1
        for context, metric in report.contexts.items():
            if self._as_json:
                emit_ndjson(
                    {
                        "ts": rfc3339(report.t_ns),
                        "observer": report.observer,
                        "subject": report.subject,
                        "context": context,
                        "status": metric.status,
                        "score": float(metric.score),
                    }
                )
            else:
                said = f"{report.observer} → {report.subject}  {context} {metric.status} {metric.score:g}"
                click.echo(one_line(f"{clock_time(report.t_ns)}  {said}"))
        if self._window.news(report):
            self.reports += 1
            if self._outbox is not None:
                self._outbox.put(report)

    def summary(self) -> str:
        """Counts, for people."""
        window = self._window
        more = [
            f"{number} {what}"
            for number, what in (
                (window.merged, "merged"),
                (window.stale, "too old (--stale)"),
                (window.ahead, "in the future (--timezone?)"),
                (self._outbox.dropped if self._outbox else 0, "dropped"),
                (self._outbox.refused if self._outbox else 0, "refused"),
            )
            if number
        ]
        if self._outbox is None:
            told = f"{self.reports} would be reported"
        else:
            told = f"{self.reports - self._outbox.missed} reported"
        counts = f"{counted(self.lines, 'line')}, {counted(self.events, 'event')}, {told}"
        return ", ".join([counts, *more])


class Outbox:
    """Reports on their way: a bounded queue that outlives the node's absence, and tells when that begins and ends."""

    def __init__(self, send: Callable[[Sequence[Report]], None], tell: Callable[[str], None]) -> None:
        self.dropped = 0  # nobody took them, and there were too many
        self.refused = 0
        self._send = send
        self._tell = tell
        self._waiting: deque[Report] = deque()
        self._not_before_s = 0.0
        self._away = False

    @property
    def missed(self) -> int:
        """How many reports nobody took: dropped, refused, or still waiting."""
        return self.dropped + self.refused + len(self._waiting)

    def put(self, report: Report) -> None:
        """Queues a report; the oldest goes when there are too many."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1
            if self.dropped == 1:
                self._tell(f"{MAX_WAITING} reports wait: from now on the oldest are dropped")
        self._waiting.append(report)

    def flush(self, now_s: float) -> int:
        """Sends what waits, unless that failed just before; how many still do."""
        while self._waiting and now_s >= self._not_before_s:
            batch = [self._waiting[i] for i in range(min(MAX_BATCH, len(self._waiting)))]
            try:
                self._send(batch)
            except (Refused, ConfigError) as error:  # not better the next time
                count = error.count if isinstance(error, NotTaken) else len(batch)
                self._tell(one_line(f"{counted(count, 'report')} refused: {error}"))
                self.refused += count
            except VagusError as error:
                self._not_before_s = now_s + RETRY_S
                if not self._away:
                    self._tell(one_line(f"reports wait: {error}"))
                self._away = True
                break
            else:
                if self._away:
                    self._tell("reports go out again")
                self._away = False
            for _ in batch:
                self._waiting.popleft()
        return len(self._waiting)

    def close(self) -> int:
        """Sends what waits, for some seconds at most; how many reports were not taken."""
        until_s = time.monotonic() + LAST_TRY_S
        while self.flush(time.monotonic()) and time.monotonic() < until_s:
            time.sleep(POLL_S)
        return len(self._waiting)


def _sender(ctx: click.Context) -> Callable[[Sequence[Report]], None]:
    from vagus.client.transport import Transport

    return Transport(lambda: endpoint_of(ctx)).send


def file_lines(path: str, follow: bool) -> Iterator[Lines]:
    """The lines of a file from its begin; with `follow` for ever, whatever rotates it. Raises CollectError.

    Their times count from when the file was written, so that an old file's lines are of its time.
    """
    from vagus.collectors.follow_path import PathFollower

    follower = PathFollower(path, time.monotonic())
    try:
        while True:
            got = follower.read(time.monotonic())
            if got.more:
                yield Lines(got.lines, got.written_ns)
            elif follow:
                yield Lines([], 0)
                time.sleep(POLL_S)
            else:
                yield Lines(follower.unfinished(), got.written_ns)
                return
    finally:
        follower.close()


def stdin_lines(fd: int = 0) -> Iterator[Lines]:
    """The lines that another program prints, until it ends; nothing now and then, so that reports do not wait."""
    rest, skip = b"", False
    while True:
        ready, _, _ = select.select([fd], [], [], POLL_S)
        data = os.read(fd, 1 << 16) if ready else b""
        if ready and not data:
            yield Lines([rest] if rest and not skip else [], time.time_ns())
            return
        *lines, rest = (rest + data).split(b"\n")
        if lines and skip:
            del lines[0]  # the end of a line that was too long
            skip = False
        if len(rest) > MAX_LINE_BYTES:
            rest, skip = b"", True
        yield Lines(lines, time.time_ns())


def rfc3339(t_ns: int) -> str:
    """A time in UTC with milliseconds, such as 2017-05-26T17:26:04.937Z."""
    moment = datetime.fromtimestamp(t_ns // NS, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{t_ns % NS // 10**6:03d}Z"
