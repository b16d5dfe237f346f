"""The running system as a world: a controller with the policy `remote`, over GET /v1/state and POST /v1/action."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vagus.environments import Seen
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import Action, Target
from vagus.policies import Field

if TYPE_CHECKING:
    from vagus.client.connection import Connection
    from vagus.model import ControlState

PATIENCE_S = 30.0  # beyond the periods of a step
PER_STEP = 2  # periods: in one the limits are set, in the next they are all that is in force


class LiveWorld:
    """A `World`. connection: of the program, which also closes it; controller, node: as of `Connection.state`.

    A step takes two of the controller's periods, so that what is seen is wholly the doing of the limits that were set.
    Nothing begins anew at `reset`, whatever the seed. Of requests only rate and tail are known: all of a step whose latency
    is over the objective count as violations. Raises ConfigError when the controller takes no actions, NoData,
    PeerUnreachable.
    """

    def __init__(self, connection: Connection, controller: str, node: str = "") -> None:
        self._connection, self._controller = connection, controller
        state = connection.state(controller, node)
        if not state.steerable:
            raise ConfigError(
                f"controller {controller}: its policy is {state.policy!r}, which takes no actions; set policy: remote"
            )
        self._node = state.node  # the same one from now on
        self._period_s = state.period_s
        self.period_s = PER_STEP * state.period_s
        self.field = Field(tuple(state.targets), dict(state.bounds))
        self._seen_ns = 0

    def reset(self, seed: int) -> Seen:
        """What is seen now; waits until the targets are."""
        self._connection.act(self._controller, (), self._node, wait=False)
        deadline_s = self._deadline_s()
        state = self._state(0)
        while not any(state.targets.values()):
            if time.monotonic() > deadline_s:
                raise PeerUnreachable(
                    f"controller {self._controller} cannot read any of its targets; see `vagus status`"
                )
            state = self._after(state.t_ns)
        self._seen_ns = 0
        return self._seen(state)

    def step(self, limits: Mapping[tuple[str, str], float]) -> Seen:
        """Wishes limits, waits until the guard has judged them, and a period more.

        Raises ConfigError for what is not steered, PeerUnreachable when the controller takes no step.
        """
        wishes = [Action(Target.parse(target), resource, value) for (target, resource), value in limits.items()]
        acted = self._connection.act(self._controller, wishes, self._node)
        taken_ns = acted.t_ns if acted.done else self._after(self._state(0).t_ns).t_ns
        return self._seen(self._after(taken_ns))

    def close(self) -> None:
        """What was wished stands until the policy's `silence` is over."""

    def _seen(self, state: ControlState) -> Seen:
        since_s = (state.t_ns - self._seen_ns) / 1e9 if self._seen_ns else state.period_s
        self._seen_ns = state.t_ns
        rate, latency = state.objective.get("rate_hz", math.nan), state.objective.get("latency_s", math.nan)
        requests = rate * since_s if rate > 0 and since_s > 0 else 0.0
        late = latency > state.objective.get("slo_s", math.nan)
        signals = {target: found for target, found in state.targets.items() if found}
        return Seen(signals, state.objective, state.t_ns / 1e9, requests if late else 0.0, requests)

    def _state(self, after_ns: int) -> ControlState:
        return self._connection.state(self._controller, self._node, after_ns=after_ns)

    def _after(self, t_ns: int) -> ControlState:
        """The state of a later step: another one, since a clock may be set back."""
        deadline_s = self._deadline_s()
        while (state := self._state(t_ns)).t_ns in (0, t_ns):
            if time.monotonic() > deadline_s:
                raise PeerUnreachable(f"controller {self._controller}@{self._node} takes no step; see `vagus status`")
        return state

    def _deadline_s(self) -> float:
        return time.monotonic() + PATIENCE_S + 3 * self._period_s
