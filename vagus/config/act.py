"""Settings of traces, localisation and the injector."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from vagus.config.base import Duration, Name, Settings


class LocaliseSettings(Settings, frozen=True):
    """Which component makes requests slow, and what is done with the answer."""

    on: bool = True
    every: Duration = "10s"
    window: Duration = "60s"  # the requests that are looked at
    normal: Duration = "10m"  # the healthy period before, with which they are compared
    normal_file: str = ""  # spans of a healthy period, as CSV; empty: what was healthy so far
    slo_ms: Annotated[float, msgspec.Meta(ge=0)] = 0.0  # end to end; 0: judged by the healthy period
    least: Annotated[int, msgspec.Meta(ge=2)] = 20  # requests in a window without which nothing is said
    # service or component → what it runs in, a target; its signals are those resource signals that are compared
    places: dict[str, str] = {}


class TraceSettings(Settings, frozen=True):
    """Spans that services send, joined into the execution graph of each request."""

    on: Literal["head", "off"] = "head"  # where graphs are joined and localised; every node stores the spans it gets
    wait: Duration = "5s"  # after a trace's newest span, for those that come late
    max_traces: Annotated[int, msgspec.Meta(ge=1)] = 10_000  # that wait to be complete
    max_spans: Annotated[int, msgspec.Meta(ge=1)] = 200_000  # of all of these together
    max_trace_spans: Annotated[int, msgspec.Meta(ge=1)] = 10_000  # of one; more are dropped and counted
    localise: LocaliseSettings = LocaliseSettings()


class InjectionSettings(Settings, frozen=True):
    """One line of a campaign: what is injected, how strongly, where, when."""

    type: Literal["cpu", "memory", "llc", "disk", "net-delay", "net-bandwidth", "load"]
    intensity: Annotated[str, msgspec.Meta(max_length=40)] = ""  # by type: 80%, 2 cores, 50ms, 10Mbit, 200/s
    target: Annotated[str, msgspec.Meta(max_length=4096)] = ""  # by type: a cgroup, a folder, a device, a URL
    at: Duration = "0s"  # after the campaign's begin
    duration: Duration = "10s"
    jitter: Duration = "0s"  # `at` is later by up to so much, drawn from the campaign's seed


class CampaignSettings(Settings, frozen=True):
    """`campaign.yaml`: injections one after the other or at once; each is an event that labels the data."""

    name: Name
    injections: tuple[InjectionSettings, ...]
    seed: int = 0
    repeat: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    pause: Duration = "0s"  # between repetitions
