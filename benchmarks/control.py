"""Learned and ruled control against their bars: each part is a module of its own and runs in its own process.

Run: python -m benchmarks.control [--json] [--quick] [--only pendulum acting …]
Parts: pendulum (DDPG beside Stable-Baselines3's), acting (state → action on a node), transfer (one-for-each from
one-for-all), world (policies in the simulated application), world_speed (how fast and how true that is), experiment
(policies on the real one), mitigation (from a CPU hog to requests in time again).
"""

from __future__ import annotations

from benchmarks.gather import main

PARTS = ("pendulum", "acting", "transfer", "world", "world_speed", "experiment", "mitigation")

if __name__ == "__main__":
    main("control", PARTS, __doc__, part_s=4 * 3600.0)  # the experiment alone takes two hours
