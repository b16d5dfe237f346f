"""All measures of health, each part in a process of its own, and which of the bars they meet.

    python -m benchmarks.health [--only PART ...] [--skip PART ...] [--json]

Each part runs alone too: `python -m benchmarks.health_submit`. Beside them are measured: Panorama's published code
(figures of a machine like this one: 2.2k to 2.8k submits/s, 2.2 to 3.1 ms to a peer of three), a heartbeat and a
phi-accrual detector (health_gray), a bare scan of logs (health_logs), socket round trips.
"""

from __future__ import annotations

from benchmarks.bars import at_least, at_most, main, same_as

PARTS = ("core", "observe", "submit", "spread", "faults", "sim", "false", "gray", "logs")

BARS = (
    at_most("observe", "context_us", 3.0),
    at_most("observe", "call_cost_ratio", 0.05),
    at_most("submit", "submit_p50_us", 150.0),
    at_least("submit", "submits_pipelined_per_s", 10_000.0),
    at_most("submit", "at_10k_p99_ms", 2.0),
    at_most("submit", "rss_ratio", 1.2),
    at_most("submit", "rss_anon_ratio", 1.2),
    same_as("submit", "killed_accepted_and_kept", "killed_accepted"),
    at_most("spread", "spread_3_p50_ms", 0.8),
    at_most("spread", "spread_8_p50_ms", 2.0),
    at_most("faults", "hung_sender_rss_anon_ratio", 1.2),
    at_least("faults", "hung_dropped", 1.0),
    at_most("faults", "hung_converged_s", 5.0),
    at_most("sim", "rounds_all_worst", 10.0),
    at_most("sim", "rounds_watched_worst", 10.0),
    at_most("false", "false_convictions_weighted_per_hour", 0.0),
    at_least("gray", "gray_scenarios", 8.0),
    same_as("gray", "gray_runs_passed", "gray_runs"),
    at_most("gray", "gray_convicted_max_s", 7.0),
)


if __name__ == "__main__":
    main("health", PARTS, BARS, __doc__)
