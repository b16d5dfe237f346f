"""Feasible arms as they come from a request: checked once, compared cheaply ever after."""

from __future__ import annotations

from collections.abc import Sequence

from vagus.errors import ConfigError
from vagus.model import check_name

MAX_ARMS = 1000


def check_arms(arms: Sequence[str]) -> Sequence[str]:
    """1 to 1000 unique names, else ConfigError."""
    if isinstance(arms, (str, bytes)) or not isinstance(arms, Sequence):
        raise ConfigError(f"arms must be a list of 1 to {MAX_ARMS} names, not {type(arms).__name__}")
    if not 1 <= len(arms) <= MAX_ARMS:
        raise ConfigError(f"{len(arms)} arms; a decision takes 1 to {MAX_ARMS}")
    for arm in arms:
        if not isinstance(arm, str):
            raise ConfigError(f"arm {str(arm)[:50]!r} must be text, not {type(arm).__name__}")
        check_name("arm", arm)
    if len(set(arms)) != len(arms):
        twice = next(arm for at, arm in enumerate(arms) if arm in arms[:at])
        raise ConfigError(f"arm {twice!r} is listed twice; each feasible arm once")
    return arms


class Feasible:
    """Turns a request's arms into a tuple, and remembers which tuples were found to be right."""

    MOST = 200_000  # names in remembered tuples

    def __init__(self) -> None:
        self._checked: set[tuple[str, ...]] = set()
        self._names = 0

    def checked(self, arms: Sequence[str]) -> tuple[str, ...]:
        """1 to 1000 unique names as a tuple. Raises ConfigError."""
        if type(arms) is tuple or type(arms) is list:
            try:
                feasible = tuple(arms)
                if feasible in self._checked:
                    return feasible
            except TypeError as error:
                raise ConfigError(f"arms must be a list of names: {error}") from error
        feasible = tuple(check_arms(arms))
        self._names += len(feasible)
        if self._names > self.MOST:
            self._checked.clear()
            self._names = len(feasible)
        self._checked.add(feasible)
        return feasible
