"""Settings: `vagus.yaml` (this node or cluster) and `controller.yaml` (one controller). Every key has a default.

Both are msgspec structs: reading checks types and ranges and names the key that is wrong; their JSON schemas are
published in schemas/. Durations are text such as `5s`, `10m`, `24h` or a number of seconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from vagus.errors import ConfigError, VagusError

T = TypeVar("T")
MAX_CONFIG_BYTES = 1 << 20

Port = Annotated[int, msgspec.Meta(ge=0, le=65535, description="TCP or UDP port; 0 lets the kernel choose")]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
Duration = Annotated[str | float, msgspec.Meta(description="seconds, or text such as 5s, 10m, 24h, 7d")]

Name = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)", description="letters, digits, _ . -")
]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|ms|s|m|h|d|w)?\Z")
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    None: 1.0,
}


def seconds(duration: str | float) -> float:
    """A duration (`5s`, `10m`, `24h`, or a number) in seconds. Raises ConfigError."""
    if isinstance(duration, (int, float)):
        if 0 <= duration < 1e10:
            return float(duration)
        raise ConfigError(f"duration {duration} must be between 0 and 1e10 seconds")
    found = _DURATION.match(duration.strip())
    if not found:
        raise ConfigError(f"duration {duration[:40]!r} is not a number with a unit: ms, s, m, h, d or w")
    return float(found[1]) * _SECONDS[found[2]]


class _Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Base: unknown keys are errors, so that a typing mistake is never a silent default."""


Check = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(tcp:.+:\d+|https?://.+|(unix|pidfile|file):/.+)$",
        description="tcp:HOST:PORT, http://…, https://…, unix:/…, pidfile:/… or file:/…",
    ),
]


class HeartbeatSettings(_Settings, frozen=True):
    """A service that is asked whether it is there."""

    service: Name
    check: Check  # file: touched by the service
    every: Duration = "10s"
    timeout: Duration = "2s"


class SnmpSettings(_Settings, frozen=True):
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


class LogSettings(_Settings, frozen=True):
    """A log file to follow, and what reads it for signs of health."""

    path: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]  # or a glob pattern
    filter: str = ""  # a registered log filter; empty: only those of log_filters
    filter_file: str = ""  # Panorama's JSON, instead of the filter's own rules
    ensemble: str = ""  # server.ID=HOST:PORT lines, such as zoo.cfg's
    timezone: str = ""  # of times without an offset, such as Europe/Zurich; empty: this machine's
    stale: Duration = "300s"  # a line that was written longer ago says nothing
    merge: Duration = "1s"  # the same again within this is reported once


class CollectSettings(_Settings, frozen=True):
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
    cgroups: tuple[str, ...] = ("*", "*/*")  # glob patterns of cgroups below each hierarchy's root
    max_cgroups: Annotated[int, msgspec.Meta(ge=0, le=5000)] = 100
    top_processes: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 10
    heartbeats: tuple[HeartbeatSettings, ...] = ()
    snmp: tuple[SnmpSettings, ...] = ()
    root: str = "/"  # where proc/ and sys/ are found


class InputSettings(_Settings, frozen=True):
    """Ports on which other programs' telemetry is taken. None: closed. OTLP comes in at the gateway, always."""

    bind: Literal["loopback", "node"] = "loopback"
    ulm_port: Port | None = None  # NetLogger lines (ULM and CEDPS), UDP and TCP; 14830 is NetLogger's own
    forward_port: Port | None = None  # Fluent's forward protocol; 24224 is its own
    forward_key_file: str = ""  # holds the shared key that its senders must know; empty: anyone who reaches the port
    max_connections: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 64


class CliqueSettings(_Settings, frozen=True):
    """Nodes that probe each other, one pair at a time."""

    name: Name
    nodes: tuple[str, ...] = ("*",)  # names, or glob patterns


class ProbeSettings(_Settings, frozen=True):
    """The Network Weather Service's probes between nodes."""

    enabled: bool = True
    cliques: tuple[CliqueSettings, ...] = (CliqueSettings(name="all"),)
    latency_every: Duration = "10s"  # each pair
    bandwidth_every: Duration = "5m"  # each pair; 0: never
    bandwidth_bytes: Annotated[int, msgspec.Meta(ge=1 << 12, le=1 << 28)] = 1 << 20  # of one probe, at most
    bandwidth_time: Duration = "2s"  # of one probe, at most
    port: Port = 0  # of the probes' echo, UDP and TCP


class ForecastSettings(_Settings, frozen=True):
    """Forecasts of the live series, shown in the directory and as the fields FIELD.forecast and FIELD.mse."""

    enabled: bool = True
    series: tuple[str, ...] = ("*",)  # selectors
    max_series: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 2000
    forecasters: tuple[str, ...] = ()  # empty: all that are registered


class RemoteWriteSettings(_Settings, frozen=True):
    """A Prometheus-compatible server to which samples are sent on."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://", max_length=2000)]
    series: tuple[str, ...] = ("*",)  # selectors
    every: Duration = "5s"
    timeout: Duration = "10s"
    token_file: str = ""  # sent as a bearer token
    labels: dict[str, str] = {}  # added to each series


class AccessRule(_Settings, frozen=True):
    """What some principals may do at some nodes. Without any rule, every holder of the token may do everything;
    with one, what no rule allows is refused."""

    who: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]  # token:NAME, uid:NUMBER, listener:ulm …; glob patterns
    nodes: tuple[str, ...] = ("*",)  # at which nodes; glob patterns
    send: tuple[str, ...] = ()  # kinds, subjects; glob patterns
    read: tuple[str, ...] = ()
    act: tuple[str, ...] = ()  # controllers, targets, actuators


class StoreSettings(_Settings, frozen=True):
    """How long samples, events and records are kept, whichever comes first."""

    map_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = 16 << 30
    retain: Duration = "30d"
    retain_bytes: Annotated[int, msgspec.Meta(ge=1 << 20)] = 4 << 30
    sync: Duration = "1s"  # one synced group commit each; what a power cut may lose


class GatewaySettings(_Settings, frozen=True):
    """The HTTP server of each node."""

    bind: Literal["loopback", "node"] = "loopback"
    port: Port = 7117
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1024, le=1 << 30)] = 4 << 20
    timeout: Duration = "5s"  # for one node's part of a cluster-wide answer


class WebhookSettings(_Settings, frozen=True):
    """A server that is told of changed verdicts: a POST of JSON each."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://", max_length=2000)]
    subjects: tuple[str, ...] = ("*",)  # glob patterns
    statuses: tuple[str, ...] = ()  # only changes to, or from, one of these; none: every change
    timeout: Duration = "5s"
    token_file: str = ""  # sent as a bearer token


class ServeSettings(_Settings, frozen=True):
    """Of `vagus health serve`: observers alone, on machines where nothing else of vagus runs."""

    id: Name | None = None  # which of `peers` this one is; None: the command line says
    peers: dict[Name, str] = {}  # every observer by its id, this one too: HOST:PORT
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    memory: Duration = 0  # how often its use of memory is logged; 0: never


class HealthSettings(_Settings, frozen=True):
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


class SourceSettings(_Settings, frozen=True):
    """Where a feed's bytes come from: `all` of them each tick, or `any` one, in order."""

    all: tuple[str, ...] = ()  # http://, https://, file: or proc: (a command, split as a shell would, without a shell)
    any: tuple[str, ...] = ()


class FeedSettings(_Settings, frozen=True):
    """One declared feed: source, schedule, format."""

    name: Name
    source: SourceSettings
    every: Duration = "60s"
    timeout: Duration = "10s"
    format: str = "text"  # a registered format, or module:Class
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=64 << 20)] = 4 << 20  # the archive takes no larger record
    options: dict[str, Any] = {}


class DecideSettings(_Settings, frozen=True):
    """The decision service."""

    policy: str = "ucb"
    options: dict[str, Any] = {}
    group_by: tuple[str, ...] = ()  # features whose values name the group; none: one group
    tick: Duration = "0.5s"


class LimitSettings(_Settings, frozen=True):
    """Bounds of one resource, enforced by the guard whatever the policy says."""

    min: Positive
    max: Positive
    step_ratio: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.5  # largest relative change of one action
    cooldown: Duration = "0.5s"  # least time between two actions on the same limit


class ControllerSettings(_Settings, frozen=True):
    """`controller.yaml`: one controller. armed: False means dry run: everything but the write."""

    name: Name
    policy: str = "throttle"  # a registered policy, module:Class, or path/to/file.py:Class
    on: str = "every-node"  # every-node, head, or a node's name
    target: str = "pid:self"  # cgroup:PATH, pid:NUMBER, or pid:self (vagus' own processes)
    actuator: str = "auto"  # auto, cgroup1, cgroup2, dry
    period: Duration = "1s"
    armed: bool = False
    limits: dict[str, LimitSettings] = {}
    options: dict[str, Any] = {}
    lease: Duration = "5s"  # without a heartbeat for so long, the watchdog restores the limits


class Config(_Settings, frozen=True):
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
    feeds: tuple[FeedSettings, ...] = (
        FeedSettings(name="uptime", source=SourceSettings(all=("proc:uptime",)), every="10s", format="uptime"),
        FeedSettings(name="gateway", source=SourceSettings(all=("gateway:/healthz",)), every="10s", format="json"),
    )
    decide: DecideSettings = DecideSettings()
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


@cache
def _loader() -> Any:
    """YAML's safe loader with the booleans of YAML 1.2: `on` is a key of ours, and not True."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:bool"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), "tTfF"
    )
    return Loader


def decode(text: bytes, kind: type[T], origin: str) -> T:
    """YAML bytes as settings of type `kind`; `origin` names the file in errors. Raises ConfigError."""
    import yaml

    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{origin}: {len(text)} bytes; a configuration has at most {MAX_CONFIG_BYTES}")
    try:
        raw = yaml.load(text, Loader=_loader())  # noqa: S506  a SafeLoader, but for `on`
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{origin}: not YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{origin}: nested too deeply") from error
    try:
        settings = msgspec.convert({} if raw is None else raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {error}{_known_keys(str(error), kind)}") from error
    _check_durations(settings, origin)
    return settings


def _known_keys(problem: str, kind: Any) -> str:
    """`; did you mean …` or what there is, when a decoding error is about an unknown key or word; else empty."""
    import difflib
    import typing

    found = re.search(r"(?:unknown field `|Invalid enum value ')(.*?)['`](?: - at `\$(.*)`)?$", problem)
    if not found:
        return ""
    for step in re.findall(r"\.(\w+)|\[", found[2] or ""):
        if step:
            kind = typing.get_type_hints(kind)[step]
        else:  # the items of a tuple, the values of a dict
            kind = [a for a in typing.get_args(kind) if a is not Ellipsis][-1]
    if problem.startswith("Invalid enum"):
        return f"; it is one of {', '.join(map(str, _words(kind)))}"
    if not hasattr(kind, "__struct_fields__"):  # an object or a text
        kind = next(a for a in typing.get_args(kind) if hasattr(a, "__struct_fields__"))
    known: tuple[str, ...] = kind.__struct_fields__
    close = difflib.get_close_matches(found[1], known, n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; the keys there are {', '.join(known)}"


def _words(kind: Any) -> list[Any]:
    """The values of the literals in a type, also of those within a union."""
    import typing

    arguments = typing.get_args(kind)
    return list(arguments) if typing.get_origin(kind) is typing.Literal else [w for a in arguments for w in _words(a)]


def _check_durations(settings: object, origin: str) -> None:
    durations = (
        "retain",
        "sync",
        "timeout",
        "ttl",
        "pending",
        "probe",
        "memory",
        "every",
        "tick",
        "cooldown",
        "period",
        "lease",
        "latency_every",
        "bandwidth_every",
        "bandwidth_time",
        "stale",
        "merge",
    )
    if isinstance(settings, _Settings):
        for name in settings.__struct_fields__:
            value = getattr(settings, name)
            if name in durations:
                try:
                    seconds(value)
                except ConfigError as error:
                    raise ConfigError(f"{origin}: {name}: {error}") from error
            _check_durations(value, origin)
    elif isinstance(settings, (tuple, dict)):
        for value in settings.values() if isinstance(settings, dict) else settings:
            _check_durations(value, origin)


def load(path: Path | str, kind: type[T]) -> T:
    """Settings from a YAML file. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    return decode(text, kind, str(path))


def schema(kind: type) -> dict[str, Any]:
    """The JSON schema of a settings type, as published in schemas/."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}


def home(config: Config | None = None) -> Path:
    """The state folder: the configuration's, $VAGUS_HOME, /var/lib/vagus for root, ~/.local/state/vagus for others."""
    chosen = (config.home if config else "") or os.environ.get("VAGUS_HOME", "")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/vagus")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "vagus"


def node_folder(base: Path, node: str) -> Path:
    """Everything that belongs to one node: `HOME/nodes/NODE`."""
    return base / "nodes" / node


def socket_path(base: Path, node: str, name: str) -> Path:
    """A unix socket of a node; below /tmp when the state folder's path is too long for one.

    Not in $TMPDIR: that may differ between the actor that binds and the program that connects.
    """
    path = node_folder(base, node) / f"{name}.sock"
    if len(os.fsencode(path)) < 100:
        return path
    digest = f"{hash_text(str(path)):016x}"
    return Path("/tmp") / f"vagus-{os.geteuid()}" / f"{digest}.sock"  # noqa: S108


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file atomically and durably, readable by its owner only. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def secret(path: Path) -> str:
    """64 hexadecimal digits, made by whoever asks first and kept, readable by the owner only. Raises VagusError."""
    import secrets

    try:
        if not path.exists():
            fresh = path.with_name(f".{path.name}.new.{os.getpid()}")
            write_private(fresh, secrets.token_hex(32).encode())
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass  # of several that start at once, the first one's counts for all
            finally:
                fresh.unlink()
        return path.read_text().strip()
    except OSError as error:
        raise VagusError(f"the secret {path} cannot be used: {error.strerror}; is it another user's?") from error


def read_token(name: str, path: str) -> str:
    """The token of the principal `name` in a file, without white space around it. Raises ConfigError."""
    try:
        with open(Path(path).expanduser(), encoding="ascii") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"tokens: {path} of {name!r} can be read by others; run: chmod 600 {path}")
            return file.read(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"tokens: cannot read {path} of {name!r}: {error}") from error


def hash_text(text: str) -> int:
    """A 64-bit hash that is the same in every process and on every machine."""
    import hashlib

    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
