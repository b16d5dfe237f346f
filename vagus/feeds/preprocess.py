"""What is done to the bytes of a fetch before they are parsed: steps by name, applied in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vagus.config import feeds as settings
from vagus.errors import ConfigError
from vagus.feeds.contracts import STEPS, Step

MAX_STEPS = 8


class NamedStep:
    """A step that says its name in what it raises: `preprocess gzip: …`."""

    def __init__(self, name: str, step: Step) -> None:
        self.name = name
        self._step = step

    def apply(self, body: bytes, max_bytes: int) -> bytes:
        """Raises ValueError: bytes that the step cannot take, or of which it would make more than `max_bytes`."""
        try:
            made = self._step.apply(body, max_bytes)
        except Exception as error:  # a step from outside that breaks its contract stops no feed
            why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"preprocess {self.name}: {why}") from error
        if len(made) > max_bytes:
            raise ValueError(f"preprocess {self.name}: it made {len(made)} bytes, more than max_bytes={max_bytes}")
        return made


def steps_of(preprocess: Sequence[str | dict[str, dict[str, Any]]]) -> tuple[NamedStep, ...]:
    """The steps that a feed's settings name, such as `("gzip", {"decrypt": {"key_file": "…"}})`.

    Raises ConfigError for an unknown step, wrong options, or more than MAX_STEPS.
    """
    if len(preprocess) > MAX_STEPS:
        raise ConfigError(f"preprocess: {len(preprocess)} steps; at most {MAX_STEPS} are allowed")
    return tuple(NamedStep(name, STEPS.make(name, **options)) for name, options in map(settings.named, preprocess))


def apply_steps(steps: Sequence[Step], body: bytes, max_bytes: int) -> bytes:
    """The bytes that are parsed: each step gets what the one before it made, and makes at most `max_bytes`.

    Raises ValueError that begins with `preprocess NAME: `. An item of such bytes has its network code, no value and
    the data code SYNTAX, with this text as its note.
    """
    for step in steps:
        body = step.apply(body, max_bytes)
    return body
