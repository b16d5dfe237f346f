"""Act against its bars: each part is a module of its own and runs in its own process.

Run: python -m benchmarks.act [--json] [--quick] [--only paths write …]
Parts: localise (culprits of real faults), paths (critical paths), write (cgroups, journal, guard), resctrl, traffic
(HTB), services (tunables, pods), guard (simulated runs), killed (a controller in mid-action), inject (what each injection does).
"""

from __future__ import annotations

from benchmarks.gather import main

PARTS = ("localise", "paths", "write", "resctrl", "traffic", "services", "guard", "killed", "inject")

if __name__ == "__main__":
    main("act", PARTS, __doc__)
