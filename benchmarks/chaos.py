"""`kill -9` of random actors, nodes and the head of a cluster that is in use: what is lost, how long anything takes.

    python -m benchmarks.chaos [--json] [--quick] [--minutes 10] [--nodes 8] [--seed N] [--gcs rocksdb|memory] [-o FOLDER]

Makes a cluster of Ray nodes on this machine, in a folder of its own, and ends it, also on Ctrl-C and SIGTERM; takes the
minutes and about three more. Needs 6 GB of memory; root for limits (else these are left out). One that runs is not touched.

Writers send samples and reports to the gateway of each node and note what is acknowledged; a feed, spread over the
nodes, fetches bodies that are known; on four nodes a controller limits a group of its own, and the limit is looked at
twenty times a second. Meanwhile, drawn from the seed: processes of actors, of whole nodes, and of the head with Ray's
tables are killed. A killed node is started again once Ray lists it no more, as `ray up` does; the head after ten to
twenty seconds, on the same port, followed by `vagus up`, as cluster.yaml does. Then the stores are read and compared.

--gcs rocksdb: Ray's head keeps its tables on disk, so that the other nodes outlive it; memory, Ray's default: they end
when it returns without them, and are started again.
FOLDER gets chaos.json (the table, and every event) and chaos.png.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.chaos_judge import rows
from benchmarks.chaos_run import LEASE_S, Asked, Shown, perform
from benchmarks.chaos_schedule import HEAD_S, NODE_S
from vagus.errors import VagusError

QUICK_MINUTES, QUICK_NODES = 3.0, 3
MAX_NODES, MAX_MINUTES = 32, 24 * 60.0
SETTING_UP_S = 180.0


def table(shown: Shown) -> list[dict[str, Any]]:
    return rows(shown.deaths, shown.stored, shown.asked, shown.limits, LEASE_S, shown.problems)


def write(folder: Path, shown: Shown, found: list[dict[str, Any]]) -> None:
    """The two files. Raises OSError."""
    from benchmarks.chaos_figure import draw

    folder.mkdir(parents=True, exist_ok=True)
    told = {"rows": found, "run": msgspec.to_builtins(shown)}
    (folder / "chaos.json").write_text(json.dumps(told, indent=1) + "\n")
    (folder / "chaos.png").write_bytes(draw(shown))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_NODES} nodes, one kill of each kind at least")
    parser.add_argument("--minutes", type=float, help="of kills; default: 10")
    parser.add_argument("--nodes", type=int, help="the head among them; default: 8")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gcs", choices=("rocksdb", "memory"), default="rocksdb")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if given.minutes is None:
        given.minutes = QUICK_MINUTES if given.quick else 10.0
    if given.nodes is None:
        given.nodes = QUICK_NODES if given.quick else 8
    if not 2 <= given.nodes <= MAX_NODES:
        parser.error(f"--nodes {given.nodes}: 2 to {MAX_NODES}: somebody must be left to say that a node is dead")
    if not 0 < given.minutes <= MAX_MINUTES:
        parser.error(f"--minutes {given.minutes:g}: more than 0, at most {MAX_MINUTES:g}")
    if given.output is not None:
        try:  # before the ten minutes, not after them
            given.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"-o {given.output}: {error.strerror}")
        if not os.access(given.output, os.W_OK):
            parser.error(f"-o {given.output}: cannot be written")
    return given


def main() -> int:
    given = options()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    least_s = max(60.0 * given.minutes, HEAD_S + NODE_S)
    say(
        f"{given.nodes} nodes are made on this machine, used, and broken for {given.minutes:g} minutes: about "
        f"{(least_s + SETTING_UP_S) / 60:.0f} minutes, and nothing else should run here"
    )
    try:
        shown = perform(Asked(given.nodes, given.minutes, given.seed, given.gcs), say)
    except VagusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: all is ended and removed", file=sys.stderr)
        return 130
    found = table(shown)
    if given.output is not None:
        write(given.output, shown, found)
    if given.json:
        print(json.dumps(found))
    else:
        for row in found:
            met = "" if row["met"] is None else "met" if row["met"] else "NOT MET"
            value = f"{row['value']:.3g}" if isinstance(row["value"], float) else row["value"]
            value = "-" if value is None else value
            print(f"{row['what']:66} {value:>10} {row['unit']:8} {row['bar'] or '':10} {met}")
    return int(any(row["met"] is False for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
