"""`vagus feed run`, `check`, `replay` and `select` on feeds: a real server, real files, a real terminal, no Ray."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import PATIENCE

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from cli_gateway import Gateway, serve
from click.testing import CliRunner
from feed_server import FeedServer, serve_feeds

from vagus.cli import cli
from vagus.cli.feed_run import Seen
from vagus.cli.view_feed import Tally, progress, summary, until
from vagus.feeds import Data, Item, Meta, Net
from vagus.feeds.directives import Emit

pytestmark = pytest.mark.system

NS = 10**9
TIMEOUT_S = 20.0 * PATIENCE


@pytest.fixture
def server() -> Iterator[FeedServer]:
    with serve_feeds() as served:
        yield served


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAGUS_HOME", str(tmp_path / "home"))


def written(server: FeedServer, *paths: str, every: str = "60s", **more: Any) -> str:
    """A file with a feed of these paths, and one made of it."""
    comon = {"name": "comon", "source": {"all": [server.url + path for path in paths]}, "every": every}
    comon |= {"timeout": "5s", "format": "comon", **more}
    busy = {"name": "busy", "of": "comon", "where": "load1 > 1"}
    Path("comon.yaml").write_text(yaml.safe_dump({"feeds": [comon, busy]}))
    return "comon.yaml"


def ask(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["feed", *args])
    return result.exit_code, result.stdout, result.stderr + str(result.exception or "")


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def files(folder: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file())


# --- run -------------------------------------------------------------------------------------------------------------


def test_once_is_one_tick_of_each_and_costs_one_fetch_a_location(server: FeedServer) -> None:
    file = written(server, "/a", "/b", "/none", tools=["accum", {"select": {"where": "load1 > 1", "file": "busy.csv"}}])
    code, out, error = ask("run", file, "--once", "--json")
    assert code == 0
    items = lines(out)
    told = sorted((item["feed"], item["meta"]["location"][-2:], item["meta"]["net"]) for item in items)
    assert told == [
        *[("busy", "/b", "ok"), ("busy", "ne", "status")],
        *[("comon", "/a", "ok"), ("comon", "/b", "ok"), ("comon", "ne", "status")],
    ]
    assert sorted(server.asked) == ["/a", "/b", "/none"]
    assert next(item["value"]["load1"] for item in items if item["feed"] == "busy" and item["value"]) == 7
    assert "comon, busy → comon.feeds/" in error
    assert "5 items of 2 feeds" in error
    assert {"archive/data.mdb", "comon/accum.xml", "comon/busy.csv"} <= set(files("comon.feeds"))


def test_only_the_named_feed_runs_and_a_folder_can_be_given(server: FeedServer) -> None:
    code, out, _ = ask("run", written(server, "/a", "/b"), "busy", "--once", "--json", "--folder", "here/kept")
    assert code == 0
    assert [(item["feed"], item["meta"]["feed"]) for item in lines(out)] == [("busy", "comon")]
    assert "archive/data.mdb" in files("here/kept")


def test_when_everything_failed_once_ends_with_1(server: FeedServer) -> None:
    code, out, error = ask("run", written(server, "/none"), "--once")
    assert (code, "nothing came: " in error) == (1, True)
    assert out.splitlines()[0] == "comon: 1 item, 0 good; status 1; next none"
    assert ask("run", written(server, "/a", "/none"), "--once")[0] == 0


def test_a_run_ends_after_its_time_and_the_next_goes_on(server: FeedServer) -> None:
    file = written(server, "/a", every="0.1s")
    first = lines(ask("run", file, "comon", "--for", "0.6s", "--json")[1])
    second = lines(ask("run", file, "comon", "--for", "0.6s", "--json")[1])
    dues = [item["meta"]["due_ns"] for item in first + second]
    assert len(first) >= 3
    assert len(second) >= 3
    assert dues == [dues[0] + tick * NS // 10 for tick in range(len(dues))]  # what was missed in between is there too


def test_what_tools_print_is_not_among_the_json(server: FeedServer) -> None:
    code, out, error = ask("run", written(server, "/a", tools=["print"]), "--once", "--json")
    assert code == 0
    assert len(lines(out)) == 1
    assert "load1" in error


def test_a_reader_that_goes_away_ends_it(server: FeedServer) -> None:
    file = written(server, "/a", every="0.05s")
    command = [sys.executable, "-m", "vagus", "feed", "run", file, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["feed"] == "comon"
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(TIMEOUT_S) == 1


class Terminal:
    """`vagus feed run` on a pseudo-terminal."""

    def __init__(self, *args: str) -> None:
        self._leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vagus", "feed", "run", *args],
            **dict.fromkeys(("stdin", "stdout", "stderr"), follower),
            env={**os.environ, "TERM": "xterm", "COLUMNS": "150"},
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(follower)
        self.seen = ""

    def until(self, pattern: str) -> str:
        """Waits for a pattern."""
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self._leader], [], [], max(0.0, deadline - time.monotonic()))
            try:
                data = os.read(self._leader, 65536) if ready else b""
            except OSError:
                data = b""
            assert data, f"no {pattern!r} in {self.seen[-1000:]!r}"
            self.seen += re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", data.decode())
        return found[0]

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._leader)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_progress_on_a_terminal_and_ctrl_c_ends_with_a_summary(server: FeedServer) -> None:
    file = written(server, "/a", "/none", every="0.2s", tools=["accum"])
    with Terminal(file) as terminal:
        terminal.until(r"feed +items +good +broken +failed +errors by code +newest +next tick")
        terminal.until(r"comon +\d+ +[2-9] +0 +\d+ +.*status [2-9]")
        terminal.until(r"/none: status: ")
        terminal.type("\x03")
        terminal.until(r"\d+ items of 2 feeds in \d.*; .*status \d+")
        assert terminal.process.wait(TIMEOUT_S) == 0
    assert "comon/accum.xml" in files("comon.feeds")


def test_a_second_ctrl_c_ends_at_once() -> None:
    """A tool whose end takes long is not waited for."""
    Path("slow.py").write_text(
        "import time\n"
        "class Slow:\n"
        "    name = 'slow'\n"
        "    def __init__(self, context): pass\n"
        "    def take(self, item): return ()\n"
        "    def tick(self, now_ns): return ()\n"
        "    def finish(self, now_ns): time.sleep(60)\n"
    )
    feed = {"name": "now", "source": {"all": ["proc:date"]}, "every": "0.2s", "tools": ["slow:Slow"]}
    Path("slow.yaml").write_text(yaml.safe_dump({"feeds": [feed]}))
    os.environ["PYTHONPATH"] = os.getcwd()
    try:
        with Terminal("slow.yaml") as terminal:
            terminal.until(r"now +[1-9]")
            terminal.type("\x03")
            terminal.until(r"a second Ctrl-C ends at once")
            terminal.type("\x03")
            assert terminal.process.wait(5.0) == 130
    finally:
        del os.environ["PYTHONPATH"]


def test_wrong_files_are_said_in_one_line(server: FeedServer) -> None:
    written(server, "/a")
    for text, said in (
        ("{}", "declares no feeds"),
        ("feeds: [{name: a}]", "exactly one of"),
        ("feeds: [{name: a, source: {all: ['x:1']}}]", "must begin with one of"),
        ("feeds: [{name: a, source: {all: ['file:x']}, tools: [nope]}]", "nope"),
        ("feeds: [{name: a, source: {all: ['file:x']}, format: nope}]", "nope"),
    ):
        Path("wrong.yaml").write_text(text)
        code, _, error = ask("run", "wrong.yaml", "--once")
        assert (code, said in error, "Traceback" in error) == (1, True, False), error
    assert "did you mean comon" in ask("run", "comon.yaml", "como")[2]
    assert ask("run", "none.yaml")[0] == 1
    assert ask("run", "comon.yaml", "--for", "soon")[0] == 2


# --- what is shown ---------------------------------------------------------------------------------------------------


def emitted(net: Net = Net.OK, data: Data = Data.GOOD, value: Any = 1, ticks: int = 1, errors: int = 0) -> Emit:
    meta = Meta("f", "http://a", 0, 5 * NS, net, data, errors, 1024, "why" if net is not Net.OK else "")
    return Emit("f", Item(meta, value), ticks)


def test_items_are_counted_by_what_became_of_them() -> None:
    tally = Tally("f")
    for emit in (
        emitted(),
        emitted(data=Data.NESTED, errors=2),
        emitted(Net.TIMEOUT, Data.NONE, None),
        emitted(Net.MISSED, Data.NONE, None, 7),
        emitted(Net.NOT_MODIFIED, Data.NONE, None),
    ):
        tally.add(emit)
    assert (tally.items, tally.good, tally.broken, tally.failed, tally.values) == (11, 2, 1, 8, 3)
    assert tally.codes_text() == "missed 7, Nested 1, timeout 1"
    assert tally.failures == {}
    tally.add(emitted(Net.MISSED, Data.NONE, None))
    assert tally.failing() == ["http://a: missed: why"]
    assert summary({"f": tally}, 61) == "12 items of 1 feed in 1m1s, 6 KiB; missed 8, Nested 1, timeout 1"
    assert summary({}, 0.5) == "0 items of 0 feeds in 0.5s, 0 B, no errors"
    assert [until(t_ns, 10 * NS) for t_ns in (None, 9 * NS, 70 * NS)] == ["none", "now", "in 1m"]
    from rich.console import Console

    console = Console(width=120)
    with console.capture() as captured:
        console.print(progress({"f": tally}, {"f": 15 * NS}, 10 * NS))
    shown = captured.get()
    assert re.search(r"f +12 +2 +1 +9 +missed 8, Nested 1, timeout 1 +5.0s ago +in 5.0s", shown)
    assert "f: http://a: missed: why" in shown


def test_the_same_failure_is_not_said_all_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    seen = Seen(("f",), False)
    for _ in range(3):
        seen.fail("archive", ValueError("full"))
    seen.fail("archive", ValueError("fuller"))
    assert capsys.readouterr().err.splitlines() == ["archive: ValueError: full", "archive: ValueError: fuller"]


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_fetches_and_shows_a_sample_and_writes_nothing(server: FeedServer) -> None:
    file = written(server, "/a", "/broken", "/none", tools=["accum"])
    code, out, _ = ask("check", file)
    assert code == 0
    assert "✓ comon CoMon(date: float s" in out
    assert "tools: accum" in out
    assert f"status   {server.url}/none" in out
    assert "load1 0.5" in out
    fault = next(line for line in out.splitlines() if "load1: Syntax" in line)
    assert "1minload: ⟪very⟫" in fault
    assert files(".") == ["comon.yaml"]


def test_check_as_json(server: FeedServer) -> None:
    code, out, _ = ask("check", written(server, "/broken"), "--json")
    (comon, busy) = json.loads(out)["feeds"]
    assert (code, comon["ok"], busy["ok"]) == (0, True, True)
    (fault,) = comon["broken"]["faults"]
    body = server.bodies["/broken"]
    assert (fault["path"], fault["code"]) == ("load1", "Syntax")
    assert body[fault["start"] : fault["end"]] == b"very"
    assert comon["sample"]["value"]["rwfs"] == 221
    assert comon["fetches"][0]["size_bytes"] == len(body)


def test_check_fails_where_a_feed_brings_nothing(server: FeedServer) -> None:
    code, out, error = ask("check", written(server, "/none"))
    assert (code, "none of its sources answers" in out) == (1, True)
    assert "comon, busy" in error
    server.bodies["/empty"] = b""
    code, out, _ = ask("check", written(server, "/empty", format="json"))
    assert (code, "nothing that came has a value" in out) == (1, True)


def test_check_offline_asks_nobody(server: FeedServer) -> None:
    code, _, _ = ask("check", written(server, "/none"), "--offline")
    assert (code, server.asked) == (0, [])
    code, out, _ = ask("check", written(server, "/a", tools=[{"alert": {}}]), "--offline")
    assert (code, "it needs a rule" in out) == (1, True)


def test_check_tells_of_fields_that_do_not_exist(server: FeedServer) -> None:
    file = Path(written(server, "/a"))
    file.write_text(file.read_text().replace("load1 > 1", "lod1 > 1"))
    code, _, error = ask("check", str(file))
    assert (code, "feed 'busy': where: the feed has no lod1; there are: " in error) == (1, True)


# --- replay and select -----------------------------------------------------------------------------------------------


def test_a_replay_is_the_identical_set_and_runs_the_tools_again(server: FeedServer) -> None:
    file = written(server, "/a", "/b", "/none", "/broken", tools=[{"select": {"columns": ["load1"], "file": "t.csv"}}])
    live = lines(ask("run", file, "--once", "--json")[1])
    code, out, error = ask("replay", file, "--into", "again")
    assert code == 0

    def sorted_(items: list[Any]) -> list[str]:
        return sorted(json.dumps(item) for item in items)

    assert sorted_(lines(out)) == sorted_(live)
    assert re.search(r"6 items of \d.*s in \d", error)
    first, second = (Path(folder, "comon", "t.csv").read_text() for folder in ("comon.feeds", "again"))
    assert sorted(first.splitlines()) == sorted(second.splitlines())
    assert len(lines(ask("replay", file, "busy")[1])) == 2
    assert ask("replay", file, "--quiet")[1] == ""


def test_a_replay_of_a_span_of_time_and_of_nothing(server: FeedServer) -> None:
    file = written(server, "/a", "/b")
    items = lines(ask("run", file, "comon", "--once", "--json")[1])
    arrived = sorted(item["meta"]["arrived_ns"] for item in items)
    code, out, _ = ask("replay", file, "comon", "--start", str(arrived[1]))
    assert [item["meta"]["arrived_ns"] for item in lines(out)] == arrived[1:]
    assert ask("replay", file, "comon", "--since", "1h", "--quiet")[0] == 0
    code, _, error = ask("replay", file, "comon", "--until", str(arrived[0]))
    assert (code, "nothing of comon is archived" in error) == (1, True)
    code, _, error = ask("replay", file, "--store", "home")
    assert (code, "there is no archive of feeds in home" in error) == (1, True)
    assert ask("replay", file, "--folder", "a", "--store", "b")[0] == 2


def test_select_over_an_archive(server: FeedServer) -> None:
    file = written(server, "/a", "/b", "/c")
    ask("run", file, "--once")
    ask("run", file, "--once")
    columns = ("--columns", "meta.location,load1", "--csv")
    code, out, _ = ask("select", file, "load1 < 5", "--name", "comon", "--latest", *columns)
    assert code == 0
    assert sorted(out.splitlines()[1:]) == [f"{server.url}/a,0.5", f"{server.url}/c,2.25"]
    assert len(ask("select", file, "--name", "busy", *columns)[1].splitlines()) == 5


def test_the_newest_list_of_a_location_has_no_rows_of_the_one_before(server: FeedServer) -> None:
    file = "lists.yaml"
    lists = {"name": "lists", "source": {"all": [f"{server.url}/list"]}, "format": "lines", "flatten": True}
    Path(file).write_text(yaml.safe_dump({"feeds": [lists]}))
    for body in (b"x\ny\nz\n", b"x\ny\n"):
        server.bodies["/list"] = body
        ask("run", file, "--once")
    chosen = ("--name", "lists", "--columns", "meta.part", "--csv")
    assert ask("select", file, *chosen)[1].split() == ["meta.part", "0", "1", "2", "0", "1"]
    assert ask("select", file, "--latest", *chosen)[1].split() == ["meta.part", "0", "1"]


def test_select_over_a_running_feed() -> None:
    gateway = Gateway()
    meta = {"feed": "f", "due_ns": 1, "arrived_ns": 2, "net": "ok", "data": "Good", "errors": 0, "unheard_of": 1}
    meta["provenance"] = [{"feed": "f", "location": "x", "due_ns": 1, "part": ""}]  # type: ignore[assignment]
    items = [{"node": "n", "meta": {**meta, "location": f"http://{n}"}, "value": {"load1": n}} for n in range(3)]
    gateway.answers["/v1/feeds/f/items"] = {"items": items, "partial": False, "missing": []}
    with serve(gateway):
        result = gateway.run("feed", "select", "--feed", "f", "load1 >= 1", "--latest", "--csv")
        assert result.stdout == "meta.location,load1\nhttp://1,1\nhttp://2,2\n"
        assert gateway.asked[-1][2]["latest"] == "true"
        result = gateway.run("feed", "select", "--feed", "none")
        assert result.exit_code == 1
        assert "nothing at" in result.stderr


def test_a_list_of_nodes_drives_their_reports(server: FeedServer) -> None:
    """The talk's example, from YAML alone: run, check, replay."""
    Path("nodelist").write_text("a\n#none\nb\n")
    nodes = {"name": "nodes", "source": {"all": ["file:./nodelist"]}, "every": "24h", "timeout": "5s"}
    nodes |= {"format": "lines", "flatten": True, "where": '!($ =~ "#.*")'}
    comon = {"name": "comon", "foreach": "nodes", "source": {"all": [f"{server.url}/{{}}"]}}
    comon |= {"every": "5m", "timeout": "5s", "format": "comon"}
    Path("list.yaml").write_text(yaml.safe_dump({"feeds": [nodes, comon]}))
    assert ask("check", "list.yaml")[0] == 0
    server.asked.clear()
    live = lines(ask("run", "list.yaml", "comon", "--once", "--json")[1])
    assert sorted(server.asked) == ["/a", "/b"]
    assert sorted(item["value"]["load1"] for item in live) == [0.5, 7]
    assert {item["meta"]["provenance"][0]["feed"] for item in live} == {"nodes"}
    again = lines(ask("replay", "list.yaml", "comon")[1])
    assert sorted(map(str, again)) == sorted(map(str, live))
    since = str(min(item["meta"]["arrived_ns"] for item in live))
    assert len(lines(ask("replay", "list.yaml", "comon", "--start", since)[1])) == 2
