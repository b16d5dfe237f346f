"""Units of fields as Grafana names them: https://grafana.com/docs/grafana/latest/panels-visualizations/ (field options)."""

from __future__ import annotations

_PLAIN = {
    "": "short",
    "s": "s",
    "ms": "ms",
    "us": "µs",
    "ns": "ns",
    "bytes": "bytes",
    "ratio": "percentunit",
    "percent": "percent",
    "bytes/s": "Bps",
    "celsius": "celsius",
    "1/min": "rotrpm",
    "1/s": "cps",
    "J": "joule",
    "cores": "suffix: cores",
    "bits": "suffix: bit",
    "ppm": "ppm",
}
_RATE = {"": "cps", "bytes": "Bps", "J": "watt"}
TIMES = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""What a second is in each unit of time: time per second is a share."""


def grafana_unit(unit: str) -> str:
    """Of a value; a unit that Grafana has no name for stands behind the number as it is."""
    return _PLAIN.get(unit, f"suffix: {unit}")


def grafana_rate_unit(unit: str) -> str:
    """Of a counter's change per second; that of a time is a share."""
    return "percentunit" if unit in TIMES else _RATE.get(unit, f"suffix: {unit}/s")
