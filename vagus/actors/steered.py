"""What outsiders see of a controller, and what they wish of it: the far end of GET /v1/state and POST /v1/action."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vagus.config import ControllerSettings
from vagus.controllers import Controller, View
from vagus.controllers.joint import JointController
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import Acted, Action, ControlState, Receipt, Target
from vagus.policies import Wish
from vagus.policies.control_state import Owed, Past, encode_all
from vagus.policies.remote import Remote

MAX_WAITING = 1000
CORES = "cpu_cores"
Limits = dict[str, dict[str, float]]


class Stepped(NamedTuple):
    """A step that is over. taken: up to which word of the outsiders its policy knew."""

    state: ControlState
    receipts: Sequence[Receipt]
    taken: int


class Outside:
    """Keeps the state of the last step, and who waits for the next one.

    `saw` is called by the thread that steps, the rest by the event loop; bounds: what the guard lets pass, by resource.
    """

    def __init__(
        self,
        node: str,
        settings: ControllerSettings,
        controller: Controller,
        targets: Sequence[Target],
        bounds: Mapping[str, tuple[float, float]],
    ) -> None:
        resources = tuple(settings.limits) or (CORES,)
        policy = controller.policy if isinstance(controller, JointController) else None
        self._policy = policy if isinstance(policy, Remote) else None
        self._targets = tuple(targets)
        self._pasts = {target: Past(tuple(r for r in resources if r != "replicas")) for target in targets}
        self._owed = Owed()
        self._signals: Mapping[str, Mapping[str, float]] = {}
        self._vectors: dict[str, list[float]] = {}
        self._objective: Mapping[str, float] = {}
        self._t_ns = 0
        self._state = ControlState(
            node=node,
            controller=settings.name,
            policy=getattr(policy, "name", settings.policy),
            steerable=self._policy is not None,
            t_ns=0,
            period_s=float(controller.period_s),
            armed=False,
            rung="trust",
            targets={str(target): {} for target in targets},
            objective={},
            limits={},
            bounds={resource: bounds[resource] for resource in resources if resource in bounds},
            vectors={},
        )
        self._waiting: set[asyncio.Future[Stepped]] = set()

    # --- from the step ---------------------------------------------------------------------------------------------

    def saw(self, view: View) -> None:
        """What a step is taken from."""
        signals = {target: seen for target in self._targets if (seen := view.signals_of(target))}
        elapsed_s = max((seen.get("elapsed_s", math.nan) for seen in signals.values()), default=math.nan)
        self._owed.note(view.objective, elapsed_s if elapsed_s > 0 else self._state.period_s)
        for target, seen in signals.items():
            self._pasts[target].note(seen)
        rows = encode_all([self._pasts[target] for target in signals], self._owed) if signals else ()
        self._vectors = {str(target): row.tolist() for target, row in zip(signals, rows, strict=True)}
        self._signals = {str(target): seen for target, seen in signals.items()}
        self._objective, self._t_ns = view.objective, view.now_ns

    def stepped(self, receipts: Sequence[Receipt], armed: bool, rung: str) -> None:
        """A step is over: who waited for it is told."""
        limits = limits_of(self._signals)
        for receipt in receipts:
            if not (receipt.dry or receipt.error) and (found := limits.get(str(receipt.target))) is not None:
                found[receipt.resource] = math.nan if receipt.after is None else receipt.after
        self._state = ControlState(
            node=self._state.node,
            controller=self._state.controller,
            policy=self._state.policy,
            steerable=self._state.steerable,
            t_ns=self._t_ns,
            period_s=self._state.period_s,
            armed=armed,
            rung=rung,
            targets={name: dict(self._signals.get(name, {})) for name in map(str, self._targets)},
            objective=dict(self._objective),
            limits=limits,
            bounds=self._state.bounds,
            vectors=self._vectors,
        )
        told = Stepped(self._state, receipts, self._policy.taken if self._policy is not None else 0)
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(told)

    # --- for outsiders ---------------------------------------------------------------------------------------------

    async def state(self, after_ns: int = 0, wait_s: float = 0.0) -> ControlState:
        """The state of the last step. after_ns: waits for another one than that, for `wait_s` at most."""
        if wait_s > 0 and self._state.t_ns == after_ns:
            await self._next(wait_s)
        return self._state

    async def act(self, actions: Sequence[Action], wait_s: float = 0.0) -> Acted:
        """Takes wishes for the next step; with `wait_s` answers when that is over, or after so long.

        Raises ConfigError, with nothing taken: the policy is another than `remote`, a target, resource or value is wrong.
        """
        if self._policy is None:
            raise ConfigError(
                f"controller {self._state.controller}: its policy is {self._state.policy!r}, which takes no actions from "
                "outside; set policy: remote"
            )
        ticket = self._policy.tell([_wish(action) for action in actions])
        done = await self._taken(ticket, wait_s) if wait_s > 0 else None
        state = self._state if done is None else done.state
        wished = {(action.target, action.resource) for action in actions}
        targets = {str(action.target) for action in actions}
        return Acted(
            node=state.node,
            controller=state.controller,
            accepted=len(actions),
            done=done is not None,
            t_ns=state.t_ns if done is not None else 0,
            armed=state.armed,
            rung=state.rung,
            receipts=() if done is None else tuple(r for r in done.receipts if (r.target, r.resource) in wished),
            limits={target: found for target, found in state.limits.items() if target in targets},
        )

    async def _taken(self, ticket: int, wait_s: float) -> Stepped | None:
        """The step that knew of the `ticket`th word; None when it is not over in time."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + wait_s
        while (left_s := until_s - loop.time()) > 0:
            found = await self._next(left_s)
            if found is not None and found.taken >= ticket:
                return found
        return None

    async def _next(self, wait_s: float) -> Stepped | None:
        """The next step to be over; None when that takes longer. Raises PeerUnreachable when too many wait."""
        if len(self._waiting) >= MAX_WAITING:
            raise PeerUnreachable(f"{MAX_WAITING} requests wait for the next step of {self._state.controller} already")
        waiter: asyncio.Future[Stepped] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            return await asyncio.wait_for(waiter, wait_s)
        except asyncio.TimeoutError:
            return None
        finally:
            self._waiting.discard(waiter)


def limits_of(signals: Mapping[str, Mapping[str, float]]) -> Limits:
    """The limits that signals tell of, by target and resource; NaN: none."""
    found: Limits = {}
    for target, seen in signals.items():
        found[target] = {n.removeprefix("limit_"): v for n, v in seen.items() if n.startswith("limit_")}
        cores = found[target].pop("cores", math.nan)  # the signal's short name
        found[target].setdefault(CORES, cores)
    return found


def _wish(action: Action) -> Wish:
    value = math.nan if action.value is None else action.value
    return Wish(str(action.target), action.resource, value, action.reason or "from outside", action.confidence)
