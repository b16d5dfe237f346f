"""What is run: a yaml or a Python file, and what the command line says instead; the folder of a job."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from vagus.cli.job_folder import command, fill
from vagus.cli.run_settings import MAX_SOURCE_BYTES, Wanted, choose
from vagus.config import LimitSettings
from vagus.controllers.load import find, load
from vagus.errors import ConfigError

SOURCE = "class Gentle:\n    period_s = 1.0\n    def step(self, view): return []\n"
YAML = """
name: batch
policy: own/gentle.py:Gentle
targets: [cgroup:a, cgroup:b]
on: head
limits: {cpu_cores: {min: 0.5, max: 2}}
options: {pressure: 40, depth: {a: 1}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """gentle.py beside the yaml, in a folder that is not the working one."""
    there, here = tmp_path / "there", tmp_path / "here"
    (there / "own").mkdir(parents=True)
    here.mkdir()
    (there / "own" / "gentle.py").write_text(SOURCE)
    (there / "controller.yaml").write_text(YAML)
    monkeypatch.chdir(here)
    return there


def test_a_policys_file_is_looked_for_beside_the_yaml_first_then_here(folder: Path) -> None:
    chosen = choose(Wanted(f"{folder}/controller.yaml"))
    assert chosen.source == folder / "own" / "gentle.py"
    assert chosen.settings.policy == f"{folder}/own/gentle.py:Gentle"
    assert (chosen.settings.name, chosen.settings.on, chosen.settings.armed) == ("batch", "head", False)
    Path("own").mkdir()
    Path("own/gentle.py").write_text(SOURCE)
    assert choose(Wanted(f"{folder}/controller.yaml")).source == folder / "own" / "gentle.py"
    (folder / "own" / "gentle.py").unlink()
    assert choose(Wanted(f"{folder}/controller.yaml")).source == Path("own/gentle.py").absolute()
    Path("own/gentle.py").unlink()
    with pytest.raises(
        ConfigError, match=r"cannot read .*there/own/gentle.py nor own/gentle.py: No such file.*controller.yaml names"
    ):
        choose(Wanted(f"{folder}/controller.yaml"))


def test_the_command_line_wins(folder: Path) -> None:
    wanted = Wanted(
        f"{folder}/controller.yaml",
        name="other",
        target="pid:self",
        on="every-node",
        options=("pressure=3", "text=a b", "list=[1, 2]"),
        arm=True,
    )
    settings = choose(wanted).settings
    assert (settings.name, settings.target, settings.targets, settings.on) == ("other", "pid:self", (), "every-node")
    assert settings.options == {"pressure": 3, "depth": {"a": 1}, "text": "a b", "list": [1, 2]}
    assert settings.armed
    assert settings.limits == {"cpu_cores": LimitSettings(min=0.5, max=2)}


def test_a_python_file_is_called_as_it_is_and_dry(folder: Path) -> None:
    chosen = choose(Wanted(f"{folder}/own/gentle.py"))
    assert (chosen.settings.name, chosen.settings.armed, chosen.yaml) == ("gentle", False, None)
    assert chosen.settings.policy == f"{folder}/own/gentle.py"
    (folder / "own" / "__my gentle!.py").write_text(SOURCE)
    assert choose(Wanted(f"{folder}/own/__my gentle!.py:Gentle")).settings.name == "my-gentle"


def test_a_registered_policy_instead_of_the_files(folder: Path) -> None:
    (folder / "plain.yaml").write_text("name: plain\n")
    chosen = choose(Wanted(f"{folder}/plain.yaml", policy="throttle", options=("target=0.2",)))
    assert (chosen.source, chosen.settings.policy, chosen.settings.options) == (None, "throttle", {"target": 0.2})


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted("none.yaml"), "cannot read none.yaml: No such file"),
        (Wanted("none.py"), "cannot read none.py: No such file"),
        (Wanted("none.py:Class"), "cannot read none.py: No such file"),
        (Wanted("fleet.yaml"), "that is a vagus.yaml, for `vagus up -c`"),
        (Wanted("plain.yaml", name="a b"), r"\$.name"),
        (Wanted("plain.yaml", target="nothing:x"), "no kind of target 'nothing'"),
        (Wanted("plain.yaml", target="x"), "target"),
        (Wanted("plain.yaml", policy="throtle"), "there is no 'throtle'"),
        (Wanted("plain.yaml", options=("x",)), "expected KEY=VALUE"),
        (Wanted("plain.yaml", options=("nothing=1",)), r"does not take the options \['nothing'\]"),
        (Wanted("big.py"), "more than 1024 KiB"),
        (Wanted("wrong.yaml"), "unknown field `polcy`; did you mean|unknown field `polcy`.*did you mean `policy`"),
        (Wanted("."), "cannot read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Wanted, says: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plain.yaml").write_text("name: plain\n")
    Path("wrong.yaml").write_text("name: plain\npolcy: x\n")
    Path("fleet.yaml").write_text("controllers: [{name: a}]\n")
    Path("big.py").write_bytes(b"#" * (MAX_SOURCE_BYTES + 1))
    with pytest.raises(ConfigError, match=says):
        choose(wanted)


# --- the folder of a job ----------------------------------------------------------------------------------------------


def filled(tmp_path: Path, wanted: Wanted) -> tuple[Path, list[str]]:
    made = tmp_path / "job"
    made.mkdir()
    return made, fill(made, wanted, choose(wanted))


def test_a_job_gets_the_yaml_and_its_python_file_alone(tmp_path: Path, folder: Path) -> None:
    (folder / "own" / "secret.txt").write_text("x")
    wanted = Wanted(f"{folder}/controller.yaml", options=("text=a b", "sep=';'"), arm=True)
    made, words = filled(tmp_path, wanted)
    assert sorted(str(p.relative_to(made)) for p in made.rglob("*") if p.is_file()) == [
        "controller/controller.yaml",
        "controller/gentle.py",
    ]
    assert words == [
        "controller/controller.yaml",
        "--policy=controller/gentle.py:Gentle",
        "--option=text=a b",
        "--option=sep=';'",
        "--arm",
    ]
    line = command(["/opt/a b/python", "-m", "vagus"], words, ["--for=5s"])
    assert shlex.split(line) == ["/opt/a b/python", "-m", "vagus", "run", *words, "--for=5s"]


def test_the_job_runs_the_same_settings(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vagus.cli.run import run

    for file, more in ((f"{folder}/controller.yaml", {"on": "n1"}), (f"{folder}/own/gentle.py:Gentle", {"arm": False})):
        place = tmp_path / file.rpartition("/")[2]
        place.mkdir()
        wanted = Wanted(file, **more)
        made, words = filled(place, wanted)
        monkeypatch.chdir(made)
        params = run.make_context("run", list(words)).params
        there = Wanted(*(params[name] for name in Wanted._fields))
        here_settings, there_settings = choose(wanted).settings, choose(there).settings
        assert there_settings.policy.startswith(str(made))
        assert there_settings.policy.rpartition("/")[2] == here_settings.policy.rpartition("/")[2]
        for name in set(here_settings.__struct_fields__) - {"policy"}:
            assert getattr(there_settings, name) == getattr(here_settings, name), name


def test_a_file_that_is_no_python_is_not_sent(tmp_path: Path, folder: Path) -> None:
    (folder / "own" / "gentle.py").write_text("class A\n")
    with pytest.raises(ConfigError, match=r"gentle.py does not load: SyntaxError"):
        filled(tmp_path, Wanted(f"{folder}/controller.yaml"))


def test_the_documented_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/jobs.md").read_text()
    monkeypatch.chdir(tmp_path)
    Path("gentle.py").write_text(page.split("```python\n")[1].split("```")[0])
    Path("controller.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    settings = choose(Wanted("controller.yaml")).settings
    assert load(settings, find(settings.policy)).period_s == 1.0
    assert str(choose(Wanted("gentle.py", target="cgroup:batch")).settings.target) == "cgroup:batch"
