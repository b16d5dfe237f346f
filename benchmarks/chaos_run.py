"""One run of `benchmarks.chaos`: a cluster made, used, broken after a plan, looked at, and ended."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import psutil

from benchmarks import chaos_found as found
from benchmarks.chaos_clients import FEED, Bodies, Gates, Items, Limits, Watcher, Writer
from benchmarks.chaos_judge import Changes, Death, Poll, first_dead
from benchmarks.chaos_ledger import Ledger, Outcome
from benchmarks.chaos_schedule import ACTOR, HEAD, NODE, Kill, length, plan
from benchmarks.limited_group import Group, limited_group
from vagus.cli.demo.unbroken import unbroken, unwind_on_end
from vagus.clock import NS
from vagus.config import (
    Config,
    ControllerSettings,
    FeedSettings,
    GatewaySettings,
    GuardSettings,
    LimitSettings,
    SourceSettings,
)
from vagus.errors import ActuateError, VagusError
from vagus.runtime.trial import Trial

LOCATIONS = 16
LEASE_S = 5.0
LIMITED = 4  # so many nodes, the head among them, have a controller that limits
ROLES = ("collector", "observer", "decide", "feed")
QUIET_S = 60.0  # waited for all to be well before a node is killed, and at the end
HELD_S = 40.0  # waited for a limit to be in force before its controller is killed: it watches after a crash
ACTOR_BACK_S, NODE_BACK_S, VERDICT_WAIT_S = 40.0, 90.0, 30.0
NOTICED_S = 100.0
POLL_S, LOOK_S = 0.1, 0.5
BEFORE_NS = 600 * NS  # the feed fetched before second 0, and its items were seen after it
LAST_S = 5.0  # after the last write: what is told each second was told

Say = Callable[[str], None]


class Asked(NamedTuple):
    """What the command line says. gcs: where Ray's head keeps its tables."""

    nodes: int
    minutes: float
    seed: int
    gcs: str


class Shown(msgspec.Struct):
    """What came of it: all that the table and the picture are made of. begin_ns: wall time of second 0."""

    nodes: list[str]
    seed: int
    gcs: str
    begin_ns: int
    plan: list[Kill] = []
    deaths: list[Death] = []
    limits: list[Changes] = []
    stored: dict[str, Outcome] = {}
    asked: dict[str, Outcome] = {}
    acknowledged: list[tuple[float, int]] = []  # when how many were, of all writers
    events: list[tuple[float, str]] = []
    problems: list[str] = []


def seats(nodes: Sequence[str], limited: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The roles of the actors that are killed, at each node; the first is the head."""
    own = {node: ROLES + (("controller",) if node in limited else ()) for node in nodes}
    own[nodes[0]] += ("traces", "supervisor")
    return own


def config(groups: dict[str, Group], locations: Sequence[str]) -> Config:
    """Of the cluster: a feed of which each node fetches a share, and a controller for each group, armed."""
    hold = f"{Path(__file__).with_name('chaos_hold.py')}:Hold"
    limits = {"cpu_cores": LimitSettings(min=0.1, max=2.0, step_ratio=10.0, cooldown=0)}
    controllers = tuple(
        ControllerSettings(
            name=f"hold-{node}",
            on=node,
            policy=hold,
            target=group.target,
            options={"target": group.target},
            armed=True,
            limits=limits,
            lease=LEASE_S,
            guard=GuardSettings(swings=0),  # it swings on purpose
        )
        for node, group in groups.items()
    )
    source = SourceSettings(all=tuple(locations))
    feed = FeedSettings(name=FEED, source=source, every="1s", timeout="2s", format="json")
    return Config(gateway=GatewaySettings(port=0), controllers=controllers, feeds=(feed,), feeds_on="every-node")


def perform(asked: Asked, say: Say) -> Shown:
    """Raises VagusError when the cluster does not start; whatever happens, nothing is left behind."""
    nodes = [f"n{number}" for number in range(1, asked.nodes + 1)]
    shown = Shown(nodes, asked.seed, asked.gcs, time.time_ns())
    unwind_on_end()
    with ExitStack() as stack:
        try:
            _Run(asked, nodes, shown, say, stack).go()
        finally:
            with unbroken():
                stack.close()
    return shown


class _Run:
    def __init__(self, asked: Asked, nodes: list[str], shown: Shown, say: Say, stack: ExitStack) -> None:
        self.asked, self.nodes, self.shown, self.stack = asked, nodes, shown, stack
        self._say = say
        self.zero_s = time.monotonic()
        self.ledger = Ledger()
        self.ending = threading.Event()
        self.following: list[threading.Thread] = []
        self.names: dict[str, set[str]] = {}  # of the actors at each node
        self.watchers: list[Watcher] = []

    def now(self) -> float:
        return time.monotonic() - self.zero_s

    def say(self, text: str) -> None:
        self.shown.events.append((self.now(), text))
        self._say(f"[{self.now():5.1f} s] {text}")

    def go(self) -> None:
        bodies = self.stack.enter_context(Bodies(LOCATIONS))
        groups = self._groups()
        self.trial = Trial(self.nodes, config(groups, bodies.locations), self.say, lasting=self.asked.gcs == "rocksdb")
        self.stack.callback(self._stop_trial)
        self.say(f"making a cluster of {len(self.nodes)} nodes on this machine")
        self.trial.start()
        unwind_on_end()  # Ray took SIGTERM for itself
        self.gates = Gates(self.trial)
        self.stack.callback(self.gates.close)
        self._await_quiet(QUIET_S, "all actors run")
        self.names = {node: {a["name"] for a in self._actors(node)} for node in self.nodes}
        self._begin(groups)
        self.stack.callback(self._end_threads)
        self._break(list(groups))
        self._await_quiet(QUIET_S, "the end")
        self._look()

    # --- before ------------------------------------------------------------------------------------------------------

    def _groups(self) -> dict[str, Group]:
        step = max(1, len(self.nodes) // LIMITED)
        try:
            return {
                node: self.stack.enter_context(limited_group(f"chaos-{node}")) for node in self.nodes[::step][:LIMITED]
            }
        except ActuateError as error:
            self.say(f"no limits: {error}")
            return {}

    def _begin(self, groups: dict[str, Group]) -> None:
        self.zero_s, self.shown.begin_ns = time.monotonic(), time.time_ns()
        self.limits = Limits(groups, self.now)
        self.writers = [Writer(node, self.gates, self.ledger) for node in self.nodes]
        self.watchers = [*self.writers, Items(self.nodes, self.gates, self.ledger), self.limits]
        for watcher in self.watchers:
            watcher.start()

    # --- the plan ----------------------------------------------------------------------------------------------------

    def _break(self, limited: Sequence[str]) -> None:
        own = seats(self.nodes, limited)
        self.shown.plan = plan(Random(self.asked.seed), own, self.nodes[0], 60.0 * self.asked.minutes)
        self.say(f"{len(self.shown.plan)} kills in {length(self.shown.plan):.0f} s, of seed {self.asked.seed}")
        for kill in self.shown.plan:
            time.sleep(max(0.0, kill.at_s - self.now()))
            self._await_followers(kill)
            if kill.node in self.limits.changes and (kill.role == "controller" or kill.kind != ACTOR):
                self._await(partial(self.limits.in_force, kill.node), HELD_S)
            self._kill(kill)
        self._await_followers(None)

    def _await_followers(self, kill: Kill | None) -> None:
        """Until what was killed before can be told no more from what comes; a node may be away while actors are killed."""
        for thread in list(self.following):
            if kill is None or kill.kind != ACTOR or not thread.name.startswith(NODE):
                thread.join()
                self.following.remove(thread)
        if kill is not None and kill.kind != ACTOR:
            self._await_quiet(QUIET_S, f"{kill.node} may be killed")

    def _kill(self, kill: Kill) -> None:
        death = Death(kill, self.now())
        self.shown.deaths.append(death)
        try:
            if kill.kind == ACTOR:
                victims = _titled(self.trial, kill.node, kill.role)
                if not victims:
                    raise VagusError(f"there is no {kill.role} at {kill.node} to kill")
                death.pids = [process.pid for process in victims]
                death.killed_s = self.now()
                for pid in death.pids:
                    self.trial.kill(pid)
            else:
                death.pids = [process.pid for process in self.trial.processes(kill.node)]
                death.killed_s = self.now()
                self.trial.kill_node(kill.node)
        except VagusError as error:
            death.problem = str(error)
            self.say(f"not killed: {error}")
            return
        self.say(f"killed {kill.role or kill.kind} at {kill.node}, {len(death.pids)} processes")
        follow = self._follow_actor if kill.kind == ACTOR else self._follow_node
        thread = threading.Thread(target=self._followed, args=(follow, death), name=f"{kill.kind} {kill.node}")
        self.following.append(thread)
        thread.start()

    # --- what comes of a kill ----------------------------------------------------------------------------------------

    def _followed(self, follow: Callable[[Death], None], death: Death) -> None:
        try:
            follow(death)
        except Exception as error:
            death.problem = f"{death.kill.kind} {death.kill.node}: {type(error).__name__}: {error}"
            self.say(death.problem)

    def _follow_actor(self, death: Death) -> None:
        kill, old = death.kill, set(death.pids)

        def back() -> bool:
            if kill.role == "supervisor":  # no gateway tells of it
                return bool({process.pid for process in _titled(self.trial, kill.node, kill.role)} - old)
            actors = [a for a in self._actors(kill.node) if a["role"] == kill.role]
            return bool(actors) and all(_runs_anew(actor, old) for actor in actors)

        if self._await(back, ACTOR_BACK_S):
            death.back_s = self.now()
            self.say(f"{kill.role} at {kill.node} is back after {death.back_s - death.killed_s:.1f} s")
        else:
            self.say(f"{kill.role} at {kill.node} is not back")

    def _follow_node(self, death: Death) -> None:
        node, head = death.kill.node, self.nodes[0]
        self._await_verdicts(death)
        if death.kill.kind == HEAD:
            self._await(lambda: False, death.kill.away_s - (self.now() - death.killed_s))
        elif self._await(lambda: node not in self._nodes_of(head), NOTICED_S - (self.now() - death.killed_s)):
            death.noticed_s = self.now()
        if self.ending.is_set():
            return
        death.begun_s = self.now()
        self.say(f"starting {node} again")
        self.trial.restart(node)
        death.joined_s = self.now()
        if death.kill.kind == HEAD:
            self.stack.callback(_end, _up(self.trial))
        back = dict[str, float]()
        if self._await(lambda: self._is_back(node, set(death.pids), back), NODE_BACK_S):
            death.back_s = self.now()
            took = ", ".join(f"{name.split('@')[0]} {at_s - death.joined_s:.1f}" for name, at_s in back.items())
            self.say(f"all of {node} is back {death.back_s - death.joined_s:.1f} s after it joined: {took}")
        else:
            self.say(f"{node} is not all back, but for {sorted(back)}")
        for other in self.nodes[1:] if death.kill.kind == HEAD else ():
            self._after_the_head(other)

    def _await_verdicts(self, death: Death) -> None:
        others, polls = [node for node in self.nodes if node != death.kill.node], list[Poll]()

        def all_say() -> bool:
            for gateway in others:
                if gateway not in death.dead_s:
                    status = self._verdict(gateway, death.kill.node)
                    polls.append(Poll(self.now(), gateway, status))
            death.dead_s = first_dead(polls, death.killed_s)
            return len(death.dead_s) == len(others)

        self._await(all_say, VERDICT_WAIT_S)
        told = f"{min(death.dead_s.values()) - death.killed_s:.1f} s" if death.dead_s else "never"
        self.say(f"verdict DEAD on {death.kill.node}: {told}, {len(death.dead_s)} of {len(others)} gateways")

    def _after_the_head(self, node: str) -> None:
        """A node whose Ray does not outlive the head's is started again, as the head would."""
        ends = self.asked.gcs == "memory"  # without its tables the new head does not know it
        if self._await(lambda: not self.trial.running(node), NODE_BACK_S if ends else 0.5):
            self.say(f"{node} ended with the head: starting it again")
            if not ends:
                self.shown.problems.append(f"{node} ended with the head, which had kept its tables")
            self.trial.restart(node)

    def _is_back(self, node: str, old: set[int], back: dict[str, float]) -> bool:
        """Whether all of its actors run anew; `back` is told when each was first seen to."""
        actors = {a["name"]: a for a in self._actors(node)}
        anew = {name for name, actor in actors.items() if _runs_anew(actor, old)}
        back |= {name: self.now() for name in sorted(anew - back.keys())}
        return anew >= self.names[node] | actors.keys()

    # --- what is seen ------------------------------------------------------------------------------------------------

    def _actors(self, node: str) -> list[dict[str, Any]]:
        """Of a node, as its own gateway says. Raises VagusError."""
        (status,) = self.gates.get(node, f"/v1/status?node={node}")["nodes"]
        actors: list[dict[str, Any]] = status["actors"]
        return actors

    def _verdict(self, gateway: str, node: str) -> str:
        try:
            found = self.gates.get(gateway, f"/v1/health/node:{node}?node={gateway}")
        except VagusError:  # nothing is known, or it is not there
            return ""
        return str(found["inference"]["status"])

    def _nodes_of(self, gateway: str) -> list[str]:
        """The nodes that Ray's head lists, as the supervisor told a gateway; all of them while it does not say."""
        try:
            found: list[str] = self.gates.get(gateway, "/healthz?scope=node")["details"]["nodes"]
        except VagusError:
            return self.nodes
        return found

    def _await(self, holds: Callable[[], bool], within_s: float, every_s: float = POLL_S) -> bool:
        """Whether it came to hold; an answer that did not come is none."""
        deadline_s = time.monotonic() + within_s
        while not self.ending.is_set() and time.monotonic() < deadline_s:
            with suppress(VagusError, psutil.Error, ValueError):
                if holds():
                    return True
            self.ending.wait(every_s)
        return False

    def _await_quiet(self, within_s: float, what: str) -> None:
        """Until all actors run and nobody takes any node for dead."""

        def quiet() -> bool:
            for node in self.nodes:
                actors = self._actors(node)
                if not {a["name"] for a in actors} >= self.names.get(node, set()):
                    return False
                if any(a["state"] != "HEALTHY" for a in actors):
                    return False
            return all(self._verdict(self.nodes[0], node) != "DEAD" for node in self.nodes)

        if not self._await(quiet, within_s, LOOK_S) and not self.ending.is_set():
            self.say(f"not all is well after {within_s:g} s, waited for before {what}")
            self.shown.problems.append(f"not all was well within {within_s:g} s, waited for before {what}")

    # --- after -------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        for writer in self.writers:
            writer.stop()
        time.sleep(LAST_S)
        for watcher in self.watchers:
            if watcher is not self.limits:
                watcher.stop()
        shown, end_ns = self.shown, time.time_ns()
        self.say("reading the stores")
        try:
            shown.stored = found.stored(self.trial.home, self.ledger)
            shown.asked = found.asked(self.nodes, self.gates, self.ledger, shown.begin_ns - BEFORE_NS, end_ns)
        except VagusError as error:
            shown.problems.append(f"what is there could not be read: {error}")
        self.say("ending the cluster, with its controllers")
        self._stop_trial()  # the limits are looked at until their controllers are gone
        time.sleep(LEASE_S)
        self.limits.stop()
        shown.limits = list(self.limits.changes.values())
        shown.acknowledged = sorted(entry for writer in self.writers for entry in writer.done)
        shown.acknowledged = [(t_s - self.zero_s, count) for t_s, count in shown.acknowledged]
        shown.problems += [watcher.problem for watcher in self.watchers if watcher.problem]

    def _end_threads(self) -> None:
        self.ending.set()
        for thread in self.following:
            thread.join()
        for watcher in self.watchers:
            watcher.stop()

    def _stop_trial(self) -> None:
        self.shown.problems += [f"left: {problem}" for problem in self.trial.stop()]


def _titled(trial: Trial, node: str, role: str) -> list[psutil.Process]:
    """A node's processes that are a Ray actor of the role, by the title that Ray gives them."""
    title, found = f"ray::{role.capitalize()}", []
    for process in trial.processes(node):
        with suppress(psutil.Error):
            words = process.cmdline()
            if words and words[0].split(".")[0].split(" ")[0] == title:
                found.append(process)
    return found


def _runs_anew(actor: dict[str, Any], old: set[int]) -> bool:
    """Whether it runs, in another process than one of before."""
    return actor["state"] == "HEALTHY" and bool(actor["pid"]) and actor["pid"] not in old


def _up(trial: Trial) -> subprocess.Popen[bytes]:
    """`vagus up` on the head, as cluster.yaml has it there."""
    path = trial.folder / "vagus.json"
    path.write_bytes(msgspec.json.encode(trial.config))
    command = [sys.executable, "-m", "vagus", "up", "--config", str(path)]
    environment = {**os.environ, "VAGUS_HOME": str(trial.home)}
    with open(trial.folder / "up.log", "ab") as log:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
