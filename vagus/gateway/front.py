"""The lean front of the gateway: answers decisions and outcomes from the bytes of a connection, and nothing else.

A request costs a look-up of its head, one decode, the table's draw, one encode, and no task; what was pipelined is
answered in one write. Only what succeeds is answered here. Whatever is refused or not understood goes, bytes and all,
to who else serves the port (`Connection.theirs`): aiohttp's route is the definition, errors included.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from vagus.clock import Clock
from vagus.controllers.decide.arms import check_arms
from vagus.controllers.decide.features import check_features
from vagus.controllers.decide.table import DecisionTable
from vagus.errors import VagusError
from vagus.gateway.front_bodies import (
    MAX_MANY,
    UNSET,
    Made,
    NotHere,
    One,
    arms_of,
    asked_of,
    encode,
    packed_of,
    rewards_of,
)
from vagus.gateway.front_head import Heads
from vagus.gateway.plain_answer import head_of
from vagus.gateway.problem import Problem, unknown_decision
from vagus.model import Ack, Decision, Reward, Scalar

MAX_REMEMBERED = 512
MAX_REMEMBERED_BYTES = 4096
SWEEP_S = 1.0
IDLE_S = 75
"""A connection on which nothing was asked for so long is closed."""
ARRIVAL_S = 10
"""For a head, and then for its body."""


class Node(Protocol):
    """What the front needs of the node: a part of gateway.backend.Backend."""

    table: DecisionTable

    def decided(self, decision: Decision) -> None: ...

    async def reward(self, rewards: Sequence[Reward]) -> list[Ack]: ...


_NOTHING: dict[str, Scalar] = {}
ACCEPTED = encode({"results": [Ack.ACCEPTED.value]})
_DECIDED = ("POST", "/v1/decide", 200)
Answer = Callable[[bytes], None]


class Front:
    """What all connections of a server share.

    requests: counts answers by method, path and status; context: live numbers for decisions, None: not yet known (then
    the request is not answered here); problem: turns what updates met into a refusal, path first, and counts defects.
    """

    def __init__(
        self,
        node: Node,
        clock: Clock,
        heads: Heads,
        requests: Counter[tuple[str, str, int]],
        problem: Callable[[str, Exception], Problem],
        context: Callable[[], Mapping[str, Scalar] | None] | None = None,
    ) -> None:
        self.node = node
        self.clock = clock
        self.heads = heads
        self.known = heads.known
        self.requests = requests
        self.drawn = 0  # decisions answered since the last `fold`
        self.tick = 0  # sweeps so far, about a second each
        self.stopping = False
        self.connections: set[Any] = set()
        self.problem = problem
        self._context = context
        self._good: dict[int, bytes] = {}
        self._arms: dict[bytes, tuple[str, ...]] = {}  # as they came: clients send the same ones again and again
        self._names: set[tuple[str, ...]] = set()  # of features, checked
        self._rewards: list[tuple[list[Reward], bool, Answer]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.decide = self._decide if context is not None else self._plainly()
        self._sweeper: asyncio.TimerHandle | None = None
        self._gone: asyncio.Event | None = None

    # --- decisions ---------------------------------------------------------------------------------------------------

    def _plainly(self) -> Callable[[bytes, bool], bytes]:
        """`_decide` for what nearly all ask for: one decision, in JSON, without live numbers. All names are local."""
        known_arms, known_names, heads = self._arms, self._names, self._good
        node, now_ns, read, write, made_of = self.node, self.clock.time_ns, asked_of, encode, Made

        def decide(body: bytes, packed: bool) -> bytes:
            if packed:
                return self._decide(body, True)
            try:
                asked = read(body)
                features, raw = asked.features, asked.arms
                if features is UNSET or raw is UNSET or asked.requests is not UNSET:
                    return self._decide(body, False)
                text = bytes(raw)
                arms = known_arms.get(text)
                if arms is None or tuple(features) not in known_names:
                    arms = self._learn(text, features)
                made = node.table.decide(features, arms, now_ns(), features)
            except (ValueError, RecursionError, VagusError) as error:  # msgspec's are ValueErrors
                raise NotHere from error
            node.decided(made)
            answer = write(made_of(made.arm, made.decision_id, made.propensity, made.group, made.version, _NOTHING))
            length = len(answer)
            return (heads.get(length) or self.head(length)) + answer

        return decide

    def _learn(self, text: bytes, features: Mapping[str, Scalar]) -> tuple[str, ...]:
        """Arms that come for the first time, and names of features; raises as whoever checks them does."""
        arms = self.node.table.shared(tuple(check_arms(arms_of(text))))
        check_features(features)
        if len(self._arms) >= MAX_REMEMBERED or len(self._names) >= MAX_REMEMBERED:
            self._arms.clear()
            self._names.clear()
        if len(text) <= MAX_REMEMBERED_BYTES:
            self._arms[text] = arms
            self._names.add(tuple(features))
        return arms

    def _decide(self, body: bytes, packed: bool) -> bytes:
        """The answer. Raises NotHere."""
        context = self._context() if self._context is not None else _NOTHING
        if context is None:
            raise NotHere
        try:
            asked = packed_of(body) if packed else asked_of(body)
            many, arms, features = asked.requests, asked.arms, asked.features
            if many is UNSET:
                if arms is UNSET:
                    raise NotHere
                one = One(
                    arms if isinstance(arms, list) else arms_of(bytes(arms)), {} if features is UNSET else features
                )
                ((made, answer),) = self._draw([one], context)
                self.node.decided(made)
                return self.good(encode(answer))
            if arms is not UNSET or features is not UNSET or not 1 <= len(many) <= MAX_MANY:
                raise NotHere
            drawn = self._draw(many, context)
        except (ValueError, RecursionError, VagusError) as error:
            raise NotHere from error
        for made, _ in drawn:  # all, or none
            self.node.decided(made)
        return self.good(encode({"decisions": [answer for _, answer in drawn]}))

    def _draw(self, many: Sequence[One], context: Mapping[str, Scalar]) -> list[tuple[Decision, Made]]:
        table, now_ns = self.node.table, self.clock.time_ns()
        drawn = []
        for one in many:
            features = one.features
            made = table.decide({**context, **features}, one.arms, now_ns)
            added = {name: value for name, value in context.items() if name not in features}
            drawn.append((made, Made(made.arm, made.decision_id, made.propensity, made.group, made.version, added)))
        return drawn

    # --- outcomes ----------------------------------------------------------------------------------------------------

    def update(self, body: bytes, packed: bool, answer: Answer) -> None:
        """Sends outcomes on, with those of other connections; `answer` is called with the answer. Raises NotHere."""
        rewards, single = rewards_of(body, packed, self.clock.time_ns())
        if not self._rewards:
            asyncio.get_running_loop().call_soon(self._send)
        self._rewards.append((rewards, single, answer))

    def _send(self) -> None:
        waiting, self._rewards = self._rewards, []
        task = asyncio.get_running_loop().create_task(self._reward(waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reward(self, waiting: list[tuple[list[Reward], bool, Answer]]) -> None:
        try:
            acks = await self.node.reward([reward for rewards, _, _ in waiting for reward in rewards])
        except Exception as error:
            problem = self.problem("/v1/update", error)
            for _, _, answer in waiting:
                answer(self.refusal(problem, "/v1/update"))
            return
        at = 0
        for rewards, single, answer in waiting:
            own = acks[at : at + len(rewards)]
            at += len(rewards)
            if single and own[0] is Ack.FAILED:
                answer(self.refusal(unknown_decision(rewards[0].decision_id), "/v1/update"))
                continue
            self.requests["POST", "/v1/update", 200] += 1
            answer(self.good(ACCEPTED if own == [Ack.ACCEPTED] else encode({"results": [a.value for a in own]})))

    # --- answers -----------------------------------------------------------------------------------------------------

    def good(self, body: bytes) -> bytes:
        """An answer of 200."""
        return self.head(len(body)) + body

    def head(self, length: int) -> bytes:
        """Of an answer of 200."""
        head = self._good.get(length)
        if head is None:
            head = self._good[length] = head_of(200, length)
        return head

    def refusal(self, problem: Problem, path: str) -> bytes:
        """An error as an answer; counted."""
        self.requests["POST" if path != "other" else path, path, problem.status] += 1
        body = problem.body
        return head_of(problem.status, len(body)) + body

    def fold(self) -> None:
        """Adds the decisions answered since the last time to `requests`."""
        if self.drawn:
            self.requests[_DECIDED] += self.drawn
            self.drawn = 0

    # --- life --------------------------------------------------------------------------------------------------------

    def joined(self, connection: Any) -> None:
        """A connection was made."""
        self.connections.add(connection)
        if self._sweeper is None:
            self._good.clear()
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def left(self, connection: Any) -> None:
        """A connection is over, or somebody else's."""
        self.connections.discard(connection)
        if self._gone is not None and not self.connections:
            self._gone.set()

    def _sweep(self) -> None:
        self.tick += 1
        self._good.clear()  # the date has changed
        for connection in list(self.connections):
            connection.aged()
        going_on = self.connections and not self.stopping
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep) if going_on else None

    def stop(self) -> None:
        """Answers what was begun, takes nothing new."""
        self.stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self.connections):
            connection.stop()

    async def stopped(self, timeout_s: float) -> None:
        """Waits until what was begun is answered; ends what takes longer."""
        if self.connections:
            self._gone = asyncio.Event()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._gone.wait(), timeout_s)
        for connection in list(self.connections):
            connection.abort()
        for task in self._tasks:
            task.cancel()
