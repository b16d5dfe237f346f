"""Requests on their way: each visits services as its type's tree of calls says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vagus.environments.applications import Call, SimulatedApplication
from vagus.environments.machine import Machine
from vagus.environments.processes import Process
from vagus.environments.services import Service


class Request:
    """number: in the order of arrival; factors: of the work of each call of its tree. dead: nobody waits any longer."""

    __slots__ = ("dead", "due_s", "factors", "latency_s", "number", "type")

    def __init__(self, number: int, type_: int, due_s: float, factors: Sequence[float]) -> None:
        self.number = number
        self.type = type_
        self.due_s = due_s
        self.factors = factors
        self.latency_s = -1.0  # not known yet
        self.dead = False


class Place:
    """A call in a type's tree. works_s: what its pieces of work cost on average."""

    __slots__ = ("answered", "failed", "hop_s", "index", "later", "machine", "service", "stages", "works_s")

    def __init__(self, service: Service, index: int, works_s: Sequence[float], machine: Machine, hop_s: float) -> None:
        self.service = service
        self.index = index
        self.works_s = tuple(works_s)
        self.machine = machine
        self.hop_s = hop_s
        self.stages: tuple[tuple[Place, ...], ...] = ()
        self.later: tuple[Place, ...] = ()
        self.answered: Callable[[Request], None] | None = None  # of the root, as is the next
        self.failed: Callable[[Request], None] | None = None

    def call(self, request: Request, parent: Visit | None) -> None:
        """Calls it: there and back, the way takes hop_s."""
        machine = self.machine
        machine.at(machine.now_s + self.hop_s, _arrive, Visit(self, request, parent))


class Visit:
    """A call under way."""

    __slots__ = ("_parent", "_place", "_process", "_request", "_slower", "_stage", "_waiting")

    def __init__(self, place: Place, request: Request, parent: Visit | None) -> None:
        self._place = place
        self._request = request
        self._parent = parent
        self._stage = 0
        self._waiting = 0
        self._slower = 1.0
        self._process: Process

    @property
    def dead(self) -> bool:
        return self._request.dead

    def arrive(self) -> None:
        """At a replica."""
        place = self._place
        service = place.service
        process = service.choose()
        if process is None:  # refused
            self._refused()
            return
        process.pending += 1
        self._process = process
        if service.further is None:
            self._work()
            return
        self._slower, wait_s = service.further.taken(sum(place.works_s) * self._request.factors[place.index])
        if wait_s > 0:
            place.machine.at(place.machine.now_s + wait_s, _work, self)
        else:
            self._work()

    def _work(self) -> None:
        place, request = self._place, self._request
        work_s = 0.0 if request.dead else place.works_s[self._stage] * request.factors[place.index] * self._slower
        self._process.add(self, work_s)

    def done(self) -> None:
        """A piece of work has been done: the next stage, or the answer."""
        place, stage = self._place, self._stage
        if stage < len(place.stages) and not self._request.dead:
            self._stage = stage + 1
            calls = place.stages[stage]
            self._waiting = len(calls)
            for call in calls:
                call.call(self._request, self)
            return
        self._process.pending -= 1
        if not self._request.dead:
            for call in place.later:
                call.call(self._request, None)
        self._leave()

    def _refused(self) -> None:
        """The request fails, unless this is done in the background."""
        top = self
        while top._parent is not None:
            top = top._parent
        if top._place.failed is not None and not self._request.dead:
            top._place.failed(self._request)
        self._leave()

    def _leave(self) -> None:
        parent = self._parent
        if parent is not None:
            parent._waiting -= 1
            if not parent._waiting:
                parent._work()
        elif self._place.answered is not None:
            self._place.answered(self._request)


def _arrive(visit: Visit) -> None:
    visit.arrive()


def _work(visit: Visit) -> None:
    visit._work()


def trees(application: SimulatedApplication, services: Mapping[str, Service], machine: Machine) -> list[Place]:
    """The root of each type of request; what a service costs for a type is spread over its calls."""
    roots = []
    for request in application.requests:
        weights: dict[str, float] = {}
        for call in request.call.all():
            weights[call.service] = weights.get(call.service, 0.0) + call.weight
        count = 0

        def made(call: Call, name: str, of: Mapping[str, float]) -> Place:
            nonlocal count
            whole_s = max(application.demands_ms.get(call.service, {}).get(name, 0.0), 0.0) / 1e3
            shares = call.shares or (1.0,) * (len(call.stages) + 1)
            mine_s = whole_s * call.weight / of[call.service] / sum(shares)
            works_s = [mine_s * share for share in shares]
            place = Place(services[call.service], count, works_s, machine, application.hop_s)
            count += 1
            place.stages = tuple(tuple(made(one, name, of) for one in stage) for stage in call.stages)
            place.later = tuple(made(one, name, of) for one in call.later)
            return place

        roots.append(made(request.call, request.name, weights))
    return roots
