"""Every registered collector, on this machine: what the collector actor and the store rely on."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from vagus.collectors import COLLECTORS
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import DTYPES, Event, Sample

T = 1_700_000_000 * 10**9
CONFIGURED = {"logs", "heartbeat", "snmp", "resctrl"}  # nothing to read by default, or on most machines
MAY_LACK = {"pressure": "proc/pressure", "cgroup": "sys/fs/cgroup"}


def gather(collector, t_ns):
    records = []
    with contextlib.suppress(CollectError):  # no pressure on this kernel, say
        records.extend(collector.collect(t_ns))  # list.extend keeps what came before the error
    return records


@pytest.fixture(params=list(COLLECTORS))
def collector(request, tmp_path):
    log = tmp_path / "app.log"
    log.write_text("")
    made = COLLECTORS.make(request.param, "node-a", Path("/"), CollectSettings(logs=(str(log),)))
    assert made.name == request.param
    gather(made, T - 10 * 10**9)  # what is read every few seconds is due again at T
    log.write_text("a line\n")
    yield made
    made.close()


def test_samples_fit_their_streams(collector):
    records = gather(collector, T)
    samples = [r for r in records if isinstance(r, Sample)]
    lacking = collector.name in MAY_LACK and not Path("/", MAY_LACK[collector.name]).is_dir()
    assert samples or lacking or (collector.name in CONFIGURED and collector.name != "logs")
    for record in records:
        assert isinstance(record, (Sample, Event))
        assert record.t_ns == T
    for sample in samples:
        assert sample.stream.node == "node-a"
        assert len(sample.values) == len(sample.stream.fields)
        for field, value in zip(sample.stream.fields, sample.values, strict=True):
            assert isinstance(value, float if field.dtype.startswith("f") else int), field
            np.array(value, dtype=DTYPES[field.dtype])  # raises OverflowError when it does not fit
    keys = [s.stream.key for s in samples]
    assert len(set(keys)) == len(keys)


def test_streams_are_the_same_objects_at_the_next_call(collector):
    first = {s.stream.key: s.stream for s in gather(collector, T) if isinstance(s, Sample)}
    second = {s.stream.key: s.stream for s in gather(collector, T + 10 * 10**9) if isinstance(s, Sample)}
    shared = first.keys() & second.keys()
    assert len(shared) >= len(first) / 2
    assert all(first[key] is second[key] for key in shared)


def test_close_twice(collector):
    gather(collector, T)
    collector.close()
    collector.close()


def test_a_root_without_proc_is_a_collect_error_or_nothing(tmp_path):
    for name in COLLECTORS:
        collector = COLLECTORS.make(name, "node-a", tmp_path, CollectSettings())
        if name in CONFIGURED:
            assert list(collector.collect(T)) == []
            continue
        with pytest.raises(CollectError, match=str(tmp_path)):
            list(collector.collect(T))
        collector.close()
