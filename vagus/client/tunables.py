"""What a service lets others steer: numbers with a unit, bounds and callbacks, or an HTTP endpoint.

streams = vagus.tunable("streams", low=1, high=16, whole=True, get=lambda: pool.size, set=pool.resize, service="transfer")

A controller then acts on the target `tunable:transfer`. Callbacks are called one at a time, in a thread of their own.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from vagus.client.tunable_server import SERVER, TunableServer
from vagus.errors import ConfigError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")
MAX_UNIT = 40


class Tunable:
    """A registered number, until `end`. Made by `tunable`. problem: why it cannot be found at present, else empty."""

    def __init__(
        self,
        server: TunableServer,
        name: str,
        service: str,
        instance: str,
        unit: str,
        bounds: tuple[float, float],
        whole: bool,
        get: Callable[[], float] | None,
        set: Callable[[Any], object] | None,
        http: tuple[str, str, str],
    ) -> None:
        self.name = name
        self.service = service
        self.instance = instance
        self.unit = unit
        self.low, self.high = bounds
        self.whole = whole
        self._get = get
        self._set = set
        self._http = http
        self._server = server
        server.add(self)

    def __repr__(self) -> str:
        return f"tunable:{self.service}/{self.instance} {self.name}"

    @property
    def problem(self) -> str:
        return self._server.problem

    def end(self) -> None:
        """It may not be steered any longer. Idempotent."""
        self._server.remove(self)

    def entry(self) -> dict[str, Any]:
        """What is announced of it."""
        endpoint, token_file, ca_file = self._http
        told = {"service": self.service, "instance": self.instance, "name": self.name, "unit": self.unit}
        found: dict[str, Any] = {**told, "low": self.low, "high": self.high, "whole": self.whole}
        if endpoint:
            found |= {"endpoint": endpoint, "token_file": token_file, "ca_file": ca_file}
        return found

    def read(self) -> float:
        """The present value, by the callback. Raises what it raises, ConfigError when it is no number."""
        assert self._get is not None
        value = self._get()
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ConfigError(f"{self}: its get() returned {value!r:.80}, not a finite number")
        return value

    def write(self, value: Any) -> float:
        """Sets it by the callback, unless it is so already, and reads it.

        Raises ConfigError when it is out of bounds; what the callback raises.
        """
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ConfigError(f"{value!r:.80} is not a finite number")
        if not self.low <= value <= self.high:
            raise ConfigError(f"{value:g} is outside its bounds, {self.low:g} to {self.high:g} {self.unit}".rstrip())
        if self.whole and value != int(value):
            raise ConfigError(f"{value:g} is not a whole number")
        present = self.read()
        if present == value:
            return present
        assert self._set is not None
        self._set(int(value) if self.whole else float(value))
        return self.read()


def tunable(
    name: str,
    *,
    low: float,
    high: float,
    unit: str = "",
    get: Callable[[], float] | None = None,
    set: Callable[[Any], object] | None = None,
    endpoint: str = "",
    service: str = "",
    instance: str = "",
    whole: bool = False,
    token_file: str = "",
    ca_file: str = "",
    server: TunableServer = SERVER,
) -> Tunable:
    """Lets controllers of this machine steer a number of this program, until it ends or `.end()` is called.

    get() returns the present value; set(value) changes it (an int where `whole`), and what it raises refuses the
    change, with its words. Or endpoint: an URL where GET answers and PUT takes JSON `{"value": 4}`; token_file is sent
    as a bearer token. service: by default the program's name; instance: the process id, which tells several of a
    service apart. Returns at once: announcing is done, and kept up, by a thread. Raises ConfigError.
    """
    service = service or _program()
    instance = instance or str(os.getpid())
    for what, text in (("name", name), ("service", service), ("instance", instance)):
        if not isinstance(text, str) or not _NAME.match(text):
            raise ConfigError(f"tunable: {what} {text!r:.80} is not 1 to 64 letters, digits, '_', '.' and '-'")
    if not (_is_number(low) and _is_number(high) and low <= high):
        raise ConfigError(f"tunable {name}: low {low!r:.40} and high {high!r:.40} are to be finite numbers in order")
    if len(unit) > MAX_UNIT or not (unit.isprintable() or not unit):
        raise ConfigError(f"tunable {name}: the unit is {len(unit)} characters long, or not printable")
    if bool(endpoint) == (get is not None or set is not None) or (get is None) != (set is None):
        raise ConfigError(f"tunable {name} needs get= and set=, or endpoint=")
    if endpoint and not re.match(r"https?://[^\s]{1,2000}\Z", endpoint):
        raise ConfigError(f"tunable {name}: the endpoint {endpoint!r:.80} is no http:// or https:// URL")
    for callback in (get, set):
        if callback is not None and not callable(callback):
            raise ConfigError(f"tunable {name}: {callback!r:.80} cannot be called")
    http = (endpoint, token_file, ca_file)
    return Tunable(server, name, service, instance, unit, (low, high), whole, get, set, http)


def _program() -> str:
    """The name of the program, as far as it makes a name: `python -m pkg` is pkg."""
    path = sys.argv[0] if sys.argv else ""
    name = os.path.basename(os.path.dirname(path) if os.path.basename(path) == "__main__.py" else path)
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name).lstrip("_.-")[:64] or "python"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
