"""A peer that hangs while reports flow: what it costs the others, and how soon it knows what they know.

    python -m benchmarks.health_faults [--hang S] [--reports N] [--json]

The peer is stopped with SIGSTOP: its address stays, its socket's buffer fills up, and nobody is told.
"""

from __future__ import annotations

import signal
import tempfile
import time
from typing import Any

from benchmarks.health_nodes import nodes
from benchmarks.shown import parser, show
from vagus.client.submit import Submitter
from vagus.model import Ack, Metric, Report, Status

HANG_S = 60.0
REPORTS = 50_000
BATCH = 50
PATIENCE_S = 60.0
OURS = "s[0-9]*"
"""Subjects of this benchmark; of their own health observers speak all the time."""


def hung_peer(hang_s: float = HANG_S, reports: int = REPORTS) -> dict[str, float]:
    """Three observers, one of which hangs for `hang_s` while `reports` flow evenly."""
    with tempfile.TemporaryDirectory() as home, nodes(home, 3) as made, Submitter.connect(home, made[0].name) as to:
        sender, other, hung = made
        for at in range(0, 10_000, BATCH):
            flow(to, at)  # every view is full, and what is allocated once is allocated
        while len({node.ask("digest", OURS) for node in made}) > 1:
            time.sleep(0.05)
        before = sender.ask("figures")
        rss, anon = sender.rss()
        most = anon
        hung.kill(signal.SIGSTOP)
        try:
            began = time.monotonic()
            for at in range(0, reports, BATCH):
                time.sleep(max(0.0, began + hang_s * at / reports - time.monotonic()))
                flow(to, at)
                if at % (BATCH * 100) == 0:
                    most = max(most, sender.rss()[1])
            time.sleep(max(0.0, began + hang_s - time.monotonic()))
            rss_after, anon_after = sender.rss()
        finally:
            hung.kill(signal.SIGCONT)
        woke = time.monotonic()
        expected = sender.ask("digest", OURS)
        while hung.ask("digest", OURS) != expected:
            if time.monotonic() - woke > PATIENCE_S:
                raise RuntimeError(f"the peer holds {hung.ask('digest', OURS)}, not {expected}, after {PATIENCE_S} s")
            time.sleep(0.01)
        converged_s = time.monotonic() - woke
        after, theirs = sender.ask("figures"), hung.ask("figures")
        return {
            "hung_s": hang_s,
            "hung_reports": reports,
            "hung_sender_rss_ratio": rss_after / rss,
            "hung_sender_rss_anon_ratio": anon_after / anon,
            "hung_sender_rss_anon_most_ratio": most / anon,
            "hung_dropped": after["gossip_dropped"] - before["gossip_dropped"] + theirs["gossip_lost"],
            "hung_dropped_by_sender": after["gossip_dropped"] - before["gossip_dropped"],
            "hung_filled_by_peers": after["gossip_filled"] + other.ask("figures")["gossip_filled"],
            "hung_converged_s": converged_s,
        }


def flow(to: Submitter, at: int) -> None:
    """Submits a batch: ten observers on a hundred subjects."""
    reports = [
        Report(f"o{n % 10}", f"s{n // 10 % 100}", time.time_ns(), {"read": Metric(Status.HEALTHY, n % 50)})
        for n in range(at, at + BATCH)
    ]
    assert set(to.submit(reports)) == {Ack.ACCEPTED}


def measure(hang_s: float = HANG_S, reports: int = REPORTS) -> dict[str, Any]:
    """The hung peer; a little longer than `hang_s`."""
    return dict(hung_peer(hang_s, reports))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--hang", type=float, default=HANG_S, metavar="S")
    options.add_argument("--reports", type=int, default=REPORTS, metavar="N")
    given = options.parse_args()
    show(measure(given.hang, given.reports), given.json)


if __name__ == "__main__":
    main()
