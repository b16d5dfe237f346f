"""The folder that Grafana and Prometheus read: which files, and what stands in them. Pure.

A Grafana has one provisioning folder, and Ray makes its own anew at each start of the head. So this one is a folder
beside it, which also shows Ray's dashboards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from vagus.cli.dashboard.alerts import PROMETHEUS_JOB, rules
from vagus.cli.dashboard.catalogue import Catalogue
from vagus.cli.dashboard.grafana import dashboard
from vagus.cli.dashboard.rows import ROWS
from vagus.cli.dashboard.streams import rows as stream_rows

OVERVIEW, STREAMS = "vagus", "vagus-streams"
ALERTS_FILE = "vagus-alerts.yaml"


def overview() -> Any:
    """The dashboard `vagus`."""
    about = "All nodes and actors at a glance, and what they are made of. Made by `vagus dashboard grafana`."
    return dashboard(OVERVIEW, "vagus", about, ROWS, [("All streams", STREAMS)])


def streams(catalogue: Catalogue) -> Any:
    """The dashboard of every stream in the catalogue."""
    about = "Every stream that was exported when `vagus dashboard grafana` made this."
    return dashboard(STREAMS, "vagus: all streams", about, stream_rows(catalogue), [("At a glance", OVERVIEW)])


def grafana(folder: PurePath, catalogue: Catalogue, prometheus_url: str, ray: PurePath) -> dict[str, str]:
    """Files by their path below `folder`, which is where they will be. ray: Ray's folder of temporary files."""
    return {
        "dashboards/vagus.json": _json(overview()),
        "dashboards/vagus-streams.json": _json(streams(catalogue)),
        "provisioning/dashboards/vagus.yaml": yaml_text(
            {
                "apiVersion": 1,
                "providers": [
                    _provider("vagus", folder / "dashboards"),
                    _provider("Ray", ray / "session_latest/metrics/grafana/dashboards"),
                ],
            },
            "Dashboards that Grafana reads: vagus' own, and those that Ray writes at each start of its head.",
        ),
        "provisioning/datasources/vagus.yaml": yaml_text(
            {
                "apiVersion": 1,
                "datasources": [
                    {
                        "name": "Prometheus",  # Ray's dashboards ask for this name
                        "type": "prometheus",
                        "access": "proxy",
                        "url": prometheus_url,
                        "isDefault": True,
                    }
                ],
            },
            "The Prometheus that scrapes vagus and Ray: an example, put your own URL here.",
        ),
    }


def alerts() -> str:
    """The file of alert rules."""
    return yaml_text(rules(), "Alert rules of vagus; `promtool check rules FILE` after a change.")


def scrape(urls: tuple[str, ...], token_file: PurePath, ray: PurePath) -> str:
    """prometheus.yml: the gateways of vagus, found through any of `urls`, Ray's own metrics, the alert rules.

    ray: its folder of temporary files, where the head names what to scrape.
    """
    told = {"type": "Bearer", "credentials_file": str(token_file)}  # Prometheus 2.42 sends no type unless it is said
    vagus = {
        "job_name": PROMETHEUS_JOB,
        "authorization": told,
        "http_sd_configs": [
            {"url": f"{url}/v1/sd", "refresh_interval": "30s", "authorization": dict(told)} for url in urls
        ],
        "relabel_configs": [
            {"source_labels": ["__meta_vagus_node"], "target_label": "instance"},
            {"source_labels": ["__meta_vagus_cluster"], "target_label": "cluster"},
        ],
    }
    ours = {"job_name": "ray", "file_sd_configs": [{"files": [str(ray / "prom_metrics_service_discovery.json")]}]}
    document = {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": [ALERTS_FILE],
        "scrape_configs": [vagus, ours],
    }
    about = "Any gateway names those of all nodes; name several, so that one that is down hides nothing."
    return yaml_text(document, about)


def yaml_text(document: Mapping[str, Any], about: str) -> str:
    """YAML with a first line that says what it is."""
    import yaml

    made = f"# Made by `vagus dashboard`. {about}\n"
    return made + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def _provider(name: str, folder: PurePath) -> dict[str, Any]:
    options = {"path": str(folder)}
    return {"name": name, "folder": name, "type": "file", "allowUiUpdates": False, "options": options}


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
