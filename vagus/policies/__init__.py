"""Pure deciders: one algorithm per file with its reference. They see numbers, never a system.

To add one: a file with a class like `Bandit` or `LimitPolicy`, and a line in its registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from vagus.model import Scalar
from vagus.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from vagus.policies.bank import Bools, Floats, Ints


class Bandit(Protocol):
    """One policy over many groups at once. A row is a group, a place one of its arms. Larger rewards are better.

    Built as `Bandit(rng, **options)` with no rows; `rng` is its only source of chance. Who owns it knows which group
    and arm are which row and place, and gives rows away again after `clear`. Empty places are arms never seen.
    `policies/bank.py` has a base class that keeps columns of numpy and does all but learn, tick and weights.
    """

    name: ClassVar[str]
    by_means: ClassVar[bool]
    """Whether an arm with a larger mean (see `explain`) is the better choice: for feasible sets never asked for."""

    def __init__(self, rng: np.random.Generator, **options: Any) -> None: ...

    def resize(self, rows: int, width: int) -> None:
        """At least so many rows and places; what is there stays."""

    def named(self, row: int, names: Sequence[str]) -> None:
        """The row's first places are arms of these names: told for a new row, and when an arm came to a row.

        Most policies need no names; those that do (`static`) must be told before they are asked for weights.
        """

    def learn(self, rows: Ints, places: Ints, rewards: Floats) -> None:
        """Rewards (each array of length n), oldest first; a cell may come several times; late ones are as good."""

    def tick(self) -> None:
        """A step of time for all rows, with or without rewards."""

    def weights(self, rows: Ints, feasible: Bools) -> Floats:
        """Probabilities of the places, (m, width), for m rows: 0 where not feasible, each row's sum 1.

        feasible: (m, width), at least one true in each row; places never learned of included.
        """

    def row(self, row: int) -> dict[str, Any]:
        """All that is known of a row, as JSON-ready builtins."""

    def set_row(self, row: int, state: Mapping[str, Any]) -> None:
        """What `row` gave, of this policy with any options. Raises ConfigError, with nothing changed."""

    def absorb(self, row: int, state: Mapping[str, Any], share: float) -> None:
        """Adds a share (0 to 1) of what another row's `state` knows: merged groups, or one split off. ConfigError."""

    def moved(self, state: Mapping[str, Any], places: Sequence[int]) -> dict[str, Any]:
        """A row's state with what stood at place i at `places[i]`; -1: left out. Raises ConfigError.

        For groups whose arms are in another order, or of which some are gone for good.
        """

    def clear(self, row: int) -> None:
        """An empty row again."""

    def explain(self, row: int, places: int) -> list[dict[str, float]]:
        """For people, per place: `mean`, `evidence` (discounted count) and whatever made the weights."""


class Contextual(Protocol):
    """One policy for one group, which weighs arms by a request's features. Built as `Contextual(**options)`.

    Its `model()` travels in the table, where `weights` is asked at each request; the rest is asked of the learner's.
    """

    name: ClassVar[str]

    def weights(self, features: Mapping[str, Scalar], arms: Sequence[str]) -> list[float]:
        """Exact probabilities of the arms, in their order."""

    def learn(self, features: Mapping[str, Scalar], arm: str, reward: float) -> None: ...

    def tick(self) -> None: ...

    def model(self) -> bytes:
        """All of it, small: at most 1 MiB."""

    def load(self, model: bytes) -> None:
        """What `model` gave. Raises ConfigError, with nothing changed."""

    def absorb(self, model: bytes, share: float) -> None:
        """Adds a share of what another knows. Raises ConfigError."""


class LimitPolicy(Protocol):
    """Sets one limit from signals. Built as `LimitPolicy(**options)`.

    `step` sees the signals of the target (see controllers.resource: `usage_cores`, `limit_cores`, `throttled_ratio`,
    …; NaN where unknown) and returns the wanted limit, or None to leave it. Raises PolicyError when it cannot decide.
    """

    name: str

    def __init__(self, **options: Any) -> None: ...

    def step(self, signals: Mapping[str, float]) -> float | None: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


class Wish(NamedTuple):
    """A limit that a joint policy wants. confidence: 0 to 1, how sure it is."""

    target: str
    resource: str
    value: float
    reason: str = ""
    confidence: float = 1.0


class Field(NamedTuple):
    """What a joint policy plays on. targets: as `KIND:NAME`; bounds: lowest and highest limit by resource."""

    targets: tuple[str, ...]
    bounds: Mapping[str, tuple[float, float]]


class JointPolicy(Protocol):
    """Sets limits of several targets, also of several resources, from their signals and from what the service owes.

    Built as `JointPolicy(field, rng, **options)`; rng (numpy) is its only source of chance.

    signals, by target: `usage_cores`, `limit_cores`, `throttled_ratio`, `elapsed_s`, `memory_bytes`, and for each steered
    resource `use_RESOURCE` and `limit_RESOURCE` in its unit; NaN where unknown or unlimited; a target that cannot be read
    is left out. objective: `latency_s`, `slo_s`, `rate_hz`, `mix_0`, `mix_1`, …; NaN where unknown. now_s: monotonic.
    `step` raises PolicyError when it cannot decide; what is in force stays then.
    """

    name: ClassVar[str]
    learned: ClassVar[bool]
    """True: its wishes are an experiment, and pass the shield (`guard.shield`)."""

    def __init__(self, field: Field, rng: np.random.Generator, **options: Any) -> None: ...

    def step(
        self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], now_s: float
    ) -> Iterable[Wish]: ...

    def in_force(self, wishes: Mapping[tuple[str, str], float]) -> None:
        """The limits that really are in force after the last step, by target and resource: the guard may have changed them."""

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


BANDITS: Registry[Bandit] = Registry(
    "vagus.bandits",
    {
        "auto": "vagus.policies.auto:Auto",
        "epsilon": "vagus.policies.epsilon:SlidingEpsilon",
        "prediction": "vagus.policies.prediction:Prediction",
        "pytheas": "vagus.policies.pytheas:Pytheas",
        "restarted": "vagus.policies.restarted:RestartedUCB",
        "static": "vagus.policies.static:Static",
        "thompson": "vagus.policies.thompson:DiscountedThompson",
        "ucb": "vagus.policies.ucb:DiscountedUCB",
        "uniform": "vagus.policies.even:Uniform",
    },
)

CONTEXTUAL: Registry[Contextual] = Registry("vagus.contextual_bandits", {"linear": "vagus.policies.linear:LinearUCB"})

LIMIT_POLICIES: Registry[LimitPolicy] = Registry(
    "vagus.limit_policies",
    {
        "throttle": "vagus.policies.throttle:ThrottleTarget",
    },
)

JOINT_POLICIES: Registry[JointPolicy] = Registry(
    "vagus.joint_policies",
    {
        "aimd": "vagus.policies.aimd:Aimd",
        "ddpg": "vagus.policies.learned:LearnedLimits",
        "hpa": "vagus.policies.hpa:HorizontalAutoscaler",
        "remote": "vagus.policies.remote:Remote",
        "tower": "vagus.policies.tower:Tower",
    },
)
