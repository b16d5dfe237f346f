"""Each query of the dashboard and of the alerts names a metric that is exported, with labels that it has."""

import json
import re
import shutil
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import MemoryBackend, serving

from vagus.cli import cli
from vagus.cli.dashboard.alerts import ALERTS, rules
from vagus.cli.dashboard.grafana import WIDTH, dashboard
from vagus.cli.dashboard.panels import PANELS
from vagus.collectors.run import Runner
from vagus.config import CollectSettings
from vagus.model import ActorStatus, Missing, NodeStatus, Sample

NAME = re.compile(r"\bvagus_[a-z0-9_]+")
LABELS = re.compile(r"\$labels\.(\w+)|\{\{(\w+)\}\}")


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """The names of this machine's metrics, and of the gateway's, with their labels."""
    runner = Runner.from_settings("a", CollectSettings(collectors=("host", "network")))
    samples = [s for s in runner.tick(time.time_ns()) if isinstance(s, Sample)]
    runner.close()
    actor = ActorStatus("vagus:collector@a", "collector", "a", "HEALTHY", figures={"rss_bytes": 1.0})
    missing = Missing("node:b", "node", "dead", 1)
    status = NodeStatus("a", 1, actors=(actor,), missing=(missing,))
    backend = MemoryBackend()

    async def latest(selectors):
        return samples

    async def own():
        return status

    backend.latest, backend.status = latest, own
    with serving(backend) as served:
        served.ask("GET", "/metrics")  # a request that the next one counts
        text = served.ask("GET", "/metrics")[2].decode()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("panel", PANELS, ids=lambda p: p.title)
def test_a_panel_shows_what_is_exported(panel, exported):
    (name,) = NAME.findall(panel.query)
    assert name in exported
    assert {a or b for a, b in LABELS.findall(panel.legend)} | {"node"} <= exported[name]
    assert panel.about


@pytest.mark.parametrize("alert", ALERTS, ids=lambda a: a.name)
def test_an_alert_is_of_what_is_exported(alert, exported):
    names = NAME.findall(alert.query)
    has = {"instance"} if not names else exported[names[0]]
    assert {a or b for a, b in LABELS.findall(alert.summary)} <= has
    assert alert.todo


def test_panels_do_not_overlap():
    made = [p["gridPos"] for p in dashboard()["panels"]]
    assert len(made) > len(PANELS)
    assert all(p["x"] + p["w"] <= WIDTH for p in made)
    for a, b in combinations(made, 2):
        apart_x = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart_x or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]


def test_files_are_written(tmp_path):
    done = CliRunner().invoke(cli, ["dashboard", "grafana", "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (provider,) = yaml.safe_load((tmp_path / "provider.yaml").read_text())["providers"]
    assert json.loads((Path(provider["options"]["path"]) / "vagus.json").read_text()) == dashboard()
    printed = CliRunner().invoke(cli, ["dashboard", "alerts"])
    assert yaml.safe_load(printed.output) == rules()
    assert json.loads(CliRunner().invoke(cli, ["dashboard", "alerts", "--json"]).output) == rules()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing (Debian: prometheus)")
def test_rules_fire_and_do_not(tmp_path):
    CliRunner().invoke(cli, ["dashboard", "alerts", "-o", str(tmp_path)], catch_exceptions=False)
    labels = 'actor="x",node="a"'
    bad = {
        "VagusNodeSilent": ('up{job="vagus",instance="a:1"}', "0x20", "1x20"),
        "VagusActorUnhealthy": (f"vagus_actor_healthy{{{labels}}}", "0x20", "1x20"),
        "VagusActorRestarts": (f"vagus_actor_restarts_total{{{labels}}}", "0+1x20", "4x20"),
        "VagusMissing": ('vagus_missing{what="node:b",kind="node",why="dead"}', "1x20", "_x20"),
        "VagusSubjectUnhealthy": ('vagus_node_unhealthy{node="a"}', "2x20", "0x20"),
        "VagusGatewayDefect": ('vagus_gateway_failures_total{node="a"}', "0+1x20", "7x20"),
    }
    assert bad.keys() == {a.name for a in ALERTS}
    for fires in (True, False):
        for alert in ALERTS:
            series, firing, quiet = bad[alert.name]
            shown = dict(re.findall(r'(\w+)="([^"]*)"', series))
            described = {"description": alert.todo}
            value = {"$value": "2"} | {f"$labels.{k}": v for k, v in shown.items()}
            described["summary"] = re.sub(r"\{\{ (\S+) \}\}", lambda m, v=value: v[m[1]], alert.summary)
            expected = [{"exp_labels": {**shown, "severity": alert.severity}, "exp_annotations": described}]
            case = {
                "interval": "1m",
                "input_series": [{"series": series, "values": firing if fires else quiet}],
                "alert_rule_test": [
                    {"eval_time": "18m", "alertname": alert.name, "exp_alerts": expected if fires else []}
                ],
            }
            file = tmp_path / f"{alert.name}-{fires}.yaml"
            file.write_text(yaml.safe_dump({"rule_files": ["vagus-alerts.yaml"], "tests": [case]}))
    assert promtool("check", "rules", str(tmp_path / "vagus-alerts.yaml"))
    assert promtool("test", "rules", *map(str, sorted(tmp_path.glob("Vagus*.yaml"))))


def promtool(*words):
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return True
