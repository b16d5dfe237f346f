"""Settings of health whose words are known only here: the names of strategies and log filters, statuses of webhooks;
and what is expected but kept out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vagus.config import Config, LogSettings
from vagus.config.expected import named
from vagus.errors import ConfigError
from vagus.health import LOG_FILTERS, STRATEGIES
from vagus.health.interest import Named
from vagus.model import Status


def check_health(config: Config, origin: str) -> None:
    """Raises ConfigError for a strategy, log filter or status that there is not, and for what is expected and kept out by
    health.subjects; `origin` names the file in it."""
    with _named(origin, "health.strategy"):
        STRATEGIES.get(config.health.strategy)
    for at, hook in enumerate(config.health.webhooks):
        with _named(origin, f"health.webhooks[{at}].statuses"):
            for text in hook.statuses:
                Status.parse(text)
    allowed = Named(config.health.subjects)
    for service in config.expected.services:
        if not any(map(allowed, named(service))):
            raise ConfigError(
                f"{origin}: expected.services: {service!r} would never be heard of: add it to health.subjects, which "
                "keeps all others out"
            )
    services = {name for service in config.expected.services for name in named(service)}
    for subject in config.expected.subjects:  # a glob must be let in as it stands: any name may come
        if subject not in services and not allowed(subject):
            raise ConfigError(
                f"{origin}: expected: what is said of {subject} would be ignored: add {subject!r} to health.subjects, "
                "which keeps all others out"
            )
    with _named(origin, "collect.log_filters"):
        for name in config.collect.log_filters:
            LOG_FILTERS.get(name)
    for at, log in enumerate(config.collect.logs):
        if isinstance(log, LogSettings) and log.filter:
            with _named(origin, f"collect.logs[{at}].filter"):
                LOG_FILTERS.get(log.filter)


@contextmanager
def _named(origin: str, key: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{origin}: {key}: {error}") from error
