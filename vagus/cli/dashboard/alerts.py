"""Alert rules for Prometheus, one line each."""

from __future__ import annotations

from typing import Any, NamedTuple


class Alert(NamedTuple):
    """lasting: for how long it must hold, in Prometheus' words; todo: what to do."""

    name: str
    query: str
    lasting: str
    severity: str
    summary: str
    todo: str


ALERTS = (
    Alert("VagusNodeSilent", 'up{job="vagus"} == 0', "2m", "critical", "{{ $labels.instance }} does not answer", "Ask `vagus status` at another node; is the machine up, does vagus run there?"),
    Alert("VagusActorUnhealthy", "vagus_actor_healthy == 0", "2m", "critical", "{{ $labels.actor }} is not healthy", "`vagus status` has its last error; its log is in HOME/nodes/NODE/logs."),
    Alert("VagusActorRestarts", "increase(vagus_actor_restarts_total[15m]) > 3", "1m", "warning", "{{ $labels.actor }} is started again and again", "`vagus events` has the reason of each end."),
    Alert("VagusMissing", "max by (what, kind, why) (vagus_missing) == 1", "2m", "warning", "{{ $labels.what }} is expected and is {{ $labels.why }}", "`vagus status` says what to do; or take it out of `expected` in vagus.yaml."),
    Alert("VagusSubjectUnhealthy", "vagus_node_unhealthy > 0", "5m", "warning", "{{ $labels.node }} judges {{ $value }} subjects unhealthy", "`vagus health` names them, and who accuses them."),
    Alert("VagusGatewayDefect", "increase(vagus_gateway_failures_total[15m]) > 0", "1m", "warning", "{{ $labels.node }} met a defect of vagus", "The log of its collector has the traceback; please report it."),
)  # fmt: skip


def rules() -> dict[str, Any]:
    """A rule file of Prometheus."""
    made = [
        {
            "alert": a.name,
            "expr": a.query,
            "for": a.lasting,
            "labels": {"severity": a.severity},
            "annotations": {"summary": a.summary, "description": a.todo},
        }
        for a in ALERTS
    ]
    return {"groups": [{"name": "vagus", "rules": made}]}
