"""A line of YAML for each built-in tool, format, source and step, as `vagus feed tools NAME` shows it; tests load them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

EXAMPLES: dict[tuple[str, str], str] = {
    ("tools", "archive"): "tools: [archive: {max_files: 100, compress: true}]",
    ("tools", "accum"): "tools: [accum: {slicesize: 1000, totalfile: accum.xml}]",
    ("tools", "db"): "tools: [db: {file: comon.sqlite}]",
    ("tools", "plot"): "tools: [plot: {file: load.png, fields: [load1], span: 6h}]",
    ("tools", "print"): "tools: [print]",
    ("tools", "rrd"): "tools: [rrd: {folder: rrd, fields: [load1]}]",
    ("tools", "rss"): "tools: [rss: {file: disk.rss, title: Low disk, when: gb_free < 5, link: 'http://example.org'}]",
    ("tools", "select"): "tools: [select: {where: 'load1 > 5', columns: [meta.location, load1], file: busy.csv}]",
    ("tools", "xml"): "tools: [xml: {file: comon.xml}]",
    ("tools", "alert"): "tools: [alert: {when: 'load1 > 5', for: 5m}]",
    ("formats", "csv"): "format: csv\noptions: {columns: {name: str, load: 'float?'}, delimiter: ';'}",
    ("formats", "lines"): "format: lines\noptions: {fields: {host: str, load: float}, sep: ' '}",
    ("formats", "record"): "format: record\noptions: {fields: {up: float, idle: float}, layout: '{up} {idle}'}",
    ("formats", "text"): "format: text",
    ("formats", "json"): "format: json",
    ("formats", "entries"): "format: entries\noptions: {fields: {Date: float, VMStat: 'list[int]', RWFS: 'int?'}}",
    ("formats", "uptime"): "format: uptime",
    ("sources", "http"): "source: {all: ['http://node1:3121', 'http://node2:3121']}",
    ("sources", "https"): (
        "source: {any: ['https://a.example.org/list', 'https://b.example.org/list']}\n"
        "options: {source: {https: {headers: {'https://a.example.org': {Authorization: 'Bearer …'}}}}}"
    ),
    ("sources", "proc"): "source: {all: ['proc:ping -c 2 node1']}",
    ("sources", "file"): "source: {all: ['file:./nodelist']}",
    ("sources", "gateway"): "source: {all: ['gateway:/v1/status']}",
    ("steps", "gzip"): "preprocess: [gzip]",
    ("steps", "bz2"): "preprocess: [bz2]",
    ("steps", "xz"): "preprocess: [xz]",
    ("steps", "zstd"): "preprocess: [zstd]",
    ("steps", "decrypt"): "preprocess: [decrypt: {key_file: /etc/vagus/feed.key}]",
}


def example(what: str, name: str, options: Sequence[dict[str, Any]]) -> str:
    """How it stands in a feed; of what is not built in, the options that it must have."""
    known = EXAMPLES.get((what, name))
    if known is not None:
        return known
    given = ", ".join(f"{option['name']}: …" for option in options if option["required"])
    if what == "formats":
        return f"format: {name}" + (f"\noptions: {{{given}}}" if given else "")
    if what == "sources":
        return f"source: {{all: ['{name}:…']}}"
    key = {"tools": "tools", "steps": "preprocess"}[what]
    return f"{key}: [{name}: {{{given}}}]" if given else f"{key}: [{name}]"
