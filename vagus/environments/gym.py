"""Any world as a Gymnasium environment, so that anyone's library can train on it. Needs `vagus[gym]`.

Importing this registers `vagus/SocialNetwork-v0`: `gymnasium.make("vagus.environments.gym:vagus/SocialNetwork-v0")`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec
import numpy as np

from vagus.config import WorldSettings
from vagus.environments import Seen, World
from vagus.errors import ConfigError, PolicyError
from vagus.policies import LIMIT_POLICIES, LimitPolicy
from vagus.policies.control_state import Floats, Owed, Past, encode_all, reward, size

try:
    import gymnasium
    from gymnasium import spaces
except ImportError as error:
    raise ConfigError("vagus.environments.gym needs Gymnasium: pip install 'vagus[gym]'") from error

ID = "vagus/SocialNetwork-v0"
WIDEST = 3.0  # numbers of a state are about -1 to 1
CORES = "cpu_cores"
Maker = Callable[[int], World]


class Environment(gymnasium.Env[Floats, Floats]):
    """Limits of one target, or of all of them.

    world: a World, or a function that makes one of a seed, called at each reset. target: the one that is steered; empty:
    all. steps: of an episode, which is then truncated; it never terminates. rest: the limit policy that keeps the cores of
    the other targets; empty: they stay as they are. alpha: what violations weigh against CPU in the reward of
    `control_state`; reward: a function of what is seen in its place. slo_s: an objective in place of the world's.

    Observation: float32 of (targets × size,), each `control_state`'s vector, clipped to ±3. Action: float32 of (targets ×
    resources,) in [-1, 1], relative to recent use as there. info: violations, requests, limits by target and resource, and
    latency_s and slo_s where they are known. Raises ConfigError.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium declares it so)

    def __init__(
        self,
        world: World | Maker,
        target: str = "",
        *,
        steps: int = 300,
        rest: str = "throttle",
        alpha: float = 0.8,
        reward: Callable[[Seen], float] | None = None,
        slo_s: float | None = None,
    ) -> None:
        self._make: Maker | None = None if hasattr(world, "field") else world
        self.world = cast("World", world) if self._make is None else self._make(0)
        field = self.world.field
        if target and target not in field.targets:
            raise ConfigError(
                f"there is no target {target[:200]!r} in this world; there are {', '.join(field.targets)}"
            )
        if steps < 1 or not 0 <= alpha <= 1 or not (slo_s is None or slo_s > 0):
            raise ConfigError(f"steps={steps}, alpha={alpha}, slo_s={slo_s}: at least 1, from 0 to 1, above 0")
        self.resources = tuple(resource for resource in field.bounds if resource != "replicas")
        if not self.resources:
            raise ConfigError("there is no limit to steer in this world: its field has no bounds")
        self.targets = (target,) if target else field.targets
        self._rest = rest if CORES in field.bounds else ""
        self._steps, self._alpha, self._slo_s, self._reward = steps, alpha, slo_s, reward
        n, wide = len(self.targets), len(self.resources)
        self.observation_space = spaces.Box(-WIDEST, WIDEST, (n * size(wide),), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (n * wide,), np.float32)
        self._begin()

    def _begin(self) -> None:
        targets = self.world.field.targets
        self._pasts = {target: Past(self.resources) for target in targets}
        self._owed = Owed()
        self._taken = 0
        self._captains: dict[str, LimitPolicy] = {
            t: LIMIT_POLICIES.make(self._rest) for t in targets if self._rest and t not in self.targets
        }

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Floats, dict[str, Any]]:
        """Begins an episode; the same seed gives the same one, where the world is simulated. Raises VagusError."""
        super().reset(seed=seed)
        number = int(self.np_random.integers(2**31)) if seed is None else seed
        if self._make is not None:
            self.world.close()
            self.world = self._make(number)
        self._begin()
        self._seen = self._note(self.world.reset(number))
        return self._observed(), self._info()

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        """Sets limits and lets a period pass. Raises VagusError."""
        wanted = np.nan_to_num(np.clip(np.asarray(action, np.float64), -1.0, 1.0)).reshape(len(self.targets), -1)
        limits = self._kept()
        for target, row in zip(self.targets, wanted, strict=True):
            for (resource, course), a in zip(self._pasts[target].courses.items(), row, strict=True):
                if course.known:
                    low, high = self.world.field.bounds[resource]
                    limits[target, resource] = min(max(course.limit_of(float(a)), low), high)
        self._seen = self._note(self.world.step(limits))
        self._taken += 1
        return self._observed(), self._paid(), False, self._taken >= self._steps, self._info()

    def close(self) -> None:
        """Closes the world. Idempotent where that is."""
        self.world.close()

    # --- inside ----------------------------------------------------------------------------------------------------

    def _kept(self) -> dict[tuple[str, str], float]:
        """What keeps the targets that are not steered."""
        found = {}
        for target, captain in self._captains.items():
            try:
                value = captain.step(self._seen.signals.get(target, {}))
            except PolicyError:
                continue  # nothing is known of it now: what is in force stays
            if value is not None:
                low, high = self.world.field.bounds[CORES]
                found[target, CORES] = min(max(value, low), high)
        return found

    def _note(self, seen: Seen) -> Seen:
        if self._slo_s is not None:
            seen = seen._replace(objective={**seen.objective, "slo_s": self._slo_s})
        elapsed_s = max((found.get("elapsed_s", math.nan) for found in seen.signals.values()), default=math.nan)
        self._owed.note(seen.objective, elapsed_s if elapsed_s > 0 else self.world.period_s)
        for target, found in seen.signals.items():
            self._pasts[target].note(found)
        return seen

    def _observed(self) -> Floats:
        # all targets are encoded, since a state also says how the others are
        rows = encode_all(list(self._pasts.values()), self._owed)
        steered = rows[[place for place, target in enumerate(self._pasts) if target in self.targets]]
        return np.clip(steered.reshape(-1), -WIDEST, WIDEST).astype(np.float32)

    def _paid(self) -> float:
        if self._reward is not None:
            return float(self._reward(self._seen))
        total = sum(next(iter(past.courses.values())).level for past in self._pasts.values())
        paid = [reward(self._pasts[t], self._owed, total, self._alpha, len(self._pasts)) for t in self.targets]
        return sum(paid) / len(paid)

    def _info(self) -> dict[str, Any]:
        known = {
            name: v for name in ("latency_s", "slo_s") if math.isfinite(v := self._seen.objective.get(name, math.nan))
        }
        limits = {target: self._limits(found) for target, found in self._seen.signals.items()}
        return {"violations": self._seen.violations, "requests": self._seen.requests, "limits": limits, **known}

    def _limits(self, signals: Mapping[str, float]) -> dict[str, float]:
        found = {resource: signals.get(f"limit_{resource}", math.nan) for resource in self.resources}
        return {resource: value for resource, value in found.items() if math.isfinite(value)}


def social_network(target: str = "", *, world: Mapping[str, Any] | None = None, **options: Any) -> Environment:
    """The simulated social network of examples/social_network: another load, objective and trouble with each seed.

    world: what is drawn within which ranges, as `world` of train.yaml; the rest: as of Environment. Raises ConfigError.
    """
    from vagus.environments.worlds import simulated

    try:
        settings = msgspec.convert(world or {}, WorldSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"world: {error}") from error
    return Environment(simulated(settings), target, **options)


def register() -> None:
    """Makes `vagus/SocialNetwork-v0` known to `gymnasium.make`. Idempotent."""
    if ID not in gymnasium.registry:
        gymnasium.register(ID, f"{__name__}:social_network")


register()
