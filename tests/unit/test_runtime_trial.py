"""A trial's nodes as far as it goes without Ray: with which words and where they are started, the first time and again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from vagus.config import Config
from vagus.errors import VagusError
from vagus.runtime import cluster as ray_cluster
from vagus.runtime import launch
from vagus.runtime.cluster import MARK
from vagus.runtime.trial import Trial


class Run(NamedTuple):
    command: list[str]
    env: dict[str, str]

    def word(self, name: str) -> str:
        (found,) = [word.partition("=")[2] for word in self.command if word.startswith(f"--{name}=")]
        return found


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Run]:
    """What Ray would have been started with."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    runs: list[Run] = []
    monkeypatch.setattr(ray_cluster, "_run", lambda command, env, _: runs.append(Run(command, dict(env))))
    monkeypatch.setattr(launch, "up", lambda config, say: None)
    return runs


def made(*, lasting: bool = False) -> Trial:
    trial = Trial(("n1", "n2", "n3"), Config(), lasting=lasting)
    trial.start()
    return trial


@pytest.fixture
def trial(ran: list[Run]) -> Iterator[Trial]:
    trial = made(lasting=True)
    yield trial
    assert trial.stop() == []
    assert not trial.folder.exists()
    assert all(not Path(run.env["TMPDIR"]).parent.exists() for run in ran), "Ray's folders go with it"


def test_the_head_alone_keeps_tables_on_disk_and_all_share_its_token(trial: Trial, ran: list[Run]) -> None:
    head, *others = ran
    assert head.env["RAY_gcs_storage"] == "rocksdb"
    assert Path(head.env["RAY_gcs_storage_path"]).parent == trial.folder
    assert all("RAY_gcs_storage" not in run.env for run in others)
    assert len({run.env["RAY_AUTH_TOKEN_PATH"] for run in ran}) == 1
    assert [run.word("node-ip-address") for run in ran] == ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    assert {run.word("address") for run in others} == {trial.clusters["n1"].address}


def test_by_default_nothing_is_kept(ran: list[Run]) -> None:
    trial = made()
    assert all("RAY_gcs_storage" not in run.env for run in ran)
    assert trial.stop() == []


def test_a_head_returns_to_its_port_its_folder_and_its_mark(trial: Trial, ran: list[Run]) -> None:
    before = trial.clusters["n1"]
    current = Path(before.temp_dir) / "ray_current_cluster"
    current.write_text(before.address)
    kept = Path(before.temp_dir) / "sockets-of-the-others"
    kept.write_text("")
    trial.restart("n1")
    first, again = ran[0], ran[-1]
    assert msgspec.structs.replace(trial.clusters["n1"], dashboard=before.dashboard) == before
    assert again.word("port") == first.word("port")
    assert again.word("temp-dir") == first.word("temp-dir")
    assert again.env[MARK] == first.env[MARK]
    assert again.env["RAY_gcs_storage_path"] == first.env["RAY_gcs_storage_path"]
    assert kept.exists()
    assert not current.exists(), "Ray would refuse: it takes the other nodes' raylets for a head"


def test_another_node_returns_with_name_and_address_and_a_folder_of_its_own(trial: Trial, ran: list[Run]) -> None:
    before = trial.clusters["n2"]
    trial.restart("n2")
    again = ran[-1]
    assert again.word("labels") == "vagus/node=n2"
    assert again.word("node-ip-address") == "127.0.0.3"
    assert again.env["RAY_AUTH_TOKEN_PATH"] == before.auth_token_path
    assert not Path(before.temp_dir).exists(), "what the first life left is gone"
    assert trial.clusters["n2"].id != before.id
    assert list(trial.clusters) == ["n1", "n2", "n3"], "the head is still stopped last"


def test_a_head_that_does_not_start_again_leaves_the_others_their_sockets(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise VagusError("ray start failed")

    monkeypatch.setattr(ray_cluster, "_run", fails)
    with pytest.raises(VagusError, match="ray start failed"):
        trial.restart("n1")
    assert Path(trial.clusters["n1"].temp_dir).is_dir()
    with pytest.raises(VagusError, match="ray start failed"):
        trial.restart("n2")
    shutil.rmtree(trial.clusters["n2"].temp_dir, ignore_errors=True)


def test_whose_raylet_is_gone_does_not_run(trial: Trial) -> None:
    assert not trial.running("n1")
    assert trial.processes() == []
