"""Prometheus' own tool reads what is made for it, and plays the alerts: they fire when they should, and not else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from vagus.cli.dashboard import files
from vagus.cli.dashboard.alerts import ALERTS
from vagus.cli.dashboard.catalogue import of_samples
from vagus.cli.dashboard.panel import chosen
from vagus.cli.dashboard.rows import ROWS
from vagus.cli.dashboard.streams import rows as stream_rows
from vagus.model import Field, Sample, Stream

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing (Debian: prometheus)")
ACTOR = 'actor="vagus:controller:c@a",cluster="k",node="a",role="controller"'
STREAM = Stream("a", "app.queue", (Field("depth"), Field("wait_us", "us", "u8", True)), {"name": "x"})


def promtool(*command: str | Path) -> None:
    done = subprocess.run(["promtool", *map(str, command)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_rules_are_read(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(files.alerts())
    promtool("check", "rules", tmp_path / "rules.yaml")


@needs_promtool
def test_the_configuration_is_read_with_its_rules_and_its_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t" * 32)
    (tmp_path / "prometheus.yml").write_text(files.scrape(("http://127.0.0.1:7117",), token, tmp_path))
    (tmp_path / files.ALERTS_FILE).write_text(files.alerts())
    promtool("check", "config", tmp_path / "prometheus.yml")


@needs_promtool
def test_every_panels_query_is_promql(tmp_path: Path) -> None:
    catalogue = of_samples([Sample(STREAM, 1, (1.0, 2))])
    every = [row for rows in (ROWS, stream_rows(catalogue)) for row in rows]
    queries = [chosen(query) for row in every for panel in row.panels for query in panel.queries]
    assert len(queries) > 60
    choices = {"$__rate_interval": "1m", "$cluster": ".*", "$node": ".*"}
    rules = []
    for at, query in enumerate(queries):
        for name, value in choices.items():
            query = query.replace(name, value)
        assert "$" not in query
        rules.append({"record": f"q{at}", "expr": query})
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    promtool("check", "rules", path)


SCENES: dict[str, tuple[dict[str, str], str, dict[str, str]]] = {
    # alert: what is scraped each minute, when it is looked, the labels of what fires
    "VagusGatewayDown": ({'up{job="vagus",instance="a"}': "1 0x10"}, "5m", {"instance": "a", "job": "vagus"}),
    "VagusNotScraped": ({'up{job="ray",instance="a"}': "1x20"}, "10m", {"job": "vagus"}),
    "VagusNodeSilent": (
        {'vagus_subject_unhealthy{cluster="k",node="a",subject="node:b"}': "_ 1x10"},
        "5m",
        {"cluster": "k", "subject": "node:b"},
    ),
    "VagusSubjectUnhealthy": (
        {'vagus_subject_unhealthy{cluster="k",node="a",subject="db@2"}': "_ 1x10"},
        "5m",
        {"cluster": "k", "subject": "db@2"},
    ),
    "VagusActorUnhealthy": (
        {f"vagus_actor_healthy{{{ACTOR}}}": "1 0x10"},
        "5m",
        {"actor": "vagus:controller:c@a", "cluster": "k", "node": "a", "role": "controller"},
    ),
    "VagusActorCrashLooping": (
        {f"vagus_actor_restarts_total{{{ACTOR}}}": "0 1 2 3 4 4x10"},
        "10m",
        {"actor": "vagus:controller:c@a", "cluster": "k", "node": "a", "role": "controller"},
    ),
    "VagusExpectedMissing": (
        {'vagus_missing{cluster="k",node="a",what="node:b",kind="node",why="missing"}': "1x10"},
        "5m",
        {"cluster": "k", "what": "node:b", "kind": "node", "why": "missing"},
    ),
    "VagusFeedFailing": (
        {'vagus_feed_fetch_ok{cluster="k",node="a",feed="web",location="x"}': "0x5 _x55"},  # shown for five minutes
        "30m",
        {"cluster": "k", "feed": "web", "location": "x"},
    ),
    "VagusStoreNearlyFull": (
        {f"vagus_actor_store_used_ratio{{{ACTOR}}}": "0.7 0.85x20"},
        "10m",
        {"actor": "vagus:controller:c@a", "cluster": "k", "node": "a", "role": "controller"},
    ),
    "VagusLimitLeft": (
        {f"vagus_actor_limits{{{ACTOR}}}": "2x10", f"vagus_actor_armed{{{ACTOR}}}": "1 0x10"},
        "5m",
        {"actor": "vagus:controller:c@a", "cluster": "k", "node": "a", "role": "controller"},
    ),
    "VagusLimitUnattended": (
        {f"vagus_actor_limits{{{ACTOR}}}": "2 2 2", f"vagus_actor_healthy{{{ACTOR}}}": "1 1 1 0x10"},
        "8m",
        {"actor": "vagus:controller:c@a", "cluster": "k", "node": "a", "role": "controller"},
    ),
    "VagusGuardInDoubt": (
        {f"vagus_actor_rung{{{ACTOR}}}": "0 1x20", f"vagus_actor_armed{{{ACTOR}}}": "1x20"},
        "10m",
        {"actor": "vagus:controller:c@a", "cluster": "k", "node": "a", "role": "controller"},
    ),
    "VagusSensingStands": (
        {f"vagus_actor_ticks{{{ACTOR}}}": "0+60x5 300x20"},
        "15m",
        {"actor": "vagus:controller:c@a", "cluster": "k", "node": "a", "role": "controller"},
    ),
}
"""Every minute what Prometheus scrapes, in promtool's notation."""

WELL = {
    'up{job="vagus",instance="a"}': "1x60",
    f"vagus_actor_healthy{{{ACTOR}}}": "1x60",
    f"vagus_actor_restarts_total{{{ACTOR}}}": "1 2 2x58",
    'vagus_feed_fetch_ok{cluster="k",node="a",feed="web",location="x"}': "0x10 1 0x49",  # it went well within the hour
    f"vagus_actor_feeds_broken{{{ACTOR}}}": "0x60",
    f"vagus_actor_store_used_ratio{{{ACTOR}}}": "0.5x10 0.9x3 0.5x47",  # for less than five minutes
    f"vagus_actor_limits{{{ACTOR}}}": "2x60",
    f"vagus_actor_armed{{{ACTOR}}}": "1x60",
    f"vagus_actor_rung{{{ACTOR}}}": "0x20 1x3 0x37",
    f"vagus_actor_writes_refused{{{ACTOR}}}": "0x60",
    f"vagus_actor_ticks{{{ACTOR}}}": "0+60x60",
    'vagus_collector_run_ok{cluster="k",node="a",collector="host"}': "1x60",
    'vagus_gateway_failures_total{cluster="k",node="a"}': "3x60",
    'vagus_host_filesystem_avail_bytes{cluster="k",node="a",mount="/"}': "50x60",
    'vagus_host_filesystem_size_bytes{cluster="k",node="a",mount="/"}': "100x60",
    'vagus_host_filesystem_readonly{cluster="k",node="a",mount="/"}': "0x60",
}


def play(folder: Path, scraped: dict[str, str], looks: list[dict[str, Any]]) -> None:
    (folder / "rules.yaml").write_text(files.alerts())
    series = [{"series": name, "values": values} for name, values in scraped.items()]
    document = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": looks}],
    }
    (folder / "test.yaml").write_text(yaml.safe_dump(document))
    promtool("test", "rules", folder / "test.yaml")


def words(template: str, labels: dict[str, str], value: str) -> str:
    """The text that Prometheus makes of an annotation, as far as these go."""
    for name, label in labels.items():
        template = template.replace(f"{{{{ $labels.{name} }}}}", label)
    for form in ("$value", "$value | humanize", "$value | humanizePercentage"):
        template = template.replace(f"{{{{ {form} }}}}", value)
    return template


VALUES = {"VagusActorCrashLooping": "4", "VagusStoreNearlyFull": "85%", "VagusLimitLeft": "2", "VagusGuardInDoubt": "1"}


@needs_promtool
@pytest.mark.parametrize("name", SCENES)
def test_an_alert_fires(name: str, tmp_path: Path) -> None:
    (alert,) = (alert for alert in ALERTS if alert.name == name)
    scraped, at, labels = SCENES[name]
    value = VALUES.get(name, "")
    told = {"summary": words(alert.summary, labels, value), "description": words(alert.todo, labels, value)}
    assert "{{" not in told["summary"] + told["description"]
    fires = {"exp_labels": {**labels, "severity": alert.severity}, "exp_annotations": told}
    looks = [
        {"eval_time": "0m", "alertname": name, "exp_alerts": []},
        {"eval_time": at, "alertname": name, "exp_alerts": [fires]},
    ]
    play(tmp_path, scraped, looks)


@needs_promtool
def test_none_fires_while_all_is_well(tmp_path: Path) -> None:
    looks = [
        {"eval_time": f"{minute}m", "alertname": alert.name, "exp_alerts": []}
        for alert in ALERTS
        for minute in (1, 12, 30, 59)
    ]
    play(tmp_path, WELL, looks)


def test_every_alert_says_what_to_do() -> None:
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)
    for alert in ALERTS:
        assert alert.severity in ("critical", "warning")
        assert alert.todo.endswith((".", "?"))
        assert len(alert.todo) > 40, alert.name
        assert alert.hold.endswith("m")
