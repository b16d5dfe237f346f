"""Which replica to fetch a file from: forecasts of latency and bandwidth, corrected by what transfers came to.

python examples/probes/replicas.py        with a running vagus it looks at this cluster's nodes, else at made-up ones
"""

from __future__ import annotations

import math
import random
from statistics import median

import vagus
from vagus.errors import VagusError
from vagus.forecast.bank import Bank

SIZE_BYTES = 200 << 20
Forecasts = dict[str, tuple[float, float, float]]
"""By replica: bytes per second, the error to be expected of that, and the round trip in seconds."""


def of_this_cluster() -> Forecasts:
    """What the directory says beside the probes' streams; nothing where no vagus runs."""
    try:
        with vagus.connect() as connection:
            found = connection.sensors("probe.*")
    except VagusError:
        return {}
    forecasts: dict[str, dict[str, tuple[float, float]]] = {}
    for sensor in found:
        for outlook in sensor.outlook:
            forecasts.setdefault(sensor.stream.labels.get("dst", ""), {})[outlook.field] = (
                outlook.forecast,
                outlook.mse,
            )
    return {
        node: (known["bytes_s"][0], math.sqrt(max(0.0, known["bytes_s"][1])), known["rtt_median_s"][0])
        for node, known in forecasts.items()
        if {"bytes_s", "rtt_median_s"} <= known.keys()
    }


def made_up() -> Forecasts:
    """Three replicas: a fast one that is fading, one that is steady, one that is far away and erratic."""
    rng, names = random.Random(1), ("fading", "steady", "erratic")
    bank = Bank(len(names))
    for n in range(200):
        rates = (40e6 * math.exp(-n / 60) + rng.gauss(0, 2e5), 12e6 + rng.gauss(0, 3e5), rng.choice((2e6, 25e6)))
        bank.update(rates)
    errors, round_trips = [math.sqrt(mse) for mse in bank.mse()], (0.004, 0.010, 0.120)
    return dict(zip(names, zip(map(float, bank.predict()), errors, round_trips, strict=True), strict=True))


def seconds(forecast: tuple[float, float, float], past: list[float], size_bytes: int) -> float:
    """How long a fetch will take, on the careful side; past: what transfers took, over what was forecast for them."""
    bytes_s, error_bytes_s, rtt_s = forecast
    careful = max(bytes_s - error_bytes_s, bytes_s / 10)
    return (2 * rtt_s + size_bytes / careful) * (median(past) if past else 1.0)


def choose(forecasts: Forecasts, history: dict[str, list[float]], size_bytes: int) -> list[tuple[float, str]]:
    """Seconds and name of each replica, the best first."""
    return sorted((seconds(f, history.get(name, []), size_bytes), name) for name, f in forecasts.items())


def main() -> None:
    forecasts = of_this_cluster() or made_up()
    history = {"steady": [1.1, 0.95, 1.05]}  # its disk is about as fast as the network
    for place, (took_s, name) in enumerate(choose(forecasts, history, SIZE_BYTES)):
        bytes_s, error_bytes_s, _ = forecasts[name]
        expected = f"{bytes_s / 1e6:.1f} ± {error_bytes_s / 1e6:.1f} MB/s, {took_s:.1f} s for 200 MiB"
        print(f"{'fetch from' if place == 0 else 'rather than'} {name}: {expected}")


if __name__ == "__main__":
    main()
