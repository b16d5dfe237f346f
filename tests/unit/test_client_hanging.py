"""What a call that hangs says stands until it ends: neither earlier successes nor other calls' clear it."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from vagus.client.observe import observe
from vagus.client.reporter import Reporter
from vagus.model import Report, Status


class Program:
    """Calls by hand, and the reporter's thread by hand, too."""

    def __init__(self) -> None:
        self.sent: list[Report] = []
        self.reporter = Reporter(send=self.sent.extend)
        self.reporter.running = True  # no thread: `look` is its turn

    def call(self, pending_s: float = 100.0) -> observe:
        return observe("db", "read", "api", reporter=self.reporter, pending_s=pending_s)

    def look(self) -> list[Status]:
        """What the thread would send now, by the times that the reports carry."""
        self.sent.clear()
        self.reporter.work(perf_counter(), True)
        return [report.contexts["read"].status for report in sorted(self.sent, key=lambda report: report.t_ns)]


def succeed(program: Program, times: int = 1) -> None:
    for _ in range(times):
        with program.call():
            pass


def fail(program: Program) -> None:
    try:
        with program.call():
            raise OSError
    except OSError:
        pass


def until_said(program: Program, told: Callable[[], list[Status]]) -> list[Status]:
    while not (said := told()):
        pass
    return said


def test_successes_before_a_failure_do_not_clear_it() -> None:
    program = Program()
    succeed(program, 5)
    assert program.look() == [Status.HEALTHY]
    succeed(program, 5)
    fail(program)
    assert program.look() == [Status.UNHEALTHY]
    assert program.look() == []
    succeed(program)
    assert program.look() == [Status.HEALTHY]


def test_successes_before_a_call_hangs_do_not_clear_it() -> None:
    program = Program()
    succeed(program, 5)
    program.look()
    succeed(program, 5)
    with program.call(pending_s=0.0):
        assert program.look() == [Status.PENDING]
        assert program.look() == []


def test_other_calls_do_not_speak_for_one_that_hangs() -> None:
    program = Program()
    hung = program.call(pending_s=0.0)
    hung.__enter__()
    assert program.look() == [Status.PENDING]
    succeed(program, 3)
    assert program.look() == []
    fail(program)
    assert program.look() == [Status.UNHEALTHY]
    succeed(program, 3)
    assert program.look() == []
    hung.__exit__(None, None, None)
    assert until_said(program, program.look) == [Status.HEALTHY]


def test_one_that_hung_and_failed_is_cleared_by_the_next_success() -> None:
    program = Program()
    hung = program.call(pending_s=0.0)
    hung.__enter__()
    assert program.look() == [Status.PENDING]
    hung.__exit__(OSError, OSError(), None)
    assert program.look() == [Status.UNHEALTHY]
    succeed(program)
    assert program.look() == [Status.HEALTHY]
