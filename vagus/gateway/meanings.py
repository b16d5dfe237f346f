"""The text behind `# HELP`: what a metric says, from what is known of streams and of actors' figures. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from vagus.collectors.meanings import MEANINGS, Meaning
from vagus.gateway.figures import FIGURES

OTHERS: Mapping[str, Meaning] = {
    "feed.fetch": Meaning(
        "Fetch of a feed's location",
        {
            "duration_s": "how long it took",
            "size_bytes": "what came",
            "ok": "1 when it came",
            "errors": "errors in what came",
        },
    ),
    "probe.latency": Meaning(
        "Round trips to another node",
        {"jitter_s": "mean change from one to the next", "lost_ratio": "share that got no answer"},
    ),
    "probe.bandwidth": Meaning("Transfer to another node", {"bytes_s": "rate of its later half"}),
}
_UNITS = (("_bytes", "bytes"), ("_ratio", "ratio"), ("_s", "s"))


@lru_cache(8192)
def of_field(kind: str, field: str, unit: str) -> str:
    """What a field of a stream says, in one line with its unit; of a kind that nobody describes, its name."""
    known = MEANINGS.get(kind) or OTHERS.get(kind)
    base, dot, more = field.partition(".")  # FIELD.forecast, FIELD.mse
    text = (known.fields.get(base) if known else None) or base
    text += f" ({more})" if dot else ""
    told = f"{known.about}: {text}" if known else f"{text} of stream {kind}"
    return f"{told} [{unit}]." if unit else f"{told}."


def unit_of(figure: str) -> str:
    """The unit that a figure's name ends in, or nothing: `s`, `bytes`, `ratio`."""
    return next((unit for end, unit in _UNITS if f"_{figure}".endswith(end)), "")


def of_figure(figure: str) -> str:
    """What a figure of an actor says, in one line with its unit; of one that nobody describes, its name."""
    told, unit = FIGURES.get(figure) or f"{figure.replace('_', ' ')}, as the actor counts it", unit_of(figure)
    return f"{told} [{unit}]." if unit else f"{told}."
