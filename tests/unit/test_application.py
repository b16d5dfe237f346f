"""Applications: their file; small ones deployed for real, where no control groups can be made."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.fixtures.deployments import FOLDER, get, listed, lives, small, until
from vagus.cli.application import Deployment, load
from vagus.cli.application.command import requests
from vagus.cli.application.reading import filled
from vagus.cli.application.replica import Held, Replica, free_port
from vagus.client.tunable_server import SERVER
from vagus.config import ApplicationSettings
from vagus.errors import ActuateError, ConfigError, VagusError
from vagus.undo.tunable import ask

SOCIAL = Path(__file__).parents[2] / "examples/social_network/app.yaml"
GOOD = """
name: shop
entry: web
services: [{name: web, command: [x]}, {name: db, command: [x], scales: false}]
requests: [{name: look, path: /}]
"""


# --- the file ----------------------------------------------------------------------------------------------------------


def test_placeholders_are_filled_in_and_other_braces_stay() -> None:
    command = ("{python}", "{folder}/a.py", "--port={port}", "{replica}", "{run}/x", '{"a": {b}}', "{{port}}")
    made = filled(command, Path("/app"), Path("/run"), 81, 2)
    assert made == [sys.executable, "/app/a.py", "--port=81", "2", "/run/x", '{"a": {b}}', "{81}"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("entry: web", "entry: nobody"), "entry 'nobody' is none of web, db"),
        (("name: db", "name: web"), "two services have one name"),
        (("command: [x], scales", "command: [], scales"), "length >= 1"),
        (("scales: false", "scales: false, replicas: 2"), "db has 2 replicas, but scales: false"),
        (("command: [x]}", "command: [x], ready: soon}"), "web: ready: duration 'soon'"),
        (("command: [x]}", "comand: [x]}"), "comand"),
        (("name: shop", "name: ["), "not YAML"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(change: tuple[str, str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(GOOD)
    assert load(path).name == "shop"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(ConfigError, match=words):
        load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file.*name an app\.yaml"):
        load(tmp_path / "app.yaml")


def test_the_social_network_has_a_line_to_try_of_each_type_of_request() -> None:
    lines = requests(load(SOCIAL), "http://127.0.0.1:1")
    assert [line.split()[0] for line in lines] == ["curl"] * 3
    assert "http://127.0.0.1:1/home?user=" in lines[0]
    assert '-d \'{"user": ' in lines[2]
    assert lines[2].endswith("http://127.0.0.1:1/compose")


# --- small ones, deployed ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine without control groups."""
    made = tmp_path_factory.mktemp("root")
    (made / "proc/self").mkdir(parents=True)
    (made / "proc/self/mountinfo").write_text("")
    return made


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Deployment]:
    """One for all: each test leaves it with a replica of each service."""
    folder = tmp_path_factory.mktemp("app")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAGUS_HOME", str(folder / "home"))
        with Deployment(small("shop", web=1, db=0), FOLDER, folder / "run", root=root) as made:
            yield made
        SERVER.close()


def pids(app: Deployment) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for shown in app.shown():
        found.setdefault(shown.service, []).append(shown.pid)
    return found


def test_a_life(app: Deployment) -> None:
    assert not app.confined
    assert "no cgroup hierarchy" in app.unconfined
    assert listed(app.run) == {"web": list(app.urls("web")), "db": list(app.urls("db"))}
    assert get(app.urls("web")[0]) == 200
    assert app.group("web") == "vagus-app-shop/web"
    assert app.limits() == {"web": float("inf"), "db": float("inf")}

    before = app.usage()  # what a start costs is not counted
    assert all(used < 0.02 for used in before.values()), before
    assert get(app.urls("web")[0], "/burn") == 200
    used = app.usage()
    assert used["web"] - before["web"] >= 0.05
    assert used["db"] - before["db"] < 0.05

    app.scale("web", 3)
    assert app.replicas("web") == 3 == len(set(app.urls("web")))
    assert sorted(listed(app.run)["web"]) == sorted(app.urls("web"))
    last = app.urls("web")[-1]
    assert get(last, "/burn") == 200
    used = app.usage()
    answers: list[int] = []
    slow = threading.Thread(target=lambda: answers.append(get(last, "/slow")))
    slow.start()
    gone = pids(app)["web"][1:]
    app.scale("web", 1)
    slow.join()
    assert answers == [200]  # in flight when it was to go
    assert not any(lives(pid) for pid in gone)
    assert listed(app.run)["web"] == list(app.urls("web"))
    assert app.usage()["web"] >= used["web"]
    assert app.dead() == ()


def test_one_that_dies_is_noticed_and_replaced(app: Deployment) -> None:
    (web,), (db,) = pids(app)["web"], pids(app)["db"]
    with pytest.raises((OSError, http.client.HTTPException)):
        get(app.urls("web")[0], "/die")
    os.kill(db, signal.SIGKILL)
    until(lambda: len(app.dead()) == 2 and app.replicas("web") == app.replicas("db") == 1, "they are replaced")
    assert sorted(map(str, app.dead())) == ["db-0 was killed by signal 9", "web-0 ended with status 3"]
    assert pids(app)["web"] != [web]
    assert get(app.urls("web")[0]) == get(app.urls("db")[0]) == 200
    assert listed(app.run) == {"web": list(app.urls("web")), "db": list(app.urls("db"))}


def test_its_watchdog_may_be_killed_and_nothing_is_left_at_the_end(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the same ports are tried first by each: who has one but does not listen yet must not lose it
    monkeypatch.setattr("vagus.cli.application.replica.random.sample", lambda ports, most: ports[7000:7500])
    app = Deployment(small("other", web=2), FOLDER, tmp_path / "run", root=root)
    app.start()
    assert len(set(app.urls("web"))) == 2
    assert app.dead() == ()
    with pytest.raises(VagusError, match="deployed already"):
        app.start()
    assert app._watchdog is not None
    os.kill(app._watchdog.pid, signal.SIGKILL)
    app.scale("web", 3)
    everyone = pids(app)["web"]
    used = app.usage()
    app.stop()
    assert app.problems == []
    assert len(everyone) == 3
    assert not any(map(lives, everyone))
    assert app.usage()["web"] >= used["web"]
    assert app.shown() == []
    with pytest.raises(ConfigError, match="does not run"):
        app.scale("web", 2)
    app.stop()


def test_controllers_scale_it_by_a_tunable(app: Deployment) -> None:
    def asked(do: str, service: str = "web", **more: object) -> dict[str, object]:
        assert SERVER.wait(5.0)
        assert SERVER._listener is not None
        message = {"do": do, "service": service, "instance": f"{os.getpid()}-shop", "name": "replicas", **more}
        return ask(SERVER._listener.getsockname(), message)

    assert asked("get") == {"value": 1}
    assert asked("set", value=2) == {"value": 2}  # at once, as it is wanted
    until(lambda: app.replicas("web") == 2, "the second one serves")
    assert "outside its bounds, 1 to 16" in str(asked("set", value=17)["error"])
    assert "gone" in asked("get", "db")  # which does not scale
    app.scale("web", 1)


def test_what_makes_no_sense_is_refused(app: Deployment, tmp_path: Path, root: Path) -> None:
    with pytest.raises(ConfigError, match="shop has no service 'cart'; it has web, db"):
        app.urls("cart")
    for service, replicas, words in (("web", 0, "1 to 16"), ("web", 17, "1 to 16"), ("db", 2, "does not scale")):
        with pytest.raises(ConfigError, match=words):
            app.scale(service, replicas)
    with pytest.raises(VagusError, match="belongs to an application that runs"):
        Deployment(app.settings, FOLDER, app.run, root=root).start()
    assert get(app.urls("web")[0]) == 200  # that one was not disturbed
    limited = Deployment(app.settings, FOLDER, tmp_path / "other", root=root, replica_cores=0.5)
    with pytest.raises(ActuateError, match="no cgroup hierarchy"):  # it could not keep its word
        limited.start()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("{python}", "-S", "{folder}/service.py", "{port}", "exits"), "ended with status 1.*no database here"),
        (("{python}", "-S", "{folder}/service.py", "{port}", "never"), r"was not ready within 0\.4 s"),
        (("/nowhere/at-all",), "ended with status 127.*cannot start '/nowhere/at-all': No such file"),
    ],
)
def test_a_service_that_does_not_start_is_named_with_its_words(
    command: tuple[str, ...], words: str, tmp_path: Path, root: Path
) -> None:
    settings = small("shop", web=1, db=1)
    bad = msgspec.structs.replace(
        settings.services[1], command=command, ready="400ms" if command[-1] == "never" else "20s"
    )
    app = Deployment(
        msgspec.structs.replace(settings, services=(settings.services[0], bad)), FOLDER, tmp_path / "run", root=root
    )
    with pytest.raises(VagusError, match=f"(?s)service db, replica 0, {words}"):
        app.start()
    assert app.shown() == []
    assert app.problems == []


def test_one_that_cannot_be_scaled_up_stays_as_it_was(app: Deployment) -> None:
    services = {service.name: service for service in app.settings.services}
    app._services["web"] = msgspec.structs.replace(services["web"], command=("/nowhere/at-all",))
    with pytest.raises(VagusError, match="cannot start"):
        app.scale("web", 2)
    app._services["web"] = services["web"]
    assert app.replicas("web") == 1
    assert get(app.urls("web")[0]) == 200
    until(lambda: app._crews["web"].settled, "nothing more is tried")


def test_setup_comes_first_and_its_failure_is_told(tmp_path: Path, root: Path) -> None:
    settings = small("other", web=1)
    run = tmp_path / "run"
    write = "import os, pathlib, sys; pathlib.Path(sys.argv[1], 'made').write_text(os.environ['COLOUR'])"
    good = msgspec.structs.replace(
        settings, setup=(("{python}", "-c", write, "{run}"),), environment={"COLOUR": "red", "SIZE": "1"}
    )
    with Deployment(good, FOLDER, run, environment={"COLOUR": "blue"}, root=root):
        assert (run / "made").read_text() == "blue"
    bad = msgspec.structs.replace(settings, setup=(("{python}", "-c", "raise SystemExit('no room')"),))
    with pytest.raises(VagusError, match=r"setup of other failed.*setup\.log"):
        Deployment(bad, FOLDER, run, root=root).start()
    assert "no room" in (run / "logs/setup.log").read_text()


def test_a_run_folder_that_cannot_be(tmp_path: Path, root: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VagusError, match="cannot write the run folder"):
        Deployment(small("shop", web=1), FOLDER, tmp_path / "file", root=root).start()


def test_settings_are_immutable_and_complete() -> None:
    assert isinstance(load(SOCIAL), ApplicationSettings)
    assert len(load(SOCIAL).services) == 10


# --- when things go wrong ------------------------------------------------------------------------------------------------


def test_what_no_process_can_be_told_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    for old, new, words in (
        ("command: [x]}", 'command: ["x\\0y"]}', "zero byte"),
        ("entry: web", 'entry: web\nenvironment: {"A": "b\\0"}', "zero byte"),
        ("entry: web", 'entry: web\nenvironment: {"A=B": "b"}', "equals sign"),
    ):
        path.write_text(GOOD.replace(old, new))
        with pytest.raises(ConfigError, match=words):
            load(path)


def test_no_two_that_start_are_given_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.cli.application.replica.random.sample", lambda ports, most: [20_001, 20_002])
    first = free_port()
    assert free_port({first}) != first  # nobody listens on the first one yet
    with pytest.raises(VagusError, match="is free"):
        free_port({20_001, 20_002})


def test_one_whose_deployer_dies_before_it_is_journalled_never_begins(tmp_path: Path) -> None:
    command = (sys.executable, "-S", "-c", f"open({str(tmp_path / 'begun')!r}, 'w')")
    for begins in (False, True):
        held = Held(command, tmp_path / "log", subprocess.DEVNULL, tmp_path, os.environ)
        if begins:
            held.go()
        else:
            held.drop()  # as the kernel does it for who dies
        assert held.process.wait(20) == (0 if begins else 1)
        assert (tmp_path / "begun").exists() == begins


def test_one_that_drips_its_answer_is_not_ready_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.cli.application.replica.HEALTHZ_S", 0.1)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with contextlib.suppress(OSError), server.accept()[0] as connection:
                while not over.wait(0.01):
                    connection.sendall(b"H")

        thread = threading.Thread(target=drip)
        thread.start()
        member = Replica.__new__(Replica)
        member.port = server.getsockname()[1]
        assert not member.ready()
        over.set()
        thread.join()


def test_a_full_disk_ends_nobody_and_is_told(app: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    full, start = True, Replica.__init__

    def refuse(*arguments: object, **more: object) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")

    def refused(member: Replica, *arguments: Any) -> None:
        refuse()
        start(member, *arguments)

    publish = Deployment._publish

    def unpublished(made: Deployment) -> None:
        if full:
            raise VagusError("cannot write endpoints.json: No space left on device")
        publish(made)

    monkeypatch.setattr(Replica, "__init__", refused)
    monkeypatch.setattr(Deployment, "_publish", unpublished)
    before, present = len(app.dead()), app.urls("web")
    with pytest.raises(VagusError, match=r"status 126.*No space left on device"):
        app.scale("web", 2)
    assert app.urls("web") == present
    os.kill(pids(app)["db"][0], signal.SIGKILL)
    until(lambda: len(app.dead()) > before + 1, "its death is noticed")
    assert app.failure == ""
    full = False
    until(lambda: app.replicas("db") == 1 and listed(app.run)["db"] == list(app.urls("db")), "all is well again")
    assert any("No space left" in words for words in app.problems)
    app.problems.clear()
