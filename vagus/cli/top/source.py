"""The stream of the overview in a thread of its own: events as they come, and a lost gateway asked again and again."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

from vagus.cli.refusals import words
from vagus.cli.top.told import read
from vagus.client.answers import Refusal
from vagus.errors import ConfigError, PeerUnreachable, VagusError

FIRST_RETRY_S = 0.2
LAST_RETRY_S = 5.0

Open = Callable[[], Iterator[tuple[str, bytes]]]
"""Begins the stream. Raises VagusError, at once or while it is read."""


def heard(stream: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, Any]]:
    """Events as names and records, None where a gateway says only that it lives. Raises VagusError at its end."""
    for name, data in stream:
        if name == "end":
            raise PeerUnreachable("the gateway ended: is it started again? else `vagus up` there")
        about = read(name, data)
        yield (name, about) if about is not None else ("", None)


def final(error: VagusError) -> bool:
    """Whether asking again cannot help: the gateway takes no such token, or has no overview; or the address is none."""
    cause = error.__cause__
    if isinstance(cause, Refusal):
        return cause.code in ("unauthorized", "forbidden") or cause.message.startswith("there is no /v1/")
    return isinstance(error, ConfigError)


class Source(threading.Thread):
    """Puts events until `stop`; `lost` with a reason where there are none, `refused` with the error at the end. pause: waits seconds, true when it is to end."""

    def __init__(self, open_: Open, put: Callable[[str, Any], None], rng: random.Random | None = None) -> None:
        super().__init__(name="vagus-top", daemon=True)
        self._open = open_
        self._put = put
        self._rng = rng or random.Random()
        self._ended = threading.Event()
        self.pause: Callable[[float], bool] = self._ended.wait

    def stop(self) -> None:
        """Nothing is asked again. A wait for the next event goes on: the thread ends with the program."""
        self._ended.set()

    def run(self) -> None:
        pause_s = FIRST_RETRY_S
        while not self._ended.is_set():
            try:
                for name, about in heard(self._open()):
                    pause_s = FIRST_RETRY_S
                    if name:
                        self._put(name, about)
            except VagusError as error:
                if final(error):
                    self._put("refused", error)
                    return
                reason = words(error)
            except Exception as error:  # a defect of ours: said, and tried again
                reason = f"{type(error).__name__}: {error}"
            else:
                reason = "the gateway stopped sending"
            self._put("lost", reason)
            if self.pause(pause_s * self._rng.uniform(0.5, 1.0)):
                return
            pause_s = min(2 * pause_s, LAST_RETRY_S)
