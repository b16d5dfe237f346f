"""`vagus run`: a controller of one's own, from a file, followed until it is to end."""

from __future__ import annotations

import math
import secrets
import signal
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.asked_to_end import asked_to_end
from vagus.cli.events import event_text
from vagus.cli.lazy import one_line
from vagus.cli.output import STATUS_STYLE, cell, clock_time, console, emit_ndjson, json_option
from vagus.cli.run_follow import Follower, Health
from vagus.cli.run_settings import Wanted, choose, run_options
from vagus.cli.session import Span
from vagus.cli.view_receipts import receipt_style, receipt_text
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.model import Event, Receipt, to_builtins

if TYPE_CHECKING:
    from vagus.config import ControllerSettings
    from vagus.runtime.spawn import Supervised

LEASE_S = 20.0  # this process is not heard for so long: the controller ends, limits are restored
LOOK_S = 1.0
LOOK_SHARE = 10  # looking takes at most one part in so many of the time
GATEWAY_TIMEOUT_S = 3.0
FAILED = 1


@click.command()
@run_options
@click.option("--for", "for_", type=Span(), default="", metavar="DURATION", help="End it after this, such as 10m.")
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    file: str,
    name: str,
    policy: str,
    target: str,
    on: str,
    options: tuple[str, ...],
    arm: bool | None,
    for_: str,
    as_json: bool,
) -> None:
    """Run a controller on the nodes of this machine's cluster, and follow what it does until Ctrl-C.

    FILE is a controller.yaml, whose `policy` may be file.py:Class (beside it, or in the working folder), or file.py
    itself; `file.py:Class` where several classes of it have a `step`. The class is sent to the nodes as it is: nothing
    is packaged or installed.

    It is supervised as vagus' own, behind the guard, and dry until --arm. It ends with this command, and every limit is
    restored: at Ctrl-C, SIGTERM, SIGHUP, after --for; 20 s after this process was killed or stopped.

    Exit status: 0 after --for or Ctrl-C; 1 it does not start, ends again and again, or was removed by someone else;
    143 and 129 after SIGTERM and SIGHUP.

    \b
    Examples:
      vagus run gentle.py --target cgroup:batch
      vagus run gentle.py:Gentle -o pressure=20 --arm --for 10m
      vagus run controller.yaml --on head --json | jq 'select(.what == "receipt")'
      ray job submit --working-dir . -- vagus run controller.yaml
    """
    from vagus import api
    from vagus import config as configuration
    from vagus.config import Config
    from vagus.controllers.load import find

    chosen = choose(Wanted(file, name, policy, target, on, options, arm))
    given = find(chosen.settings.policy) if chosen.source is not None else None
    home = ctx.find_root().obj.home
    folder = configuration.home(Config(home=home))

    from vagus.runtime.spawn import supervised  # loads Ray: once all that can be wrong without it is right

    def connect() -> api.Vagus:
        return api.connect_here(home, timeout_s=GATEWAY_TIMEOUT_S)

    with supervised(folder) as there:
        running = Running(there, chosen.settings, Follower(connect, chosen.settings.name), as_json)
        with asked_to_end() as asked:
            code = running.run(given, configuration.seconds(for_) if for_ else 0.0, asked, folder)
    ctx.exit(code)


class Running:
    """One controller from its start to its end. Its output: a line each, or a JSON document each."""

    def __init__(self, there: Supervised, settings: ControllerSettings, follower: Follower, as_json: bool) -> None:
        self._there = there
        self._settings = settings
        self._follower = follower
        self._as_json = as_json
        self._owner = secrets.token_hex(8)  # by the time this process is heard again, the name may be another's
        self._given: Any = None
        self._to = console()
        self._told: dict[str, str] = {}  # of what trouble was told
        self._restored = 0
        self._not_restored = 0

    def run(self, given: Any, for_s: float, asked: SimpleQueue[int], home: Path) -> int:
        """Until it is to end; the exit status. asked: signals that came. Raises ConfigError: it cannot be spawned."""
        self._follower.look()  # what was before is nobody's news
        name, self._given = self._settings.name, given
        try:
            names = self._spawn()
        except ConfigError as error:
            if "runs already" not in str(error):
                raise
            raise ConfigError(
                f"a controller named {name!r} runs already (`vagus status` shows it): choose another with --name, or end "
                f"that one, if it was spawned: python -c 'import vagus; vagus.connect().remove({name!r})'"
            ) from error
        code, why = FAILED, "interrupted"
        try:
            code, why = self._follow(names, for_s, asked, home)
        finally:
            code = max(code, self._end(why, code))
        return code

    def _spawn(self) -> list[str]:
        return self._there.spawn(self._settings, self._given, LEASE_S, self._owner)

    def _follow(self, names: list[str], for_s: float, asked: SimpleQueue[int], home: Path) -> tuple[int, str]:
        """Until there is a reason to end: the exit status, and the reason."""
        nodes = [name.rpartition("@")[2] for name in names]
        if len(nodes) == 1 and self._settings.on != "every-node":  # there, more nodes may join
            self._follower.at(nodes[0])
        now_s = time.monotonic()
        health, end_s = Health(names, now_s), math.inf
        cluster, running, lost = _cluster_of(home), False, False
        while True:
            try:
                actors = self._there.keep(self._settings.name, self._owner)
                if actors is None and lost:
                    self._trouble("supervisor", "a new supervisor found none of its actors: it is spawned anew")
                    self._spawn()
                    actors = []
            except ConfigError as error:
                return FAILED, f"it cannot be spawned anew: {error}"
            except PeerUnreachable as error:
                lost = True
                if _cluster_of(home) != cluster:
                    return FAILED, "vagus was ended (`vagus down`), and the controller with it"
                self._trouble("supervisor", f"the supervisor does not answer: {error}; the controller goes on")
            else:
                lost = False
                self._told.pop("supervisor", None)
                if actors is None:
                    return FAILED, f"someone else removed it, or this process was not heard for {LEASE_S:.0f} s"
                if why := health.problem(actors, time.monotonic()):
                    return FAILED, why
            if health.started and not running:
                running = True
                end_s = time.monotonic() + for_s if for_s else math.inf
                self._say_where(nodes)
            began_s = time.monotonic()
            if health.started:
                self._look()
            now_s = time.monotonic()
            wait_s = max(LOOK_S, LOOK_SHARE * (now_s - began_s)) if health.started else 0.1
            wait_s = min(wait_s, LEASE_S / 4, end_s - now_s)
            try:
                number = asked.get(timeout=max(0.0, wait_s))
                return (0 if number == signal.SIGINT else 128 + number), signal.Signals(number).name
            except Empty:
                if time.monotonic() >= end_s:
                    return 0, f"after {for_s:g} s, as asked"

    def _look(self) -> None:
        for record in self._follower.look():
            self._record(record)
        if self._follower.more:
            self._trouble("more", "more happened than is shown here; `vagus events` has it all")
        for text in self._follower.failures(time.monotonic()):
            self._trouble("step", text)
        if self._follower.trouble:
            self._trouble("gateway", f"what it does cannot be followed: {self._follower.trouble}")
        else:
            self._told.pop("gateway", None)

    def _end(self, why: str, code: int) -> int:
        """Removes it, and says what was restored; the exit status if that went wrong."""
        try:
            self._there.remove(self._settings.name, self._owner)
        except KeyboardInterrupt:
            self._trouble("end", f"not waited for: its limits are restored {LEASE_S:.0f} s from now at the latest")
            raise
        except VagusError as error:
            restored = f"not known: {error}; the limits are restored {LEASE_S:.0f} s from now at the latest"
            self._ended(why, restored, FAILED)
            return FAILED
        self._look()
        self._follower.close()
        restored = f"{self._restored} limit{'' if self._restored == 1 else 's'} restored" if self._restored else ""
        if self._not_restored:
            code = max(code, FAILED)
            restored += f"{', ' if restored else ''}{self._not_restored} not: see above"
        if self._follower.trouble:
            restored = "its limits are restored; which ones: `vagus events --record receipt`"
        self._ended(why, restored or "there was no limit to restore", code)
        return code

    # --- what is printed ---------------------------------------------------------------------------------------------

    def _say_where(self, nodes: list[str]) -> None:
        settings = self._settings
        where = "on every node: " + ", ".join(nodes[:8]) if settings.on == "every-node" else "on " + ", ".join(nodes)
        where += f" and {len(nodes) - 8} more" if len(nodes) > 8 and settings.on == "every-node" else ""
        dry = "armed: it acts, within its guard" if settings.armed else "dry: nothing is written; --arm lets it act"
        document = {"nodes": nodes, "policy": settings.policy, "armed": settings.armed}
        self._say("running", f"{settings.name} runs {where}; {dry}", "bold", **document)

    def _record(self, record: Event | Receipt) -> None:
        fields = to_builtins(record)
        if isinstance(record, Receipt):
            if record.reason == "restored":
                self._restored += not record.error
                self._not_restored += bool(record.error)
            kind, text, style = "receipt", receipt_text(fields), receipt_style(fields)
        else:
            kind, text, style = "event", event_text(fields), STATUS_STYLE.get(record.level.value, "")
            self._not_restored += record.event == "controller.not_restored"
        self._say(kind, f"{clock_time(record.t_ns)[11:]}  {text}", style, **fields)

    def _trouble(self, of: str, text: str) -> None:
        """Said once until it is over, or another."""
        if text != self._told.get(of):
            self._told[of] = text
            self._say("trouble", text, "yellow", of=of, why=text)

    def _ended(self, why: str, restored: str, code: int) -> None:
        text = f"{self._settings.name} ended: {why}; {restored}"
        self._say("ended", text, "red" if code == FAILED else "", why=why, restored=restored, exit=code)

    def _say(self, what: str, text: str, style: str, **document: Any) -> None:
        if self._as_json:
            emit_ndjson({"what": what, "name": self._settings.name, **document})
        else:
            self._to.print(cell(one_line(text), style), soft_wrap=True)
            self._to.file.flush()


def _cluster_of(home: Path) -> str:
    """Which cluster this machine is part of; empty when it is in none, after `vagus down`."""
    from vagus.runtime import cluster as ray_cluster

    try:
        cluster = ray_cluster.read(home)
    except VagusError:
        return ""
    return "" if cluster is None else cluster.id or cluster.address
