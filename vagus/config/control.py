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

    on: Literal["head", "off"] = "head"  # where, once there is such a controller
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


class RangeSettings(Settings, frozen=True):
    """From where a number is drawn, for each world anew: evenly in its logarithm."""

    low: Positive
    high: Positive

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ConfigError(f"a range from {self.low:g} to {self.high:g}: low is above high")


class WorldSettings(Settings, frozen=True):
    """What `vagus train` trains on: simulated worlds, each drawn anew within ranges, or a controller that runs."""

    kind: Literal["simulated", "live"] = "simulated"
    application: Name = "social_network"  # one that can be simulated
    demands: str = ""  # file of what each service costs for each type of request; empty: as built in
    period: Duration = "1s"  # of a step
    cores: RangeSettings = RangeSettings(low=1.2, high=2.0)  # of the machine
    blur: Ratio = 0.05  # standard deviation of what is told to be used, as a ratio
    rate_hz: RangeSettings = RangeSettings(low=25.0, high=60.0)  # mean of an episode
    demand_ratio: RangeSettings = RangeSettings(low=0.7, high=1.4)  # of the application's processor demands
    slo: RangeSettings = RangeSettings(low=0.15, high=0.35)  # seconds
    noise: RangeSettings = RangeSettings(low=0.05, high=0.3)  # of the rate, from second to second
    swing: RangeSettings = RangeSettings(low=0.2, high=0.6)  # of the rate, over minutes
    hogs_per_minute: RangeSettings = RangeSettings(low=0.2, high=1.5)  # processes that strain in a service's group
    hog_cores: RangeSettings = RangeSettings(low=0.1, high=0.6)
    min_cores: Positive = 0.05
    max_cores: Positive = 2.0
    start_cores: Positive = 0.5
    controller: str = ""  # live: the name of a controller with the policy `remote`


class BootstrapSettings(Settings, frozen=True):
    """What a policy learns from before it acts itself: a rule's doing, or what was logged."""

    rule: str = ""  # a joint policy that is shown in worlds of the same ranges, such as tower; empty: none
    options: dict[str, Any] = {}  # of the rule
    # its limits are changed by about so much (a ratio), now more, now less: who only sees what is right does not learn what
    # else costs
    stir: Ratio = 0.3
    episodes: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 8
    # results.json of `vagus experiment slo`, .npz of transitions, or a node's store folder, whose targets and objective
    # are below
    files: Annotated[tuple[str, ...], msgspec.Meta(max_length=100)] = ()
    targets: Annotated[tuple[str, ...], msgspec.Meta(max_length=1000)] = ()
    objective: ObjectiveSettings = ObjectiveSettings()
    imitations: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 3000  # steps of imitating
    updates: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 3000  # of learning what it was worth


class TrainSettings(Settings, frozen=True):
    """`train.yaml`: what `vagus train` does."""

    name: Name = "limits"
    world: WorldSettings = WorldSettings()
    options: dict[str, Any] = {}  # of the policy ddpg: model, alpha, updates, hyper, checkpoint to begin with
    bootstrap: BootstrapSettings = BootstrapSettings()
    episodes: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 40
    steps: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 300  # an episode
    seed: Annotated[int, msgspec.Meta(ge=0, lt=1_000_000)] = 0
    explore: tuple[Ratio, Ratio] = (0.3, 0.05)  # noise on actions: at first, at last
    shielded: bool = True  # as behind a guard, with its shield
    evaluate_every: Annotated[int, msgspec.Meta(ge=0)] = 5  # episodes; 0: only at the end
    evaluate: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3  # worlds that no training sees
    compare: tuple[Name, ...] = ()  # joint policies that are played on these worlds, such as hpa, aimd, tower
    output: str = "trained"  # folder: ddpg.npz (the best so far), state.npz, train.json, curves.png
