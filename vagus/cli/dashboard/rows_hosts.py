"""What the dashboard `vagus` shows of hosts and of the services on them."""

from __future__ import annotations

from vagus.cli.dashboard.panel import Panel, Row, W

FULL = ((0.0, "green"), (0.8, "orange"), (0.9, "red"))

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
