"""What Prometheus should tell people of: rules over metrics that vagus exports, each with what to do.

A test holds each expression against what is really exported, and `promtool test rules` plays the important ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

PROMETHEUS_JOB = "vagus"


class Alert(NamedTuple):
    """hold: how long it must be so; severity: critical (somebody gets up), warning (somebody looks today)."""

    name: str
    expr: str
    hold: str
    severity: str
    summary: str
    todo: str


UP = f'up{{job="{PROMETHEUS_JOB}"}}'

ALERTS = (
    Alert(
        "VagusGatewayDown",
        f"{UP} == 0",
        "2m",
        "critical",
        "Prometheus does not reach the gateway of {{ $labels.instance }}",
        "The node is down, cut off, or its collector is: `vagus status` on another node says which. If all are down, look "
        "at the head and at the token file that Prometheus reads.",
    ),
    Alert(
        "VagusNotScraped",
        f"absent({UP})",
        "5m",
        "critical",
        "Prometheus has no gateway of vagus to scrape",
        "Nothing of vagus is watched. Look at the targets page of Prometheus; `vagus dashboard prometheus` prints the job.",
    ),
    Alert(
        "VagusNodeSilent",
        'max by (cluster, subject) (vagus_subject_unhealthy{subject=~"node:.+"}) > 0',
        "1m",
        "critical",
        "{{ $labels.subject }} is unhealthy or dead, as the other nodes see it",
        "`vagus health {{ $labels.subject }}` says who accuses it of what. A dead node comes back with `vagus up` or "
        "`ray start`; one that left for good: `vagus down --leave` there.",
    ),
    Alert(
        "VagusSubjectUnhealthy",
        'max by (cluster, subject) (vagus_subject_unhealthy{subject!~"(node|vagus):.+"}) > 0',
        "2m",
        "warning",
        "{{ $labels.subject }} is judged unhealthy",
        "`vagus health {{ $labels.subject }}` has the evidence and who accuses it.",
    ),
    Alert(
        "VagusActorUnhealthy",
        "vagus_actor_healthy == 0",
        "2m",
        "critical",
        "{{ $labels.actor }} is not healthy",
        "`vagus status` has its last error, Ray's dashboard its log. The supervisor replaces what is dead; if it does not, "
        "Ray's head is down.",
    ),
    Alert(
        "VagusActorCrashLooping",
        "increase(vagus_actor_restarts_total[15m]) > 2",
        "0m",
        "critical",
        "{{ $labels.actor }} was replaced {{ $value | humanize }} times in 15 minutes",
        "`vagus events` and HOME/nodes/{{ $labels.node }}/logs say why it dies; often memory, a full disk or a setting.",
    ),
    Alert(
        "VagusExpectedMissing",
        "max by (cluster, what, kind, why) (vagus_missing) > 0",
        "1m",
        "warning",
        "The {{ $labels.kind }} {{ $labels.what }} is expected, and {{ $labels.why }}",
        "`vagus status` says what is known of it and what to do. If it is not wanted any more, take it out of `expected` "
        "in vagus.yaml.",
    ),
    Alert(
        "VagusFeedFailing",
        "max by (cluster, feed, location) (max_over_time(vagus_feed_fetch_ok[1h])) == 0",
        "15m",
        "warning",
        "Feed {{ $labels.feed }} gets nothing from {{ $labels.location }}",
        "`vagus feed check` fetches it once and says what is wrong; is the place up, and is it allowed to ask?",
    ),
    Alert(
        "VagusFeedBroken",
        "vagus_actor_feeds_broken > 0",
        "5m",
        "warning",
        "{{ $value }} feeds do not load on {{ $labels.node }}",
        "`vagus status` says which line of vagus.yaml is wrong; `vagus config check vagus.yaml`.",
    ),
    Alert(
        "VagusStoreNearlyFull",
        "vagus_actor_store_used_ratio > 0.8",
        "5m",
        "warning",
        "The store of {{ $labels.actor }} is {{ $value | humanizePercentage }} full",
        "Beyond 87 % the oldest records go early. Lower store.retain or store.retain_bytes, or raise store.map_bytes; "
        "`vagus store stats` says what is large.",
    ),
    Alert(
        "VagusDiskNearlyFull",
        "vagus_host_filesystem_avail_bytes / vagus_host_filesystem_size_bytes < 0.05"
        " and vagus_host_filesystem_readonly == 0",
        "10m",
        "warning",
        "{{ $labels.mount }} on {{ $labels.node }} has {{ $value | humanizePercentage }} free",
        "Where the state folder is, nothing can be stored any more: programs are refused. Make room, then `vagus store "
        "compact`.",
    ),
    Alert(
        "VagusLimitLeft",
        "vagus_actor_limits > 0 and on (cluster, actor) vagus_actor_armed == 0",
        "1m",
        "critical",
        "{{ $labels.actor }} is not armed, and {{ $value }} of its limits are in force",
        "Restoring failed: `vagus events --record receipt` has the error. `vagus down` restores every limit, and says which it "
        "cannot.",
    ),
    Alert(
        "VagusLimitUnattended",
        'vagus_actor_healthy{role="controller"} == 0'
        " and on (cluster, actor) max_over_time(vagus_actor_limits[15m]) > 0",
        "1m",
        "critical",
        "{{ $labels.actor }} is not healthy, and had limits in force",
        "Its watchdog restores them when the lease ends: see `vagus events --record receipt`. If not, `vagus down` on "
        "{{ $labels.node }}.",
    ),
    Alert(
        "VagusGuardInDoubt",
        "vagus_actor_rung > 0 and on (cluster, actor) vagus_actor_armed == 1",
        "5m",
        "warning",
        "The guard of {{ $labels.actor }} does not trust what it sees (rung {{ $value }} of 3)",
        "`vagus status` has its doubts: old samples, an unhealthy observer, a write that is refused. It acts again when "
        "they are gone.",
    ),
    Alert(
        "VagusWritesRefused",
        "vagus_actor_writes_refused > 0",
        "2m",
        "warning",
        "The kernel refuses the limits of {{ $labels.actor }}",
        "`vagus events --record receipt` quotes the kernel; `vagus doctor` says what this machine lacks.",
    ),
    Alert(
        "VagusCollectorFailing",
        "vagus_collector_run_ok == 0",
        "10m",
        "warning",
        "The collector {{ $labels.collector }} on {{ $labels.node }} cannot read its source",
        "`vagus status` has its error; `vagus doctor` says what this machine supports. What is not there can be left out "
        "of collect.collectors.",
    ),
    Alert(
        "VagusSensingStands",
        "increase(vagus_actor_ticks[5m]) == 0",
        "2m",
        "critical",
        "{{ $labels.actor }} reads no sensors any more",
        "A source hangs, such as a dead network mount: `vagus status` names the collector.",
    ),
    Alert(
        "VagusGatewayDefect",
        "increase(vagus_gateway_failures_total[15m]) > 0",
        "0m",
        "warning",
        "Requests to the gateway of {{ $labels.node }} met a defect of vagus",
        "HOME/nodes/{{ $labels.node }}/logs/collector.jsonl has the traceback: please report it.",
    ),
)


def rules() -> Any:
    """The rules as Prometheus' file has them, JSON-ready."""
    return {
        "groups": [
            {
                "name": "vagus",
                "rules": [
                    {
                        "alert": alert.name,
                        "expr": alert.expr,
                        **({"for": alert.hold} if alert.hold != "0m" else {}),
                        "labels": {"severity": alert.severity},
                        "annotations": {"summary": alert.summary, "description": alert.todo},
                    }
                    for alert in ALERTS
                ],
            }
        ]
    }
