"""Settings of traces, localisation, actuators and the injector."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from vagus.config.base import Duration, Name, Settings
from vagus.errors import ConfigError


class LocaliseSettings(Settings, frozen=True):
    """Which component makes requests slow, and what is done with the answer."""

    on: bool = True
    every: Duration = "10s"
    window: Duration = "60s"  # the requests that are looked at
    normal: Duration = "10m"  # the healthy period before, with which they are compared
    normal_file: str = ""  # spans of a healthy period, as CSV; empty: what was healthy so far
    # slow for so long without a break: that is how it is now, and the healthy period begins anew; 0: never. Not with slo_ms
    accept: Duration = "6h"
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
    component: Annotated[str, msgspec.Meta(max_length=200)] = ""  # the service it hits: the label's component
    # from the begin of the repetition, or `after`: when the line before has ended
    at: Duration = "after"
    duration: Duration = "10s"
    jitter: Duration = "0s"  # it begins later by up to so much, drawn from the campaign's seed
    options: dict[str, bool | int | float | str] = {}  # of the type: `vagus inject TYPE --help`


class CampaignSettings(Settings, frozen=True):
    """`campaign.yaml`: injections one after the other or at once; each is an event that labels the data."""

    name: Name
    injections: tuple[InjectionSettings, ...]
    seed: int = 0
    repeat: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    pause: Duration = "0s"  # between repetitions


class ScaleSettings(Settings, frozen=True):
    """How the replicas of a service are counted and set by commands: argument lists, never a shell."""

    get: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=100)]  # prints one whole number
    # an argument holds {replicas}
    set: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=100)]
    low: Annotated[int, msgspec.Meta(ge=0)] = 1
    high: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100
    timeout: Duration = "10s"  # of `get`
    # `get` must print the number by then, else the old one is set again. 0s: it is not waited for, as where `get` says
    # what runs and new replicas take minutes
    within: Duration = "10s"

    def __post_init__(self) -> None:
        if not any("{replicas}" in argument for argument in self.set):
            raise ConfigError("act.scale: no argument of `set` holds {replicas}, the number that is set")
        if self.low > self.high:
            raise ConfigError(f"act.scale: low {self.low} is above high {self.high}")


class KubernetesSettings(Settings, frozen=True):
    """The API server that resizes pods in place (Kubernetes 1.33 or later); by default that of the pod we run in."""

    url: Annotated[str, msgspec.Meta(pattern=r"^(https?://.+)?$", max_length=2000)] = ""  # empty: of the environment
    token_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105  empty: no token is sent
    ca_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt"  # empty: the system's certificates
    restart: bool = False  # also where the pod's resizePolicy says that its container is restarted for it
    within: Duration = "8s"  # the kubelet must have done it by then, else it is taken back


class ActSettings(Settings, frozen=True):
    """What actuators must be told: commands that scale services, the API server of pods."""

    scale: dict[Name, ScaleSettings] = {}  # by service: the target replicas:SERVICE
    kubernetes: KubernetesSettings = KubernetesSettings()
