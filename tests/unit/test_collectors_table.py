"""Files of names and numbers: the plan of where the numbers stand, and when it is made anew."""

import pytest

from vagus.collectors.memory import meminfo_layout, vmstat_layout
from vagus.collectors.pressure import layout as pressure_layout
from vagus.collectors.table import Table


def values(table, text):
    sample = table.sample(text.encode(), 0)
    return None if sample is None else dict(zip([f.name for f in sample.stream.fields], sample.values, strict=True))


@pytest.fixture
def plans(monkeypatch):
    made = []
    real = Table._plan
    monkeypatch.setattr(Table, "_plan", lambda self, tokens: made.append(len(tokens)) or real(self, tokens))
    return made


def test_padded_numbers_keep_their_plan(plans):
    table = Table("n", "host.memory", meminfo_layout)
    assert values(table, "MemTotal:    99 kB\nDirectMap4k:   5 kB\n") == {"mem_total": 99 * 1024, "direct_map4k": 5120}
    assert values(table, "MemTotal: 12345 kB\nDirectMap4k: 700 kB\n") == {
        "mem_total": 12345 * 1024,
        "direct_map4k": 700 * 1024,
    }
    assert len(plans) == 1


def test_words_with_digits_and_words_that_come_and_go(plans):
    table = Table("n", "host.vmstat", vmstat_layout)
    assert values(table, "direct_map_level2_splits 7\npgfault 8\n") == {"direct_map_level2_splits": 7, "pgfault": 8}
    assert values(table, "direct_map_level2_splits 9\npgfault 10\n")["pgfault"] == 10
    assert values(table, "a 1\npgfault 2\n") == {"a": 1, "pgfault": 2}
    assert values(table, "a 1\n") == {"a": 1}
    assert len(plans) == 3
    stream = table.sample(b"a 2\n", 0).stream
    assert table.sample(b"a 3\n", 0).stream is stream


def test_floats_behind_equal_signs(plans):
    table = Table("n", "pressure.io", pressure_layout)
    line = "some avg10={} avg60=0.50 avg300=0.00 total={}\n"
    assert values(table, line.format("1.25", 7))["some_avg10"] == 1.25
    assert values(table, line.format("12.50", 123))["some_total"] == 123
    assert len(plans) == 1


@pytest.mark.parametrize("number", ["", "x", "1x", "1e5", "1.5", "-1", "1-2", "18446744073709551616", "1 2"])
def test_numbers_that_are_none_never_pass(number):
    for known in ("", "a 1\nb 2\n"):
        table = Table("n", "host.vmstat", vmstat_layout)
        if known:
            assert values(table, known) == {"a": 1, "b": 2}
        with pytest.raises(ValueError):
            table.sample(f"a {number}\nb 2\n".encode(), 0)
        assert values(table, "a 5\nb 6\n") == {"a": 5, "b": 6}
