"""The Network Weather Service's probes between nodes: cliques, latency, bandwidth. Cores that return directives.

`clique` passes a token, so that no two probes of a clique run at once; `schedule` says what is due and bounds the
cost; `latency` and `bandwidth` turn the times at which the kernel received something into figures.
`actors/probing.py` owns the sockets.
"""

from __future__ import annotations

from typing import Protocol


class Timeouts(Protocol):
    """How long to wait for what, learnt from how long it took (`forecast.timeouts`); keys are this room's choice."""

    def observed(self, key: str, duration_s: float) -> None: ...

    def failed(self, key: str, waited_s: float) -> None: ...

    def timeout_s(self, key: str) -> float: ...
