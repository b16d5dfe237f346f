"""Sets the streams and buffers of a transfer from forecasts of its path.

    vagus config check examples/transfer/tune.yaml
    vagus up -c examples/transfer/tune.yaml               # dry: says what it would do
    vagus up -c examples/transfer/tune.yaml --arm         # does it; takes it back when it ends

A path that carries `rate` and answers after `rtt` has rate × rtt bytes under way: its bandwidth-delay product. TCP sends
no faster than its buffers ÷ rtt, so the streams together get twice the product of what is forecast, for what is not
seen yet, as the Network Weather Service and DRS advise. A transfer that its buffers hold back then doubles with each
step until the path is the limit. Where one socket may not have so large a buffer, more streams have it together; and
each stream beyond the first also halves what a lost packet costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from vagus.controllers import View
from vagus.model import Action, Directive, Target

RATE, RTT = "transfer.path.rate_bytes_s", "transfer.path.rtt_s"
PROBED = "probe.bandwidth.bytes_s"  # of vagus' own probes, where other nodes are


class Tune:
    """Steers `tunable:transfer`; largest_bytes: what one socket may have. Leaves be what is within `calm` of its aim."""

    selectors = (RATE, RTT, "host.load")
    foresees = (RATE, RTT, PROBED)

    def __init__(
        self, largest_bytes: float = 212_992, most_streams: int = 16, least_bytes: float = 65_536, period_s: float = 2.0,
        calm: float = 0.25, service: str = "transfer",
    ) -> None:  # fmt: skip
        self.period_s = period_s
        self._largest = largest_bytes
        self._most = most_streams
        self._least = least_bytes
        self._calm = calm
        self._target = Target("tunable", service)
        self._aim_bytes = 0.0  # under way on all streams

    def step(self, view: View) -> Iterable[Directive]:
        rate, rtt = view.outlook(RATE), view.outlook(RTT)
        if rate is None or rtt is None or not (rate.mse >= 0 and rate.forecast > 0 and rtt.forecast > 0):
            return []
        # within the error of the forecasts the path may be better: a buffer too large costs little, one too small the rate
        carries = max(rate.value, rate.forecast + math.sqrt(rate.mse))
        probed = view.outlook(PROBED)
        if probed is not None and probed.forecast > 0:
            carries = max(carries, probed.forecast)
        product = carries * rtt.forecast
        aim = min(max(2 * product, self._least), self._most * self._largest)
        if abs(aim - self._aim_bytes) <= self._calm * self._aim_bytes:
            return []
        self._aim_bytes = aim
        streams = min(self._most, math.ceil(aim / self._largest))
        why = f"{carries / 1e6:.1f} MB/s × {rtt.forecast * 1e3:.0f} ms are coming: {aim / 1e3:.0f} kB under way"
        return [
            Action(self._target, "buffer_bytes", float(round(aim / streams)), why),
            Action(self._target, "streams", float(streams), why),
        ]
