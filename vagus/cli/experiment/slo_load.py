"""The load of a run: what its process says, listened to in a thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from vagus.cli.demo.unbroken import unbroken
from vagus.cli.experiment.slo_results import Windows
from vagus.cli.openloop.plan import Plan
from vagus.cli.openloop.process import Process
from vagus.errors import VagusError

END_S = 10.0


class Load:
    """Sends what a plan says, from `start` on. environment: where it finds vagus."""

    def __init__(self, plan: Plan, environment: Mapping[str, str]) -> None:
        self.plan = plan
        self.begin_ns = plan.begin_ns  # wall time of the measured part
        self.windows: list[dict[str, Any]] = []
        self._environment = environment
        self._process: Process | None = None
        self._listener = threading.Thread(target=self._listen, name="vagus experiment load", daemon=True)
        self._problem: VagusError | None = None

    def start(self) -> None:
        """The warm-up begins. Raises ConfigError."""
        with unbroken():  # a process that nobody knows of could not be ended
            self._process = Process(self.plan, self._environment)
        self._listener.start()

    def ended(self) -> bool:
        """Whether it has sent all and written its log. Raises VagusError when it failed."""
        if self._listener.is_alive():
            return False
        if self._problem is not None:
            raise self._problem
        return True

    def stop(self) -> None:
        """Ends it. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()
            self._listener.join(END_S)
            process.__exit__(None, None, None)

    def columns(self) -> Windows:
        """What it said of itself while it ran."""
        rows = list(self.windows)

        def column(name: str) -> tuple[float | None, ...]:
            return tuple(None if row[name] is None else round(float(row[name]), 5) for row in rows)

        return Windows(
            t_s=tuple(round(float(row["t_s"]), 3) for row in rows),
            p50_s=column("p50_s"),
            p99_s=column("p99_s"),
            rate_hz=column("rate_hz"),
            failed_ratio=column("failed_ratio"),
        )

    def _listen(self) -> None:
        assert self._process is not None
        try:
            for said in self._process.lines():
                if "t_s" in said:
                    self.windows.append(said)
                elif "begun" in said:
                    self.begin_ns = int(said["begun"]["begin_ns"])
        except VagusError as error:
            self._problem = error
        except ValueError as error:
            self._problem = VagusError(f"the load said something that is not JSON: {error}")
