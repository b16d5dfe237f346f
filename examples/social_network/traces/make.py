"""Makes the traces in this folder: requests per second, a line a second, one hour. The same seed is the same trace.

  python make.py [FOLDER]

diurnal: two days in half an hour each, a peak in each evening. noisy: a level that wanders by the second, and bursts of
5 to 20 s. diurnal-noisy: both multiplied, what the experiment is run on. The numbers are relative: `--rate` says what
their mean is.
"""

import math
import random
import sys
from pathlib import Path

SECONDS = 3600
DAY_S = 1800
MEAN_HZ = 100.0


def diurnal(rng: random.Random) -> list[float]:
    """A low morning, a high evening; the second day differs a little."""
    tilts = [rng.uniform(0.9, 1.1) for _ in range(SECONDS // DAY_S + 1)]
    rates = []
    for t in range(SECONDS):
        phase = 2 * math.pi * t / DAY_S
        level = 1 - 0.32 * math.cos(phase - 0.6) - 0.1 * math.cos(2 * phase + 0.4)
        day, part = divmod(t / DAY_S, 1)
        tilt = tilts[int(day)] * (1 - part) + tilts[int(day) + 1] * part
        rates.append(level * tilt * (1 + rng.gauss(0, 0.01)))
    return rates


def noisy(rng: random.Random) -> list[float]:
    """Wanders around 1, with bursts that come every minute or so."""
    rates = []
    level, burst, left_s = 1.0, 1.0, 0
    for _ in range(SECONDS):
        level += 0.02 * (1 - level) + rng.gauss(0, 0.035)
        if left_s:
            left_s -= 1
        elif rng.random() < 1 / 60:
            burst, left_s = rng.uniform(1.3, 1.8), rng.randint(5, 20)
        else:
            burst = 1.0
        rates.append(max(0.2, level) * burst)
    return rates


def scaled(rates: list[float]) -> list[float]:
    """With the mean that all have."""
    mean = math.fsum(rates) / len(rates)
    return [MEAN_HZ * rate / mean for rate in rates]


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
    days, noise = scaled(diurnal(random.Random(1))), scaled(noisy(random.Random(2)))
    both = scaled([a * b for a, b in zip(days, noise, strict=True)])
    for name, rates in (("diurnal", days), ("noisy", noise), ("diurnal-noisy", both)):
        (folder / f"{name}.txt").write_text("".join(f"{rate:.1f}\n" for rate in rates))


if __name__ == "__main__":
    main()
