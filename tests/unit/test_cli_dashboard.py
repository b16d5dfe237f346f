"""`vagus dashboard`: the files that it writes, what it says of a real gateway, what it refuses."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, MemoryBackend, Served, serving

from vagus.cli import cli
from vagus.cli.dashboard import files
from vagus.cli.dashboard.alerts import ALERTS
from vagus.cli.dashboard.rows import ROWS
from vagus.model import Field, Stream

EMPTY = "collect: {collectors: []}\n"


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["dashboard", *map(str, args)])


@pytest.fixture
def served() -> Iterator[Served]:
    backend = MemoryBackend()
    backend.streams["a"].append(Stream("a", "app.queue", (Field("depth"),)))
    with serving(backend) as gateway:
        yield gateway


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "vagus.yaml"
    path.write_text(EMPTY)
    return path


def test_grafanas_folder(tmp_path: Path, config: Path) -> None:
    folder, ray = tmp_path / "grafana", tmp_path / "ray"
    made = run("grafana", "-o", folder, "-c", config, "--ray", ray, "--prometheus", "http://p:9090")
    assert made.exit_code == 0, made.output
    assert f"GF_PATHS_PROVISIONING={folder}/provisioning" in made.stdout
    assert json.loads((folder / "dashboards/vagus.json").read_text()) == files.overview()
    assert json.loads((folder / "dashboards/vagus-streams.json").read_text())["uid"] == "vagus-streams"
    providers = yaml.safe_load((folder / "provisioning/dashboards/vagus.yaml").read_text())["providers"]
    assert [(p["name"], p["options"]["path"]) for p in providers] == [
        ("vagus", f"{folder}/dashboards"),
        ("Ray", f"{ray}/session_latest/metrics/grafana/dashboards"),
    ]
    (source,) = yaml.safe_load((folder / "provisioning/datasources/vagus.yaml").read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://p:9090", True)


def test_without_a_folder_it_is_the_dashboard_itself() -> None:
    assert json.loads(run("grafana").stdout) == files.overview()


def test_the_streams_are_those_of_the_collectors(tmp_path: Path) -> None:
    config = tmp_path / "vagus.yaml"
    config.write_text("collect: {collectors: [pressure]}\n")
    root = Path(__file__).parents[1] / "fixtures/proc-debian12-2core"
    config.write_text(f"collect: {{collectors: [pressure], root: {root}}}\n")
    assert run("grafana", "-o", tmp_path / "g", "-c", config, "--json").exit_code == 0
    made = json.loads((tmp_path / "g/dashboards/vagus-streams.json").read_text())
    assert [row["title"] for row in made["panels"]] == [
        "collector run",
        "pressure cpu",
        "pressure io",
        "pressure memory",
    ]


def test_live_it_has_also_what_programs_send(tmp_path: Path, config: Path, served: Served) -> None:
    live = CliRunner().invoke(
        cli,
        [
            "--url",
            served.url,
            "--token",
            TOKEN,
            "dashboard",
            "grafana",
            "--live",
            "-o",
            str(tmp_path),
            "-c",
            str(config),
        ],
    )
    assert live.exit_code == 0, live.output
    made = json.loads((tmp_path / "dashboards/vagus-streams.json").read_text())
    assert [row["title"] for row in made["panels"]] == ["app queue", "host cpu"]


def test_alerts_as_text_json_and_file(tmp_path: Path) -> None:
    assert yaml.safe_load(run("alerts").stdout) == json.loads(run("alerts", "--json").stdout)
    made = run("alerts", "-o", tmp_path, "--json")
    assert json.loads(made.stdout) == {"folder": str(tmp_path), "files": ["vagus-alerts.yaml"]}
    assert len(yaml.safe_load((tmp_path / "vagus-alerts.yaml").read_text())["groups"][0]["rules"]) == len(ALERTS)


def test_prometheus_reads_the_token_file_and_the_token_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("very-secret")
    args = ["--home", str(tmp_path), "dashboard", "prometheus", "--gateway", "http://10.0.0.1:7117"]
    shown = CliRunner().invoke(cli, [*args, "--ray", str(tmp_path / "ray")])
    assert shown.exit_code == 0, shown.output
    assert "very-secret" not in shown.output
    document = yaml.safe_load(shown.stdout)
    job, ray = document["scrape_configs"]
    assert job["authorization"]["credentials_file"] == f"{tmp_path}/token"
    assert job["http_sd_configs"][0]["url"] == "http://10.0.0.1:7117/v1/sd"
    assert ray["file_sd_configs"] == [{"files": [f"{tmp_path}/ray/prom_metrics_service_discovery.json"]}]
    assert CliRunner().invoke(cli, [*args, "-o", str(tmp_path / "p")]).exit_code == 0
    assert (tmp_path / "p" / document["rule_files"][0]).is_file()


def test_show_and_check_ask_the_gateway(served: Served) -> None:
    options = ["--url", served.url, "--token", TOKEN, "dashboard"]
    text = CliRunner().invoke(cli, [*options, "show"])
    assert "vagus_app_queue_depth" in text.stdout
    (user,) = (
        metric
        for metric in json.loads(CliRunner().invoke(cli, [*options, "show", "--json"]).stdout)
        if metric["name"] == "vagus_host_cpu_user"
    )
    assert user == {
        "name": "vagus_host_cpu_user",
        "type": "gauge",
        "unit": "ratio",
        "about": "Share of all processors' time since the reading before: programs [ratio].",
        "labels": ["cpu", "node"],
    }
    lacking = json.loads(CliRunner().invoke(cli, [*options, "check", "--json"]).stdout)
    assert {"where": "Hosts: Load, 1 min", "metric": "vagus_host_load_load1"} in lacking
    assert not any(one["metric"] in ("vagus_actor_healthy", "up") for one in lacking)
    assert "vagus_host_load_load1" in CliRunner().invoke(cli, [*options, "check"]).stdout


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = run("alerts", "-o", tmp_path / "file" / "below")
    assert refused.exit_code == 1
    assert f"cannot write {tmp_path}/file/below" in str(refused.stderr)


def test_every_command_that_is_recommended_exists() -> None:
    texts = [alert.todo for alert in ALERTS] + [panel.about for row in ROWS for panel in row.panels]
    quoted = [words.split()[1:] for text in texts for words in re.findall(r"`(vagus [a-z][^`]*)`", text)]
    assert len(quoted) > 15
    for words in quoted:
        command: click.Command = cli
        context = click.Context(cli)
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            found = command.get_command(context, words[0])
            if found is None:
                break
            command, words = found, words[1:]
        assert command is not cli, words
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, words
