"""Settings of health whose words are known only here: the name of a strategy, the statuses of a webhook."""

from __future__ import annotations

from vagus.config import HealthSettings
from vagus.errors import ConfigError
from vagus.health import STRATEGIES
from vagus.model import Status


def check_health(settings: HealthSettings, origin: str) -> None:
    """Raises ConfigError for a strategy or a status that there is not; `origin` names the file in it."""
    try:
        STRATEGIES.get(settings.strategy)
    except ConfigError as error:
        raise ConfigError(f"{origin}: health.strategy: {error}") from error
    for at, hook in enumerate(settings.webhooks):
        for text in hook.statuses:
            try:
                Status.parse(text)
            except ConfigError as error:
                raise ConfigError(f"{origin}: health.webhooks[{at}].statuses: {error}") from error
