"""What the dashboard `vagus` shows: one look for all, then what it is made of. A test holds each query against what is
really exported.
"""

from __future__ import annotations

from vagus.cli.dashboard.panel import Panel, Row

W = "[$__rate_interval]"
GOOD_0 = ((0.0, "green"), (1.0, "red"))
FULL = ((0.0, "green"), (0.8, "orange"), (0.9, "red"))
WELL = {1: ("HEALTHY", "green"), 0: ("NOT HEALTHY", "red")}
RUNGS = {0: ("trust", "green"), 1: ("hold", "yellow"), 2: ("rule", "orange"), 3: ("restore", "red")}
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
                "vagus_actor_healthy{NODE}": "healthy",
                "vagus_actor_restarts_total{NODE}": "restarts",
                "vagus_actor_errors_total{NODE}": "errors",
                "vagus_actor_cpu_ratio{NODE}": "cpu",
                "vagus_actor_rss_bytes{NODE}": "memory",
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
HOSTS = Row(
    "Hosts",
    (
        Panel(
            "Processors busy",
            {"1 - vagus_host_cpu_idle{NODE} - vagus_host_cpu_iowait{NODE}": "{{node}}"},
            "percentunit",
            "All but idle and waiting for disks.",
            most=1.0,
        ),
        Panel("Load, 1 min", {"vagus_host_load_load1{NODE}": "{{node}}"}, about="Tasks that run or wait."),
        Panel(
            "Memory used",
            {"1 - vagus_host_memory_mem_available{NODE} / vagus_host_memory_mem_total{NODE}": "{{node}}"},
            "percentunit",
            "What programs cannot have without swapping.",
            most=1.0,
        ),
        Panel(
            "Waiting (pressure)",
            {f"vagus_pressure_{what}_some_avg10{{NODE}}": f"{{{{node}}}} {what}" for what in ("cpu", "memory", "io")},
            "percent",
            "Share of the last 10 s in which at least one task waited for processor, memory or disk.",
        ),
        Panel(
            "Disks, bytes",
            {
                f"rate(vagus_host_disk_read_bytes_total{{NODE}}{W})": "{{node}} {{dev}} read",
                f"rate(vagus_host_disk_write_bytes_total{{NODE}}{W})": "{{node}} {{dev}} written",
            },
            "Bps",
        ),
        Panel(
            "Disks busy",
            {f"rate(vagus_host_disk_io_ms_total{{NODE}}{W}) / 1000": "{{node}} {{dev}}"},
            "percentunit",
            "Share of the time with at least one request under way.",
        ),
        Panel(
            "File systems used",
            {
                "1 - vagus_host_filesystem_avail_bytes{NODE} / vagus_host_filesystem_size_bytes{NODE}": "{{node}} {{mount}}"
            },
            "percentunit",
            kind="bargauge",
            steps=FULL,
            most=1.0,
        ),
        Panel(
            "Network, bytes",
            {
                f'rate(vagus_net_link_rx_bytes_total{{NODE,dev!="lo"}}{W})': "{{node}} {{dev}} in",
                f'rate(vagus_net_link_tx_bytes_total{{NODE,dev!="lo"}}{W})': "{{node}} {{dev}} out",
            },
            "Bps",
        ),
        Panel(
            "Network, trouble",
            {
                f"rate(vagus_net_link_rx_dropped_total{{NODE}}{W}) + rate(vagus_net_link_tx_dropped_total{{NODE}}{W})": (
                    "{{node}} {{dev}} dropped"
                ),
                f"rate(vagus_net_link_rx_errors_total{{NODE}}{W}) + rate(vagus_net_link_tx_errors_total{{NODE}}{W})": (
                    "{{node}} {{dev}} errors"
                ),
                f"rate(vagus_net_tcp_RetransSegs_total{{NODE}}{W})": "{{node}} TCP sent again",
            },
            "cps",
        ),
    ),
)
SERVICES = Row(
    "Services (control groups)",
    (
        Panel(
            "Processors used, the ten largest",
            {f"topk(10, rate(vagus_cgroup_cpu_usage_us_total{{NODE}}{W}) / 1e6)": "{{node}} {{cgroup}}"},
            "suffix: cores",
        ),
        Panel(
            "Held at their limit",
            {
                f"rate(vagus_cgroup_cpu_throttled_us_total{{NODE}}{W}) / 1e6 > 0": "{{node}} {{cgroup}}",
            },
            "percentunit",
            "Time that a group's tasks were throttled, per second.",
        ),
        Panel(
            "Memory, the ten largest",
            {"topk(10, vagus_cgroup_memory_current_bytes{NODE})": "{{node}} {{cgroup}}"},
            "bytes",
        ),
    ),
    closed=True,
)
HEALTH = Row(
    "Health",
    (
        Panel(
            "Reports",
            {
                f"sum by (node) (rate(vagus_actor_accepted{{NODE}}{W}))": "{{node}} accepted",
                f"sum by (node) (rate(vagus_actor_failed{{NODE}}{W}))": "{{node}} refused",
            },
            "cps",
        ),
        Panel("Verdicts that changed", {f"sum by (node) (rate(vagus_actor_changes{{NODE}}{W}))": "{{node}}"}, "cps"),
        Panel(
            "Nodes, as each sees them",
            {f"vagus_actor_swim_{state}{{NODE}}": f"{{{{node}}}} {state}" for state in ("alive", "suspect", "dead")},
            about="SWIM's view, without Ray. Nodes that differ are cut off from each other.",
        ),
        Panel(
            "Doubt of nodes in themselves",
            {"vagus_actor_doubt{NODE}": "{{node}}"},
            about="0 well, up to 8: a node that hears nobody doubts itself before it accuses others.",
        ),
        Panel(
            "Round trips between nodes",
            {"vagus_probe_latency_rtt_median_s{NODE}": "{{src}} → {{dst}}"},
            "s",
            "Median of a probe.",
        ),
        Panel(
            "Lost probes",
            {"vagus_probe_latency_lost_ratio{NODE}": "{{src}} → {{dst}}"},
            "percentunit",
            most=1.0,
        ),
    ),
    closed=True,
)
FEEDS = Row(
    "Feeds",
    (
        Panel(
            "Fetches that went well",
            {"avg by (cluster, feed) (vagus_feed_fetch_ok{NODE})": "{{feed}}"},
            "percentunit",
            "Share of the locations whose newest fetch went well.",
            most=1.0,
        ),
        Panel(
            "Duration of fetches",
            {"max by (cluster, feed) (vagus_feed_fetch_duration_s{NODE})": "{{feed}}"},
            "s",
            "Of the slowest location.",
        ),
        Panel(
            "Fetches",
            {
                f"sum by (node) (rate(vagus_actor_fetches{{NODE}}{W}))": "{{node}} all",
                f"sum by (node) (rate(vagus_actor_failures{{NODE}}{W}))": "{{node}} failed",
                f"sum by (node) (rate(vagus_actor_missed{{NODE}}{W}))": "{{node}} missed",
            },
            "cps",
        ),
        Panel(
            "Feeds",
            {
                "sum by (node) (vagus_actor_feeds{NODE})": "{{node}} declared",
                "sum by (node) (vagus_actor_feeds_broken{NODE})": "{{node}} do not load",
                "sum by (node) (vagus_actor_alerts_standing{NODE})": "{{node}} alerts that stand",
                "sum by (node) (vagus_actor_tools_hanging{NODE})": "{{node}} tools that hang",
            },
        ),
    ),
    closed=True,
)
DECISIONS = Row(
    "Decisions",
    (
        Panel(
            "Decisions and rewards",
            {
                f"sum by (node) (rate(vagus_actor_decisions{{NODE}}{W}))": "{{node}} decisions",
                f"sum by (node) (rate(vagus_actor_rewards{{NODE}}{W}))": "{{node}} rewards",
            },
            "cps",
        ),
        Panel(
            "Outcomes that taught nothing",
            {
                f"sum by (node) (rate(vagus_actor_unrewarded{{NODE}}{W}))": "{{node}} never rewarded",
                f"sum by (node) (rate(vagus_actor_unjoined{{NODE}}{W}))": "{{node}} without decision",
                f"sum by (node) (rate(vagus_actor_lost{{NODE}}{W}))": "{{node}} lost",
            },
            "cps",
        ),
        Panel(
            "Groups, open decisions",
            {
                "sum by (node) (vagus_actor_groups{NODE})": "{{node}} groups",
                "sum by (node) (vagus_actor_open{NODE})": "{{node}} open",
            },
        ),
    ),
    closed=True,
)
ACTING = Row(
    "Limits and receipts",
    (
        Panel(
            "Trust of the guard",
            {"vagus_actor_rung{NODE}": "{{actor}}"},
            about="trust: the policy acts; hold: what is in force stays; rule: the rule acts; restore: as before vagus.",
            names=RUNGS,
        ),
        Panel(
            "Limits in force",
            {"vagus_actor_limits{NODE}": "{{actor}}", "vagus_actor_armed{NODE}": "{{actor}} armed"},
            about="armed: 1 while the controller may write.",
        ),
        Panel(
            "Receipts",
            {
                f"rate(vagus_actor_actions{{NODE}}{W})": "{{actor}} done",
                f"rate(vagus_actor_held{{NODE}}{W})": "{{actor}} held by the guard",
            },
            "cps",
            "`vagus events --record receipt` has each with its reason.",
        ),
        Panel("Writes refused in a row", {"vagus_actor_writes_refused{NODE}": "{{actor}}"}),
        Panel("Duration of a step", {"vagus_actor_step_s{NODE}": "{{actor}}"}, "s"),
    ),
    closed=True,
)
COST = Row(
    "What vagus itself costs",
    (
        Panel(
            "Processor, by role",
            {"sum by (node, role) (vagus_actor_cpu_ratio{NODE})": "{{node}} {{role}}"},
            "percentunit",
            "Of one processor, over about the last minute.",
            stacked=True,
        ),
        Panel(
            "Memory, by role",
            {"sum by (node, role) (vagus_actor_rss_bytes{NODE})": "{{node}} {{role}}"},
            "bytes",
            "Resident; pages that processes share are counted in each.",
            stacked=True,
        ),
        Panel(
            "Stores",
            {"vagus_actor_store_bytes{NODE}": "{{actor}}"},
            "bytes",
            "In use; `store.retain_bytes` bounds each.",
        ),
        Panel(
            "Reading sensors",
            {"vagus_collector_run_duration_s{NODE}": "{{node}} {{collector}}"},
            "s",
            "How long each collector takes at a tick.",
        ),
        Panel(
            "Ticks skipped, collectors failing",
            {
                f"rate(vagus_actor_ticks_skipped{{NODE}}{W})": "{{node}} skipped per second",
                "vagus_actor_collectors_failing{NODE}": "{{node}} failing",
            },
        ),
        Panel("Live series", {"vagus_node_series{NODE}": "{{node}}"}),
        Panel(
            "Requests",
            {f"sum by (node, code) (rate(vagus_gateway_requests_total{{NODE}}{W}))": "{{node}} {{code}}"},
            "cps",
            "Answers of the gateways by status code.",
        ),
        Panel(
            "Gateways, trouble",
            {
                f"rate(vagus_gateway_failures_total{{NODE}}{W})": "{{node}} defects",
                f"rate(vagus_gateway_tail_dropped_chunks_total{{NODE}}{W})": "{{node}} lost by slow readers",
            },
            "cps",
        ),
        Panel("Live streams open", {"vagus_gateway_tails{NODE}": "{{node}}"}),
    ),
    closed=True,
)

ROWS = (GLANCE, WHO, HOSTS, SERVICES, HEALTH, FEEDS, DECISIONS, ACTING, COST)
