"""Panels and alerts against what is really exported: real actors, real collectors, a real gateway."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from exported import exposition

from vagus.cli.dashboard import files, held
from vagus.cli.dashboard.catalogue import Metric, of_samples, parsed
from vagus.cli.dashboard.promql import TARGET, named, shown_labels
from vagus.errors import ConfigError
from vagus.gateway.figures import FIGURES
from vagus.gateway.meanings import of_field, of_figure
from vagus.model import Field, Sample, Stream

SELDOM = {  # only with a joint policy that learns, with webhooks that were called, where a start failed
    *("steered_steps", "own_steps", "shielded_steps", "lessons", "weights_version", "remote_write_sent"),
    *("webhook_told", "webhook_refused", "webhook_dropped", "webhook_failed", "failed_starts"),
}
UP = Metric("up", False, "", "", TARGET)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return exposition(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def exported(text: str) -> dict[str, Metric]:
    return parsed(text)


def test_every_query_and_alert_names_metrics_that_are_exported(exported: dict[str, Metric]) -> None:
    assert held.held(exported) == []


def test_one_that_is_not_exported_is_found(exported: dict[str, Metric]) -> None:
    less = {name: metric for name, metric in exported.items() if name != "vagus_host_load_load1"}
    assert held.held(less) == [("Hosts: Load, 1 min", "vagus_host_load_load1")]


def test_every_label_that_is_chosen_grouped_or_shown_is_there(exported: dict[str, Metric]) -> None:
    looked = 0
    for where, expression, template in held.expressions():
        found = named(expression)
        assert found.metrics, where
        there = {name: {**exported, "up": UP}[name].labels | TARGET for name in found.metrics}
        for name, chosen in found.metrics.items():
            assert chosen <= there[name], (where, name)
            assert found.grouping <= there[name], (where, name)
        shown = shown_labels(template)
        left = found.grouping if " by " in f" {expression}" else frozenset.intersection(*map(frozenset, there.values()))
        assert shown <= left, (where, shown - left)
        looked += len(shown)
    assert looked > 50


def test_labels_that_are_wrong_would_be_found() -> None:
    found = named('sum by (node, rolle) (rate(vagus_a_total{dev!="lo",x=~"b=c{}"}[5m])) / on (y) up == 1')
    assert found.metrics == {"vagus_a_total": {"dev", "x"}, "up": frozenset()}
    assert found.grouping == {"node", "rolle", "y"}
    assert shown_labels("{{node}} {{ $labels.dev }} in") == {"node", "dev"}


def test_only_what_counts_is_turned_into_a_rate(exported: dict[str, Metric]) -> None:
    for where, expression, _ in held.expressions():
        for name in named(expression).metrics:
            if f"rate({name}" in expression or f"increase({name}" in expression:
                assert ", now" not in exported[name].about, (where, name)
                assert exported[name].counter or name.startswith("vagus_actor_"), (where, name)
            elif exported.get(name, UP).counter:
                assert where == "Who is well: Actors", (where, name)  # how many there were


def test_every_metric_says_what_it_is_with_its_unit(text: str, exported: dict[str, Metric]) -> None:
    assert len(exported) > 500
    for metric in exported.values():
        assert metric.about.endswith("."), metric
        assert not metric.unit or f"[{metric.unit}]" in metric.about, metric
        assert metric.unit or not metric.name.endswith(("_bytes", "_bytes_total", "_ratio")), metric
    assert "# HELP vagus_host_load_load1 Load of the host: tasks that run or wait, mean of about 1 min.\n" in text
    assert "# UNIT vagus_actor_rss_bytes bytes\n" in text


def test_every_figure_of_an_actor_has_a_text_and_every_text_a_figure(exported: dict[str, Metric]) -> None:
    figures = {n.removeprefix("vagus_actor_").removesuffix("_total") for n in exported if n.startswith("vagus_actor_")}
    assert figures <= FIGURES.keys()
    assert FIGURES.keys() - figures == SELDOM


def test_what_nobody_describes_is_told_by_its_name() -> None:
    assert of_field("app.queue", "depth", "") == "depth of stream app.queue."
    assert of_field("app.queue", "wait_s", "s") == "wait_s of stream app.queue [s]."
    assert of_field("host.load", "load1.forecast", "") == (
        "Load of the host: tasks that run or wait, mean of about 1 min (forecast)."
    )
    assert of_figure("odd_bytes") == "odd bytes, as the actor counts it [bytes]."


def test_the_dashboard_of_streams_has_each_of_them_once(exported: dict[str, Metric]) -> None:
    queries = [t["expr"] for p in panels(files.streams(exported)) for t in p["targets"]]
    asked = [name for query in queries for name in named(query).metrics]
    own = ("vagus_actor_", "vagus_node_", "vagus_gateway_", "vagus_missing", "vagus_subject_")
    assert sorted(asked) == sorted(name for name in exported if not name.startswith(own))
    for query in queries:
        (name,) = named(query).metrics
        assert exported[name].counter == query.startswith("rate(")


def test_a_kind_that_nobody_describes_has_a_row_of_its_own() -> None:
    fields = (Field("depth"), Field("wait_us", "us", "u8", True))
    made = [Sample(Stream("a", kind, fields, {"name": "x"}), 1, (1.0, 2)) for kind in ("queue", "feed.a.b")]
    top = files.streams(of_samples(made))["panels"]
    assert [(row["title"], [panel["title"] for panel in row["panels"]]) for row in top] == [
        ("feed a b", ["depth", "wait_us"]),
        ("queue", ["depth", "wait_us"]),
    ]
    waiting = top[1]["panels"][1]
    (target,) = waiting["targets"]
    choice = 'cluster=~"$cluster",node=~"$node"'
    assert target["expr"] == f"rate(vagus_queue_wait_us_total{{{choice}}}[$__rate_interval]) / 1e+06"
    assert waiting["fieldConfig"]["defaults"]["unit"] == "percentunit"  # microseconds a second: a share
    assert target["legendFormat"] == "{{node}} {{name}} wait_us"


@pytest.mark.parametrize("which", ["overview", "streams"])
def test_what_grafana_needs(which: str, exported: dict[str, Metric]) -> None:
    made = files.overview() if which == "overview" else files.streams(exported)
    assert (made["uid"], made["schemaVersion"], made["id"]) == (
        {"overview": "vagus", "streams": "vagus-streams"}[which],
        39,
        None,
    )
    assert [variable["name"] for variable in made["templating"]["list"]] == ["datasource", "cluster", "node"]
    everything = [p for top in made["panels"] for p in (top, *top.get("panels", ()))]
    assert len({p["id"] for p in everything}) == len(everything)
    apart(made["panels"])
    for panel in made["panels"]:
        apart(panel.get("panels", []))
    for panel in panels(made):
        assert panel["title"]
        assert panel["type"] in ("timeseries", "stat", "table", "bargauge")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        for target in panel["targets"]:
            assert "$cluster" in target["expr"]
            assert "NODE" not in target["expr"]


def test_panels_that_overlap_would_be_found() -> None:
    made = files.overview()["panels"]
    made[1]["gridPos"]["w"] += 1
    with pytest.raises(AssertionError):
        apart(made)


def panels(dashboard: Any) -> list[Any]:
    every = [p for top in dashboard["panels"] for p in (top, *top.get("panels", ()))]
    return [panel for panel in every if panel["type"] != "row"]


def apart(some: list[Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in some:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert cells
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("line", ["<html>", 'vagus_x{a="b" 1', "vagus_x", "1 2"])
def test_what_is_no_exposition_is_refused(line: str) -> None:
    with pytest.raises(ConfigError, match="line 2 is no sample"):
        parsed(f"# TYPE vagus_x gauge\n{line}\n")


def test_labels_with_quotes_and_braces_are_read() -> None:
    found = parsed('# HELP vagus_x a \\\\ b.\n# TYPE vagus_x counter\nvagus_x{a="q\\"}, b=\\"",node="n"} 1\n')
    assert found == {"vagus_x": Metric("vagus_x", True, "", "a \\ b.", frozenset({"a", "node"}))}
