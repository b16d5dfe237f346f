"""Feature 11, alert: rules, for-time, hysteresis, and that what is missing resolves nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from feed_items import at, context, item

from vagus.config import MailSettings
from vagus.errors import ConfigError, VagusError
from vagus.feeds import Item, Notice, Shape
from vagus.feeds.tools import alert as alert_module
from vagus.feeds.tools.alert import Alert
from vagus.model import Status

U, H = Status.UNHEALTHY, Status.HEALTHY


class Run:
    """Feeds an alert and remembers what it told."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.alert = Alert(context(folder), **options)
        self.told: list[Notice] = []

    def take(self, value: Any, t_s: float, location: str = "http://a/") -> list[Status]:
        new = list(self.alert.take(item(value, t_s, location)))
        self.told += new
        return [notice.status for notice in new]

    def tick(self, t_s: float) -> list[Status]:
        new = list(self.alert.tick(at(t_s)))
        self.told += new
        return [notice.status for notice in new]


def test_feature_11_alert_maximum_begins_and_ends(tmp_path: Path) -> None:
    run = Run(tmp_path, field="load1", maximum=5)
    assert run.take({"load1": 5}, 0) == []
    assert run.take({"load1": 7.25}, 10) == [U]
    assert run.take({"load1": 9}, 20) == []
    assert run.take({"load1": 5}, 30) == [H]
    began, ended = run.told
    assert (began.subject, began.rule, began.value, began.since_ns, began.t_ns) == (
        "http://a/",
        "load1 > 5",
        7.25,
        at(10),
        at(10),
    )
    assert began.text == "http://a/: load1 > 5 (7.25)"
    assert (ended.text, ended.since_ns, ended.again) == ("ended: http://a/: load1 > 5 (5)", at(10), False)


@pytest.mark.parametrize(
    ("options", "good", "bad"),
    [
        ({"field": "disk", "minimum": 1}, {"disk": 1}, {"disk": 0.5}),
        ({"when": "load1 > 5 && cpu == 'busy'"}, {"load1": 6, "cpu": "idle"}, {"load1": 6, "cpu": "busy"}),
        ({"function": lambda found: found.value["load1"] > 5}, {"load1": 1}, {"load1": 6}),
        ({"field": "$[0]", "minimum": 1, "maximum": 2}, [1.5], [3]),
    ],
)
def test_feature_11_alert_rules(tmp_path: Path, options: dict[str, Any], good: Any, bad: Any) -> None:
    run = Run(tmp_path, **options)
    assert (run.take(good, 0), run.take(bad, 1), run.take(bad, 2), run.take(good, 3)) == ([], [U], [], [H])


def user_rule(found: Item[Any]) -> bool | None:
    return None if "drift" not in found.value else abs(found.value["drift"]) > 60


def test_feature_11_alert_user_function_by_name_that_cannot_tell_or_raises(tmp_path: Path) -> None:
    run = Run(tmp_path, function=f"{__name__}:user_rule", missing="1m")
    assert run.take({"drift": -90}, 0) == [U]
    assert run.take({}, 1) == []
    with pytest.raises(TypeError):
        run.take({"drift": "soon"}, 2)
    assert run.alert.standing == ("http://a/",)
    assert run.take({"drift": 0}, 3) == [H]
    assert run.told[0].rule.endswith("user_rule")


def test_feature_11_alert_for_time_needs_judgements_that_span_it(tmp_path: Path) -> None:
    run = Run(tmp_path, when="load1 > 5", **{"for": "5m"})
    assert run.take({"load1": 6}, 0) == []
    assert run.tick(1000) == []  # nothing was seen meanwhile
    assert run.take({"load1": 6}, 299) == []
    assert run.take({"load1": 4}, 299.5) == []  # begins anew
    assert run.take({"load1": 6}, 300) == []
    assert run.take(None, 400) == []  # neither confirms nor resets
    assert run.take({}, 601) == []
    assert run.take({"load1": 6}, 602) == [U]
    assert run.told[0].since_ns == at(300)


def test_feature_11_alert_hysteresis_by_number_and_by_expression(tmp_path: Path) -> None:
    for clear in (3, "load1 <= 3"):
        run = Run(tmp_path, field="load1", maximum=5, clear=clear, clear_for="1m")
        assert run.take({"load1": 6}, 0) == [U]
        assert run.take({"load1": 4}, 10) == []  # between the two: as it is
        assert run.take({"load1": 3}, 20) == []
        assert run.take({"load1": 4}, 50) == []
        assert run.take({"load1": 2}, 60) == []
        assert run.take(None, 119) == []
        assert run.take({"load1": 1}, 119.9) == []
        assert run.take({"load1": 1}, 120) == [H]


def test_feature_11_alert_missing_is_not_resolved(tmp_path: Path) -> None:
    for options in ({"field": "load1", "maximum": 5}, {"when": "load1 > 5"}, {"when": "!(load1 <= 5)"}):
        run = Run(tmp_path, **options)
        assert run.take({"load1": 6}, 0) == [U]
        for n, value in enumerate((None, {}, {"load1": None}, {"load1": float("nan")}, {"load1": "many"}, [])):
            assert run.take(value, n + 1) == [], value
        assert run.tick(1e6) == []
        assert run.alert.standing == ("http://a/",)
        assert run.take({"load1": 5}, 1e6 + 1) == [H]


def test_feature_11_alert_what_is_missing_begins_nothing_either(tmp_path: Path) -> None:
    run = Run(tmp_path, when="!(load1 < 5) || disk < 1")
    assert run.take({}, 0) == []
    assert run.take({"disk": 3}, 1) == []
    assert run.take({"disk": 0}, 2) == [U]  # the one side tells
    assert run.take({"disk": 3}, 3) == []  # the other is not known
    assert run.take({"disk": 3, "load1": 1}, 4) == [H]


def test_feature_11_alert_absence_itself_by_ticks_and_by_failed_items(tmp_path: Path) -> None:
    run = Run(tmp_path, when="load1 > 5", missing="10m")
    assert run.take({"load1": 1}, 0) == []
    assert run.take(None, 300) == []
    assert run.tick(599) == []
    assert run.tick(600) == [U]
    assert run.tick(700) == []
    assert run.told[0].rule == "nothing for 10m"
    assert run.told[0].since_ns == at(0)
    assert run.take(None, 710) == []
    assert run.take({"load1": 2}, 720) == [H]
    assert run.take(None, 1400) == [U]  # and by an item that failed
    never = Run(tmp_path, missing=5)
    assert never.take(None, 0) == []
    assert never.take(None, 5) == [U]
    assert never.take({}, 6) == [H]


def test_feature_11_alert_is_told_again_and_not_twice(tmp_path: Path) -> None:
    run = Run(tmp_path, when="load1 > 5", repeat="1h")
    assert run.take({"load1": 6}, 0) == [U]
    assert run.take({"load1": 6}, 60) == []
    assert run.tick(3599) == []
    assert run.tick(3600) == [U]
    assert run.told[-1].again
    assert run.told[-1].text.startswith("goes on: ")
    assert run.take(None, 7300) == [U]
    assert run.take({"load1": 1}, 7400) == [H]
    assert run.tick(1e6) == []


def test_feature_11_alert_state_is_per_location_or_key(tmp_path: Path) -> None:
    run = Run(tmp_path, when="load1 > 5")
    assert run.take({"load1": 6}, 0, "http://a/") == [U]
    assert run.take({"load1": 6}, 0, "http://b/") == [U]
    assert run.take({"load1": 1}, 1, "http://b/") == [H]
    assert run.alert.standing == ("http://a/",)
    keyed = Run(tmp_path, when="load1 > 5", key="node")
    assert keyed.take({"load1": 6, "node": "x"}, 0) == [U]
    assert keyed.take({"load1": 6, "node": "y"}, 0) == [U]
    assert keyed.take({"load1": 6}, 0) == []  # whose it is cannot be told
    assert keyed.alert.standing == ("x", "y")


def test_feature_11_alert_flapping_is_bounded_and_hides_nothing_that_stands(tmp_path: Path) -> None:
    run = Run(tmp_path, when="load1 > 5", most_per_hour=6)
    for n in range(720):  # bad and good in turn, for two hours
        run.take({"load1": 6 if n % 2 else 1}, n * 10)
    assert run.alert.standing
    assert len(run.told) <= 2 * (6 + 6 + 2)
    assert "flaps" in run.told[10].text
    last = run.told[-1].t_ns
    for n in range(100):
        run.take({"load1": 1}, 7200 + n * 10)
    assert not run.alert.standing
    assert run.told[-1].status is H
    assert run.told[-1].t_ns > last


def test_feature_11_alert_file_of_json_or_text_lines(tmp_path: Path) -> None:
    for style, name in (("json", "alerts.jsonl"), ("text", "sub/alerts.txt")):
        run = Run(tmp_path, when="load1 > 5\n|| load1 < 0", file=name, style=style)  # as YAML writes a long one
        run.take({"load1": 6}, 0, "http://a/\nforged")
        run.take({"load1": 1}, 1, "http://a/\nforged")
        lines = (tmp_path / name).read_text().splitlines()
        assert len(lines) == 2
        if style == "json":
            first = json.loads(lines[0])
            assert (first["status"], first["subject"], first["t_ns"]) == ("UNHEALTHY", "http://a/ forged", at(0))
        else:
            assert lines[0] == "2023-11-14T22:13:20Z UNHEALTHY comon: http://a/ forged: load1 > 5 || load1 < 0"
            assert " HEALTHY comon: ended:" in lines[1]


def test_feature_11_alert_whose_file_cannot_be_written_is_told_and_written_later(tmp_path: Path) -> None:
    run = Run(tmp_path, when="load1 > 5", file="sub/alerts.jsonl")
    (tmp_path / "sub").write_text("in the way")
    notices = iter(run.alert.take(item({"load1": 6}, 0)))
    assert next(notices).status is U  # it is handed on before the file is tried
    with pytest.raises(OSError, match="sub"):
        next(notices)
    (tmp_path / "sub").unlink()
    assert run.tick(1) == []
    assert len((tmp_path / "sub/alerts.jsonl").read_text().splitlines()) == 1


def test_feature_11_alert_on_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    (tmp_path / "full").symlink_to("/dev/full")
    alert = Alert(context(tmp_path), when="load1 > 5", file="full")
    with pytest.raises(OSError, match="No space"):
        list(alert.take(item({"load1": 6}, 0)))


def test_feature_11_alert_report_subject_message_and_outputs(tmp_path: Path) -> None:
    mail = {"host": "127.0.0.1", "from": "vagus@example.org", "to": ["ops@example.org"]}
    run = Run(
        tmp_path,
        when="load1 > 5",
        report=True,
        event=False,
        subject="node:{node}",
        message="{node} at {location} has load {load1}, {{disk}} {disk}",
        severity="maybe_unhealthy",
        webhooks=["http://127.0.0.1:1/hook"],
        mail=mail,
    )
    assert run.take({"load1": 6.12345678, "node": "n\x1b[31m7"}, 0) == [Status.MAYBE_UNHEALTHY]
    [notice] = run.told
    assert notice.subject == "node:n [31m7"
    assert notice.text == "n [31m7 at http://a/ has load 6.12346, {disk} ?"
    assert (notice.report, notice.event, notice.webhooks) == (True, False, ("http://127.0.0.1:1/hook",))
    assert notice.mail == MailSettings(host="127.0.0.1", sender="vagus@example.org", to=("ops@example.org",))
    assert Run(tmp_path, when="x > 1", mail=notice.mail).take({"x": 2}, 0) == [U]


def test_feature_11_alert_subject_of_what_means_something_on_one_node_alone(tmp_path: Path) -> None:
    run = Run(tmp_path, when="load1 > 5")
    run.take({"load1": 6}, 0, "proc:uptime")
    assert run.told[0].subject == "proc:uptime@n1"


def test_feature_11_alert_is_of_the_location_until_its_subject_is_known_and_ends_as_it_began(tmp_path: Path) -> None:
    run = Run(tmp_path, missing="1m", subject="node:{name}")
    run.take(None, 0)
    assert run.tick(60) == [U]
    assert run.take({"name": "n1"}, 61) == [H]
    assert run.tick(121) == [U]
    assert run.take({"load1": 1}, 122) == [H]
    assert [notice.subject for notice in run.told] == ["http://a/", "http://a/", "node:n1", "node:n1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a rule"),
        ({"maximum": 5}, "field"),
        ({"when": "load1 >"}, "when: expression"),
        ({"field": "load1 >", "maximum": 1}, "field: expression"),
        ({"field": "a", "maximum": "many"}, "maximum"),
        ({"when": "a>1", "for": "soon"}, "for: duration"),
        ({"when": "a>1", "missing": "-1"}, "missing"),
        ({"when": "a>1", "no_such": 1}, "no_such.*options are.*clear_for"),
        ({"when": "a>1", "clear": 3}, "number"),
        ({"field": "a", "minimum": 1, "maximum": 5, "clear": 3}, "only one"),
        ({"field": "a", "maximum": 5, "clear": 6}, "beyond the bound"),
        ({"when": "a>1", "clear": "b ="}, "clear"),
        ({"function": "no.such.module:f"}, "does not load"),
        ({"function": "os:sep"}, "no function"),
        ({"function": 7}, "module:function"),
        ({"when": "a>1", "file": "../x"}, "leaves its folder"),
        ({"when": "a>1", "webhooks": ["ftp://x"]}, "webhooks"),
        ({"when": "a>1", "mail": {"host": "x"}}, "mail"),
        ({"when": "a>1", "severity": "bad"}, "severity"),
        ({"when": "a>1", "message": "{load"}, "brace"),
        ({"when": "a>1", "subject": "{load >}"}, "subject: expression"),
        ({"when": "a>1", "most_per_hour": 0}, "most_per_hour"),
    ],
)
def test_feature_11_alert_refuses_wrong_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Alert(context(tmp_path), **options)


def test_feature_11_alert_checks_names_against_the_shape(tmp_path: Path) -> None:
    shape = Shape("record", "R", (("load1", Shape("float")),))
    Alert(context(tmp_path, shape), when="load1 > 1")
    with pytest.raises(ConfigError, match=r"no laod1; there are: load1"):
        Alert(context(tmp_path, shape), when="laod1 > 1")


def test_feature_11_alert_subjects_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_module, "MAX_SUBJECTS", 10)
    run = Run(tmp_path, when="load1 > 5")
    assert run.take({"load1": 6}, 0, "http://first/") == [U]
    for n in range(100):
        run.take({"load1": 1}, n, f"http://{n}/")
    assert len(run.alert._subjects) == 10
    assert run.alert.standing == ("http://first/",)  # what stands is not forgotten
    for n in range(9):
        run.take({"load1": 6}, 200, f"http://bad{n}/")
    with pytest.raises(VagusError, match="10 subjects"):
        run.take({"load1": 6}, 300, "http://one-more/")
