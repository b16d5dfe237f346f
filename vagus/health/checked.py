"""Settings of health whose words are known only here: the names of strategies and log filters, statuses of webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vagus.config import Config, LogSettings
from vagus.errors import ConfigError
from vagus.health import LOG_FILTERS, STRATEGIES
from vagus.model import Status


def check_health(config: Config, origin: str) -> None:
    """Raises ConfigError for a strategy, log filter or status that there is not; `origin` names the file in it."""
    with _named(origin, "health.strategy"):
        STRATEGIES.get(config.health.strategy)
    for at, hook in enumerate(config.health.webhooks):
        with _named(origin, f"health.webhooks[{at}].statuses"):
            for text in hook.statuses:
                Status.parse(text)
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
