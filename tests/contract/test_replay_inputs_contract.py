"""`vagus replay` on files good and broken: every kind of trace, what it prints, and where it says an error is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vagus.cli import cli

FULL = "t_s,group,a,b\n" + "".join(f"{t},g,{1 + t % 3},2.5\n" for t in range(30))
LOGGED = "t_s,group,arm,reward,propensity\n" + "".join(f"{t},g,{'ab'[t % 2]},{1 + t % 2},0.5\n" for t in range(60))
MBPS = "".join(f"{t * 0.7:.2f}\t{1 + t % 4}\n" for t in range(60))


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, ["replay", *map(str, words)])


@pytest.fixture
def full(tmp_path: Path) -> Path:
    (tmp_path / "full.csv").write_text(FULL)
    return tmp_path / "full.csv"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "log.csv").write_text(LOGGED)
    return tmp_path / "log.csv"


@pytest.fixture
def throughputs(tmp_path: Path) -> list[Path]:
    for name, scale in (("one", 1.0), ("two", 3.0), ("three", 0.5)):
        lines = [line.split() for line in MBPS.splitlines()]
        (tmp_path / name).write_text("".join(f"{t} {float(v) * scale}\n" for t, v in lines))
    return [tmp_path / "one", tmp_path / "two", tmp_path / "three"]


# --- good ------------------------------------------------------------------------------------------------------------


def test_full_information(full: Path) -> None:
    result = run(full, "--policy", "ucb,uniform,static:a", "--delay", "1s", "--seeds", 2)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()[:7]]
    assert lines[0] == ["policy", "score", "mean", "reward", "regret"]
    assert {line[0] for line in lines[1:4]} == {"ucb", "uniform", "static:a"}
    assert [line[:2] for line in lines[4:7]] == [["dynamic", "oracle"], ["best", "static"], ["random", "0.000"]]
    assert "regret on full.csv" in result.stdout
    assert "(best static arm)" in result.stdout


def test_full_information_as_json_is_whole_and_repeatable(full: Path) -> None:
    words = (full, "--policy", "ucb,static:b", "--noise", "0.1", "--seed", 4, "--json")
    first, second = run(*words), run(*words)
    assert first.stdout == second.stdout
    document = json.loads(first.stdout)
    ucb, static = document["policies"]
    assert document["random"] < static["mean"] < document["oracle"]
    assert static["mean"] == pytest.approx(2.5)
    assert static["score"] == pytest.approx(document["static_score"], abs=1e-9)
    assert document["curve"]["ucb"][-1] == pytest.approx(ucb["regret"])
    assert len(document["curve"]["t_s"]) == len(document["curve"]["random"])
    assert document["noise"] == 0.1


def test_an_arm_that_comes_and_goes(tmp_path: Path) -> None:
    file = tmp_path / "gaps.csv"
    file.write_text("t_s,group,a,b,c\n0,g,1,2,\n5,g,,2,3\n5,h,1,1,1\n9,g,1,,3\n9,h,1,2,1\n")
    document = json.loads(run(file, "--policy", "uniform,static:a", "--json").stdout)
    assert {run["group"] for run in document["policies"][0]["runs"]} == {"g", "h"}
    assert document["oracle"] > document["random"]


def test_a_log(log: Path) -> None:
    document = json.loads(run(log, "--policy", "greedy,ucb", "--json").stdout)
    by_name = {each["policy"]: each for each in document["policies"]}
    assert set(by_name) == {"greedy", "ucb", "logged", "uniform", "static:a", "static:b"}
    assert by_name["static:b"]["dr"]["estimate"] == pytest.approx(2.0, abs=0.1)
    assert by_name["static:a"]["ess"] == pytest.approx(30)
    assert by_name["logged"]["snips"]["estimate"] == pytest.approx(1.5)
    text = run(log, "--policy", "greedy")
    assert text.exit_code == 0
    assert text.stdout.split()[:2] == ["policy", "reward"]


def test_pictures(full: Path, log: Path, throughputs: list[Path], tmp_path: Path) -> None:
    for at, words in enumerate(
        ((full, "--policy", "ucb"), (log, "--policy", "ucb"), ("--traces", *throughputs, "--player", "--policy", "ucb"))
    ):
        picture = tmp_path / f"{at}.png"
        result = run(*words, "-o", picture)
        assert result.exit_code == 0, result.output
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert str(picture) in result.stderr


def test_files_of_throughput(throughputs: list[Path]) -> None:
    document = json.loads(run("--traces", *throughputs, "--policy", "static:two", "--json").stdout)
    assert document["traces"] == ["one..three"]
    assert document["policies"][0]["score"] == pytest.approx(1.0)
    pairs = run("--traces", *throughputs, "--arms", 2, "--policy", "uniform", "--json")
    assert json.loads(pairs.stdout)["traces"] == ["one..two"]
    assert "left out, too few for a group: three" in pairs.stderr


def test_players(throughputs: list[Path]) -> None:
    words = ("--traces", *throughputs, "--policy", "static:two,static:three", "--json")
    document = json.loads(run(*words, "--player", "--rate", 1).stdout)
    two, three = document["policies"]
    assert two["sessions"] == three["sessions"] > 10
    assert two["mean_quality"] > three["mean_quality"]
    assert two["mean_join_s"] < three["mean_join_s"]
    assert two["rebuffering_ratio"] <= three["rebuffering_ratio"]
    few = json.loads(run(*words, "--players", 3, "--ladder", "0.5,1", "--chunks", 4).stdout)
    assert few["ladder_mbps"] == [0.5, 1.0]
    assert 0.5 <= few["policies"][0]["mean_bitrate_mbps"] <= 1.0
    text = run("--traces", *throughputs, "--policy", "uniform", "--player")
    assert "rebuffering" in text.stdout


# --- broken ----------------------------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "line 1 must be t_s,group"),
    "no lines": ("t_s,group,a\n", "no line after its first"),
    "no header": ("0,g,1\n", "line 1 must be t_s,group"),
    "two arms of a name": ("t_s,group,a,a\n0,g,1,2\n", "line 1"),
    "text": ("t_s,group,a,b\n0,g,1,2\n1,g,x,2\n", "line 3: a is 'x'"),
    "nan": ("t_s,group,a,b\n0,g,nan,2\n", "line 2: a is 'nan'"),
    "infinite": ("t_s,group,a,b\n0,g,inf,2\n", "line 2: a is 'inf'"),
    "time is nan": ("t_s,group,a,b\nnan,g,1,2\n", "line 2: t_s is 'nan'"),
    "too few cells": ("t_s,group,a,b\n0,g,1,2\n\n1,g,1\n", "line 4: 3 cells"),
    "unsorted": ("t_s,group,a\n5,g,1\n1,h,1\n4,g,1\n", "line 4: t_s 4"),
    "nothing to be had": ("t_s,group,a,b\n0,g,,\n", "line 2: no arm has a reward"),
    "log: probability 0": ("t_s,group,arm,reward,propensity\n0,g,a,1,0\n", "line 2: propensity 0"),
    "log: probability 1.5": ("t_s,group,arm,reward,propensity\n0,g,a,1,1.5\n", "line 2: propensity 1.5"),
    "log: no arm": ("t_s,group,arm,reward\n0,g,,1\n", "line 2: arms must be"),
    "log: reward": ("t_s,group,arm,reward\n0,g,a,much\n", "line 2: reward is 'much'"),
    "not text": (b"t_s,group,a\n0,g,\xff\n", "is not UTF-8"),
    "long line": ("t_s,group,a\n0,g," + "1" * (1 << 20) + "\n", "line 2 has"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_traces_say_where(name: str, tmp_path: Path) -> None:
    content, words = BROKEN[name]
    file = tmp_path / "broken.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = run(file, "--policy", "uniform")
    assert result.exit_code == 1
    assert words in result.stderr
    assert "broken.csv" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


THROUGHPUT: dict[str, tuple[str | bytes, str]] = {
    "empty": ("\n\n", "is empty"),
    "a word": ("0 1\n1 fast\n", "line 2: Mbps is 'fast'"),
    "three words": ("0 1\n\n1 2 3\n", "line 3: 3 words"),
    "negative": ("0 -1\n", "line 1: -1 Mbps"),
    "nan": ("0 1\nnan 2\n", "line 2: seconds is 'nan'"),
    "unsorted": ("5 1\n4 1\n", "line 2: 4 s, after 5 s"),
    "far": ("0 1\n1e9 1\n", "line 2: 1e9 s"),
    "not text": (b"0 1\n\xff\n", "is not UTF-8"),
}


@pytest.mark.parametrize("name", sorted(THROUGHPUT))
def test_broken_throughputs_say_where(name: str, throughputs: list[Path]) -> None:
    content, words = THROUGHPUT[name]
    throughputs[1].write_bytes(content if isinstance(content, bytes) else content.encode())
    result = run("--traces", *throughputs, "--policy", "uniform")
    assert result.exit_code == 1
    assert words in result.stderr
    assert str(throughputs[1]) in result.stderr


def test_wrong_usage(full: Path, log: Path, throughputs: list[Path], tmp_path: Path) -> None:
    for words, code, error in (
        ([full, "--policy", "ucbb"], 1, "has no 'ucbb'"),
        ([full, "--policy", "static:z"], 1, "there is no such arm; there are: a, b"),
        ([full, "--policy", ","], 2, "1 to 20 names"),
        ([full, "--policy", "ucb", "--option", "x"], 2, "'x' is not NAME=VALUE"),
        ([full, "--policy", "ucb", "--option", "x=1"], 1, "does not take these options"),
        ([full, "--rate", "0"], 1, "rate is 0"),
        ([full, "--policy", "uniform", "--noise", "-1"], 1, "noise is -1"),
        ([full, "--policy", "uniform", "--noise", "nan"], 1, "noise is nan"),
        ([full, "--policy", "uniform", "--tick", "0"], 1, "tick_s is 0"),
        ([full, "--delay", "soon"], 2, "soon"),
        ([full, "--arms", 2], 2, "--arms goes with --traces"),
        ([full, "-o", tmp_path / "x.jpg"], 2, "only PNG"),
        ([full, "-o", tmp_path / "no" / "x.png"], 1, "there is no folder"),
        ([full, log], 1, "several files, and a log among them"),
        ([log, "--player"], 2, "this is a log"),
        ([log, "--policy", "nonsense"], 1, "'nonsense' is no policy"),
        ([tmp_path / "none.csv"], 1, "cannot read"),
        ([tmp_path], 1, "cannot read"),
        (["--traces", throughputs[0]], 1, "1 files as arms of one group"),
        (["--traces", throughputs[0], throughputs[0]], 1, "two files are called 'one'"),
        (["--traces", *throughputs, "--arms", 5], 1, "3 files are fewer than the 5 arms"),
        (["--traces", *throughputs, "--player", "--ladder", "a,b"], 2, "bitrates in Mbps"),
        (["--traces", *throughputs, "--player", "--ladder", "2,1"], 1, "bitrates in Mbps that grow"),
        (["--traces", *throughputs, "--player", "--rate", "0.000001", "--policy", "uniform"], 1, "no session began"),
    ):
        result = run(*words)
        assert result.exit_code == code, (words, result.output)
        assert error in " ".join(result.stderr.split()), (words, result.stderr)


def test_bins_of_a_second(tmp_path: Path) -> None:
    from vagus.controllers.decide.throughput import read_bins

    file = tmp_path / "t"
    file.write_text("10.0 1\n10.5 3\n11.2 5\n14.0 7\n")
    assert read_bins(file).tolist() == [2.0, 5.0, 5.0, 5.0, 7.0]
    file.write_text("3.5 1.25\n")
    assert read_bins(file).tolist() == [1.25]
    assert not math.isnan(read_bins(file).sum())
