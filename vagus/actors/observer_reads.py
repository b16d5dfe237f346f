"""What an observer answers out of its local store."""

from __future__ import annotations

from collections.abc import Sequence

from vagus.actors.base import Actor, Links, Seat
from vagus.clock import NS
from vagus.config import seconds
from vagus.errors import ConfigError
from vagus.health import STRATEGIES
from vagus.health.handles import Handle
from vagus.health.local import LocalStore
from vagus.health.matrix import MAX_SUBJECTS, Overview
from vagus.model import Inference, Report

MAX_PANORAMAS = 10_000


class ObserverReads(Actor):
    """The local store of an observer, made as the settings say, and how to read it."""

    def __init__(self, seat: Seat, links: Links) -> None:
        super().__init__(seat, links)
        settings = seat.config.health
        ttl_ns, pending_ns = round(seconds(settings.ttl) * NS), round(seconds(settings.pending) * NS)
        try:
            strategy = STRATEGIES.make(settings.strategy, pending_ns=pending_ns)
        except ConfigError as error:
            raise ConfigError(f"health.strategy: {error}") from error
        self._local = LocalStore(
            seat.node,
            strategy,
            ttl_ns=ttl_ns,
            pending_ns=pending_ns,
            subjects=settings.subjects,
            interest=settings.interest,
            watch=(*settings.watch, *seat.config.expected.subjects),
        )
        self._overview = Overview()

    async def inferences(self, subject: str = "") -> list[Inference]:
        """Every subject's verdict without reports, or that of one with them; an empty list for an unknown one."""
        if not subject:
            return self._local.inferences()
        found = self._local.inference(subject)
        return [found] if found is not None else []

    async def panorama(self, subject: str) -> dict[str, tuple[Report, ...]]:
        """Each observer's last reports on a subject, oldest first."""
        return self._local.panorama(subject)

    async def panoramas(self, limit: int = 1000) -> dict[str, dict[str, tuple[Report, ...]]]:
        """The panoramas of the subjects heard of last, at most `limit`. Raises ConfigError."""
        if not 1 <= limit <= MAX_PANORAMAS:
            raise ConfigError(f"limit must be 1 to {MAX_PANORAMAS}, got {limit}")
        return self._local.panoramas(limit)

    async def subjects(self) -> dict[str, int]:
        """Every subject with the time of its newest report."""
        return self._local.subjects()

    async def handles(self) -> list[Handle]:
        """Every handle that was given, and to whom."""
        return self._local.handles()

    async def matrix(self, limit: int = 1000, known: Sequence[str] = ()) -> tuple[str, bytes]:
        """Observers x subjects, packed (see health/matrix.py), with a tag; b"" when the tag is among `known`."""
        if not 1 <= limit <= MAX_SUBJECTS:
            raise ConfigError(f"limit must be 1 to {MAX_SUBJECTS}, got {limit}")
        return self._overview.packed(self._local, limit, known)
