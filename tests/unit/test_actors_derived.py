"""FIELD.forecast and FIELD.mse out of the archive: aligned with what they predict, warm, bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vagus.actors.derived import MAX_ROWS, derive
from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.forecast.foretell import foretell
from vagus.model import Field, Stream
from vagus.selector import is_derived, parse_stored
from vagus.store import Store

T0 = 1_700_000_000 * NS
ROWS = 400


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    path: Path = tmp_path_factory.mktemp("store")
    with Store.open(path) as opened:
        cpu = opened.declare(Stream("a", "host.cpu", (Field("user", "ratio"), Field("idle", "ratio"))))
        link = opened.declare(Stream("a", "net.link", (Field("rx_bytes", "bytes", "u8", True),), {"dev": "eth0"}))
        t_ns = T0 + np.arange(ROWS) * NS
        user = np.sin(np.arange(ROWS) / 7)
        opened.extend(cpu, t_ns, [user, 1 - user])
        opened.extend(link, t_ns, [np.arange(ROWS, dtype="u8") * 500 + 2**60])
        opened.flush()
        yield opened


@pytest.mark.parametrize(
    ("selector", "derived"),
    [
        ("host.cpu.user.forecast", True),
        ('net.*.mse{dev="eth0"}', True),
        ("*.forecast ", True),
        ("host.cpu.user", False),
        ('host.cpu{core="x.forecast"}', False),
        ("forecast.x", False),
    ],
)
def test_which_selectors_are_derived(selector: str, derived: bool) -> None:
    assert is_derived(selector) is derived
    if derived:
        with pytest.raises(ConfigError, match="query"):
            parse_stored(selector)


def test_each_row_says_what_was_predicted_for_it(store: Store) -> None:
    start_ns = T0 + 300 * NS
    (found,) = derive("host.cpu.user.forecast", start_ns, T0 + ROWS * NS, 0, store.scan)
    assert [f.name for f in found.stream.fields] == ["user.forecast"]
    assert found.stream.series("user.forecast") == 'host.cpu.user.forecast{node="a"}'
    assert found.t_ns[0] == start_ns
    assert len(found) == 100
    (base,) = store.scan("host.cpu.user")
    expected, _ = foretell(base.t_ns[100:], base.values[100:])  # 200 rows to warm up, then the span
    assert np.array_equal(found.columns[0], expected[200:, 0])
    assert np.abs(found.columns[0] - base.columns[0][300:]).mean() < 0.05


def test_the_newest_rows_alone(store: Store) -> None:
    (all_rows,) = derive("host.cpu.idle.mse", T0 + 10 * NS, T0 + ROWS * NS, 0, store.scan)
    (newest,) = derive("host.cpu.idle.mse", T0 + 10 * NS, T0 + ROWS * NS, 5, store.scan)
    assert newest.t_ns.tolist() == all_rows.t_ns[-5:].tolist()
    assert newest.stream.fields[0].unit == "(ratio)^2"


def test_counters_are_forecast_as_rates_and_streams_share_banks(store: Store) -> None:
    found = {b.stream.kind: b for b in derive("*.forecast", T0 + 350 * NS, T0 + ROWS * NS, 0, store.scan)}
    assert found.keys() == {"host.cpu", "net.link"}
    link = found["net.link"]
    assert (link.stream.fields[0].name, link.stream.fields[0].unit) == ("rx_bytes.forecast", "bytes/s")
    assert np.allclose(link.columns[0], 512.0, rtol=0.05)  # 500, in steps of what a float holds of 2^60
    assert len(found["host.cpu"].columns) == 2


def test_nothing_stored_and_too_much(store: Store) -> None:
    assert derive("nothing.forecast", 0, T0, 0, store.scan) == []
    assert derive("host.cpu.forecast", 0, T0, 0, store.scan) == []
    long = Stream("a", "long", (Field("x"),))
    stream_id = store.declare(long)
    store.extend(stream_id, T0 + np.arange(MAX_ROWS + 1) * NS, [np.zeros(MAX_ROWS + 1)])
    store.flush()
    with pytest.raises(ConfigError, match="narrow"):
        derive("long.forecast", 0, T0 + 10**6 * NS, 0, store.scan)
