"""Limits by DDPG (FIRM, OSDI'20): one model for all targets, or one for each; learning here, at the learner, or not.

State, action and reward are in `control_state`, the learning in `ddpg`. Limits rise as fast as the model wants and fall
by `fall` a second at most: what is taken away a second too early costs requests, a second too late costs a little CPU; and
changes below a tenth are no oscillation to the guard.
"""

from __future__ import annotations

import base64
import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vagus.errors import ConfigError, PolicyError
from vagus.policies import Field, Wish
from vagus.policies.checkpoints import TARGET, digest, distinct, loaded, short
from vagus.policies.control_state import ALPHA, Floats, Owed, Past, encode_all, reward, size
from vagus.policies.ddpg import DDPG
from vagus.policies.exchange import Exchange
from vagus.policies.experience import Experience, Weights
from vagus.policies.frames import Frames
from vagus.policies.options import number, whole

LINGER = 0.85  # of exploration's noise, from step to step
MAX_GAP = 5  # steps that were missed: what came after is not what an action did
ALL = "all"
CORES = "cpu_cores"
CARE_S = 90.0  # until most care is forgotten
MOST_CARE = 0.6
HURT_S = 0.09  # of throttling: a period of the kernel's


class LearnedLimits:
    """The joint policy `ddpg`. Options:

    model: `all`: one for all targets, or `each`: one a target, which begins as the checkpoint's (transfer). checkpoint: a
    file of `vagus train`; {target} in it is the last part of a target's name. learn: off, here (`updates` a step), or
    learner (the actor's). explore: standard deviation of the noise added to actions. alpha: what violations weigh against
    CPU. every_s: between decisions; where the controller steps more often, a target that is throttled meanwhile gets
    more by `reflex` (a ratio) at once. caution: what each second of a missed objective adds to all
    actions, for a while. fall: largest relative decrease of a second. shared: the models' name at the learner. hyper:
    DDPG's own.
    """

    name: ClassVar[str] = "ddpg"
    learned: ClassVar[bool] = True

    def __init__(
        self,
        field: Field,
        rng: np.random.Generator,
        *,
        model: str = ALL,
        checkpoint: str = "",
        learn: str = "off",
        explore: float = 0.0,
        alpha: float = ALPHA,
        updates: int = 8,
        fall: float = 0.09,
        every_s: float = 1.0,
        reflex: float = 0.3,
        caution: float = 0.08,
        shared: str = "limits",
        hyper: Mapping[str, Any] | None = None,
    ) -> None:
        if model not in (ALL, "each"):
            raise ConfigError(f"policy 'ddpg': option model={model!r} must be all or each")
        if learn not in ("off", "here", "learner"):
            raise ConfigError(f"policy 'ddpg': option learn={learn!r} must be off, here or learner")
        if learn == "off" and not checkpoint:
            raise ConfigError(
                "policy 'ddpg': it neither learns nor has learned; set options.checkpoint (see `vagus train`) or "
                "options.learn"
            )
        self.field = field
        self.resources = tuple(resource for resource in field.bounds if resource != "replicas")
        if not self.resources:
            raise ConfigError("policy 'ddpg': no resource to steer; set limits.cpu_cores.min and .max")
        self.learn = learn
        self.explore = number("ddpg", "explore", explore, 0, 2)
        self.alpha = number("ddpg", "alpha", alpha, 0, 1)
        self._updates = whole("ddpg", "updates", updates, 0, 10_000)
        self._fall = number("ddpg", "fall", fall, 0.001, 1)
        self._every_s = number("ddpg", "every_s", every_s, 0.01, 3600)
        self._reflex = number("ddpg", "reflex", reflex, 0, 10)
        self._caution = number("ddpg", "caution", caution, 0, 1)
        self._rng = rng
        self._hyper = dict(hyper or {})
        self._dims = (size(len(self.resources)), len(self.resources))
        if model != ALL and TARGET in checkpoint:
            distinct(field.targets)
        keys = (ALL,) if model == ALL else field.targets
        self._key = {target: ALL if model == ALL else target for target in field.targets}
        self.models = {key: self._made(key, checkpoint) for key in keys}
        names = {key: shared if key == ALL else f"{shared}:{key}" for key in keys}
        self._exchange = Exchange(self.models, names, learn == "learner")
        self._begun_as = {key: digest(made) if checkpoint else "" for key, made in self.models.items()}
        self.begin()

    def frozen(self) -> LearnedLimits:
        """The same models, neither exploring nor learning."""
        made = copy.copy(self)
        made.learn, made.explore = "off", 0.0
        made.begin()
        return made

    def reseed(self, *seed: int) -> None:
        """Chance from here on."""
        self._rng = np.random.default_rng(seed)

    def begin(self) -> None:
        """Forgets the course of events, as at the begin of an episode; what was learned stays."""
        self._pasts: dict[str, Past] = {}
        self._owed = Owed()
        self._noise: dict[str, Floats] = {}
        self._pending: dict[str, tuple[Floats, Floats]] = {}  # state, action
        self._done: dict[str, Floats] = {}  # actions as they came to be in force
        self._care = 0.0
        self._in_force: Mapping[tuple[str, str], float] = {}
        self._frames = Frames(self._every_s)
        self._answered: dict[str, float] = {}  # throttling of the frame that a reflex answered, seconds
        self._now_s = math.nan
        self._usual_s = self._keep = 1.0

    # --- a step ----------------------------------------------------------------------------------------------------

    def in_force(self, wishes: Mapping[tuple[str, str], float]) -> None:
        """What really was in force is what the reward is for, whoever wished it."""
        self._in_force = wishes

    def step(
        self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], now_s: float
    ) -> Iterable[Wish]:
        """Wishes for every target that is seen. Raises PolicyError when a model gives what is no number."""
        self._exchange.use()
        if not any(signals.get(target) for target in self.field.targets):
            raise PolicyError("ddpg: no target can be seen")
        step_s = now_s - self._now_s if now_s > self._now_s else min(self._usual_s, self._every_s)
        self._now_s = now_s
        if not self._frames.elapsed_s:  # the first step after a decision: later ones have what reflexes made of it
            self._done = self._as_done()
        if not self._frames.see(signals, objective, step_s):
            return self._reflexes(signals)
        self._answered.clear()
        signals, objective, elapsed_s = self._frames.take()
        targets = [target for target in self.field.targets if target in signals]
        gap = elapsed_s > MAX_GAP * self._usual_s
        self._usual_s = min(elapsed_s, self._usual_s * 2)
        self._keep = (1.0 - self._fall) ** min(elapsed_s, 10.0)
        self._owed.note(objective, elapsed_s)
        for target in targets:
            self._pasts.setdefault(target, Past(self.resources)).note(signals[target])
        self._be_careful(elapsed_s)
        pasts = [self._pasts[target] for target in targets]
        states = encode_all(pasts, self._owed)
        if self.learn != "off" and not gap:
            self._learn(targets, pasts, self._done, states)
        actions = self._act(targets, states)
        self._pending = {t: (s, a) for t, s, a in zip(targets, states, actions, strict=True)}
        wishes = []
        for target, past, action in zip(targets, pasts, actions, strict=True):
            wishes += self._wishes(target, past, action)
        return wishes

    def _be_careful(self, elapsed_s: float) -> None:
        """What is added to all actions: more with every second that the objective is missed, and slowly forgotten."""
        if self._owed.ratio > 1:
            self._care = min(self._care + self._caution * min(elapsed_s, 2.0), MOST_CARE)
        else:
            self._care *= math.exp(-elapsed_s / CARE_S)

    def _reflexes(self, signals: Mapping[str, Mapping[str, float]]) -> list[Wish]:
        """Between decisions: a target that was throttled gets more at once."""
        found = []
        for target, hurt_s in self._frames.hurt_s.items():
            limit = signals.get(target, {}).get("limit_cores", math.nan)
            if hurt_s - self._answered.get(target, 0.0) < HURT_S or CORES not in self.resources or not limit > 0:
                continue
            self._answered[target] = hurt_s
            value = min(limit * (1.0 + self._reflex), self.field.bounds[CORES][1])
            found.append(Wish(target, CORES, value, f"throttled for {hurt_s:.2g} s"))
        return found if self._reflex else []

    def _act(self, targets: Sequence[str], states: Floats) -> Floats:
        if len(self.models) == 1 and ALL in self.models:
            actions = self.models[ALL].act_all(states, False)
        else:
            actions = np.stack([self.models[self._key[t]].act(s, False) for t, s in zip(targets, states, strict=True)])
        if not np.isfinite(actions).all():
            raise PolicyError("ddpg: the model's action is not a number; train it anew, or load another checkpoint")
        if self.explore:
            fresh = self._rng.standard_normal(actions.shape).astype(np.float32)
            for i, target in enumerate(targets):
                noise = self._noise.get(target, fresh[i])
                self._noise[target] = LINGER * noise + math.sqrt(1 - LINGER**2) * fresh[i]
                actions[i] += self.explore * self._noise[target]
        found: Floats = np.clip(actions + self._care, -1.0, 1.0)
        return found

    def _wishes(self, target: str, past: Past, action: Floats) -> list[Wish]:
        found = []
        for place, (resource, course) in enumerate(past.courses.items()):
            if not course.known:
                continue
            low, high = self.field.bounds[resource]
            wanted = course.limit_of(float(action[place]))
            if course.limit > 0:
                wanted = max(wanted, course.limit * self._keep)
            value = min(max(wanted, low), high)
            found.append(Wish(target, resource, value, f"{float(action[place]):+.2f} over a use of {course.level:.3g}"))
        return found

    # --- learning --------------------------------------------------------------------------------------------------

    def _as_done(self) -> dict[str, Floats]:
        """The actions of the last decision as they came to be in force: relative to what the use was then."""
        found = {}
        for target, (_, planned) in self._pending.items():
            action = planned.copy()
            for place, (resource, course) in enumerate(self._pasts[target].courses.items()):
                limit = self._in_force.get((target, resource))
                if limit is not None and course.known:
                    action[place] = max(course.action_of(limit), -1.0)
            found[target] = action
        return found

    def _learn(self, targets: Sequence[str], pasts: Sequence[Past], done: Mapping[str, Floats], states: Floats) -> None:
        total = sum(next(iter(past.courses.values())).level for past in pasts)
        rows: dict[str, list[Floats]] = {}
        for i, target in enumerate(targets):
            if target not in done:
                continue
            paid = reward(pasts[i], self._owed, total, self.alpha, len(targets))
            row = np.concatenate([self._pending[target][0], done[target], [paid], states[i], [0.0]])
            if np.isfinite(row).all():
                rows.setdefault(self._key[target], []).append(row.astype(np.float32))
        for key, new in rows.items():
            if self.learn == "learner":
                self._exchange.note(key, new)
                continue
            self.models[key].remember_all(np.stack(new))
            if self._updates:
                self.models[key].learn(self._updates)

    def drained(self) -> dict[str, Floats]:
        """The transitions of each model since the last call, as rows; with learn: learner."""
        return self._exchange.drained()

    def outgoing(self) -> list[Experience]:
        """What the learner is to be told, each row once; also nothing, to ask for newer weights."""
        return self._exchange.outgoing()

    def take(self, answers: Iterable[Weights]) -> None:
        """The learner's answers; they count from the next step on. Any thread."""
        self._exchange.take(answers)

    @property
    def version(self) -> int:
        """Of the learner's newest weights in use; 0 before the first."""
        return max(self._exchange.versions.values())

    # --- kept ------------------------------------------------------------------------------------------------------

    def _made(self, key: str, checkpoint: str) -> DDPG:
        if not checkpoint:
            return DDPG(*self._dims, seed=int(self._rng.integers(2**31)), **self._hyper)
        return loaded(Path(checkpoint.replace(TARGET, short(key))).expanduser(), self._dims, self.resources)

    def resume(self, files: Mapping[str, Path]) -> None:
        """The models' whole state, from files by model. Raises ConfigError."""
        if files.keys() != self.models.keys():
            raise ConfigError(f"ddpg: checkpoints of {', '.join(files)}, but the models are {', '.join(self.models)}")
        self.models.update({key: loaded(file, self._dims, self.resources) for key, file in files.items()})

    def state(self) -> dict[str, Any]:
        """What was learned since the checkpoint, and which that was; nothing where nothing is learned."""
        if self.learn == "off":
            return {}
        kept = {key: base64.b64encode(model.weights()).decode() for key, model in self.models.items()}
        return {"weights": kept, "versions": dict(self._exchange.versions), "begun_as": self._begun_as}

    def restore(self, state: Mapping[str, Any]) -> None:
        """What was learned from the same checkpoint: a newer one is begun with. Raises PolicyError when the state is not
        one of ours; what was there stays."""
        if self.learn == "off" or not state:
            return
        try:
            kept = {key: base64.b64decode(text, validate=True) for key, text in dict(state["weights"]).items()}
            versions = {key: int(version) for key, version in dict(state["versions"]).items()}
            begun_as = dict(state.get("begun_as", self._begun_as))
            for key, weights in kept.items():
                if key in self.models and begun_as.get(key) == self._begun_as[key]:
                    self.models[key].load_weights(weights)
                    self._exchange.versions[key] = versions.get(key, 0)
        except (KeyError, TypeError, ValueError, OverflowError, ConfigError) as error:
            raise PolicyError(f"ddpg: stored state is damaged ({error}); starting afresh") from error
