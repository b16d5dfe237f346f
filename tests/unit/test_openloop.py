"""The pure half of the open-loop load: when requests come, what they ask, what windows tell, the log."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from scipy.stats import chi2

from vagus.cli.openloop import log as logs
from vagus.cli.openloop import plan as plans
from vagus.cli.openloop import trace as traces
from vagus.cli.openloop.arrivals import due_s, types, weights
from vagus.cli.openloop.contents import Contents
from vagus.cli.openloop.endpoints import Endpoints, place_of
from vagus.cli.openloop.log import Log, read_log, write_log
from vagus.cli.openloop.plan import Plan, check, read_plan
from vagus.cli.openloop.trace import read_trace, slice_of
from vagus.cli.openloop.windows import Tally
from vagus.config import RequestSettings
from vagus.errors import ConfigError, StoreError

READ = RequestSettings(name="read-home", path="/home?user={user}&of={user2}", weight=6.0, sway=0.5)
POST = RequestSettings(
    name="compose", path="/post", method="POST", body='{"by": {user}, "text": "{text}", "n": {number}}'
)


def plan(rates=(50.0,), **more) -> Plan:
    return Plan(name="app", requests=(READ, POST), rates_hz=tuple(rates), urls=("http://127.0.0.1:1",), users=9, **more)


# --- when ------------------------------------------------------------------------------------------------------------


def spread(counts, expected) -> float:
    """The chance of a chi-square so large or larger; near 1 where counts vary less than those of a Poisson process."""
    statistic = float(np.sum((counts - expected) ** 2 / expected))
    return float(chi2.sf(statistic, len(expected)))


def test_arrivals_are_a_poisson_process_with_the_rate_of_each_second():
    rates = np.tile([20.0, 120.0, 0.0, 300.0, 60.0], 60)
    due = due_s(plan(rates, seed=7))
    assert np.all(np.diff(due) > 0)
    counts = np.bincount(due.astype(int), minlength=len(rates))
    assert counts[rates == 0].sum() == 0
    busy = rates > 0
    assert 0.001 < spread(counts[busy], rates[busy]) < 0.999
    even = np.bincount((due[rates[due.astype(int)] == 300.0] % 1 * 20).astype(int), minlength=20)  # within a second
    assert 0.001 < spread(even, np.full(20, even.mean())) < 0.9999
    # gaps where the rate is 300: exponential, none of them like another
    inside = due[rates[due.astype(int)] == 300.0]
    gaps = np.diff(inside)[np.diff(inside.astype(int)) == 0]
    bins = np.histogram(1 - np.exp(-300 * gaps), bins=10, range=(0, 1))[0]
    assert spread(bins[:9], np.full(9, len(gaps) / 10)) > 0.001  # the last is cut by the end of the second
    assert not 0.001 < spread(np.array([30] * 9), np.full(9, 30.0)) < 0.999, "evenly sent ones would not pass"


def test_a_seed_is_a_load_and_another_one_is_another():
    first, again, other = (due_s(plan([80.0] * 10, seed=seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first[:5], other[:5])
    contents = [Contents((READ, POST), 9, 3) for _ in range(2)]
    assert [contents[0].next(n % 2) for n in range(20)] == [contents[1].next(n % 2) for n in range(20)]


def test_a_warm_up_comes_before_at_the_mean_rate_and_a_last_second_may_be_a_part_of_one():
    made = plan([100.0, 300.0, 100.0], run_s=2.5, warm_s=20.0)
    due = due_s(made)
    assert due[0] >= -20.0
    assert due[-1] < 2.5
    mean = (100 + 300 + 50) / 2.5
    assert abs(np.sum(due < 0) - 20 * mean) < 4 * math.sqrt(20 * mean)
    assert abs(np.sum(due >= 2.0) - 50) < 4 * math.sqrt(50)


def test_types_follow_weights_that_sway_slowly():
    t = np.arange(0, 3600, 0.05)
    share = np.mean(types((READ, POST), t, 5) == 0)
    assert share == pytest.approx(6 / 7, abs=0.03)
    column = weights((READ, POST), t, 5)[:, 0]
    assert column.min() == pytest.approx(3.0, rel=0.01)
    assert column.max() == pytest.approx(9.0, rel=0.01)
    assert np.abs(np.diff(column)).max() < 0.05 * 6.0 * 0.5 * 2 * math.pi / 90 * 1.01, "slowly"
    late = types((READ, POST), t, 5)
    assert np.mean(late[column > 8.5] == 0) > np.mean(late[column < 3.5] == 0)


# --- traces ----------------------------------------------------------------------------------------------------------


def test_a_trace_is_cut_scaled_and_begins_anew_behind_its_end(tmp_path):
    file = tmp_path / "t.txt"
    file.write_text("# requests per second\n10\n20   # a note\n\n30\n")
    assert read_trace(file, 0.0, 3.0, 40.0) == pytest.approx((20.0, 40.0, 60.0))
    assert read_trace(file, 2.0, 2.0, 20.0) == pytest.approx((30.0, 10.0))
    assert read_trace(file, 1.0, 1.5, 25.0) == pytest.approx((20 * 25 * 1.5 / 35, 30 * 25 * 1.5 / 35))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10\nmany\n", "line 2: 'many' is not a number"),
        ("10\n\n-1\n", "line 3: '-1'"),
        ("nan\n", "line 1"),
        ("1 2\n", "line 1: '1 2'"),
        ("inf\n", "line 1"),
        ("1e308\n1e308\n", "line 1"),
        ("# nothing\n", "without a number"),
        ("0\n0\n", "no requests"),
        ("1\n" * 50, "at most 40 seconds"),
    ],
)
def test_what_is_no_trace_is_told_with_its_line(tmp_path, monkeypatch, text, words):
    monkeypatch.setattr(traces, "MAX_TRACE_S", 40)
    file = tmp_path / "bad.txt"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_trace(file, 0.0, 2.0, 10.0)


def test_traces_and_rates_have_limits(tmp_path, monkeypatch):
    file = tmp_path / "t.txt"
    file.write_text("1\n" * 20)
    with pytest.raises(ConfigError, match="requests per second; 0 to 100000"):
        read_trace(file, 0.0, 2.0, 1e9)
    with pytest.raises(ConfigError, match="a load lasts"):
        slice_of([1.0], 0.0, 0.0, 1.0, "t")
    with pytest.raises(ConfigError, match=r"cannot read .*none.txt"):
        read_trace(tmp_path / "none.txt", 0.0, 2.0, 10.0)
    monkeypatch.setattr(traces, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="larger than"):
        read_trace(file, 0.0, 2.0, 10.0)


# --- what ------------------------------------------------------------------------------------------------------------


def test_placeholders_are_filled_in_and_bodies_are_json():
    contents = Contents((READ, POST), users=9, seed=1)
    users, numbers, texts = set(), [], set()
    for _ in range(300):
        method, path, body = contents.next(0)
        assert (method, body) == (b"GET", b"")
        words = dict(pair.split("=") for pair in path.decode().partition("?")[2].split("&"))
        users |= {int(words["user"]), int(words["of"])}
        method, path, body = contents.next(1)
        assert (method, path) == (b"POST", b"/post")
        said = json.loads(body)
        numbers.append(said["n"])
        texts.add(said["text"])
    assert users == set(range(1, 10))
    assert numbers == list(range(2, 601, 2)), "every request counts"
    assert len(texts) > 290
    text = Contents((RequestSettings(name="q", path="/q?t={text}"),), 1, 0).next(0)[1]
    assert b" " not in text
    assert b"%20" in text


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (RequestSettings(name="a", path="/x?u={usr}"), r"a: there is no \{usr\}; there are user"),
        (RequestSettings(name="a", path="/x y"), "printable ASCII"),
        (RequestSettings(name="a", path="/x\r\nHost: b"), "printable ASCII"),
        (RequestSettings(name="a", path="/", body="{}"), "GET with a body"),
        (RequestSettings(name="a", path="/", method="POST", body='{"a": {user}'), "a: body is no JSON"),
    ],
)
def test_requests_that_cannot_be_made_are_refused(request_, words):
    with pytest.raises(ConfigError, match=words):
        Contents((request_,), 1, 0)


# --- windows -----------------------------------------------------------------------------------------------------------


def tally(due, latency=None, types_=None) -> Tally:
    made = Tally(np.array(due, float), np.array(types_ or [0] * len(due)), ("read", "post"), 0.0, 10.0)
    if latency is not None:
        made.latency_s[:] = latency
    return made


def test_a_window_counts_the_age_of_what_waits_also_of_what_was_due_long_before():
    nan = math.nan
    made = tally([0.0, 1.0, 3.5, 3.8, 9.0], [nan, 0.2, 0.1, nan, nan], [0, 1, 0, 1, 0])
    window = made.window(4.0, 2.0)
    assert (window.waiting, window.p99_s, window.p50_s) == (2, 4.0, pytest.approx(0.2))
    assert window.rate_hz == 1.0, "two were due within two seconds; what waits from before is no rate"
    assert window.types_hz == {"read": 0.5, "post": 0.5}
    made.latency_s[0] = 4.5
    assert made.window(5.0, 2.0).p99_s == pytest.approx(1.2), "it has been answered: it counts no longer"


def test_a_window_counts_failures_as_long_as_one_waits():
    made = tally([0.1, 0.2, 0.3, 0.4], [0.01, math.inf, 0.01, 0.01])
    window = made.window(0.5, 2.0)
    assert (window.failed_ratio, window.p99_s, window.p50_s) == (0.25, 10.0, 0.01)
    assert window.rate_hz == 8.0, "half a second has passed"
    empty = tally([5.0]).window(1.0, 2.0)
    assert (empty.p50_s, empty.p99_s, empty.rate_hz, empty.failed_ratio) == (None, None, 0.0, 0.0)


# --- plan and log ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"urls": ()}, "give urls, or endpoints"),
        ({"run_s": 3.0}, "run_s is 3, and there are rates of 1 seconds"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"rates_hz": (-1.0,)}, "rates_hz must be"),
        ({"rates_hz": (1e5,) * 200}, "more than 10000000 requests"),
        ({"requests": (READ, READ)}, "one name"),
    ],
)
def test_plans_have_limits(more, words):
    given = {"name": "a", "requests": (READ,), "rates_hz": (1.0,), "urls": ("http://h:1",)}
    with pytest.raises(ConfigError, match=words):
        check(Plan(**{**given, **more}))


def test_a_plan_file_that_is_none_is_told(tmp_path, monkeypatch):
    file = tmp_path / "plan.json"
    with pytest.raises(ConfigError, match="cannot read the plan"):
        read_plan(file)
    file.write_text('{"name": "a", "rate": 1}')
    with pytest.raises(ConfigError, match=r"not the plan of a load: .*rate"):
        read_plan(file)
    monkeypatch.setattr(plans, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="larger than"):
        read_plan(file)


def test_a_log_comes_back_as_it_was_written(tmp_path):
    log = Log(
        np.array([-1.0, 0.25, 0.5]),
        np.array([0.1, math.inf, 0.2]),
        np.array([0.001, math.nan, 0.0]),
        np.array([0, 1, 0]),
        ("read-home", "compose"),
        plan(seed=4),
    )
    write_log(tmp_path / "l.npz", log)
    found = read_log(tmp_path / "l.npz")
    for mine, theirs in zip(log[:4], found[:4], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    assert found[4:] == log[4:]
    with pytest.raises(StoreError, match="cannot be written"):
        write_log(tmp_path / "none" / "l.npz", log)


def test_what_is_no_log_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "l.npz"
    with pytest.raises(ConfigError, match=r"cannot read .*l.npz"):
        read_log(path)
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ConfigError, match="not the log"):
        read_log(path)
    columns = {"scheduled_s": np.zeros(2), "latency_s": np.zeros(2), "late_s": np.zeros(2), "type": np.zeros(2, int)}
    more = {"names": np.array(["a"]), "plan": np.frombuffer(json.dumps({"name": "a"}).encode(), np.uint8)}
    np.savez(path, **columns)
    with pytest.raises(ConfigError, match="not the log"):
        read_log(path)
    np.savez(path, **columns, **more)
    with pytest.raises(ConfigError, match="requests"):  # its plan is none
        read_log(path)
    whole = Log(np.zeros(2), np.zeros(2), np.zeros(2), np.zeros(2, int), ("a",), plan())
    write_log(path, whole)
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    for wrong in (np.zeros(3), np.array([{}, {}], dtype=object)):
        arrays = {**columns, "latency_s": wrong, "names": np.array(["a"])}
        np.savez(path, **arrays, plan=np.frombuffer(parts["plan.npy"][128:], np.uint8))
        with pytest.raises(ConfigError, match="not the log"):
            read_log(path)
    write_log(path, whole._replace(type=np.array([0, 3])))
    with pytest.raises(ConfigError, match="types without a name"):
        read_log(path)
    for header in (str({"descr": "<f8", "fortran_order": False, "shape": (10**14,)}), "(" * 5000):
        with zipfile.ZipFile(path, "w") as packed:
            for name in parts:
                packed.writestr(
                    name, b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(8)
                )
        with pytest.raises(ConfigError, match="not the log"):
            read_log(path)
    content = bytearray(path.read_bytes())
    at = 0
    while (at := content.find(b"PK\x01\x02", at) + 1) > 0:
        content[at + 7] |= 1  # encrypted, it says
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="not the log"):
        read_log(path)
    write_log(path, whole)
    monkeypatch.setattr(logs, "MAX_BYTES", 10)
    with pytest.raises(ConfigError, match="bytes unpacked"):
        read_log(path)


# --- endpoints ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["http://a-b.c_d.example.", "http://127.0.0.1", "http://[::1]", "http://[fe80::1%eth0]"]
)
def test_what_is_an_address_is_taken(url):
    assert place_of(url + ":81") == (url.removeprefix("http://").strip("[]"), 81)


def test_replicas_take_turns_and_the_file_is_read_again_when_it_changes(tmp_path):
    file = tmp_path / "endpoints.json"
    endpoints = Endpoints(file=str(file), entry="web")
    assert not endpoints.look()
    assert endpoints.next() is None
    assert "endpoints.json" in endpoints.problem

    def write(text: str) -> None:
        part = tmp_path / "part"
        part.write_text(text)
        part.replace(file)

    write('{"web": ["http://127.0.0.1:1", "http://127.0.0.1:2"]}')
    assert endpoints.look()
    assert [endpoints.next() for _ in range(4)] in (
        [("127.0.0.1", 2), ("127.0.0.1", 1)] * 2,
        [("127.0.0.1", 1), ("127.0.0.1", 2)] * 2,
    )
    assert not endpoints.look(), "it has not changed"
    for broken in ("{", '{"other": []}', '{"web": 3}', '{"web": ["ftp://x"]}', "[" * 100_000):
        write(broken)
        assert not endpoints.look()
        assert endpoints.problem
    assert len(endpoints.places) == 2, "what is no such file changes nothing"
    write('{"web": ["http://127.0.0.1:3"]}')
    assert endpoints.look()
    assert (endpoints.places, endpoints.problem) == ([("127.0.0.1", 3)], "")


@pytest.mark.parametrize(
    "url",
    [
        *("https://a", "http://", "a:1", "http://a/b", "http://u@a", "http://a:99999999", "http://a?x"),
        *("http://a b", "http://\ud800", "http://é", "http://a\0b", "http://..", f"http://{'a' * 64}.com"),
    ],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ConfigError, match="is not http://"):
        place_of(url)


def test_the_load_imports_little():
    """It shares two cores with what it measures."""
    code = "import sys, vagus.cli.openloop.__main__; print([n for n in ('ray', 'lmdb', 'aiohttp') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
