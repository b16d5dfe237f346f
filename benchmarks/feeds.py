"""All measures of feeds, each part in a process of its own, and which of the bars they meet.

    python -m benchmarks.feeds [--only PART ...] [--skip PART ...] [--json]

fetch: fetches per processor second beside Prometheus; parse: five declared fields beside a bare partition loop; jitter:
when items arrive; faults: bad servers; kill: kill -9 in mid-run; replay: an archived hour; proc: commands. Each runs alone too:
`python -m benchmarks.feeds_fetch`, and says what it compares.
"""

from __future__ import annotations

from benchmarks.bars import at_least, at_most, main, same_as

PARTS = ("fetch", "parse", "jitter", "faults", "kill", "replay", "proc")

BARS = (
    at_least("fetch", "vagus_to_prometheus", 1.0),
    at_least("fetch", "vagus_per_cpu_s", 4500.0),
    at_least("parse", "five_declared_to_partition", 0.8),
    at_most("jitter", "jitter_p99_ms", 100.0),
    at_most("jitter", "jitter_failures", 0.0),
    at_most("faults", "faults_locations_silent", 0.0),
    at_most("faults", "faults_items_missing", 0.0),
    at_most("faults", "faults_items_double", 0.0),
    at_most("faults", "faults_items_of_wrong_code", 0.0),
    at_most("faults", "faults_good_missed", 0.0),
    at_most("faults", "faults_good_p99_ms", 100.0),
    at_most("kill", "kill_back_s", 10.0),
    at_most("kill", "kill_bytes_lost", 0.0),
    at_most("kill", "kill_ticks_without_item", 0.0),
    at_most("kill", "kill_ticks_double", 0.0),
    same_as("replay", "replay_items_same", "replay_items_live"),
    at_most("replay", "replay_items_other", 0.0),
    at_least("replay", "replay_times_faster_than_live", 20.0),
)


if __name__ == "__main__":
    main("feeds", PARTS, BARS, __doc__)
