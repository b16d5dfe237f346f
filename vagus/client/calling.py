"""One request on its way through several gateways: what each answer, or none, means for it and for the next ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from vagus.client.answers import error_of
from vagus.client.attempts import Addresses, Attempt, Attempts
from vagus.client.decided import DECIDE
from vagus.client.endpoint import Endpoint
from vagus.client.exchange import Channel, Place
from vagus.errors import PeerUnreachable, VagusError

if TYPE_CHECKING:
    from vagus.client.decisions import Decisions

T = TypeVar("T")
_TRY_AGAIN = (408, 429)


class Gateways:
    """The addresses in use, with their connections and what is known of them."""

    def __init__(self, endpoints: Sequence[Endpoint], rng: Random) -> None:
        self.channels = [Channel(Place(one.url, one.token)) for one in endpoints]
        self.known = Addresses(len(endpoints), rng)

    @property
    def urls(self) -> list[str]:
        """In the order in which they were given."""
        return [channel.place.url for channel in self.channels]


class Call:
    """One request on its way through the addresses: what each answer, or none, means for it and for the next ones.

    A gateway decides by itself, but outcomes go on to a learner, which may be away: an outcome that is not taken says
    nothing of whether decisions are answered.
    """

    def __init__(self, owner: Decisions, gateways: Gateways, path: bytes) -> None:
        self._owner = owner
        self._judged = path == DECIDE
        self._known = gateways.known
        self._urls = gateways.urls
        order = self._known.order()
        tries = owner._tries or max(2, len(order))
        deadline_s = monotonic() + owner._deadline_s
        self._attempts = Attempts(order, tries, owner._timeout_s, deadline_s, owner._rng)
        self._made = 0
        self.error: VagusError = PeerUnreachable("no gateway is known; is vagus running? `vagus up` starts it")

    def next(self) -> Attempt | None:
        """Whom to ask, and for how long."""
        attempt = self._attempts.next(monotonic())
        self._made += 1
        if attempt is not None and self._made > 1:
            self._owner._add("retried")
        return attempt

    def result(self, index: int, status: int, answer: bytes, read: Callable[[bytes], T]) -> T:
        """What the answer says. Raises VagusError."""
        url = self._urls[index]
        if status >= 500 or status in _TRY_AGAIN:
            raise PeerUnreachable(f"{url} answered {status}")
        if status >= 300:
            raise error_of(status, answer, url)
        try:
            result = read(answer)
        except VagusError as error:
            raise PeerUnreachable(f"{url}: {error}") from error
        if self._judged:
            self._known.answered(index)
        return result

    def failed(self, index: int, error: VagusError) -> None:
        """This attempt got no answer, or a refusal."""
        if isinstance(error, PeerUnreachable):
            if self._judged:
                self._known.failed(index, monotonic())
            if isinstance(self.error, PeerUnreachable):
                self.error = error
            self._owner._courier.wake()
        else:
            self._attempts.refused(index)
            self.error = error
