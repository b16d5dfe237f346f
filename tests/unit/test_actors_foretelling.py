"""Forecasts of live series: which series, counters as rates, streams that come and go, warm starts."""

from __future__ import annotations

import math

import numpy as np

from vagus.actors.foretelling import Foretelling
from vagus.clock import NS
from vagus.config import ForecastSettings
from vagus.model import Field, Outlook, Sample, Stream
from vagus.store import Batch

T0 = 1_700_000_000 * NS
LOAD = Stream("a", "host.load", (Field("load1"), Field("load5")))
LINK = Stream("a", "net.link", (Field("rx_bytes", "bytes", "u8", True), Field("mtu", "", "u4")), {"dev": "eth0"})


def tick(k: int, *streams: Stream) -> list[Sample]:
    """Load 1 and 5; 100 bytes a second."""
    values: dict[str, tuple[float | int, ...]] = {"host.load": (1.0, 5.0), "net.link": (2**60 + 100 * 1024 * k, 1500)}
    return [Sample(s, T0 + k * NS, values.get(s.kind, (float(k % 2),))) for s in streams]


def by_field(found: tuple[Outlook, ...]) -> dict[str, Outlook]:
    return {outlook.field: outlook for outlook in found}


def test_values_forecasts_errors_and_trends_of_every_field() -> None:
    foretelling = Foretelling(ForecastSettings())
    assert foretelling.outlook(LOAD) == ()
    for k in range(80):
        foretelling.update(tick(k, LOAD, LINK))
    load = by_field(foretelling.outlook(LOAD))
    assert (load["load1"].value, load["load1"].forecast, load["load1"].mse) == (1.0, 1.0, 0.0)
    assert load["load5"].forecast == 5.0
    assert load["load1"].trend == "steady"
    link = by_field(foretelling.outlook(LINK))
    assert link["rx_bytes"].value == 102400.0  # a counter's rate
    assert link["rx_bytes"].forecast == 102400.0
    assert foretelling.series == 4


def test_only_chosen_series_up_to_the_limit() -> None:
    foretelling = Foretelling(ForecastSettings(series=("host.load.load1", "net.*"), max_series=2))
    for k in range(3):
        foretelling.update(tick(k, LOAD, LINK))
    assert [o.field for o in foretelling.outlook(LOAD)] == ["load1"]
    assert foretelling.outlook(LINK) == ()  # two more would be three
    assert (foretelling.series, foretelling.left_out) == (1, 1)
    off = Foretelling(ForecastSettings(enabled=False))
    off.update(tick(0, LOAD))
    assert off.outlook(LOAD) == ()


def test_streams_come_and_go_without_growth_and_start_anew() -> None:
    foretelling = Foretelling(ForecastSettings())
    for k in range(300):
        process = Stream("a", "process", (Field("rss_bytes"),), {"comm": f"p{k}"})
        foretelling.update(tick(k, LOAD, process))
        fresh = by_field(foretelling.outlook(process))["rss_bytes"]
        assert fresh.forecast == fresh.value  # nothing of its predecessor
        assert math.isnan(fresh.mse)
        foretelling.forget([LOAD, process] if k % 10 else [LOAD])
    assert foretelling.series <= 3
    assert foretelling._bank.n <= 2 * 64
    assert by_field(foretelling.outlook(LOAD))["load1"].mse == 0.0


def test_a_stream_that_is_slower_keeps_its_forecast_between() -> None:
    foretelling = Foretelling(ForecastSettings())
    slow = Stream("a", "probe.latency", (Field("rtt_s"),))
    for k in range(100):
        foretelling.update(tick(k, LOAD) + ([Sample(slow, T0 + k * NS, (0.02,))] if k % 10 == 0 else []))
    assert by_field(foretelling.outlook(slow))["rtt_s"].forecast == 0.02


def test_a_new_life_learns_from_what_is_stored() -> None:
    t_ns = T0 + np.arange(200) * NS
    rows = np.arange(200)
    load = Batch(LOAD, t_ns, (np.where(rows % 2 == 0, 0.0, 10.0), np.full(200, 5.0)))
    link = Batch(LINK, t_ns, ((2**60 + 1024 * rows).astype("u8"), np.full(200, 1500, "u4")))
    foretelling = Foretelling(ForecastSettings())
    foretelling.warm([load, link])
    found = by_field(foretelling.outlook(LOAD))
    assert found["load1"].value == 10.0
    assert found["load1"].forecast < 3.0  # it has learned to alternate
    assert by_field(foretelling.outlook(LINK))["rx_bytes"].forecast == 1024.0
    Foretelling(ForecastSettings()).warm([])
