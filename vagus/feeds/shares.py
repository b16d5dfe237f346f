"""Which node fetches what. Pure: every feed actor computes it for itself, from the same settings and the same news.

Who fetches (`feeds_on`): the head alone, or every node its share; `auto` is every node once the feeds name more than
SPREAD_FROM locations of the web, or make some for each item of another feed (foreach). What is spread is what means
the same at every node, http: and https:. Commands, files and a node's own gateway stay at the head.

A location belongs to the node that wins rendezvous hashing over the nodes that fetch (Thaler and Ravishankar, 1998):
when one comes or goes, only what it gets or had moves. What is joined stays together: all bases of a pair, list, dict,
failover or `any`, and all of a feed with a tool that must see every item, are at one node, by the name of the feed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from vagus.config import FeedSettings, hash_text
from vagus.feeds.location import HTTP, scheme

SPREAD_FROM = 1000
_WORD = (1 << 64) - 1


def is_spread(feeds: Iterable[FeedSettings], feeds_on: str) -> bool:
    """Whether every node fetches its share of these feeds."""
    if feeds_on != "auto":
        return feeds_on == "every-node"
    locations = 0
    for feed in feeds:
        for part in tree(feed):
            source = part.source
            if source is None:
                continue
            web = sum(scheme(location) in HTTP for location in source.all) or any(
                scheme(location) in HTTP for location in source.any
            )
            locations += web
            if web and (part.foreach is not None or feed.foreach is not None):
                return True
    return locations > SPREAD_FROM


def tree(feed: FeedSettings) -> Iterator[FeedSettings]:
    """The settings of a feed and of all that stand in it."""
    yield feed
    for part in feed.parts():
        if not isinstance(part, str):
            yield from tree(part)


class Ring:
    """Rendezvous hashing over nodes. `owner` of a key is one of them; "" while there is none."""

    def __init__(self, nodes: Sequence[str] = ()) -> None:
        self.nodes = tuple(sorted(set(nodes)))
        self._seeds = [(hash_text(node), node) for node in self.nodes]

    def owner(self, key: str) -> str:
        """The node that this key belongs to."""
        if len(self._seeds) < 2:
            return self._seeds[0][1] if self._seeds else ""
        hashed = hash_text(key)
        return max(((_mixed(hashed ^ seed), node) for seed, node in self._seeds))[1]


def _mixed(word: int) -> int:
    """The finisher of splitmix64: each bit of the result depends on each of `word`."""
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _WORD
    return word ^ (word >> 31)
