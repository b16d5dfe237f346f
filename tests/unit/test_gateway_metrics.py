"""The Prometheus text is what Prometheus' own parser reads."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import CPU, NOW_NS, MemoryBackend, serving

from vagus.clock import NS
from vagus.gateway.metrics import Exposition
from vagus.model import Field, Sample, Stream


def scrape(served):
    status, headers, body = served.ask("GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {family.name: family for family in text_string_to_metric_families(body.decode())}


def test_series_of_this_node():
    backend = MemoryBackend()
    odd = Stream("a", "odd.kind", (Field("x_total", "s"),), {"__name__": 'quo"te\n\\', "dev": "ü"})
    backend.streams["a"].append(odd)
    with serving(backend) as served:
        families = scrape(served)
        user = families["vagus_host_cpu_user"]
        assert user.type == "gauge"
        (sample,) = user.samples
        assert (sample.labels, sample.value) == ({"cpu": "0", "node": "a"}, 5.9)
        jiffies = families["vagus_host_cpu_jiffies"]
        assert jiffies.type == "counter"
        assert jiffies.samples[0].name == "vagus_host_cpu_jiffies_total"
        (strange,) = (s for f in families.values() for s in f.samples if s.name == "vagus_odd_kind_x_total")
        assert strange.labels == {"x__name__": 'quo"te\n\\', "dev": "ü", "node": "a"}
        assert not any("net_link" in name for name in families)  # node b's: its own gateway is scraped for them
        text = served.ask("GET", "/metrics")[2].decode()
        assert "# UNIT vagus_host_cpu_user ratio\n" in text
        assert f'vagus_host_cpu_jiffies_total{{cpu="0",node="a"}} {2**60 + 5900}\n' in text  # exact


def test_figures_of_vagus_itself():
    with serving() as served:
        served.ask("GET", "/nope")
        served.ask("GET", "/v1/status")
        families = scrape(served)
        requests = {(s.labels["path"], s.labels["code"]): s.value for s in families["vagus_gateway_requests"].samples}
        assert requests == {("other", "404"): 1.0, ("/v1/status", "200"): 1.0}
        assert families["vagus_actor_cpu_s"].samples[0].labels["actor"] == "vagus:collector@a"
        assert families["vagus_actor_healthy"].samples[0].value == 1.0
        assert "vagus_actor_rss_bytes" not in families  # NaN: missing, not shown


def test_streams_that_ended_are_not_shown():
    backend = MemoryBackend()
    sensors = backend._sensors

    def ended(node, selector):
        from msgspec.structs import replace

        return [replace(info, live=False) for info in sensors(node, selector)]

    backend._sensors = ended
    with serving(backend) as served:
        assert not any("host_cpu" in name for name in scrape(served))


def test_names_that_collide_keep_one_type_and_one_value():
    out = Exposition()
    out.add("a.b_c", '{node="x"}', 1.0, False)
    out.add("a_b.c", '{node="x"}', 2.0, False)
    out.add("a_b_c", '{node="y"}', 3.0, False)
    out.add("a_b_c", '{node="x"}', 4.0, True)
    (gauge, counter) = text_string_to_metric_families(out.text())
    assert [(s.labels["node"], s.value) for s in gauge.samples] == [("x", 1.0), ("y", 3.0)]
    assert [(s.name, s.value) for s in counter.samples] == [("vagus_a_b_c_total", 4.0)]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e-320, -0.0, 2**63, 1e300, np.float32(0.1).item()])
def test_numbers_come_back(value):
    out = Exposition()
    out.add("x", '{node="a"}', value, False)
    (family,) = text_string_to_metric_families(out.text())
    assert family.samples[0].value == value


def test_what_has_been_silent_for_long_is_not_shown():
    backend = MemoryBackend()

    async def latest(selectors):
        stream = Stream("a", "k", (Field("f"),))
        return [Sample(stream, NOW_NS - 301 * NS, (1.0,)), Sample(CPU, NOW_NS - 299 * NS, (0.5, 1))]

    backend.latest = latest
    with serving(backend) as served:
        families = scrape(served)
        assert "vagus_host_cpu_user" in families
        assert "vagus_k_f" not in families
