"""What the dashboard `vagus` shows of vagus' parts: health, feeds, decisions, acting, and what all that costs."""

from __future__ import annotations

from vagus.cli.dashboard.panel import Panel, Row, W

RUNGS = {0: ("trust", "green"), 1: ("hold", "yellow"), 2: ("rule", "orange"), 3: ("restore", "red")}

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
