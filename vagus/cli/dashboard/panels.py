"""What the Grafana dashboard shows: one line a panel. The layout and the JSON are `grafana`'s."""

from __future__ import annotations

from typing import NamedTuple


class Panel(NamedTuple):
    """row: its heading; unit: Grafana's name of it; kind: stat or timeseries; legend: a template of labels."""

    row: str
    title: str
    query: str
    unit: str
    about: str
    legend: str = "{{node}}"
    kind: str = "timeseries"


N = '{node=~"$node"}'
PANELS = (
    Panel("Overview", "Actors healthy", f"sum(vagus_actor_healthy{N})", "none", "Actors that say that they are well.", "healthy", "stat"),
    Panel("Overview", "Actors not healthy", f"count(vagus_actor_healthy{N} == 0) or vector(0)", "none", "Look at `vagus status`.", "not healthy", "stat"),
    Panel("Overview", "Unhealthy subjects", f"max(vagus_node_unhealthy{N})", "none", "Judged unhealthy, as the node that knows most sees it.", "unhealthy", "stat"),
    Panel("Overview", "Missing", f"max(vagus_node_missing{N})", "none", "Expected in vagus.yaml, and not there or not well.", "missing", "stat"),
    Panel("Hosts", "Processors busy", f"1 - vagus_host_cpu_idle{N}", "percentunit", "Share of time in which the processors were not idle."),
    Panel("Hosts", "Memory available", f"vagus_host_memory_mem_available{N}", "bytes", "What programs may still take without swapping."),
    Panel("Hosts", "Disk space available", f"vagus_host_filesystem_avail_bytes{N}", "bytes", "For ordinary users, by mount point.", "{{node}} {{mount}}"),
    Panel("Hosts", "Network received", f"rate(vagus_net_link_rx_bytes_total{N}[$__rate_interval])", "Bps", "Bytes a second, by device.", "{{node}} {{dev}}"),
    Panel("Health", "Subjects with a verdict", f"vagus_node_inferences{N}", "none", "Of how many subjects each node has a verdict."),
    Panel("Decisions", "Decisions", f"rate(vagus_node_decisions_total{N}[$__rate_interval])", "ops", "Decisions drawn a second, by node."),
    Panel("Cost of vagus", "Live series", f"vagus_node_series{N}", "none", "Series that each node senses now."),
    Panel("Cost of vagus", "Memory of actors", f"vagus_actor_rss_bytes{N}", "bytes", "Resident memory of each actor.", "{{actor}}"),
    Panel("Cost of vagus", "Requests", f"sum by (node) (rate(vagus_gateway_requests_total{N}[$__rate_interval]))", "reqps", "Requests that each gateway answered."),
)  # fmt: skip
