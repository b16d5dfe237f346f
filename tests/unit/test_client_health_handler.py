"""Log records as reports."""

import logging
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from client_reporter import Still

import vagus
from vagus.client import health_handler
from vagus.client.health_handler import HealthHandler


@pytest.fixture
def still():
    return Still()


@pytest.fixture
def logger():
    made = logging.Logger("lib.db")
    made.propagate = False
    return made


def attach(logger, still, subjects=None, **settings):
    handler = HealthHandler(subjects, reporter=still.reporter, **settings)
    logger.addHandler(handler)
    return handler


def test_the_public_name():
    assert vagus.HealthHandler is HealthHandler


@pytest.mark.parametrize(
    ("level", "said"),
    [("debug", []), ("info", []), ("warning", ["MAYBE_UNHEALTHY"]), ("error", ["UNHEALTHY"]), ("critical", ["DYING"])],
)
def test_levels(still, logger, level, said):
    attach(logger, still, "db@1")
    getattr(logger, level)("trouble")
    assert still.step() == [("db@1", "lib.db", status) for status in said]


def test_subjects_by_logger_or_by_record(still, logger):
    attach(logger, still, {"lib": "lib@1", "other": "other@1"})
    logger.error("x")
    logger.error("x", extra={"subject": "db@2", "context": "write"})
    assert still.step() == [("lib@1", "lib.db", "UNHEALTHY"), ("db@2", "write", "UNHEALTHY")]


def test_a_record_about_no_subject_is_none_of_ours(still, logger):
    attach(logger, still, {"elsewhere": "x@1"})
    logger.error("x")
    assert still.step() == []


def test_rate_limit_counts_what_it_holds_back(still, logger, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(health_handler, "perf_counter", lambda: now[0])
    attach(logger, still, "db@1")
    for _ in range(10):
        logger.error("x")
    logger.warning("another kind")
    assert still.step() == [("db@1", "lib.db", "UNHEALTHY"), ("db@1", "lib.db", "MAYBE_UNHEALTHY")]
    now[0] += 1.0
    logger.error("x")
    assert [m.score for r in still.reports() for m in r.contexts.values()] == [10.0]


def test_it_is_over(still, logger):
    attach(logger, still, "db@1", level=logging.INFO)
    logger.error("down")
    logger.info("up", extra={"status": "HEALTHY"})
    logger.info("nothing")
    logger.error("down again")
    assert still.step() == [("db@1", "lib.db", "HEALTHY"), ("db@1", "lib.db", "UNHEALTHY")]


def test_bounded(still, logger, monkeypatch):
    monkeypatch.setattr(health_handler, "MAX_KNOWN", 10)
    handler = attach(logger, still)
    for number in range(100):
        logger.error("x", extra={"subject": f"s{number}"})
    assert len(handler._known) <= 10


class Broken:
    def __str__(self):
        raise RuntimeError("broken")


@pytest.mark.parametrize(
    "extra",
    [
        {"subject": Broken()},
        {"subject": "s", "context": Broken()},
        {"subject": "s", "status": "fine"},
        {"subject": "s", "status": Broken()},
    ],
)
def test_no_record_reaches_the_program(still, logger, extra, capsys):
    attach(logger, still)
    logger.error("x %s", "y", extra=extra)
    still.step()
    assert capsys.readouterr().err == ""
