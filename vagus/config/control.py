"""Settings of what resource control is for, of the learner, and of applications that are deployed to try it on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from vagus.config.base import Duration, Name, Positive, Ratio, Settings
from vagus.errors import ConfigError

Selector = Annotated[str, msgspec.Meta(max_length=2000)]
Command = Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=100)]


class ObjectiveSettings(Settings, frozen=True):
    """What a controller's limits are for: requests answered in time. Selectors name series of the controller's node."""

    latency: Selector = ""  # what requests take, end to end, in seconds, such as their 99th percentile
    slo: Duration = "0s"  # what they may take; 0: no objective
    rate: Selector = ""  # requests per second
    mix: Annotated[tuple[Selector, ...], msgspec.Meta(max_length=20)] = ()  # requests per second of each type
    max_age: Duration = "5s"  # what is older is not known


class LearnerSettings(Settings, frozen=True):
    """The learner actor: trains the models of all controllers whose policy says `learn: learner`."""

    on: Literal["head", "off"] = "off"
    checkpoint_every: Duration = "60s"
    updates_per_s: Annotated[float, msgspec.Meta(gt=0, le=100_000)] = 200.0  # at most, of all models together


class ServiceSettings(Settings, frozen=True):
    """A service of an application: one process a replica, in a group of its own."""

    name: Name
    command: Command  # an argument list: {python} {folder} {port} {replica} {run} are filled in
    replicas: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    scales: bool = True  # whether it may have more than one replica: one that keeps a database may not
    ready: Duration = "20s"  # GET /healthz must answer 200 by then


class RequestSettings(Settings, frozen=True):
    """A type of request: {user} and {user2} are drawn evenly from the users, {number} counts, {text} is a sentence."""

    name: Name
    path: Annotated[str, msgspec.Meta(pattern=r"^/", max_length=2000)]
    method: Literal["GET", "POST"] = "GET"
    body: Annotated[str, msgspec.Meta(max_length=65536)] = ""  # JSON
    weight: Positive = 1.0
    sway: Ratio = 0.0  # its weight rises and falls by so much, slowly: the mix varies


class ApplicationSettings(Settings, frozen=True):
    """`app.yaml`: an application of several services, deployed on this machine to be measured and steered."""

    name: Name
    services: Annotated[tuple[ServiceSettings, ...], msgspec.Meta(min_length=1, max_length=100)]
    entry: Name  # the service that takes the requests
    requests: Annotated[tuple[RequestSettings, ...], msgspec.Meta(min_length=1, max_length=100)]
    users: Annotated[int, msgspec.Meta(ge=1)] = 1
    setup: tuple[Command, ...] = ()  # run before the services, in order; same placeholders
    environment: dict[str, str] = {}

    def __post_init__(self) -> None:
        names = [service.name for service in self.services]
        if len(set(names)) != len(names):
            raise ConfigError(f"application {self.name}: two services have one name; there are {', '.join(names)}")
        if self.entry not in names:
            raise ConfigError(f"application {self.name}: entry {self.entry!r} is none of {', '.join(names)}")


class VariantSettings(Settings, frozen=True):
    """A contestant of `vagus experiment slo`: a policy and how it is set up there."""

    name: Name
    policy: str = ""  # as of controller.yaml; empty: nothing is limited
    options: dict[str, Any] = {}
    period: Duration = "1s"
    guarded: bool = True  # False: its wishes are written as they come, within the bounds of a group
    # of each replica, fixed: what Kubernetes calls the container's request and limit; 0: the policy limits the service
    replica_cores: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    min_cores: Positive = 0.05  # of a service
    max_cores: Positive = 2.0
    start_cores: Positive = 0.5  # of a service, when a run begins


class ExperimentSettings(Settings, frozen=True):
    """`--variants FILE`: contestants beside, or in place of, those that `vagus experiment slo` knows by name."""

    variants: tuple[VariantSettings, ...]
