"""Panorama's own lines: reports, views, inferences and times as its client prints them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from vagus.cli.lazy import one_line
from vagus.cli.output import STATUS_STYLE
from vagus.clock import NS

Contexts = Mapping[str, Mapping[str, Any]]
_BOLD = {"bold red": ("red", True), "bold white on red": ("red", True)}


def instant(t_ns: int) -> str:
    """A time in UTC, `2017-05-19T17:16:25.36Z`: as many decimals as it has."""
    whole, rest = divmod(t_ns, NS)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + _decimals(rest) + "Z"


def moment(t_ns: int) -> str:
    """The same as `2017-05-21 08:00:39.36 +0000 UTC`."""
    whole, rest = divmod(t_ns, NS)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(whole)) + _decimals(rest) + " +0000 UTC"


def _decimals(rest_ns: int) -> str:
    return f".{rest_ns:09d}".rstrip("0").rstrip(".")


def observation(t_ns: int, contexts: Contexts) -> str:
    """`2017-05-19T17:16:25Z { SyncThread: UNHEALTHY, 20.0; }`; statuses in their colours."""
    parts = (f"{one_line(name)}: {coloured(str(m['status']))}, {m['score']:.1f};" for name, m in contexts.items())
    return f"{instant(t_ns)} {{ {' '.join(parts)} }}"


def coloured(status: str, text: str = "") -> str:
    """A status word (or `text` in its colour); click leaves the colour out where it does not print to a terminal."""
    style = STATUS_STYLE.get(status, "")
    colour, bold = _BOLD.get(style, (style, False))
    return click.style(one_line(text or status), fg=colour or None, bold=bold or None)


def report_line(report: Mapping[str, Any]) -> str:
    """`[peer@2] ==> peer@1: 2017-05-19T08:13:15.38Z { snapshot: UNHEALTHY, 30.0; }`."""
    return _said((report["observer"],), report)


def inference_line(inference: Mapping[str, Any]) -> str:
    """The same of a verdict: in brackets the observers behind it."""
    return _said(inference["observers"], inference)


def _said(observers: Iterable[str], what: Mapping[str, Any]) -> str:
    who = one_line(", ".join(observers))
    return f"[{who}] ==> {one_line(what['subject'])}: {observation(what['t_ns'], what['contexts'])}"


def view_lines(observer: str, subject: str, reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One observer's last reports on a subject: a head, then a line each, oldest first."""
    observer = one_line(observer)
    yield f"[[... {observer}->{one_line(subject)} ({len(reports)} observations) ...]]"
    for report in reports:
        yield f"|{observer}| {observation(report['t_ns'], report['contexts'])}"


def panorama_lines(subject: str, views: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """All observers' views of a subject."""
    for observer in sorted(views):
        yield from view_lines(observer, subject, views[observer])


def heading(subject: str) -> str:
    """`=============peer@1=============`."""
    return f"============={one_line(subject)}============="
