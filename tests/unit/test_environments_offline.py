"""What was logged, as transitions: a node's store with receipts, results of experiments, npz files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vagus.clock import NS
from vagus.config import BootstrapSettings, ObjectiveSettings, TrainSettings, WorldSettings
from vagus.environments.bootstrap import gather
from vagus.environments.offline import load_rows, of_results, of_store, save_rows, transitions
from vagus.environments.worlds import simulated
from vagus.errors import ConfigError, NoData
from vagus.model import MAX_T_NS, Field, Receipt, Stream, Target
from vagus.policies import Field as Ground
from vagus.policies.control_state import size
from vagus.policies.experience import width
from vagus.policies.learned import LearnedLimits
from vagus.store import Store
from vagus.store.reader import open_all

WEB = "cgroup:app/web"
BEGIN = 1_700_000_000 * NS
CPU = Stream(
    "n1",
    "cgroup.cpu",
    (
        Field("usage_us", dtype="u8", counter=True),
        Field("nr_periods", dtype="u8", counter=True),
        Field("nr_throttled", dtype="u8", counter=True),
        Field("limit_cores"),
    ),
    {"cgroup": "app/web"},
)
INGRESS = Stream("n1", "ingress", (Field("p99_s"),), {"app": "x"})
OBJECTIVE = ObjectiveSettings(latency='ingress.p99_s{app="x"}', slo="200ms")


def watcher(*targets: str) -> LearnedLimits:
    return LearnedLimits(Ground(targets, {"cpu_cores": (0.05, 2.0)}), np.random.default_rng(0), learn="learner")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Twenty seconds: 0.3 cores used, 3 of 10 periods throttled; the limit is 0.5, and from the tenth on 0.8."""
    folder = tmp_path / "store"
    folder.mkdir()
    with Store.open(folder / "collector", create=True) as collector:
        cpu, ingress = collector.declare(CPU), collector.declare(INGRESS)
        for at in range(20):
            t_ns = BEGIN + at * NS
            collector.append(cpu, t_ns, (300_000 * at, 10 * at, 3 * at, math.nan))
            collector.append(ingress, t_ns, (0.1 if at < 15 else 0.3,))
        collector.flush()
    with Store.open(folder / "controller-it", create=True) as controller:
        for at, limit, error in ((0, 0.5, ""), (10, 0.8, ""), (12, 0.1, "refused")):
            receipt = Receipt(
                t_ns=BEGIN + at * NS - 1,
                node="n1",
                controller="it",
                target=Target.parse(WEB),
                actuator="cgroup2",
                resource="cpu_cores",
                before=None,
                requested=limit,
                after=limit,
                dry=False,
                error=error,
            )
            controller.put("receipt", receipt, t_ns=receipt.t_ns)
        controller.flush()
    return folder


def test_a_store_tells_what_a_controller_saw(store: Path) -> None:
    with open_all(store) as reader:
        frames = list(of_store(reader, (WEB,), OBJECTIVE, 0, MAX_T_NS))
    assert len(frames) == 19
    first = frames[0].signals[WEB]
    assert first["usage_cores"] == pytest.approx(0.3)
    assert first["throttled_ratio"] == pytest.approx(0.3)
    assert [frame.signals[WEB]["limit_cores"] for frame in (frames[0], frames[8], frames[9], frames[18])] == [
        0.5,
        0.5,
        0.8,
        0.8,
    ], "limits are those of the receipts that went well"
    assert frames[0].objective == {"latency_s": 0.1, "slo_s": 0.2}
    assert frames[18].objective["latency_s"] == 0.3
    rows = transitions(frames, watcher(WEB))["all"][0]
    assert rows.shape == (18, width(size(1), 1))


def test_a_store_without_the_target_says_so(store: Path) -> None:
    with open_all(store) as reader, pytest.raises(NoData, match="no samples of cgroup:other"):
        list(of_store(reader, ("cgroup:other",), OBJECTIVE, 0, MAX_T_NS))
    with open_all(store) as reader, pytest.raises(ConfigError, match="streams of its own"):
        list(of_store(reader, ("pid:1",), OBJECTIVE, 0, MAX_T_NS))


def results(**changed: Any) -> dict[str, Any]:
    steps = 40
    sampled = {
        "t_s": [0.5 * at for at in range(steps)],
        "limit_cores": {"web": [0.5] * steps, "db": [None] * steps},
        "used_cores": {"web": [0.2, 0.4] * (steps // 2), "db": [0.1] * steps},
        "throttled_ratio": {"web": [0.0, 0.2] * (steps // 2), "db": [0.0] * steps},
        "replicas": {},
    }
    windows = {"t_s": sampled["t_s"], "p99_s": [0.1] * steps, "rate_hz": [20.0, None] * (steps // 2), "p50_s": []}
    run = {"variant": "hpa", "seed": 0, "sampled": sampled, "windows": windows, **changed}
    return {"version": 1, "plan": {"slo_s": 0.25, "application": "x"}, "runs": [run, {"variant": "x", "error": "died"}]}


def test_results_of_an_experiment_are_frames_a_second(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results()))
    (frames,) = of_results(file)
    assert len(frames) == 20
    assert frames[3].signals["web"]["usage_cores"] == pytest.approx(0.3)
    assert frames[3].signals["web"]["throttled_ratio"] == pytest.approx(0.1)
    assert math.isnan(frames[3].signals["db"]["limit_cores"])
    assert frames[3].objective["slo_s"] == 0.25
    rows = transitions(frames, watcher("web", "db"))["all"][0]
    assert len(rows) == 2 * 19


@pytest.mark.parametrize("content", ["", "[]", '{"plan": {}}', json.dumps(results(sampled={"t_s": [1]}))])
def test_what_are_no_results_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "results.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"results\.json"):
        of_results(file)


def test_columns_of_different_lengths_are_refused(tmp_path: Path) -> None:
    document = results()
    document["runs"][0]["sampled"]["used_cores"]["web"].pop()
    file = tmp_path / "results.json"
    file.write_text(json.dumps(document))
    with pytest.raises(ConfigError, match="not of one length"):
        of_results(file)


def test_transitions_go_through_a_file(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, (7, width(3, 1))).astype(np.float32)
    save_rows(tmp_path / "rows.npz", {"all": [rows[:3], rows[3:]]}, 3, 1)
    assert np.array_equal(load_rows(tmp_path / "rows.npz", 3, 1), rows)
    with pytest.raises(ConfigError, match=r"transitions of \[3, 1\]"):
        load_rows(tmp_path / "rows.npz", 4, 1)
    save_rows(tmp_path / "none.npz", {}, 3, 1)
    assert load_rows(tmp_path / "none.npz", 3, 1).shape == (0, width(3, 1))
    (tmp_path / "bad.npz").write_bytes(b"PK no")
    with pytest.raises(ConfigError, match="holds no transitions"):
        load_rows(tmp_path / "bad.npz", 3, 1)
    with pytest.raises(ConfigError, match="cannot read"):
        load_rows(tmp_path / "missing.npz", 3, 1)


def test_all_kinds_of_files_and_a_rule_come_together(tmp_path: Path, store: Path) -> None:
    count = size(1)
    save_rows(tmp_path / "rows.npz", {"all": [np.zeros((5, width(count, 1)), np.float32)]}, count, 1)
    (tmp_path / "results.json").write_text(json.dumps(results()))
    files = tuple(str(path) for path in (tmp_path / "rows.npz", tmp_path / "results.json", store))
    given = BootstrapSettings(files=files, targets=(WEB,), objective=OBJECTIVE, rule="tower", episodes=1)
    settings = TrainSettings(bootstrap=given, steps=10)
    worlds = simulated(WorldSettings())
    policy = LearnedLimits(worlds(1).field, np.random.default_rng(0), learn="here")
    rows, told = gather(settings, policy, worlds)
    assert [len(found) for found in rows["all"]] == [5, 38, 18, 90]
    assert told["rule"]["steps"] == 10
    with pytest.raises(ConfigError, match=r"bootstrap\.targets"):
        gather(TrainSettings(bootstrap=BootstrapSettings(files=(str(store),))), policy, worlds)
    with pytest.raises(ConfigError, match="neither"):
        gather(TrainSettings(bootstrap=BootstrapSettings(files=("nothing",))), policy, worlds)


def test_simulated_worlds_are_drawn_by_their_seed_alone() -> None:
    worlds = simulated(WorldSettings())
    first, again, other = (worlds(seed).reset(1) for seed in (3, 3, 4))
    assert first == again
    assert first.objective["slo_s"] != other.objective["slo_s"]
    with pytest.raises(ConfigError, match="to simulate"):
        simulated(WorldSettings(application="none"))
