"""`vagus experiment slo`: the contestants and their controllers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.slo_results_made import SERVICES
from vagus.cli.experiment.slo_variants import KNOWN, chosen, controller, objective_of, with_files
from vagus.config import ExperimentSettings, VariantSettings, load, seconds
from vagus.controllers.load import load as load_controller
from vagus.errors import ConfigError

GROUPS = {service: f"vagus-app-x/{service}" for service in SERVICES}


@pytest.mark.parametrize("name", [name for name in KNOWN if name != "none"])
def test_each_known_variant_is_a_valid_armed_controller(name: str) -> None:
    scales = ("front", "users")
    made = controller(KNOWN[name], f"slo-{name}", GROUPS, scales, objective_of("x", 0.2, ("read",)))
    assert made is not None
    assert made.armed
    wanted = [GROUPS[service] for service in (scales if name == "hpa" else SERVICES)]
    assert made.targets == tuple(f"cgroup:{group}" for group in wanted)
    assert ("replicas" in made.limits) == (name == "hpa")
    assert made.objective.latency == 'ingress.p99_s{app="x"}'


TUNING = Path(__file__).parents[2] / "examples/social_network/tuning.yaml"


@pytest.mark.parametrize("variant", load(TUNING, ExperimentSettings).variants, ids=lambda variant: str(variant.name))
def test_each_variant_of_the_tuning_grid_is_a_controller_that_can_be_made(variant: VariantSettings) -> None:
    (same,) = chosen((), (variant,))
    made = controller(same, "n", GROUPS, ("front", "users"), objective_of("x", 0.2, ("read",)))
    assert made is not None
    assert load_controller(made).period_s == seconds(variant.period)


def test_the_autoscaler_counts_in_the_size_of_its_replicas() -> None:
    made = controller(KNOWN["hpa"], "n", GROUPS, ("front",), objective_of("x", 0.2, ()))
    assert made is not None
    assert made.options["request_cores"] == KNOWN["hpa"].replica_cores
    with pytest.raises(ConfigError, match="no service that may have replicas"):
        controller(KNOWN["hpa"], "n", GROUPS, (), objective_of("x", 0.2, ()))


def test_nothing_is_limited_without_a_policy() -> None:
    assert controller(KNOWN["none"], "n", GROUPS, (), objective_of("x", 0.2, ())) is None


def test_unguarded_means_that_wishes_are_written_as_they_come() -> None:
    made = controller(KNOWN["ddpg-unguarded"], "n", GROUPS, (), objective_of("x", 0.2, ()))
    assert made is not None
    assert (made.guard.shield, made.guard.confidence, made.guard.swings, made.guard.rule) == ("none", 0.0, 0, "none")
    assert made.limits["cpu_cores"].step_ratio == 10.0
    assert made.guard.overcommit == 1000.0


def test_variants_of_a_file_replace_and_extend_the_known_ones() -> None:
    mine = VariantSettings(name="aimd", policy="aimd", start_cores=0.2)
    more = VariantSettings(name="captain-02", policy="throttle", options={"target": 0.02})
    assert chosen(("none", "aimd"), (mine, more)) == (KNOWN["none"], mine)
    assert chosen((), (mine, more)) == (mine, more)


@pytest.mark.parametrize(
    ("names", "given", "said"),
    [
        (("nobody",), (), "no variant 'nobody'; there are none, hpa"),
        (("aimd", "aimd"), (), "named twice"),
        ((), (), "there are none"),
        ((), (VariantSettings(name="a", policy="aimd"), VariantSettings(name="a")), "two have one name"),
        (("a",), (VariantSettings(name="a", policy="aimd", start_cores=3.0),), "start_cores 3 is not between"),
        (("a",), (VariantSettings(name="a", replica_cores=0.2),), "nobody would scale"),
    ],
)
def test_wrong_variants_are_refused(names: tuple[str, ...], given: tuple[VariantSettings, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        chosen(names, given)


def test_trained_files_are_found_beside_the_application(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"variant ddpg: checkpoint: there is no file .*ddpg\.npz; `vagus train`"):
        with_files(KNOWN["ddpg"], tmp_path)
    assert with_files(KNOWN["throttle"], tmp_path).options == {}  # it begins with nothing learned
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained/ddpg.npz").write_bytes(b"x")
    assert with_files(KNOWN["ddpg"], tmp_path).options == {"checkpoint": str(tmp_path / "trained/ddpg.npz")}
