"""Deploys an application: starts its services, each a process a replica, in control groups, and keeps them alive.

RUN (a folder) gets endpoints.json ({service: [url, …]}, which services read to find each other), logs/SERVICE-N.log,
watchdog/ (how to end everything should the deployer be killed), and what the services keep there themselves.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from vagus.actuators.process import ProcessTree
from vagus.cli.application.crew import Crew, Order
from vagus.cli.application.groups import Groups
from vagus.cli.application.reading import filled
from vagus.cli.application.replica import Held, Replica, free_port, last_words
from vagus.client.tunables import Tunable, tunable
from vagus.config import ApplicationSettings, ServiceSettings, seconds
from vagus.errors import ActuateError, ConfigError, VagusError, unwritable
from vagus.undo import Step, perform
from vagus.watchdog import Watchdog, recover

MOST_REPLICAS = 16
SETUP_S = 300.0
LEASE_S = 86_400.0
STOP_S = 20.0
_BEAT_S = 3600.0
_LOOK_S = 0.1
_CLOSE_LOOK_S = 0.02
_SCALE_S = 30.0  # beyond a start


class Dead(NamedTuple):
    """A replica that ended though nobody asked. status: of exit, negative the signal; None: it was not ready in time."""

    service: str
    replica: int
    status: int | None

    def __str__(self) -> str:
        if self.status is None:
            return f"{self.service}-{self.replica} was not ready in time"
        how = f"was killed by signal {-self.status}" if self.status < 0 else f"ended with status {self.status}"
        return f"{self.service}-{self.replica} {how}"


class Shown(NamedTuple):
    """A replica for people."""

    service: str
    replica: int
    url: str
    pid: int
    group: str
    start_s: float


class Deployment:
    """An application that runs between `start` and `stop`, or within `with`.

    folder: of app.yaml; run: a folder of its own, made if need be; environment: for the services, beside the settings';
    replica_cores: the quota of each replica, 0 none. say: told what is being done. root: where /proc and /sys are.
    confined: whether there are groups; unconfined: why there are none. problems: what could not be removed. Usable from
    several threads.
    """

    def __init__(
        self,
        settings: ApplicationSettings,
        folder: Path,
        run: Path,
        *,
        environment: Mapping[str, str] | None = None,
        replica_cores: float = 0.0,
        say: Callable[[str], None] = lambda text: None,
        root: Path = Path("/"),
    ) -> None:
        self.settings = settings
        self.folder = folder.absolute()
        self.run = run.absolute()
        self.problems: list[str] = []
        self.unconfined = ""
        self._services: dict[str, ServiceSettings] = {service.name: service for service in settings.services}
        self._environment = {**os.environ, **settings.environment, **(environment or {})}
        self._environment["PYTHONPATH"] = _path(self._environment.get("PYTHONPATH", ""))
        self.say = say
        self._root = root
        self._replica_cores = replica_cores
        self._crews = {s.name: Crew(0, seconds(s.ready)) for s in settings.services}
        self._members: dict[tuple[str, int], Replica] = {}
        self._used = dict.fromkeys(self._services, 0.0)  # by replicas that have ended
        self._groups: Groups | None = None
        self._watchdog: Watchdog | None = None
        self._tunables: list[Tunable] = []
        self._changed = threading.Condition(threading.RLock())
        self._keeper: threading.Thread | None = None
        self._broken: Exception | None = None  # what ended the keeper
        self._stopping = False
        self._unpublished = False  # endpoints.json is older than what serves
        self._life: tuple[int, int] | None = None

    # --- lifecycle -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Deployment:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def confined(self) -> bool:
        return self._groups is not None

    @property
    def failure(self) -> str:
        """Why nobody looks after the replicas any longer; empty while all is well."""
        return str(self._broken) if self._broken is not None else ""

    def start(self) -> None:
        """Runs `setup`, starts all services and returns when all are ready. Raises VagusError; then nothing is left."""
        if self._watchdog is not None:
            raise VagusError(f"the application {self.settings.name} is deployed already in {self.run}")
        try:
            self._prepare()
            self._setup()
            for service in self.settings.services:
                self._crews[service.name].wanted = service.replicas
            self._keeper = threading.Thread(target=self._keep, name="vagus-application", daemon=True)
            self._keeper.start()
            self.say(f"starting {len(self._services)} services")
            self._wait(list(self._services), max(crew.ready_s for crew in self._crews.values()) + _SCALE_S)
            self._register()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends all replicas and removes the groups; what could not be is in `problems`. Idempotent."""
        for one in self._tunables:
            one.end()
        self._tunables.clear()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._keeper is not None:
            self._keeper.join()
            self._keeper = None
        self._end_all()
        if self._life is not None:
            for fd in self._life:
                os.close(fd)
            self._life = None
        if self._watchdog is not None:
            try:
                self.problems += self._watchdog.release()
            except ActuateError as error:  # killed: the journal is there
                self.problems += recover(self.run / "watchdog", 5.0).failures or [str(error)]
            self._watchdog = None
        self._groups = None
        self._stopping = False

    def _prepare(self) -> None:
        """Folders, the watchdog, the groups."""
        try:
            (self.run / "logs").mkdir(parents=True, exist_ok=True)
            self._life = os.pipe()
        except OSError as error:
            raise VagusError(unwritable(f"the run folder {self.run}", error, "name another with --run")) from error
        left = recover(self.run / "watchdog", 0.3, "the next deployment")
        if left.busy:
            raise VagusError(f"{self.run} belongs to an application that runs: {'; '.join(left.notes)}")
        services = list(self._services)
        groups: Groups | None = None
        try:
            groups = Groups(self.settings.name, self._replica_cores, self._root)
            groups.adopt()
        except ActuateError as error:
            self.unconfined = str(error)
            if self._replica_cores:
                raise
        watchdog = Watchdog(self.run / "watchdog", LEASE_S)
        watchdog.start()
        self._watchdog = watchdog
        if groups is not None:
            watchdog.journal(groups.removed(services))
            for step in groups.made(services):
                perform(step)
            self._groups = groups
        self._publish()

    def _setup(self) -> None:
        log = self.run / "logs" / "setup.log"
        for command in self.settings.setup:
            argv = filled(command, self.folder, self.run)
            self.say(f"setup: {' '.join(argv)[:100]}")
            try:
                self._set_up(argv, log)
            except (OSError, subprocess.SubprocessError) as error:
                raise VagusError(f"setup of {self.settings.name} failed: {error}; its output is in {log}") from error

    def _set_up(self, argv: list[str], log: Path) -> None:
        assert self._watchdog is not None
        held = Held(argv, log, subprocess.DEVNULL, self.folder, self._environment)
        try:
            undo = [Step("kill", held.path)]
            self._watchdog.journal(undo)
            held.go()
            status = held.process.wait(SETUP_S)
        except BaseException:
            held.end(gently=False)
            held.process.wait()
            raise
        finally:
            held.drop()
        self._watchdog.forget(undo)
        if status:
            raise subprocess.CalledProcessError(status, argv)

    def _register(self) -> None:
        for service in self.settings.services:
            if service.scales:
                self._tunables.append(
                    tunable(
                        "replicas",
                        low=1,
                        high=MOST_REPLICAS,
                        whole=True,
                        get=lambda name=service.name: self._crews[name].wanted,  # type: ignore[misc]
                        set=lambda n, name=service.name: self._want(name, n),  # type: ignore[misc]
                        service=service.name,
                        instance=f"{os.getpid()}-{self.settings.name}"[:64],
                    )
                )

    # --- what there is ---------------------------------------------------------------------------------------------

    def urls(self, service: str) -> tuple[str, ...]:
        """Addresses of the replicas that serve. Raises ConfigError, as below, for a service that is none of these."""
        crew = self._crew(service)
        with self._changed:
            return tuple(self._members[service, number].url for number in crew.numbers("serving"))

    def group(self, service: str) -> str:
        """The name of its group, for `Target("cgroup", name)`."""
        self._crew(service)
        return f"vagus-app-{self.settings.name}/{service}"

    def replicas(self, service: str) -> int:
        """How many serve."""
        with self._changed:
            return len(self._crew(service).numbers("serving"))

    def scale(self, service: str, replicas: int) -> None:
        """Returns when so many serve and those that were to go have ended. Raises ConfigError, VagusError: a start
        failed; then as many are wanted as before."""
        crew = self._crew(service)
        before = crew.wanted
        self._want(service, replicas)
        try:
            self._wait([service], crew.ready_s + _SCALE_S)
        except VagusError:
            with self._changed:
                crew.wanted = before
            raise

    def usage(self) -> dict[str, float]:
        """CPU seconds that the replicas of each service used since each was ready; never less than before."""
        with self._changed:
            used = dict(self._used)
            for (service, _), member in self._members.items():
                used[service] += member.cpu_s()
            return used

    def limits(self) -> dict[str, float]:
        """The cores that each service may use; infinite without a limit. Raises ActuateError."""
        with self._changed:
            if self._groups is None:
                return dict.fromkeys(self._services, float("inf"))
            found = {name: self._groups.limit(name) for name in self._services}
            if self._replica_cores:
                for name, cores in found.items():
                    found[name] = min(cores, self._replica_cores * len(self._crews[name].numbers("serving")))
            return found

    def dead(self) -> tuple[Dead, ...]:
        """Replicas that ended so far though nobody asked; they are replaced."""
        with self._changed:
            return tuple(Dead(name, d.number, d.status) for name, crew in self._crews.items() for d in crew.deaths)

    def shown(self) -> list[Shown]:
        """The replicas that serve."""
        with self._changed:
            return [
                Shown(
                    name,
                    number,
                    self._members[name, number].url,
                    self._members[name, number].pid,
                    self.group(name) if self.confined else "",
                    self._members[name, number].start_took_s,
                )
                for name, crew in self._crews.items()
                for number in crew.numbers("serving")
            ]

    # --- the keeper's thread -----------------------------------------------------------------------------------------

    def _keep(self) -> None:
        """Does what the crews order until stopped."""
        beat_s = time.monotonic()
        try:
            while True:
                ready = self._ready()  # not under the lock: an answer may take its time
                with self._changed:
                    if self._stopping:
                        return
                    self._look(ready)
                    busy = not all(crew.settled for crew in self._crews.values())
                    self._changed.notify_all()
                    self._changed.wait(_CLOSE_LOOK_S if busy else _LOOK_S)
                if self._watchdog is not None and time.monotonic() - beat_s > _BEAT_S:
                    self._watchdog.beat()
                    beat_s = time.monotonic()
        except Exception as error:  # such as a group that cannot be entered: whoever waits is told
            with self._changed:
                self._broken = error
                self._changed.notify_all()

    def _ready(self) -> set[tuple[str, int]]:
        """The replicas that start, and answer."""
        starting = [(name, number) for name, crew in self._crews.items() for number in crew.numbers("starting")]
        return {key for key in starting if not self._stopping and self._members[key].ready()}

    def _look(self, ready: set[tuple[str, int]]) -> None:
        now_s = time.monotonic()
        changed = False
        for name, crew in self._crews.items():
            ended = {}
            for (service, number), member in self._members.items():
                if service == name and (status := member.ended()) is not None:
                    ended[number] = status
            for order in crew.step(now_s, ended, frozenset(n for s, n in ready if s == name and n not in ended)):
                self._perform(name, order)
                changed = changed or order.todo in ("admit", "withdraw", "bury")
        if changed or self._unpublished:
            try:
                self._publish()
                self._unpublished = False
            except VagusError as error:  # such as a disk that is full: those who serve go on, and it is tried again
                self._unpublished = True
                self._trouble(str(error))

    def _trouble(self, words: str) -> None:
        if words not in self.problems:
            self.problems.append(words)

    def _perform(self, service: str, order: Order) -> None:
        key = (service, order.number)
        if order.todo == "start":
            self._start(service, order.number)
        elif order.todo == "admit":
            self._admit(service, order.number)
        elif order.todo in ("end", "kill"):
            self._members[key].end(gently=order.todo == "end")
        elif order.todo == "bury":
            self._bury(service, order.number)

    def _start(self, service: str, number: int) -> None:
        settings = self._services[service]
        port = free_port({member.port for member in self._members.values()})
        assert self._life is not None
        assert self._watchdog is not None
        command = filled(settings.command, self.folder, self.run, port, number)
        log = self.run / "logs" / f"{service}-{number}.log"
        try:
            member = Replica(command, port, log, self._life[0], self.folder, self._environment)
        except OSError as error:  # such as a disk that is full: a start that came to nothing, tried again later
            self._crews[service].refused(number, time.monotonic())
            self._trouble(f"{service}, replica {number}, cannot be started: {error}")
            return
        self._members[service, number] = member
        try:
            self._watchdog.journal(self._undo(service, number, member))
        except ActuateError:  # killed: another one takes over what it was to end
            self._watchdog.start()
            self._watchdog.journal(self._undo(service, number, member))
        member.go()

    def _undo(self, service: str, number: int, member: Replica) -> list[Step]:
        steps = [Step("kill", member.path)] if member.path else []
        if self._groups is not None:
            steps.append(Step("rmdir", str(self._groups.folder(service, number))))
        return steps

    def _admit(self, service: str, number: int) -> None:
        """Into its group, with all that it started: from here on its limits hold."""
        member = self._members[service, number]
        if self._groups is not None:
            self._groups.admit(service, number)
            tree, entered = ProcessTree(Path("/"), member.pid), set[int]()
            while fresh := set(tree.pids()) - entered:  # some may fork while we move them
                for pid in fresh:
                    self._groups.enter(service, number, pid)
                entered |= fresh
        member.settled()

    def _bury(self, service: str, number: int) -> None:
        member = self._members.pop((service, number))
        self._used[service] += member.cpu_s()
        if self._groups is not None:
            try:
                self._groups.remove(service, number)
            except ActuateError as error:
                self.problems.append(str(error))
        if self._watchdog is not None:
            with contextlib.suppress(ActuateError):  # killed: what is gone is undone once more by the next
                self._watchdog.forget(self._undo(service, number, member))

    def _publish(self) -> None:
        """The list of addresses, whole or not at all."""
        found = {name: [self._members[name, n].url for n in c.numbers("serving")] for name, c in self._crews.items()}
        fresh = self.run / "endpoints.json.new"
        try:
            fresh.write_text(json.dumps(found, indent=1))
            fresh.replace(self.run / "endpoints.json")
        except OSError as error:
            raise VagusError(f"cannot write {fresh}: {error.strerror}") from error

    def _end_all(self) -> None:
        for gently, wait_s in ((True, STOP_S / 2), (False, STOP_S / 2)):
            for member in self._members.values():
                member.end(gently)
            until_s = time.monotonic() + wait_s
            while any(member.ended() is None for member in self._members.values()) and time.monotonic() < until_s:
                time.sleep(_CLOSE_LOOK_S)
        with self._changed:
            for (service, _), member in self._members.items():
                self._used[service] += member.cpu_s()
            self._members.clear()
            for name, crew in self._crews.items():
                self._crews[name] = Crew(0, crew.ready_s)
                self._crews[name].deaths = crew.deaths

    # --- who waits ---------------------------------------------------------------------------------------------------

    def _crew(self, service: str) -> Crew:
        crew = self._crews.get(service)
        if crew is None:
            raise ConfigError(f"{self.settings.name} has no service {service!r}; it has {', '.join(self._services)}")
        return crew

    def _want(self, service: str, replicas: int) -> None:
        """So many from now on; returns at once. Raises ConfigError."""
        crew = self._crew(service)
        most = MOST_REPLICAS if self._services[service].scales else 1
        if not 1 <= replicas <= most:
            why = "" if most > 1 else ": it does not scale (scales: false)"
            raise ConfigError(f"{service} has 1 to {most} replicas, not {replicas}{why}")
        with self._changed:
            if self._keeper is None:
                raise ConfigError(f"the application {self.settings.name} does not run")
            crew.wanted = replicas
            self._changed.notify_all()

    def _wait(self, services: list[str], timeout_s: float) -> None:
        """Until these have as many replicas as wanted. Raises VagusError: a start failed."""
        with self._changed:
            failed = {name: self._failed(name) for name in services}
            until_s = time.monotonic() + timeout_s
            while not all(self._crews[name].settled for name in services):
                if self._broken is not None:
                    raise VagusError(f"the application {self.settings.name} failed: {self._broken}") from self._broken
                for name in services:
                    if self._failed(name) > failed[name]:
                        raise VagusError(self._why(name))
                if time.monotonic() > until_s:
                    raise VagusError(f"{', '.join(services)}: not as many replicas as wanted in {timeout_s:.0f} s")
                self._changed.wait(0.5)

    def _failed(self, service: str) -> int:
        """How many starts came to nothing."""
        return sum(not death.served for death in self._crews[service].deaths)

    def _why(self, service: str) -> str:
        death = self._crews[service].deaths[-1]
        log = self.run / "logs" / f"{service}-{death.number}.log"
        ready_s = self._crews[service].ready_s
        what = f"was not ready within {ready_s:g} s" if death.status is None else f"ended with status {death.status}"
        words = "; ".join(filter(None, (last_words(log), *self.problems[-1:])))
        return f"service {service}, replica {death.number}, {what}; its log is {log}{': ' + words if words else ''}"


def _path(before: str) -> str:
    """PYTHONPATH with this package in it, so that services can import vagus."""
    return os.pathsep.join(part for part in (str(Path(__file__).parents[3]), before) if part)
