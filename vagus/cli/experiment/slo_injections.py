"""When which service is hit: a campaign's lines by service, as a timetable of one run. Pure: a seed is a timetable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

import msgspec

from vagus.config import CampaignSettings
from vagus.errors import ConfigError
from vagus.injector.campaign import Due, schedule

SERVICE = "service:"
ANY = "any"


def timetable(campaign: CampaignSettings, services: Sequence[str], seed: int, run_s: float) -> tuple[Due, ...]:
    """The injections of a run: all variants of a seed get the same. Those that would not end within it are left out.

    A target `service:NAME` stands for the service's group, `service:any` for one that the seed draws each time, never
    the same twice in a row; the component of the label is the service's name. Raises ConfigError for other targets and
    unknown services.
    """
    rng = Random(f"{campaign.seed}/{seed}")
    found, last = [], ""
    for due in schedule(msgspec.structs.replace(campaign, seed=rng.getrandbits(32))):
        name = due.settings.target.removeprefix(SERVICE)
        if name == due.settings.target or name not in (ANY, *services):
            raise ConfigError(
                f"injections[{due.number}]: target {due.settings.target!r} is not service:any or one of "
                f"{', '.join(SERVICE + service for service in services)}"
            )
        if name == ANY:  # drawn also for those that are left out: a longer run begins as a shorter one
            name = rng.choice([service for service in services if service != last or len(services) == 1])
        last = name
        if due.end_s <= run_s:
            settings = msgspec.structs.replace(due.settings, target=SERVICE + name, component=name)
            found.append(due._replace(settings=settings))
    return tuple(found)


def aimed(plan: Sequence[Due], groups: Mapping[str, str]) -> tuple[Due, ...]:
    """The timetable with control groups for targets. groups: by service, where its work is done."""
    return tuple(
        due._replace(settings=msgspec.structs.replace(due.settings, target=f"cgroup:{groups[due.settings.component]}"))
        for due in plan
    )


def later(plan: Sequence[Due], by_s: float) -> tuple[Due, ...]:
    """All of it later."""
    return tuple(due._replace(begin_s=due.begin_s + by_s) for due in plan)
