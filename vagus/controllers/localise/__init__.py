"""Which component makes requests slow: FIRM, section 3.3, and what was learned since. Pure: time is an argument.

Execution graphs of a window, and of a healthy period → features of each component (RI, CI, excess over the healthy
period, gap charged to the callee, its resource signals) → a ranking, without labels or by the SVM that injections train.
"""

from __future__ import annotations

import msgspec


class Suspect(msgspec.Struct, frozen=True, array_like=True):
    """A component, how much it is to blame (0 to 1: share of the evidence), and that evidence.

    features: ri (relative importance), ci (congestion intensity, P99/P50), excess_ms (latency on the critical path above
    the healthy period's, per request), gap_ms (of that, between caller and callee), and the like; units in names.
    """

    component: str
    score: float
    features: dict[str, float] = {}
    resource: str = ""  # the most probable one: cpu, memory, llc, memory_bandwidth, disk, network; empty: not known
    says: str = ""  # one sentence for people
    probability: float | None = None  # of being critical, by the SVM; None: not trained yet


class Ranking(msgspec.Struct, frozen=True, array_like=True):
    """Suspects, the most probable first; what it was made from. slow: whether the window is slower than it should be."""

    t_ns: int
    suspects: tuple[Suspect, ...]
    requests: int
    slow: bool
    latency_p50_ms: float
    latency_p99_ms: float
    normal_p50_ms: float = float("nan")
    normal_p99_ms: float = float("nan")
