"""`vagus run` on a real fleet without Ray: where it runs, how it ends, what is restored, what it exits with."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from cli_gateway import RECEIPT
from click.testing import CliRunner
from msgspec.structs import replace
from test_runtime_fleet import CONFIG, Ray

from vagus.cli import cli
from vagus.cli import run as run_module
from vagus.cli.run import LEASE_S, Running
from vagus.config import ControllerSettings
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import Event, Level, Receipt
from vagus.runtime import cluster as ray_cluster
from vagus.runtime.cluster import ClusterFile
from vagus.runtime.fleet import Fleet

SETTINGS = ControllerSettings(name="mine", on="every-node", armed=True)


class There:
    """As `Supervised`, over a fleet that lives in a thread of its own instead of Ray's supervisor."""

    def __init__(self) -> None:
        self.ray = Ray()
        self.kept = 0
        self.running = False  # as `keep` said last
        self.lost = ""  # why the supervisor does not answer
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.fleet = self._do(self._made())
        self._rounds = asyncio.run_coroutine_threadsafe(self._run(), self._loop)

    def spawn(self, settings: ControllerSettings, given: Any, lease_s: float = 0.0, owner: str = "") -> list[str]:
        async def spawn() -> list[str]:
            return self.fleet.spawn(settings, given, lease_s, owner)

        assert lease_s == LEASE_S
        return self._do(spawn())

    def keep(self, name: str, owner: str = "") -> Any:
        async def keep() -> Any:
            return self.fleet.keep(name, owner)

        if self.lost:
            raise PeerUnreachable(self.lost)
        self.kept += 1
        said = self._do(keep())
        self.running = bool(said) and {a.state for a in said} == {"HEALTHY"}
        return said

    def remove(self, name: str, owner: str = "") -> bool:
        if self.lost:
            raise PeerUnreachable(self.lost)
        return self._do(self.fleet.remove(name, owner))

    def close(self) -> None:
        self._rounds.cancel()
        self._do(self.fleet.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _made(self) -> Fleet:
        made = Fleet(CONFIG, "/home", {}, self.ray)
        await made.round()
        return made

    async def _run(self) -> None:
        while True:
            await self.fleet.round()
            await asyncio.sleep(0.002)

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


class Told:
    """As a Follower: gives what the test put there."""

    def __init__(self) -> None:
        self.records: list[Event | Receipt] = []
        self.texts: list[str] = []
        self.trouble = ""
        self.more = False
        self.node = ""

    def at(self, node: str) -> None:
        self.node = node

    def look(self) -> list[Event | Receipt]:
        found, self.records = self.records, []
        return found

    def failures(self, now_s: float) -> list[str]:
        found, self.texts = self.texts, []
        return found

    def close(self) -> None: ...


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    monkeypatch.setattr(run_module, "LOOK_S", 0.005)
    made = There()
    yield made
    made.close()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    ray_cluster.write(tmp_path, ClusterFile(id="c1", address="127.0.0.2:1", started_ray=True))
    return tmp_path


class When(SimpleQueue):  # type: ignore[type-arg]
    """Signals that come: `then` is called at each wait, and gives the number of one, or 0."""

    def __init__(self, then: Callable[[], int]) -> None:
        super().__init__()
        self._then = then

    def get(self, block: bool = True, timeout: float | None = None) -> int:
        number = self._then()
        if number:
            self.put(number)
        return super().get(block, timeout)


def go(
    there: There,
    told: Told,
    home: Path,
    then: Callable[[], int] = lambda: 0,
    *,
    settings: ControllerSettings = SETTINGS,
    for_s: float = 0.0,
    as_json: bool = False,
) -> int:
    return Running(there, settings, told, as_json).run(dict, for_s, When(then), home)  # type: ignore[arg-type]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_and_says_what_was_restored(there, told, home, capsys, number, code):
    done = replace(RECEIPT, controller="mine", dry=False)

    def then() -> int:
        if not there.running:
            return 0
        told.records = [replace(done, reason="restored", before=1.5, requested=None, after=None)]
        return number

    told.records = [replace(done, reason="of an earlier run")]
    assert go(there, told, home, then) == code
    assert there.fleet.keep("mine") is None
    assert sorted(there.ray.ended) == ["vagus:controller:mine@a", "vagus:controller:mine@b"]
    where, restored, ended = capsys.readouterr().out.splitlines()
    assert where == "mine runs on every node: a, b; armed: it acts, within its guard"
    assert "cpu_cores of pid:4711: 1.5 → no limit, done (restored)" in restored
    assert ended == f"mine ended: {number.name}; 1 limit restored"


def test_it_ends_by_itself_after_its_time_dry_and_followed_on_its_only_node(there, told, home, capsys):
    told.texts = ["at a: step: ZeroDivisionError"]
    settings = ControllerSettings(name="mine", on="head")
    assert go(there, told, home, settings=settings, for_s=0.05) == 0
    assert there.fleet.keep("mine") is None
    assert told.node == "a"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "mine runs on a; dry: nothing is written; --arm lets it act"
    assert "at a: step: ZeroDivisionError" in lines
    assert lines[-1] == "mine ended: after 0.05 s, as asked; there was no limit to restore"
    assert there.kept >= 2


def test_what_happened_is_json_lines_where_asked_for(there, told, home, capsys):
    def then() -> int:
        if not there.running:
            return 0
        told.records = [
            replace(RECEIPT, controller="mine", reason="restored", error="gone"),
            Event(RECEIPT.t_ns, "controller.not_restored", "a", Level.ERROR, "mine", {"note": "busy"}),
        ]
        return signal.SIGINT

    assert go(there, told, home, then, as_json=True) == 1, "something was not restored"
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["what"] for line in lines] == ["running", "receipt", "event", "ended"]
    assert {line["name"] for line in lines} == {"mine"}
    assert (lines[0]["nodes"], lines[0]["armed"]) == (["a", "b"], True)
    assert lines[1]["target"] == "pid:4711"
    assert lines[3]["restored"] == "2 not: see above"


def test_what_does_not_start_is_removed_and_told(there, told, home, capsys):
    there.ray.broken = {"vagus:controller:mine@b"}
    assert go(there, told, home) == 1
    assert there.fleet.keep("mine") is None
    assert "mine ended: it does not start at b: its settings are wrong" in capsys.readouterr().out


def test_removed_by_someone_else_it_says_so(there, told, home, capsys):
    def then() -> int:
        if there.running:
            there.remove("mine")
        return 0

    assert go(there, told, home, then) == 1
    assert "mine ended: someone else removed it" in capsys.readouterr().out


def test_a_supervisor_that_is_away_ends_nothing_and_is_told_once(there, told, home, capsys):
    waits = 0

    def then() -> int:
        nonlocal waits
        if not there.running:
            return 0
        waits += 1
        there.lost = "no answer" if waits < 5 else ""
        return signal.SIGINT if waits > 6 else 0

    assert go(there, told, home, then) == 0
    out = capsys.readouterr().out
    assert out.count("the supervisor does not answer: no answer; the controller goes on") == 1


def forgotten(there: There, told: Told, meanwhile: Callable[[], object] = lambda: None) -> Callable[[], int]:
    """The supervisor goes; its successor finds no actor of the controller, as each had just ended. Then Ctrl-C."""
    waits = 0

    def then() -> int:
        nonlocal waits
        if not waits and not there.running:
            return 0
        waits += 1
        there.lost = "no answer" if waits < 3 else ""
        if waits == 3:
            there.remove("mine")
            meanwhile()
        return signal.SIGINT if waits > 3 and there.running else 0

    return then


def test_what_a_new_supervisor_did_not_find_is_spawned_anew(there, told, home, capsys):
    assert go(there, told, home, forgotten(there, told)) == 0
    out = capsys.readouterr().out
    assert "a new supervisor found none of its actors: it is spawned anew" in out
    assert out.count("mine runs on every node") == 1
    assert there.fleet.keep("mine") is None
    assert len(there.ray.ended) == 4, "removed twice, on two nodes"


def test_who_was_away_ends_nobody_elses_controller_of_the_same_name(there, told, home, capsys):
    def another() -> None:
        there.spawn(SETTINGS, list, LEASE_S, "another")

    assert go(there, told, home, forgotten(there, told, another)) == 1
    out = capsys.readouterr().out
    assert "mine ended: it cannot be spawned anew: a controller named 'mine' runs already" in out
    assert there.fleet.keep("mine", "another") is not None


def test_a_controller_of_the_same_name_is_not_taken_for_its_own(there, told, home, capsys):
    def then() -> int:
        if there.running and "mine" in there.fleet._spawned:
            there.remove("mine")
            there.spawn(SETTINGS, list, LEASE_S, "another")
        return 0

    assert go(there, told, home, then) == 1
    assert "mine ended: someone else removed it" in capsys.readouterr().out
    assert there.fleet.keep("mine", "another") is not None


def test_vagus_down_meanwhile_is_told(there, told, home, capsys):
    def then() -> int:
        if there.running:
            there.lost = "it died"
            ray_cluster.path_of(home).unlink(missing_ok=True)
        return 0

    assert go(there, told, home, then) == 1
    assert (
        "mine ended: vagus was ended (`vagus down`), and the controller with it; not known" in capsys.readouterr().out
    )


def test_an_interrupt_while_it_is_followed_removes_it_all_the_same(there, told, home, capsys):
    def then() -> int:
        if there.running:
            raise KeyboardInterrupt
        return 0

    with pytest.raises(KeyboardInterrupt):
        go(there, told, home, then)
    assert there.fleet.keep("mine") is None
    assert "mine ended: interrupted" in capsys.readouterr().out


def test_a_name_that_is_taken_says_what_to_do(there, told, home):
    with pytest.raises(ConfigError, match=r"'throttle' runs already .*choose another with --name"):
        go(there, told, home, settings=ControllerSettings(name="throttle"))
    assert "throttle" not in there.fleet._spawned


def test_a_gateway_that_does_not_answer_hides_what_was_restored_and_says_so(there, told, home, capsys):
    told.trouble = "nothing listens"
    assert go(there, told, home, lambda: signal.SIGINT if there.running else 0) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("what it does cannot be followed: nothing listens") == 1
    assert lines[-1].endswith("its limits are restored; which ones: `vagus events --record receipt`")


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.yaml"], "cannot read none.yaml"),
        (["c.py"], "which class steers?"),
        (["c.py:C", "--for", "soon"], "soon"),
        (["c.py:C", "--target", "x y"], "target"),
        (["c.py:C"], "no running vagus found"),
        (["plain.yaml"], "no running vagus found"),
        ([], "Missing argument 'FILE'"),
    ],
)
def test_what_cannot_run_is_refused_in_a_line(tmp_path, monkeypatch, arguments, says):
    for name in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("c.py").write_text("class C:\n    def step(self, s): ...\nclass D(C): ...\n")
    Path("plain.yaml").write_text("name: plain\n")
    result = CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), "run", *arguments])
    assert result.exit_code in (1, 2)
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "home").exists()
