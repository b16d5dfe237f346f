"""DDPG in numpy: Lillicrap et al. (2016), "Continuous control with deep reinforcement learning", algorithm 1.

The defaults are FIRM's (Qiu et al., OSDI'20), but for the targets, which begin equal to the networks. As options twin
critics, delayed actors and smoothed targets: TD3, Fujimoto et al. (2018). Values that the critic is to learn are cut to
what the rewards seen so far make possible, which stops it from diverging.

Everything is float32, in place, and in a few calls on flat vectors: a model is for one thread at a time.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError, PolicyError
from vagus.policies import arrays
from vagus.policies.ddpg_files import FORMAT, Layout, State, chance_of, check, decoded, set_chance
from vagus.policies.hyper import Hyper
from vagus.policies.networks import Adam, Floats, Pass, Weights, actor_shape, critic_shape, drawn
from vagus.policies.noise import Noise
from vagus.policies.replay import Replay

MAX_DIM = 1000
MAX_WEIGHTS_BYTES = 4 << 20
MAX_REPLAY_BYTES = 512 << 20
MAX_CHECKPOINT_BYTES = 640 << 20
LARGEST = 1e6  # of a state's number or a reward; larger ones count as this
STEEPEST = 0.97  # of an action that is imitated: tanh reaches 1 nowhere, and has no slope there
CUT = 2.5  # standard deviations of smoothing


class DDPG:
    """An actor and its critic. States are vectors of `state_dim` numbers, actions of `action_dim` within [-1, 1].

    hyper: options of `Hyper`. seed: of all its chance. steps: updates so far. Raises ConfigError for options that cannot be.
    """

    def __init__(self, state_dim: int, action_dim: int, seed: int = 0, **hyper: Any) -> None:
        for name, dim in (("state_dim", state_dim), ("action_dim", action_dim)):
            if not isinstance(dim, int) or not 1 <= dim <= MAX_DIM:
                raise ConfigError(f"policy 'ddpg': {name}={dim!r} must be a whole number from 1 to {MAX_DIM}")
        self.state_dim, self.action_dim = state_dim, action_dim
        self.hyper = h = Hyper.of(hyper)
        self.steps = 0
        self._rng = np.random.default_rng(seed)
        self._width = 2 * state_dim + action_dim + 2
        if 4 * self._width * h.memory > MAX_REPLAY_BYTES:
            raise ConfigError(
                f"policy 'ddpg': option hyper.memory={h.memory}: {h.memory} rows of {self._width} numbers are more than "
                f"{MAX_REPLAY_BYTES >> 20} MiB; remember fewer"
            )
        self.replay = Replay(h.memory, self._width)
        self.noise = Noise(1.0 if h.noise == "normal" else h.theta, h.sigma)
        self._lowest = self._highest = 0.0  # rewards seen, and 0
        self._networks()
        self._buffers()

    def _networks(self) -> None:
        h = self.hyper
        actor = actor_shape(self.state_dim, self.action_dim, h.actor_layers)
        critic = critic_shape(self.state_dim, self.action_dim, h.critic_layers, h.joins)
        sizes = [actor.size(), *[critic.size()] * h.critics]
        if 4 * sum(sizes) > MAX_WEIGHTS_BYTES - 65536:
            raise ConfigError(f"policy 'ddpg': networks of {sum(sizes)} numbers; at most {MAX_WEIGHTS_BYTES // 4}")
        ends = np.cumsum(sizes).tolist()
        self._spans = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        self._flat, self._target, self._gradient, self._work = np.zeros((4, ends[-1]), np.float32)
        shapes = [actor, *[critic] * h.critics]

        def views(flat: Floats) -> list[Weights]:
            return [Weights(shape, flat[span]) for shape, span in zip(shapes, self._spans, strict=True)]

        self._actor, *self._critics = views(self._flat)
        self._target_actor, *self._target_critics = views(self._target)
        self._slope_actor, *self._slope_critics = views(self._gradient)
        rates = [h.actor_rate, *[h.critic_rate] * h.critics]
        self._adams = [
            Adam(self._flat[span], self._gradient[span], rate) for span, rate in zip(self._spans, rates, strict=True)
        ]
        for network in (self._actor, *self._critics):
            network.shape.begin(network.flat, self._rng, h.final)
        self._target[:] = self._flat

    def _buffers(self) -> None:
        s, a, n = self.state_dim, self.action_dim, self.hyper.batch
        self._batch = np.empty((n, self._width), np.float32)
        columns = self._columns = np.empty((self._width, n), np.float32)
        self._states, self._actions, self._rewards = columns[:s], columns[s : s + a], columns[s + a : s + a + 1]
        self._after, self._done = columns[s + a + 1 : -1], columns[-1:]
        self._actor_pass = Pass(self._actor.shape, n)
        self._critic_pass = Pass(self._critics[0].shape, n)
        self._values = np.empty((1, n), np.float32)
        self._error = np.empty((1, n), np.float32)
        self._row = np.zeros(self._width, np.float32)
        self._one = Pass(self._actor.shape, 1)
        self._one_state, self._one_action = self._one.inputs[:, 0], self._one.output[:, 0]
        self._many = self._one

    # --- acting ----------------------------------------------------------------------------------------------------

    def act(self, state: npt.ArrayLike, explore: bool = True) -> Floats:
        """The action (action_dim,) in a state (state_dim,). Raises PolicyError where a number is not finite."""
        given = np.asarray(state)
        if given.shape != (self.state_dim,):
            raise ConfigError(f"ddpg: a state of shape {given.shape}; it must be ({self.state_dim},)")
        with np.errstate(all="ignore"):
            vector = self._one_state
            vector[:] = given
            if not vector.dot(vector) < LARGEST:  # most states are far below; also where it is not a number
                _sound(vector, "a state")
            self._one.forward(self._actor)
        action = self._one_action.copy()
        if explore:
            action += self.noise.next(self._rng, action.shape)
            np.maximum(action, -1.0, out=action)
            np.minimum(action, 1.0, out=action)
        if not action.dot(action) <= 1.001 * self.action_dim:
            raise PolicyError("ddpg: the model's action is not a number; load another checkpoint, or train anew")
        return action

    def act_all(self, states: npt.ArrayLike, explore: bool = True) -> Floats:
        """The actions (n, action_dim) in n states (n, state_dim), each row with noise of its own. Raises PolicyError."""
        given = np.asarray(states)
        if given.ndim != 2 or given.shape[1] != self.state_dim:
            raise ConfigError(f"ddpg: states of shape {given.shape}; they must be (n, {self.state_dim})")
        if len(given) != self._many.output.shape[1]:
            self._many = Pass(self._actor.shape, len(given))
        with np.errstate(all="ignore"):
            self._many.inputs[:] = given.T
            _sound(self._many.inputs, "a state")
            actions = self._many.forward(self._actor).T.copy()
        if explore:
            actions += self.noise.next(self._rng, actions.shape)
            np.clip(actions, -1.0, 1.0, out=actions)
        if not np.isfinite(actions).all():
            raise PolicyError("ddpg: the model's action is not a number; load another checkpoint, or train anew")
        return actions

    def begin(self) -> None:
        """A new episode: the noise begins from 0."""
        self.noise.begin()

    # --- remembering -----------------------------------------------------------------------------------------------

    def remember(
        self, state: npt.ArrayLike, action: npt.ArrayLike, reward: float, after: npt.ArrayLike, done: bool
    ) -> None:
        """A transition. done: it ended there for good, so that nothing follows; not: that somebody stopped counting.

        Raises PolicyError, with nothing remembered, where a number is not finite.
        """
        s, a, row = self.state_dim, self.action_dim, self._row
        with np.errstate(all="ignore"):
            row[:s], row[s : s + a], row[s + a], row[s + a + 1 : -1], row[-1] = state, action, reward, after, done
            if not row.dot(row) < LARGEST:
                _sound(row, "a transition")
        worth = float(row[s + a])
        self._lowest, self._highest = min(worth, self._lowest), max(worth, self._highest)
        self.replay.add_one(row)

    def remember_all(self, *rows: npt.ArrayLike) -> None:
        """Transitions, oldest first: rows (n, 2·state_dim + action_dim + 2), or the five columns of `remember` as arrays.

        Raises PolicyError, with nothing remembered, where a number is not finite.
        """
        with np.errstate(all="ignore"):
            if len(rows) == 5:
                parts = [np.asarray(part, np.float32) for part in rows]
                table = np.column_stack(parts)
            else:
                table = np.array(rows[0], np.float32)  # ours: what is too large is cut
        if table.ndim != 2 or table.shape[1] != self._width:
            raise ConfigError(f"ddpg: transitions of shape {table.shape}; they must be (n, {self._width})")
        if not len(table):
            return
        _sound(table, "a transition")
        worth = table[:, self.state_dim + self.action_dim]
        self._lowest, self._highest = min(float(worth.min()), self._lowest), max(float(worth.max()), self._highest)
        self.replay.add(table)

    # --- learning --------------------------------------------------------------------------------------------------

    def learn(self, updates: int = 1, *, actor: bool = True) -> dict[str, float]:
        """Updates, each from a batch of what it remembers; none before `warmup` transitions.

        actor: False, and only the critic learns, what the logged policy is worth. Returns the mean loss `critic` and the
        last `actor` (minus the value of its actions). Raises PolicyError when the networks have diverged.
        """
        if updates < 1 or self.replay.size < self.hyper.warmup:
            return {}
        total, value = 0.0, None
        with np.errstate(all="ignore"):
            for _ in range(updates):
                self.steps += 1
                self._sample()
                total += self._learn_critics()
                if self.steps % self.hyper.delay:
                    continue
                if actor:
                    value = self._learn_actor()
                drawn(self._target, self._flat, self.hyper.tau, self._work)
        if not math.isfinite(total) or not (value is None or math.isfinite(value)):
            raise PolicyError("ddpg: the networks diverged; load a checkpoint, and lower critic_rate and actor_rate")
        return {"critic": total / updates, **({} if value is None else {"actor": -value})}

    def _sample(self) -> None:
        self.replay.sample(self._rng, self._batch)
        np.copyto(self._columns, self._batch.T)

    def _learn_critics(self) -> float:
        """Towards the reward and what the targets say follows. Returns the mean squared error."""
        h, run, values, error = self.hyper, self._critic_pass, self._values, self._error
        self._actor_pass.inputs[:] = run.inputs[:] = self._after
        actions = self._actor_pass.forward(self._target_actor)
        if h.smoothing:
            noise = self._rng.standard_normal(actions.shape, np.float32)
            actions += np.clip(noise * h.smoothing, -CUT * h.smoothing, CUT * h.smoothing)
            np.clip(actions, -1.0, 1.0, out=actions)
        run.side[:] = actions
        values[:] = run.forward(self._target_critics[0])
        for critic in self._target_critics[1:]:
            np.minimum(values, run.forward(critic), out=values)
        np.subtract(1.0, self._done, out=error)
        np.multiply(values, error, out=values)
        np.multiply(values, h.gamma, out=values)
        np.add(values, self._rewards, out=values)
        np.maximum(values, self._lowest / (1.0 - h.gamma), out=values)
        np.minimum(values, self._highest / (1.0 - h.gamma), out=values)

        run.inputs[:], run.side[:] = self._states, self._actions
        squares = 0.0
        for critic, slope, adam in zip(self._critics, self._slope_critics, self._adams[1:], strict=True):
            np.subtract(run.forward(critic), values, out=error)
            squares += float(error[0].dot(error[0]))
            np.multiply(error, 2.0 / h.batch, out=run.slope)
            run.backward(critic, slope)
            adam.step()
        return squares / (h.batch * h.critics)

    def _learn_actor(self) -> float:
        """Up the critic's slope by the action. Returns the mean value before it. Runs after the critics."""
        run, mine = self._critic_pass, self._actor_pass
        mine.inputs[:] = self._states
        run.side[:] = mine.forward(self._actor)
        value = float(run.forward(self._critics[0]).sum()) / self.hyper.batch
        run.slope[:] = -1.0 / self.hyper.batch
        mine.slope[:] = run.aside(self._critics[0])
        mine.backward(self._actor, self._slope_actor)
        self._adams[0].step()
        return value

    def imitate(self, states: npt.ArrayLike, actions: npt.ArrayLike, steps: int) -> dict[str, float]:
        """Supervised: the actor towards logged actions (n, action_dim) in states (n, state_dim), by squared error.

        The target actor is set to it afterwards. Returns the mean loss `imitation` of the last tenth of the steps.
        Raises PolicyError where a number is not finite.
        """
        with np.errstate(all="ignore"):
            seen, wanted = np.array(states, np.float32), np.array(actions, np.float32)
        shapes = (len(seen), self.state_dim), (len(seen), self.action_dim)
        if (seen.shape, wanted.shape) != shapes:
            raise ConfigError(f"ddpg: states {seen.shape} and actions {wanted.shape} to imitate; must be {shapes}")
        if steps < 1 or not len(seen):
            return {}
        _sound(seen, "a state")
        _sound(wanted, "an action")
        np.clip(wanted, -STEEPEST, STEEPEST, out=wanted)
        run, losses = self._actor_pass, []
        adam = Adam(self._actor.flat, self._slope_actor.flat, self.hyper.actor_rate)  # its moments are of another loss
        for _ in range(steps):
            chosen = self._rng.integers(len(seen), size=self.hyper.batch)
            run.inputs[:] = seen[chosen].T
            np.subtract(run.forward(self._actor), wanted[chosen].T, out=run.slope)
            losses.append(float(np.vdot(run.slope, run.slope)) / run.slope.size)
            np.multiply(run.slope, 2.0 / run.slope.size, out=run.slope)
            run.backward(self._actor, self._slope_actor)
            adam.step()
        self._target_actor.flat[:] = self._actor.flat
        last = losses[-max(steps // 10, 1) :]
        return {"imitation": sum(last) / len(last)}

    # --- kept ------------------------------------------------------------------------------------------------------

    def weights(self) -> bytes:
        """Actor and critics as npz, at most 4 MiB."""
        about = np.frombuffer(msgspec.json.encode(self._layout()), np.uint8)
        first = self._spans[1].start
        return arrays.packed({"about": about, "actor": self._flat[:first], "critic": self._flat[first:]})

    def load_weights(self, weights: bytes) -> None:
        """What `weights` of a model of the same shape gave; optimisers and targets begin anew.

        Raises ConfigError, with nothing changed.
        """
        found = arrays.unpacked(weights, "ddpg's weights", MAX_WEIGHTS_BYTES, ("about", "actor", "critic"))
        layout = decoded(found["about"], Layout, "ddpg's weights")
        if layout != self._layout():
            raise ConfigError(f"ddpg's weights: of {layout}; this model is {self._layout()}")
        first = self._spans[1].start
        flat = {"actor": self._flat[:first], "critic": self._flat[first:]}
        for name, part in flat.items():
            check(found[name], part.shape, name, "ddpg's weights")
        for name, part in flat.items():
            part[:] = found[name]
        self._target[:] = self._flat
        for adam in self._adams:
            adam.begin()

    def save(self, path: str | Path, replay: bool = False) -> None:
        """The whole state, atomically; replay: with all that it remembers. Raises ConfigError."""
        means, squares = (np.concatenate([getattr(adam, name) for adam in self._adams]) for name in ("mean", "square"))
        state = State(
            FORMAT,
            self.state_dim,
            self.action_dim,
            self.hyper,
            self.steps,
            tuple(adam.steps for adam in self._adams),
            (self._lowest, self._highest),
            chance_of(self._rng),
            self.replay.next if replay else 0,
        )
        kept = {
            "state": np.frombuffer(msgspec.json.encode(state), np.uint8),
            "networks": self._flat,
            "targets": self._target,
            "means": means,
            "squares": squares,
            "noise": self.noise.value,
        }
        arrays.write(Path(path), {**kept, "replay": self.replay.kept()} if replay else kept)

    @classmethod
    def load(cls, path: str | Path) -> DDPG:
        """What `save` wrote: goes on bit for bit, on the same machine and with the replay. Raises ConfigError."""
        names = ("state", "networks", "targets", "means", "squares", "noise")
        found = arrays.read(Path(path), MAX_CHECKPOINT_BYTES, names, ("replay",))
        state = decoded(found["state"], State, str(path))
        if state.format != FORMAT:
            raise ConfigError(f"{path}: a checkpoint of format {state.format}; this version reads {FORMAT}: train anew")
        try:
            model = cls(state.state_dim, state.action_dim, **msgspec.to_builtins(state.hyper))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
        model._restore(state, found, str(path))
        return model

    def _restore(self, state: State, found: arrays.Arrays, what: str) -> None:
        vectors = {"networks": self._flat, "targets": self._target}
        for name in ("networks", "targets", "means", "squares"):
            check(found[name], self._flat.shape, name, what)
        noise, rows = found["noise"], found.get("replay", np.empty((0, self._width), np.float32))
        if noise.size:
            check(noise, (*noise.shape[:-1], self.action_dim), "noise", what)
        check(rows, (min(rows.size // self._width, self.replay.capacity), self._width), "replay", what)
        low, high = state.rewards
        sound = -LARGEST <= low <= 0 <= high <= LARGEST and bool((found["squares"] >= 0).all())
        sound &= len(state.adam_steps) == len(self._adams) and min(state.steps, *state.adam_steps) >= 0
        sound &= 0 <= state.replay_next <= len(rows) and bool((np.abs(rows) <= LARGEST).all())
        if not sound:
            raise ConfigError(f"{what}: damaged: numbers that cannot be; use an earlier checkpoint, or train anew")
        set_chance(self._rng, state.rng, what)
        for name, vector in vectors.items():
            vector[:] = found[name]
        for adam, span, steps in zip(self._adams, self._spans, state.adam_steps, strict=True):
            adam.mean[:], adam.square[:], adam.steps = found["means"][span], found["squares"][span], steps
        self.steps, (self._lowest, self._highest) = state.steps, state.rewards
        self.noise.value = noise.astype(np.float32)
        self.replay.restore(rows, state.replay_next % self.replay.capacity)

    def _layout(self) -> Layout:
        h = self.hyper
        return Layout(FORMAT, self.state_dim, self.action_dim, h.actor_layers, h.critic_layers, h.joins, h.critics)


def _sound(numbers: Floats, name: str) -> None:
    """Cuts to ± LARGEST in place. Raises PolicyError for what is no number, or infinite."""
    if not np.isfinite(numbers).all():
        raise PolicyError(f"ddpg: {name} with numbers that are not finite; leave it out, or say 0 where unknown")
    np.clip(numbers, -LARGEST, LARGEST, out=numbers)
