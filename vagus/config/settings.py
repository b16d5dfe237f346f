"""Settings: `vagus.yaml` (this node or cluster) and `controller.yaml` (one controller). Every key has a default.

Both are msgspec structs: reading checks types and ranges and names the key that is wrong; their JSON schemas are
published in schemas/. Durations are text such as `5s`, `10m`, `24h` or a number of seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

import msgspec

from vagus.config.act import ActSettings, TraceSettings
from vagus.config.base import Duration, Name, Port, Positive, Ratio, Settings, seconds
from vagus.config.control import LearnerSettings, ObjectiveSettings
from vagus.config.decide import DecideSettings
from vagus.config.expected import ExpectedSettings
from vagus.config.feeds import FeedSettings, SourceSettings
from vagus.errors import ConfigError

Check = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(tcp:.+:\d+|https?://.+|(unix|pidfile|file):/.+)$",
        description="tcp:HOST:PORT, http://…, https://…, unix:/…, pidfile:/… or file:/…",
    ),
]


class HeartbeatSettings(Settings, frozen=True):
    """A service that is asked whether it is there."""

    service: Name
    check: Check  # file: touched by the service
    every: Duration = "10s"
    timeout: Duration = "2s"


class SnmpSettings(Settings, frozen=True):
    """A network device that is read by SNMP."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    name: Annotated[str, msgspec.Meta(max_length=190)] = ""  # label `device`; empty: the device's own sysName
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 161
    version: Literal["2c", "3"] = "2c"
    community_file: str = ""  # v2c: holds the community; empty: public
    user: str = ""  # v3
    auth: Literal["none", "sha", "sha256", "sha512"] = "sha256"
    privacy: Literal["none", "aes", "aes256"] = "aes"
    key_file: str = ""  # v3: two lines, the pass phrases of authentication and privacy
    on: str = "head"  # which node reads it: head, every-node, or a node's name
    max_interfaces: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 128  # those of the lowest indexes
    every: Duration = "10s"
    timeout: Duration = "2s"


class LogSettings(Settings, frozen=True):
    """A log file to follow, and what reads it for signs of health."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]  # or a glob pattern
    filter: str = ""  # a registered log filter; empty: only those of log_filters
    filter_file: str = ""  # Panorama's JSON, instead of the filter's own rules
    ensemble: str = ""  # server.ID=HOST:PORT lines, such as zoo.cfg's
    timezone: str = ""  # of times without an offset, such as Europe/Zurich; empty: this machine's
    stale: Duration = "300s"  # a line that was written longer ago says nothing
    merge: Duration = "1s"  # the same again within this is reported once


class CollectSettings(Settings, frozen=True):
    """What to sense, how often."""

    period_s: Annotated[float, msgspec.Meta(ge=0.05, le=3600)] = 1.0
    collectors: tuple[str, ...] = (
        "host",
        "pressure",
        "network",
        "logs",
        "cgroup",
        "process",
        "resctrl",
        "heartbeat",
        "snmp",
        "availability",
    )
    logs: tuple[str | LogSettings, ...] = ()  # paths of log files to follow; glob patterns allowed
    log_filters: tuple[str, ...] = ()  # names of registered log filters, for every log
    cgroups: tuple[str, ...] = ("*", "*/*", "kubepods*/**")  # glob patterns of cgroups below each hierarchy's root
    max_cgroups: Annotated[int, msgspec.Meta(ge=0, le=5000)] = 100
    top_processes: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 10
    heartbeats: tuple[HeartbeatSettings, ...] = ()
    snmp: tuple[SnmpSettings, ...] = ()
    resctrl_monitor: tuple[
        str, ...
    ] = ()  # targets that get a monitoring group: cgroup:web, systemd:nginx.service, pid:1
    root: str = "/"  # where proc/ and sys/ are found


class InputSettings(Settings, frozen=True):
    """Ports on which other programs' telemetry is taken. None: closed. OTLP comes in at the gateway, always."""

    bind: Literal["loopback", "node"] = "loopback"
    ulm_port: Port | None = None  # NetLogger lines (ULM and CEDPS), UDP and TCP; 14830 is NetLogger's own
    forward_port: Port | None = None  # Fluent's forward protocol; 24224 is its own
    forward_key_file: str = ""  # holds the shared key that its senders must know; empty: anyone who reaches the port
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64


class CliqueSettings(Settings, frozen=True):
    """Nodes that probe each other, one pair at a time."""

    name: Name
    nodes: tuple[str, ...] = ("*",)  # names, or glob patterns


class ProbeSettings(Settings, frozen=True):
    """The Network Weather Service's probes between nodes."""

    enabled: bool = True
    cliques: tuple[CliqueSettings, ...] = (CliqueSettings(name="all"),)
    latency_every: Duration = "10s"  # each pair
    bandwidth_every: Duration = "5m"  # each pair; 0: never
    bandwidth_bytes: Annotated[int, msgspec.Meta(ge=1 << 12, le=1 << 28)] = 1 << 20  # of one probe, at most
    bandwidth_time: Duration = "2s"  # of one probe, at most
    port: Port = 0  # of the probes' echo, UDP and TCP


class ForecastSettings(Settings, frozen=True):
    """Forecasts of the live series, shown in the directory and as the fields FIELD.forecast and FIELD.mse."""

    enabled: bool = True
    series: tuple[str, ...] = ("*",)  # selectors
    max_series: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 2000
    forecasters: tuple[str, ...] = ()  # empty: all that are registered


class RemoteWriteSettings(Settings, frozen=True):
    """A Prometheus-compatible server to which samples are sent on."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://", max_length=2000)]
    series: tuple[str, ...] = ("*",)  # selectors
    every: Duration = "5s"
    timeout: Duration = "10s"
    token_file: str = ""  # sent as a bearer token
    labels: dict[str, str] = {}  # added to each series


class AccessRule(Settings, frozen=True):
    """What some principals may do at some nodes. Without any rule, every holder of the token may do everything;
    with one, what no rule allows is refused."""

    who: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]  # token:NAME, uid:NUMBER, listener:ulm …; glob patterns
    nodes: tuple[str, ...] = ("*",)  # at which nodes; glob patterns
    send: tuple[str, ...] = ()  # kinds, subjects; glob patterns
    read: tuple[str, ...] = ()
    act: tuple[str, ...] = ()  # controllers, targets, actuators


class StoreSettings(Settings, frozen=True):
    """How long samples, events and records are kept, whichever comes first."""

    map_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = 16 << 30
    retain: Duration = "30d"
    retain_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = 4 << 30
    sync: Duration = "1s"  # one synced group commit each; what a power cut may lose


class GatewaySettings(Settings, frozen=True):
    """The HTTP server of each node."""

    bind: Literal["loopback", "node"] = "loopback"
    port: Port = 7117
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1 << 30)] = 4 << 20
    timeout: Duration = "5s"  # for one node's part of a cluster-wide answer
    # that answer decisions; more than 1: processes of their own, fed by the collector's
    processes: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1


class WebhookSettings(Settings, frozen=True):
    """A server that is told of changed verdicts: a POST of JSON each."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://", max_length=2000)]
    subjects: tuple[str, ...] = ("*",)  # glob patterns
    statuses: tuple[str, ...] = ()  # only changes to, or from, one of these; none: every change
    timeout: Duration = "5s"
    token_file: str = ""  # sent as a bearer token


class ServeSettings(Settings, frozen=True):
    """Of `vagus health serve`: observers alone, on machines where nothing else of vagus runs."""

    id: Name | None = None  # which of `peers` this one is; None: the command line says
    peers: dict[Name, str] = {}  # every observer by its id, this one too: HOST:PORT
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    memory: Duration = 0  # how often its use of memory is logged; 0: never


class HealthSettings(Settings, frozen=True):
    """Observers, their gossip and their inference."""

    strategy: str = "paper"
    port: Port = 0  # UDP, for gossip
    ttl: Duration = "5m"  # an observation counts no longer than this, unless it says itself for how long
    pending: Duration = "3s"  # an unresolved PENDING is evidence after this
    subjects: tuple[str, ...] = ("*",)  # glob patterns: reports on others are IGNORED, whoever sends them
    interest: Literal["all", "watched"] = "all"  # watched: of what other nodes report only what is watched here
    watch: tuple[str, ...] = ()  # subjects that are watched from the start; glob patterns
    probe: Duration = "1s"  # SWIM's protocol period between observers
    webhooks: tuple[WebhookSettings, ...] = ()
    serve: ServeSettings = ServeSettings()


class LimitSettings(Settings, frozen=True):
    """Bounds of one resource, enforced by the guard whatever the policy says."""

    min: Positive
    max: Positive
    step_ratio: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.5  # largest relative change of one action
    cooldown: Duration = "0.5s"  # least time between two actions on the same limit


class GuardSettings(Settings, frozen=True):
    """What the guard does beyond bounds: doubt, oscillation, capacity."""

    confidence: Ratio = 0.5  # an action that its policy trusts less is held
    hold: Duration = "30s"  # in doubt about its means: for so long the last safe action stays
    # then the calibrated rule steers from what the kernel counts of the target itself (throttle: cores only; none: skip)
    rule: Literal["throttle", "none"] = "throttle"
    rule_for: Duration = "10m"  # then everything is restored
    # a policy that learns explores within what the calibrated rule holds safe (throttle); none: within the bounds alone
    shield: Literal["throttle", "none"] = "throttle"
    swings: Annotated[int, msgspec.Meta(ge=0, le=100)] = 5  # turns in a row that are an oscillation; 0: never
    swing_hold: Duration = "30s"  # for so long only more is given then; longer each time
    reserve: dict[str, Positive] = {}  # by resource: what all limits of the node together leave to others
    # all limits of the node together: so many times what it has; more than 1 where not all peak at once
    overcommit: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 1.0


class ControllerSettings(Settings, frozen=True):
    """`controller.yaml`: one controller. armed: False means dry run: everything but the write."""

    name: Name
    policy: str = "throttle"  # a registered policy, module:Class, or path/to/file.py:Class
    on: str = "every-node"  # every-node, head, or a node's name
    target: str = "pid:self"  # cgroup:PATH, systemd:UNIT, container:ID, pid:NUMBER, pid:self (vagus' own processes) …
    targets: Annotated[
        tuple[str, ...], msgspec.Meta(max_length=1000)
    ] = ()  # several, steered by one policy, instead of `target`
    actuator: str = "auto"  # whichever fits target and resource; or one by name: cgroup2, systemd, dry …
    period: Duration = "1s"
    armed: bool = False
    limits: dict[str, LimitSettings] = {}
    options: dict[str, Any] = {}
    objective: ObjectiveSettings = ObjectiveSettings()
    lease: Duration = "5s"  # without a heartbeat for so long, the watchdog restores the limits
    guard: GuardSettings = GuardSettings()
    drift: Literal["yield", "reapply"] = (
        "yield"  # a limit that someone else changed: leave it to them, or write it again
    )
    # where the node has no more to give: one more of replicas:SERVICE; needs limits.replicas. Empty: nothing
    scale_out: Annotated[str, msgspec.Meta(max_length=4096)] = ""

    def __post_init__(self) -> None:
        for what, least_s, text in (("period", 0.01, self.period), ("lease", 0.1, self.lease)):
            try:
                wrong = not least_s <= seconds(text) <= 86400  # 0 would be a loop without a pause
            except ConfigError as error:
                raise ConfigError(f"controller {self.name}: {what}: {error}") from error
            if wrong:
                raise ConfigError(f"controller {self.name}: {what} {text!r} must be from {least_s:g}s to 1d")
        for resource, limit in self.limits.items():
            if limit.min > limit.max:
                raise ConfigError(
                    f"controller {self.name}: limits.{resource}: min {limit.min:g} is above max {limit.max:g}"
                )
        if self.scale_out and "replicas" not in self.limits:
            raise ConfigError(f"controller {self.name}: scale_out needs bounds: set limits.replicas.min and .max")


class Config(Settings, frozen=True):
    """`vagus.yaml`: everything about this node or cluster."""

    cluster: str = "vagus"
    home: str = ""  # state folder; empty: $VAGUS_HOME, /var/lib/vagus for root, ~/.local/state/vagus for others
    collect: CollectSettings = CollectSettings()
    inputs: InputSettings = InputSettings()
    probes: ProbeSettings = ProbeSettings()
    forecast: ForecastSettings = ForecastSettings()
    remote_write: tuple[RemoteWriteSettings, ...] = ()
    tokens: dict[Name, str] = {}  # further principals: name and the file that holds its token
    access: tuple[AccessRule, ...] = ()
    store: StoreSettings = StoreSettings()
    gateway: GatewaySettings = GatewaySettings()
    health: HealthSettings = HealthSettings()
    expected: ExpectedSettings = ExpectedSettings()
    feeds: tuple[FeedSettings, ...] = (
        FeedSettings(name="uptime", source=SourceSettings(all=("proc:uptime",)), every="10s", format="uptime"),
        FeedSettings(
            name="gateway", source=SourceSettings(all=("gateway:/healthz?scope=node",)), every="10s", format="json"
        ),
    )
    # who fetches: the head, or every node its share of the web's locations; auto: see feeds/shares.py
    feeds_on: Literal["auto", "head", "every-node"] = "auto"
    decide: DecideSettings = DecideSettings()
    traces: TraceSettings = TraceSettings()
    act: ActSettings = ActSettings()
    learner: LearnerSettings = LearnerSettings()
    # on vagus' own processes; a core at least: what watches the machine must not be starved by its own hand
    controllers: tuple[ControllerSettings, ...] = (
        ControllerSettings(name="throttle", limits={"cpu_cores": LimitSettings(min=1.0, max=1024.0)}),
    )

    def __post_init__(self) -> None:
        named = {"controllers": [c.name for c in self.controllers], "feeds": [f.name for f in self.feeds]}
        for what, names in named.items():
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ConfigError(f"{what}: the name {twice[0]!r} is given twice; each needs one of its own")
        if "" in named["feeds"]:
            raise ConfigError(f"feeds: feed number {named['feeds'].index('') + 1} has no name; it needs one")
        for who in (who for rule in self.access for who in rule.who):
            _check_who(who, ("cluster", *self.tokens))


def _check_who(who: str, tokens: Sequence[str]) -> None:
    """Raises ConfigError for a pattern that means nobody: a typo there would silently refuse, or leave a rule out."""
    kind, colon, name = who.partition(":")
    known: Mapping[str, Sequence[str]] = {"token": tokens, "uid": (), "listener": ("ulm", "forward")}
    if not colon and any(fnmatchcase(f"{k}:", who) for k in known):
        return
    if kind not in known or not name:
        raise ConfigError(f"access: who {who!r} is none of token:NAME, uid:NUMBER, listener:ulm, listener:forward")
    if kind == "uid":
        if not name.strip("0123456789*?[]-!"):
            return
        raise ConfigError(f"access: who {who!r}: a uid is a number, such as uid:1000")
    if not any(fnmatchcase(one, name) for one in known[kind]):
        more = "; `tokens` names further ones" if kind == "token" else ""
        raise ConfigError(f"access: who {who!r}: there are {', '.join(f'{kind}:{one}' for one in known[kind])}{more}")
