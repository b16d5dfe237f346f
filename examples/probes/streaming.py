"""Video streaming that adapts: the bit rate follows the forecast of the bandwidth, less its expected error.

python examples/probes/streaming.py        in virtual time, over a made-up link; done at once

The link is a radio's: its level moves slowly, with much noise. Compared are: always the middle rate; as fast as the last
segment came; and as fast as the bank of forecasters expects, less half of the error that it expects of itself.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from vagus.forecast.bank import Bank

SEGMENT_S = 2.0
BUFFER_S = 4.0  # a live event: no more can be fetched ahead
RATES_BIT_S = (400e3, 800e3, 1.5e6, 3e6, 6e6)
SEGMENTS = 600
CAREFUL = 0.5  # times the expected error is kept back


def bandwidth(seed: int) -> list[float]:
    """Bits per second during each segment's fetch."""
    rng = random.Random(seed)
    return [3e6 * (1 + 0.5 * math.sin(n / 60)) * math.exp(rng.gauss(0, 0.4)) for n in range(SEGMENTS)]


def best_below(bit_s: float) -> float:
    """The highest rate that fits, else the lowest."""
    return max((rate for rate in RATES_BIT_S if rate <= bit_s), default=RATES_BIT_S[0])


def stream(link: list[float], choose: Callable[[], float], tell: Callable[[float], None]) -> tuple[float, float]:
    """Mean bit rate, and seconds for which the picture stood still."""
    buffered_s, stalled_s, sent = 0.0, 0.0, 0.0
    for bit_s in link:
        rate = choose()
        fetch_s = rate * SEGMENT_S / bit_s
        stalled_s += max(0.0, fetch_s - buffered_s)
        buffered_s = min(BUFFER_S, max(0.0, buffered_s - fetch_s) + SEGMENT_S)
        sent += rate
        tell(bit_s)
    return sent / len(link), stalled_s


def forecasting() -> tuple[Callable[[], float], Callable[[float], None]]:
    """Chooses by the bank of forecasters."""
    bank = Bank(1)

    def choose() -> float:
        expected, error = float(bank.predict()[0]), math.sqrt(float(bank.mse()[0]))
        return best_below(expected - CAREFUL * error) if expected > 0 else RATES_BIT_S[0]

    return choose, lambda bit_s: bank.update([bit_s])


def main() -> None:
    link = bandwidth(1)
    last = [RATES_BIT_S[0]]
    players: dict[str, tuple[Callable[[], float], Callable[[float], None]]] = {
        "always 1.5 Mbit/s": (lambda: 1.5e6, lambda bit_s: None),
        "as the last segment": (lambda: best_below(last[0]), lambda bit_s: last.__setitem__(0, bit_s)),
        "by forecast and error": forecasting(),
    }
    for name, (choose, tell) in players.items():
        mean_bit_s, stalled_s = stream(link, choose, tell)
        print(
            f"{name:22} {mean_bit_s / 1e6:5.2f} Mbit/s, stood still for {stalled_s:5.1f} s of {SEGMENTS * SEGMENT_S:.0f} s"
        )


if __name__ == "__main__":
    main()
