"""`vagus feed`: a group of commands on declared feeds; all but `select --feed` work without a running vagus."""

from __future__ import annotations

import click

from vagus.cli.lazy import Entry, LazyGroup

ENTRIES = (
    Entry("run", "vagus.cli.feed_run:run", "Run the feeds of a file here: fetch, archive, tools.", "Run"),
    Entry("check", "vagus.cli.feed_check:check", "Whether a file is right, with one sample of each feed.", "Run"),
    Entry("replay", "vagus.cli.feed_replay:replay", "The archived bytes once more: items, tools.", "Run"),
    Entry("select", "vagus.cli.feed_select:select", "Query items: CoMon's expressions, columns, CSV.", "Ask"),
    Entry("accum", "vagus.cli.feed_accum:accum", "Profile a file: errors, ranges, top values.", "Ask"),
    Entry("page", "vagus.cli.feed_page:page", "The page with newest items as tables, live.", "Ask"),
    Entry("tools", "vagus.cli.feed_kinds:tools", "What can be made of items; options of one tool.", "Know"),
    Entry("formats", "vagus.cli.feed_kinds:formats", "What can be parsed; options of one format.", "Know"),
    Entry("sources", "vagus.cli.feed_kinds:sources", "Where data can be; options of one source.", "Know"),
    Entry("steps", "vagus.cli.feed_kinds:steps", "What can be done before parsing: preprocess.", "Know"),
)


@click.group("feed", cls=LazyGroup, entries=ENTRIES)
def feed() -> None:
    """Feeds of data from elsewhere: declared in a YAML file, fetched, archived, parsed, given to tools.

    A file of feeds is a vagus.yaml, or one with nothing but `feeds:`:

    \b
      feeds:
        - name: comon
          source: {all: ["http://node1:3121", "http://node2:3121"]}
          every: 5m
          timeout: 60s
          format: comon
          tools: [accum, rss: {title: Low disk}]

    \b
    Examples:
      vagus feed check comon.yaml            fetches and parses one sample, writes nothing
      vagus feed run comon.yaml --for 10m
      vagus feed tools rss
      vagus feed accum access.log --format combined_log
    """
