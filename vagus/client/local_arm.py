"""The arm that is used when no gateway answers: the caller's, else a uniform draw, with its exact propensity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from vagus.errors import ConfigError
from vagus.model import Decision, Scalar

LOCAL = "local-"
Default = Callable[[Mapping[str, Scalar], tuple[str, ...]], str] | str | None


def is_local(decision: Decision | str) -> bool:
    """Whether a decision (or its id) was made by the local default: nobody waits for its outcome."""
    return (decision.decision_id if isinstance(decision, Decision) else decision).startswith(LOCAL)


class LocalArm:
    """default: an arm; or a function of features and arms that names one, always the same for the same arguments;
    None: uniform. Where the default is not among the arms of a request, or the function raises, the draw is uniform.
    """

    def __init__(self, default: Default, rng: Random) -> None:
        if not (default is None or isinstance(default, str) or callable(default)):
            raise ConfigError(f"default must be an arm, a function of features and arms, or None, not {default!r:.80}")
        self._default = default
        self._rng = rng
        self.last_error = ""

    def decide(self, features: Mapping[str, Scalar], arms: tuple[str, ...], now_ns: int) -> Decision:
        """One of the arms. Version 0, no group, and an id by which `is_local` knows it."""
        arm, propensity = self._named(features, arms), 1.0
        if arm is None or arm not in arms:
            arm = arms[int(self._rng.random() * len(arms))]
            propensity = arms.count(arm) / len(arms)
        known = {**features} if isinstance(features, Mapping) else {}  # what cannot be features costs no arm
        return Decision(f"{LOCAL}{self._rng.getrandbits(96):024x}", now_ns, "", arm, propensity, 0, arms, known)

    def _named(self, features: Mapping[str, Scalar], arms: tuple[str, ...]) -> str | None:
        if self._default is None or isinstance(self._default, str):
            return self._default
        try:
            named = self._default(features, arms)
        except Exception as error:  # whoever waits for an arm gets one
            self.last_error = f"the default raised {type(error).__name__}: {error}"[:300]
            return None
        if named not in arms:
            self.last_error = f"the default named {named!r:.80}, which is not among the arms"
            return None
        return named
