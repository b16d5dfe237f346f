"""Digests: what a node knows of all origins, or of those in a range of names, in datagrams; and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from vagus.health.gossip_messages import Digest, Entry, pack_gaps, unpack_gaps
from vagus.health.known import Gap
from vagus.health.retained import MAX_SEQ, Retained

DIGEST_GAPS = 64
"""Gaps told of one origin in a digest; the next one tells the rest."""


def write_digests(
    retained: Retained, rng: Random, chunk_bytes: int, *, answer: bool, after: str, upto: str, epoch: int
) -> list[Digest]:
    """What is known of the origins after `after` up to `upto` ("": no bound), each message about a range of its own."""
    digests: list[Digest] = []
    entries: list[Entry] = []
    size = 0
    for name in retained.between(after, upto):
        known = retained.origins[name].known
        gaps = known.gaps()
        if len(gaps) > DIGEST_GAPS:  # drawn, not the lowest: some gaps nobody can fill
            gaps = tuple(sorted(rng.sample(gaps, DIGEST_GAPS)))
        entry_bytes = len(name) + 16 + 5 * len(gaps)
        if entries and size + entry_bytes > chunk_bytes:
            digests.append(Digest(after, entries[-1][0], tuple(entries), answer, epoch))
            after, entries, size = entries[-1][0], [], 0
        entries.append((name, known.high, pack_gaps(known.high, gaps)))
        size += entry_bytes
    digests.append(Digest(after, upto, tuple(entries), answer, epoch))
    return digests


def read_digest(digest: Digest) -> dict[str, tuple[int, Sequence[Gap]]]:
    """Of each origin the highest number that its sender knows, and the gaps. Raises ValueError for wrong numbers."""
    found: dict[str, tuple[int, Sequence[Gap]]] = {}
    for name, high, packed in digest.entries:
        if not 0 <= high < MAX_SEQ:
            raise ValueError(f"the highest number is {high}")
        found[name] = high, unpack_gaps(high, packed)
    return found
