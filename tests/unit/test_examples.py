"""The examples run, and their settings are settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vagus.config import (
    ApplicationSettings,
    CampaignSettings,
    Config,
    ControllerSettings,
    ExperimentSettings,
    TrainSettings,
    load,
)
from vagus.controllers.load import load as load_controller
from vagus.controllers.view import Snapshot
from vagus.model import Action, Field, Outlook, Sample, Stream

EXAMPLES = Path(__file__).parents[2] / "examples"
PRESSURE = Stream("a", "pressure.cpu", (Field("some_avg10"),))


def ours() -> list[Path]:
    """Settings of vagus'; what is Ray's and Kubernetes' has tests of its own."""
    found = sorted(EXAMPLES.rglob("*.yaml"))
    return [path for path in found if "cluster" not in path.relative_to(EXAMPLES).parts or path.name == "vagus.yaml"]


@pytest.mark.parametrize("path", ours(), ids=lambda p: str(p.relative_to(EXAMPLES)))
def test_settings(path: Path) -> None:
    if path.name in ("campaign.yaml", "inject.yaml"):
        assert load(path, CampaignSettings).injections
    elif path.name == "app.yaml":
        assert load(path, ApplicationSettings).services
    elif path.name == "train.yaml":
        assert load(path, TrainSettings).world
    elif path.name in ("tuning.yaml", "variants.yaml"):
        assert load(path, ExperimentSettings).variants
    else:
        assert load(path, Config) != Config()


@pytest.mark.parametrize(("waiting", "wanted"), [(80.0, [0.5]), (30.0, []), (1.0, [None])])
def test_the_example_controller(waiting: float, wanted: list[float | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    (settings,) = load(EXAMPLES / "controller/vagus.yaml", Config).controllers
    assert isinstance(settings, ControllerSettings)
    gentle = load_controller(settings)
    directives = list(gentle.step(Snapshot("a", 1, [Sample(PRESSURE, 1, (waiting,))])))
    assert [d.value for d in directives if isinstance(d, Action)] == wanted


@pytest.mark.parametrize(
    ("forecast", "mse", "trend", "wanted"),
    [
        (25.0, 16.0, "rising", [0.5]),  # 33 is coming, though 25 is forecast
        (25.0, 16.0, "falling", []),
        (25.0, 16.0, "oscillating", []),
        (5.0, 1.0, "steady", [None]),
        (20.0, 1.0, "steady", []),
        (90.0, float("nan"), "", []),  # nothing is known of the error yet
    ],
)
def test_the_example_that_foresees(
    forecast: float, mse: float, trend: str, wanted: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES.parent)
    (settings,) = load(EXAMPLES / "controller/foresee.yaml", Config).controllers
    assert isinstance(settings, ControllerSettings)
    foresee = load_controller(settings)
    view = Snapshot("a", 1, outlooks=[(PRESSURE, (Outlook("some_avg10", 10.0, forecast, mse, trend),))])
    assert [d.value for d in foresee.step(view) if isinstance(d, Action)] == wanted
    assert list(foresee.step(Snapshot("a", 1))) == []


def test_the_example_service_goes_on_without_vagus(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "service/orders.py")],
        env={**os.environ, "VAGUS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "['tea', 'milk']" in done.stdout
