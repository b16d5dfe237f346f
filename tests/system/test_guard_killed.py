"""Controllers killed and stopped in mid-action on a real cgroup: their limits are gone within five seconds."""

from __future__ import annotations

import os

import pytest

from benchmarks import act_killed
from vagus.errors import ActuateError

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    try:
        return act_killed.rows(quick=True)
    except ActuateError as error:
        pytest.skip(str(error))


def test_killed_or_stopped_nothing_stays(rows: list[dict[str, object]]) -> None:
    assert [row["met"] for row in rows if row["bar"]] == [True, True], rows
