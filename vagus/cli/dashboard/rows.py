"""What the dashboard `vagus` shows: one look for all, then what it is made of. A test holds each query against what is
really exported.
"""

from __future__ import annotations

from vagus.cli.dashboard.panel import Panel, Row
from vagus.cli.dashboard.rows_hosts import HOSTS, SERVICES
from vagus.cli.dashboard.rows_parts import ACTING, COST, DECISIONS, FEEDS, HEALTH

GOOD_0 = ((0.0, "green"), (1.0, "red"))
WELL = {1: ("HEALTHY", "green"), 0: ("NOT HEALTHY", "red")}
EACH = "max by (cluster, actor, role, node)"  # without the metric's name, so that a table can join the columns
UP = 'up{job="vagus",cluster=~"$cluster",instance=~"$node"}'


def _number(title: str, query: str, about: str, unit: str = "short", bad: bool = True) -> Panel:
    return Panel(title, {query: ""}, unit, about, 4, "stat", GOOD_0 if bad else ())


GLANCE = Row(
    "At a glance",
    (
        _number("Nodes up", f"sum({UP})", "Gateways that Prometheus reaches.", bad=False),
        _number(
            "Nodes silent",
            f"sum(1 - {UP})",
            "Gateways that Prometheus knows and does not reach: `vagus status` on another node says why.",
        ),
        _number(
            "Actors not healthy",
            "sum(1 - vagus_actor_healthy{NODE})",
            "By name in the table below; `vagus status` has the error.",
        ),
        _number(
            "Subjects unhealthy",
            "max(vagus_node_unhealthy{NODE})",
            "As the node that sees most has it; `vagus health` says who accuses them.",
        ),
        _number(
            "Expected, missing",
            "max(vagus_node_missing{NODE})",
            "What vagus.yaml expects and what is not there or not well; `vagus status` says what to do.",
        ),
        _number("Limits in force", "sum(vagus_actor_limits{NODE})", "Limits that controllers hold now.", bad=False),
    ),
)
WHO = Row(
    "Who is well",
    (
        Panel(
            "Actors",
            {
                f"{EACH} (vagus_actor_healthy{{NODE}})": "healthy",
                f"{EACH} (vagus_actor_restarts_total{{NODE}})": "restarts",
                f"{EACH} (vagus_actor_errors_total{{NODE}})": "errors",
                f"{EACH} (vagus_actor_cpu_ratio{{NODE}})": "cpu",
                f"{EACH} (vagus_actor_rss_bytes{{NODE}})": "memory",
            },
            about="Every actor by name, role and node, as in Ray's dashboard. cpu: of one processor.",
            width=14,
            kind="table",
            names=WELL,
        ),
        Panel(
            "Subjects unhealthy",
            {"max by (cluster, subject) (vagus_subject_unhealthy{NODE})": ""},
            about="At most 100 of them. `vagus health SUBJECT` has the evidence.",
            width=5,
            kind="table",
        ),
        Panel(
            "Expected, missing",
            {"max by (cluster, what, kind, why) (vagus_missing{NODE})": ""},
            about="`vagus status` says what to do.",
            width=5,
            kind="table",
        ),
    ),
)
ROWS = (GLANCE, WHO, HOSTS, SERVICES, HEALTH, FEEDS, DECISIONS, ACTING, COST)
