"""Three content networks, three cities: how good a session is depends on where it is, and on when. Pure.

python examples/decide/world.py > examples/decide/trace.csv
"""

from __future__ import annotations

import math
from random import Random

ARMS = ("cdn-a", "cdn-b", "cdn-c")
CITIES, ISPS, DEVICES = ("Bern", "Lima", "Oslo"), ("10", "20"), ("phone", "tv")
USUAL = {  # quality, 0 to 5, of each arm; in Oslo the provider matters too, the device never does
    "Bern": (4.2, 3.4, 2.6),
    "Lima": (3.0, 3.3, 4.0),
    "Oslo 10": (2.8, 4.3, 3.1),
    "Oslo 20": (2.9, 2.5, 4.1),
}
PERIOD_S = 300.0
TROUBLE = (("Bern", "cdn-a", 100.0, 160.0, 2.5), ("Lima", "cdn-c", 200.0, 280.0, 2.0))  # from, until, how much worse
NOISE = 0.5


def worth(city: str, isp: str, arm: str, t_s: float) -> float:
    """The mean quality of a session, seconds after the start."""
    at = ARMS.index(arm)
    quality = USUAL.get(city) or USUAL[f"{city} {isp}"]
    worse = sum(much for where, which, start, end, much in TROUBLE if _now(where, which, start, end, city, arm, t_s))
    return quality[at] - worse + 0.3 * math.sin(2.0 * math.pi * (t_s / 90.0 + at / 3.0))


def _now(where: str, which: str, start: float, end: float, city: str, arm: str, t_s: float) -> bool:
    return where == city and which == arm and start <= t_s % PERIOD_S < end


def session(rng: Random) -> dict[str, str]:
    """The features of somebody who wants to watch."""
    return {"city": rng.choice(CITIES), "isp": rng.choice(ISPS), "device": rng.choice(DEVICES)}


def trace(seconds: int, step_s: int = 5) -> list[str]:
    """Lines for `vagus replay`: what every arm was worth in each group, from then on."""
    return ["t_s,group," + ",".join(ARMS)] + [
        f"{t_s},{city}:{isp}," + ",".join(f"{worth(city, isp, arm, t_s):.3f}" for arm in ARMS)
        for t_s in range(0, seconds, step_s)
        for city in CITIES
        for isp in ISPS
    ]


if __name__ == "__main__":
    print("\n".join(trace(600)))
