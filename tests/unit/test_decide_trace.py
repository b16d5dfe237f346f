"""Traces: what is read, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vagus.cli.decide_log import csv_of
from vagus.controllers.decide import trace as traces
from vagus.controllers.decide.features import MAX_GROUP
from vagus.controllers.decide.trace import GroupTrace, LoggedTrace, Trace, parse_trace, read_trace
from vagus.errors import ConfigError

FULL = ["t_s,group,a,b\n", "0,x,1,2\n", "\n", "0.5,y,,3\n", "1,x,4,5\n"]


def test_full_information() -> None:
    trace = parse_trace("f", FULL)
    assert isinstance(trace, Trace)
    assert trace.arms == ("a", "b")
    x, y = trace.groups
    assert (x.group, x.t_s.tolist(), x.values.tolist()) == ("x", [0.0, 1.0], [[1.0, 2.0], [4.0, 5.0]])
    assert y.group == "y"
    assert np.isnan(y.values[0, 0])


def test_between_two_lines() -> None:
    group = GroupTrace("g", np.array([0.0, 2.0, 4.0]), np.array([[0.0, 5.0], [4.0, np.nan], [8.0, 1.0]]))
    times = np.array([-1.0, 0.0, 1.0, 1.999, 2.0, 3.0, 9.0])
    assert group.at(times)[:, 0].tolist() == [0.0, 0.0, 0.0, 0.0, 4.0, 4.0, 8.0]
    linear = group.at(times, linear=True)
    assert linear[:, 0].tolist() == pytest.approx([0.0, 0.0, 2.0, 3.998, 4.0, 6.0, 8.0])
    assert linear[2, 1] == 5.0, "no line to a value that there is not"
    assert np.isnan(linear[5, 1])


def test_logged() -> None:
    trace = parse_trace("f", ["\ufefft_s,group,arm,reward,propensity\n", '0,g,"a,1",2,0.5\n', "1,h,b,-1,\n"])
    assert isinstance(trace, LoggedTrace)
    assert trace.arms == ("a,1", "b")
    assert trace.groups == ("g", "h")
    assert trace.reward.tolist() == [2.0, -1.0]
    assert trace.arm.tolist() == trace.group.tolist() == [0, 1]
    assert trace.propensity[0] == 0.5
    assert np.isnan(trace.propensity[1])
    bare = parse_trace("f", ["t_s,group,arm,reward\n", "0,g,a,1\n"])
    assert isinstance(bare, LoggedTrace)
    assert np.isnan(bare.propensity).all()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1 must be"),
        (["t,group,a\n"], "line 1 must be"),
        (["t_s,group\n"], "line 1 must be"),
        (["t_s,group,a,a\n"], "different names"),
        (["t_s,group,a,\n"], "different names"),
        (["t_s,group,a\n"], "no line after"),
        (["t_s,group,arm,reward\n"], "no line after"),
        (["t_s,group,a\n", "0,g\n"], "line 2: 2 cells"),
        (["t_s,group,a\n", "0,g,x\n"], "line 2: a is 'x'"),
        (["t_s,group,a\n", "0,g,nan\n"], "finite"),
        (["t_s,group,a\n", "0,g,1e101\n"], "finite"),
        (["t_s,group,a\n", "0,g,\n"], "no arm has a reward"),
        (["t_s,group,a\n", "later,g,1\n"], "t_s is 'later'"),
        (["t_s,group,a\n", "1,g,1\n", "2,h,1\n", "0,g,1\n"], "line 4: t_s 0 of group 'g' is before 1"),
        (["t_s,group,a\n", f"1,{'g' * 401},1\n"], "401 characters"),
        (["t_s,group,arm,reward,propensity\n", "0,g,a,1,0\n"], "propensity 0 must be above 0"),
        (["t_s,group,arm,reward,propensity\n", "0,g,a,1,1.1\n"], "at most 1"),
        (["t_s,group,arm,reward\n", "0,g,,1\n"], "1 to 200 characters"),
        (["t_s,group,a\n", '0,"g\n'], "line 2"),
    ],
)
def test_broken_files_are_refused_with_their_line(lines: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_trace("f", lines)


def test_whatever_the_service_names_a_group_is_read() -> None:
    log = csv_of([{"t_ns": 1, "group": "g" * MAX_GROUP, "arm": "a" * 200, "reward": -1e100, "propensity": 1.0}])
    (group,) = parse_trace("f", log.splitlines(keepends=True)).groups
    assert group == "g" * MAX_GROUP


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "MAX_CELLS", 6)
    monkeypatch.setattr(traces, "MAX_GROUPS", 2)
    monkeypatch.setattr(traces, "MAX_ARMS", 2)
    monkeypatch.setattr(traces, "MAX_LINE", 40)
    for lines, message in (
        (["t_s,group,a,b\n", *["0,g,1,1\n"] * 4], "line 5: more than 6 rewards"),
        (["t_s,group,a\n", "0,g,1\n", "0,h,1\n", "0,i,1\n"], "line 4: more than 2 groups"),
        (["t_s,group,a,b,c\n"], "at most 2 different names"),
        (["t_s,group,arm,reward\n", "0,g,a,1\n", "0,g,b,1\n", "0,g,c,1\n"], "line 4: arms"),
        (["t_s,group,arm,reward\n", *["0,g,a,1\n"] * 3], "line 4: more than 2 lines"),
        (["t_s,group,a\n", f"0,g,1{'0' * 60}\n"], "line 2 has 66 characters"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_trace("f", lines)


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("".join(FULL))
    assert read_trace(file).name == "trace.csv"
    with pytest.raises(ConfigError, match=r"cannot read .*: No such file"):
        read_trace(tmp_path / "none.csv")
    (tmp_path / "binary").write_bytes(b"t_s,group,a\n0,g,\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_trace(tmp_path / "binary")
    monkeypatch.setattr(traces, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="give a part of it"):
        read_trace(file)
