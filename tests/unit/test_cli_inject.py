"""`vagus inject` without straining anything: what it lists, what it would do, what it refuses; what killed runs left."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from vagus.actors.injecting import Item, check_together
from vagus.actors.injecting_left import adopt, folder_of, note
from vagus.cli import cli
from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.injector import INJECTIONS, Prepared
from vagus.injector.events import Injected, begin_event, end_event
from vagus.injector.session import Outcome
from vagus.model import Event
from vagus.undo import Step
from vagus.watchdog import Journal

CAMPAIGN = """
name: two
repeat: 2
injections:
  - {type: cpu, intensity: 50%, duration: 2s, component: web, options: {nice: 3}}
  - {type: load, target: "http://127.0.0.1:1/", duration: 1s, options: {base: 3}}
"""


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(home), "inject", *arguments])


def campaign(folder: Path, text: str) -> str:
    file = folder / "campaign.yaml"
    file.write_text(text)
    return str(file)


def test_every_type_is_listed_with_what_this_machine_can(tmp_path: Path) -> None:
    found = json.loads(run(tmp_path, "list", "--json").stdout)["types"]
    assert [one["type"] for one in found] == list(INJECTIONS)
    assert {one["type"]: one["resource"] for one in found}["memory"] == "memory_bandwidth"
    assert next(one for one in found if one["type"] == "cpu")["possible"]
    assert "cpu" in run(tmp_path, "list").stdout


@pytest.mark.parametrize("type_", list(INJECTIONS))
def test_each_type_has_its_own_help_with_examples(tmp_path: Path, type_: str) -> None:
    shown = run(tmp_path, type_, "--help")
    assert shown.exit_code == 0
    assert f"vagus inject {type_}" in shown.stdout
    for option in getattr(INJECTIONS.get(type_), "options", {}):
        assert f"--{option.replace('_', '-')}" in shown.stdout


def test_dry_says_what_would_be_done_and_does_nothing(tmp_path: Path) -> None:
    shown = json.loads(run(tmp_path, "cpu", "--intensity", "1 core", "--for", "1h", "--dry", "--json").stdout)
    (one,) = shown["injections"]
    assert (one["processes"], one["steps"], one["end_s"]) == (1, [], 3600.0)
    assert "100% of a CPU" in one["says"]
    assert not list(tmp_path.iterdir())


def test_a_campaign_is_a_timetable_when_dry(tmp_path: Path) -> None:
    shown = json.loads(run(tmp_path, "campaign", campaign(tmp_path, CAMPAIGN), "--dry", "--json").stdout)
    assert [(i["type"], i["begin_s"]) for i in shown["injections"]] == [
        ("cpu", 0.0), ("load", 2.0), ("cpu", 3.0), ("load", 5.0)
    ]  # fmt: skip
    assert shown["injections"][1]["intensity"] == "100/s", "the default is told"
    text = run(tmp_path, "campaign", campaign(tmp_path, CAMPAIGN), "--dry").output
    assert "4 injections; nothing was done" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CAMPAIGN.replace("50%", "150%"), r"injections[0]: cpu: 150%"),
        (CAMPAIGN.replace("127.0.0.1", "8.8.8.8"), r"injections[1]: load: 8.8.8.8"),
        (CAMPAIGN.replace("nice: 3", "nicer: 3"), "did you mean 'nice'"),
        (CAMPAIGN.replace("nice: 3", "nice: low"), "nice is 'low'"),
        (CAMPAIGN.replace("nice: 3", "nice: true"), "nice is True"),
        (CAMPAIGN.replace("type: cpu", "type: gpu"), "gpu"),
        (CAMPAIGN.replace("duration: 2s", "duration: 2d"), "injections[0]: an injection lasts"),
        (CAMPAIGN.replace("repeat", "repeats"), "did you mean `repeat`"),
    ],
)
def test_all_of_a_campaign_is_checked_before_it_begins(tmp_path: Path, text: str, words: str) -> None:
    shown = run(tmp_path, "campaign", campaign(tmp_path, text))
    assert shown.exit_code == 1
    assert words in shown.output
    assert [path.name for path in tmp_path.iterdir()] == ["campaign.yaml"]


def test_config_check_knows_campaigns(tmp_path: Path) -> None:
    def check(text: str) -> Result:
        return CliRunner().invoke(cli, ["config", "check", campaign(tmp_path, text)])

    assert "a right campaign.yaml" in check(CAMPAIGN).output
    assert "injections[1]: an injection lasts" in check(CAMPAIGN.replace("duration: 1s", "duration: 0s")).output


def test_options_must_be_given_right(tmp_path: Path) -> None:
    assert run(tmp_path, "cpu", "--nice", "x").exit_code == 2
    assert "not between -20 and 19" in run(tmp_path, "cpu", "--nice", "40").output
    assert "0.1 s to 24 h" in run(tmp_path, "cpu", "--for", "10ms").output
    assert run(tmp_path, "gpu").exit_code == 2


# --- what two change at once -----------------------------------------------------------------------------------------


def item(number: int, begin_s: float, end_s: float) -> Item:
    injected = Injected(str(number), "net-bandwidth", "1Mbit", "eth1", end_s - begin_s)
    return Item(begin_s, end_s, injected, Prepared, number)


def test_two_may_not_change_the_same_at_once() -> None:
    device = Prepared(undo=(Step("netlink", "eth1", "00", "root"),))
    other = Prepared(undo=(Step("netlink", "eth2", "00", "root"),))
    with pytest.raises(ConfigError, match="overlap"):
        check_together([item(0, 0.0, 10.0), item(1, 9.0, 12.0)], {0: device, 1: device})
    check_together([item(0, 0.0, 10.0), item(1, 10.0, 12.0)], {0: device, 1: device})
    check_together([item(0, 0.0, 10.0), item(1, 9.0, 12.0)], {0: device, 1: other})


# --- what killed runs left -------------------------------------------------------------------------------------------


def injected(id: str, begin_ns: int, duration_s: float = 10.0) -> Event:
    return begin_event(Injected(id, "cpu", "80%", "", duration_s, "web"), begin_ns, "n1")


def test_what_a_killed_run_left_is_undone_and_its_end_is_told(tmp_path: Path) -> None:
    limit = tmp_path / "limit"
    limit.write_text("7\n")
    folder = folder_of(tmp_path, "n1", "abc")
    with Journal(folder) as journal:
        journal.add([Step("write", str(limit), "100")])
    now_ns = time.time_ns()
    note(folder, injected("1", now_ns - 5 * NS))
    note(folder, injected("2", now_ns - 4 * NS))
    note(folder, end_event(Injected("1", "cpu", "80%", "", 10.0), Outcome("done", 1, now_ns), "n1"))
    with open(folder / "begun.jsonl", "ab") as file:
        file.write(msgspec.json.encode(injected("3", now_ns))[:40])  # torn by the kill
    events, problems = adopt(tmp_path)
    assert problems == []
    assert limit.read_text() == "100\n"
    assert [(e.event, e.fields["id"], e.fields["why"], e.fields["component"]) for e in events] == [
        ("inject.end", "2", "killed", "web")
    ]
    assert now_ns <= events[0].t_ns < now_ns + 10 * NS
    assert not folder.exists()
    assert adopt(tmp_path) == ([], [])


def test_what_the_watchdog_undid_earlier_ended_then(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "n1", "abc")
    with Journal(folder) as journal:
        journal.add([Step("unlink", str(tmp_path / "none"))])
        journal.restore("pipe closed")
    restored_ns = time.time_ns()
    note(folder, injected("1", restored_ns - 5 * NS, 3600.0))
    (end,) = adopt(tmp_path)[0]
    assert abs(end.t_ns - restored_ns) < NS


def test_a_run_at_work_is_left_alone(tmp_path: Path) -> None:
    limit = tmp_path / "limit"
    limit.write_text("7\n")
    folder = folder_of(tmp_path, "n1", "abc")
    with Journal(folder) as journal:
        journal.add([Step("write", str(limit), "100")])
        note(folder, injected("1", time.time_ns()))
        assert adopt(tmp_path) == ([], [])
    starting = folder_of(tmp_path, "n1", "new")
    starting.mkdir()
    adopt(tmp_path)
    assert limit.read_text() == "100\n"
    assert starting.exists()


def test_what_cannot_be_undone_stays_in_its_journal(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    folder = folder_of(tmp_path, "n1", "abc")
    with Journal(folder) as journal:
        journal.add([Step("unlink", str(place))])
    note(folder, injected("1", time.time_ns()))
    told = [adopt(tmp_path) for _ in range(2)]
    assert [len(events) for events, _ in told] == [1, 0], "its end is told once"
    assert all("no regular file" in problems[0] for _, problems in told)
    assert folder.exists()
