"""Filters of the logs that a collector follows, with their files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vagus.actors.log_filters import LogFilters, addresses_of, make_log_filter
from vagus.config import CollectSettings, Config, LogSettings, decode
from vagus.errors import ConfigError
from vagus.model import Event

CANNOT = (
    "{} [myid:0] - WARN  [WorkerSender[myid=0]:QuorumCnxManager@382] - "
    "Cannot open channel to {} at election address pano1/10.0.0.5:3888"
)
FILTER = """{"FilterTree": [{"Chain": [{"Field": "content", "Operator": "~", "Pattern": "/(?P<host>[0-9.]+):",
"CaptureResult": true}], "Classifier": {"Context": "seen", "Subject": "<content_host>", "Status": "u"}}]}"""


def line(text: str, source: str = "/var/log/zk/a.log", **fields: str) -> Event:
    return Event(time.time_ns(), "log.line", "n1", source=source, fields={"text": text, **fields})


def now(ago_s: float = 0.0) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S,000", time.localtime(time.time() - ago_s))


def test_an_entry_may_be_an_object_with_a_filter_and_its_files(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text(FILTER)
    (tmp_path / "zoo.cfg").write_text("server.7=10.0.0.5:2888:3888\n")
    settings = decode(
        f"""
collect:
  logs:
    - /var/log/messages
    - path: /var/log/zk/*.log
      filter: zookeeper
      filter_file: {tmp_path}/f.json
      ensemble: {tmp_path}/zoo.cfg
    - {{path: /var/log/kern.log, filter: kernel, timezone: UTC}}
  log_filters: [kafka]
""".encode(),
        Config,
        "vagus.yaml",
    ).collect
    filters = LogFilters("n1", settings)
    (report,) = filters.reports(line(CANNOT.format(now(), 1)))
    assert (report.observer, report.subject, set(report.contexts)) == ("peer@0", "peer@7", {"seen"})
    assert filters.reports(line(CANNOT.format(now(), 1), "/var/log/zk/deeper/a.log")) == [], "* does not cross /"
    assert filters.reports(line(CANNOT.format(now(), 1), "/var/log/messages")) == []
    kernel = "[ 1.0] Out of memory: Killed process 1 (x)"
    assert [r.subject for r in filters.reports(line(kernel, "/var/log/kern.log"))] == ["host@n1"]
    kafka = (
        f"[{now()}] WARN [ReplicaManager broker=1] Stopping serving replicas in dir /x (kafka.server.ReplicaManager)"
    )
    assert [r.subject for r in filters.reports(line(kafka, "/var/log/messages"))] == ["broker@1"], (
        "log_filters read all"
    )
    assert filters.reports(Event(1, "other", "n1")) == []


def test_what_is_stale_or_the_same_again_is_not_reported() -> None:
    log = LogSettings(path="/var/log/zk/a.log", filter="zookeeper", stale="60s", merge="5s")
    filters = LogFilters("n1", CollectSettings(logs=(log,)))
    moment = now()
    told = [bool(filters.reports(line(CANNOT.format(t, n)))) for t, n in ((moment, 1), (moment, 1), (moment, 2))]
    assert told == [True, False, True]
    assert filters.reports(line(CANNOT.format(now(100), 3))) == []


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{filter: zookeeper}", "missing required field `path`"),
        ("{path: /x, filtr: zookeeper}", "did you mean `filter`"),
        ("{path: /x, stale: soon}", "stale: duration 'soon'"),
        ("{path: ''}", "length >= 1"),
        ("7", "Expected"),
    ],
)
def test_a_wrong_entry_is_named(text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        decode(f"collect: {{logs: [{text}]}}".encode(), Config, "vagus.yaml")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        (CollectSettings(log_filters=("nosuch",)), "no 'nosuch'"),
        (CollectSettings(logs=(LogSettings(path="/x", filter="nosuch"),)), "no 'nosuch'"),
        (CollectSettings(logs=(LogSettings(path="/x", filter="kernel", filter_file="/nope"),)), "cannot read /nope"),
        (CollectSettings(logs=(LogSettings(path="/x", filter="kernel", timezone="Mars"),)), "no time zone"),
    ],
)
def test_a_wrong_filter_is_told_at_the_start(settings: CollectSettings, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        LogFilters("n1", settings)


def test_an_entry_without_a_filter_is_only_followed() -> None:
    filters = LogFilters("n1", CollectSettings(logs=(LogSettings(path="/x"), "/y")))
    assert filters.reports(line("[ 1.0] Out of memory: Killed process 1 (x)", "/x")) == []


def test_host_names_of_an_ensemble_file_are_resolved_where_one_can() -> None:
    assert "127.0.0.1" in addresses_of("localhost")
    assert addresses_of("no.such.host.invalid") == []
    assert addresses_of("a" * 300) == []


def test_every_filter_takes_a_filter_file(tmp_path: Path) -> None:
    from vagus.health import LOG_FILTERS

    lines = {
        "zookeeper": CANNOT.format("2017-05-26 17:26:04,937", 1),
        "hdfs": "16/03/30 08:33:32 INFO hdfs.DFSClient: x /10.0.0.5:1",
        "hbase": "2017-09-11 20:38:11,028 INFO  [main] a.B: x /10.0.0.5:1",
        "cassandra": "INFO [G:1] 2020-03-16 16:39:12,368 Gossiper.java:1198 - x /10.0.0.5:1",
        "kafka": "[2019-09-21 11:24:07,626] WARN x /10.0.0.5:1 (a.B)",
        "syslog": "Nov 21 20:00:00 n1 web[7]: x /10.0.0.5:1",
        "journald": '{"MESSAGE":"x /10.0.0.5:1","_HOSTNAME":"n1"}',
        "kernel": "[ 1.0] x /10.0.0.5:1",
    }
    kinds = {"zookeeper": "peer", "hdfs": "datanode", "hbase": "regionserver", "kafka": "broker"}
    (tmp_path / "f.json").write_text(FILTER)
    assert set(lines) == set(LOG_FILTERS)
    for name, text in lines.items():
        report = make_log_filter(name, "n1", filter_file=str(tmp_path / "f.json")).read(text, "p", time.time_ns())
        assert report is not None, name
        kind = kinds.get(name, "host" if name in ("syslog", "journald") else name)
        assert (report.subject, set(report.contexts)) == (f"{kind}@10.0.0.5", {"seen"}), name
