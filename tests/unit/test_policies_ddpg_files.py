"""DDPG's checkpoints and weights: exact, atomic, and damaged or hostile ones refused."""

from __future__ import annotations

import errno
import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from vagus.errors import ConfigError
from vagus.policies import arrays
from vagus.policies.ddpg import DDPG, MAX_WEIGHTS_BYTES

HYPERS: list[dict[str, Any]] = [{}, {"critics": 2, "delay": 2, "smoothing": 0.1, "memory": 150, "joins": 0}]


def live(model: DDPG, steps: int) -> list[bytes]:
    """Acts, remembers and learns."""
    seen = []
    for step in range(steps):
        state = [np.sin(step), np.cos(step)]
        action = model.act(state)
        model.remember(state, action, float(action[0]) * state[0], state[::-1], step % 50 == 49)
        model.learn()
        seen.append(action.tobytes())
    return [*seen, model.weights(), model._target.tobytes()]


def lived(**hyper: Any) -> DDPG:
    model = DDPG(2, 1, 4, **hyper)
    live(model, 100)
    return model


@pytest.mark.parametrize("hyper", HYPERS, ids=["plain", "td3"])
def test_what_was_saved_goes_on_bit_for_bit(tmp_path: Path, hyper: dict[str, Any]) -> None:
    model = lived(**hyper)
    model.save(tmp_path / "it.npz", replay=True)
    other = DDPG.load(tmp_path / "it.npz")
    assert other.steps == model.steps == 37
    assert other.hyper == model.hyper
    assert other.replay.size == model.replay.size == 100
    assert live(other, 100) == live(model, 100)


def test_without_the_replay_it_is_small_and_acts_the_same(tmp_path: Path) -> None:
    model = lived()
    model.save(tmp_path / "small.npz")
    model.save(str(tmp_path / "large.npz"), replay=True)
    small, large = ((tmp_path / name).stat().st_size for name in ("small.npz", "large.npz"))
    assert small < 65_000
    assert large - small > 4 * 7 * 100
    other = DDPG.load(str(tmp_path / "small.npz"))
    assert other.replay.size == 0
    assert other.act([0.3, 0.1], False).tobytes() == model.act([0.3, 0.1], False).tobytes()
    with np.load(tmp_path / "large.npz", allow_pickle=False) as found:  # an npz as everyone's
        assert found["replay"].shape == (100, 7)


def test_the_noise_of_several_is_kept(tmp_path: Path) -> None:
    model = DDPG(2, 1, 0)
    model.act_all(np.zeros((3, 2)))
    model.save(tmp_path / "it.npz")
    other = DDPG.load(tmp_path / "it.npz")
    assert other.act_all(np.zeros((3, 2))).tobytes() == model.act_all(np.zeros((3, 2))).tobytes()


def test_the_same_life_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        lived().save(tmp_path / name, replay=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = lived()
    model.save(tmp_path / "it.npz")
    before = (tmp_path / "it.npz").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match=r"it\.npz cannot be written: No space left on device; .*make room"):
            model.save(tmp_path / "it.npz", replay=True)
    assert (tmp_path / "it.npz").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["it.npz"]
    with pytest.raises(ConfigError, match=r"cannot be written: No such file or directory"):
        model.save(tmp_path / "nowhere" / "it.npz")


def test_a_checkpoint_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Who reads while it is written reads the one before; nothing else is left lying about."""
    path = tmp_path / "it.npz"
    lived().save(path)
    before = path.read_bytes()
    with open(path, "rb") as reading:
        DDPG(2, 1, 1).save(path)
        assert reading.read() == before != path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


def test_weights_go_from_one_to_another() -> None:
    model, other = lived(), DDPG(2, 1, 9, gamma=0.5)
    live(other, 100)
    assert all(adam.steps for adam in other._adams)
    sent = model.weights()
    assert len(sent) < 30_000
    other.load_weights(sent)
    assert other.weights() == sent
    assert other.act([0.3, 0.1], False).tobytes() == model.act([0.3, 0.1], False).tobytes()
    np.testing.assert_array_equal(other._target, other._flat)
    assert all(adam.steps == 0 and not adam.mean.any() for adam in other._adams)


@pytest.mark.parametrize(
    "other", [DDPG(3, 1), DDPG(2, 2), DDPG(2, 1, actor_layers=(40, 41)), DDPG(2, 1, joins=0), DDPG(2, 1, critics=2)]
)
def test_weights_of_another_shape_are_refused(other: DDPG) -> None:
    model = DDPG(2, 1)
    before = model.weights()
    with pytest.raises(ConfigError, match=r"ddpg's weights: of .*; this model is "):
        model.load_weights(other.weights())
    assert model.weights() == before


# --- damaged and hostile ---------------------------------------------------------------------------------------------


def parts(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data)) as found:
        return dict(found)


def refused(path: Path, data: bytes, said: str = "") -> None:
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=said) as caught:
        DDPG.load(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "it.npz"
    lived(memory=90).save(path, replay=True)
    return path.read_bytes()


def test_what_is_cut_off_is_refused(saved: bytes, tmp_path: Path) -> None:
    for length in [0, 1, 21, 22, *range(100, len(saved), 997), len(saved) - 1]:
        refused(tmp_path / "it.npz", saved[:length], "damaged")


def test_a_flipped_bit_is_refused_or_harmless(saved: bytes, tmp_path: Path) -> None:
    rng, path, count = np.random.default_rng(0), tmp_path / "it.npz", 0
    good = DDPG.load(_written(path, saved)).weights()
    for at in (*rng.integers(len(saved), size=60), *range(0, 200, 3), *range(len(saved) - 400, len(saved), 3)):
        changed = bytearray(saved)
        changed[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            assert DDPG.load(path).weights() == good
        except ConfigError:
            count += 1
    assert count > 100


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _state(found: dict[str, Any], **changes: Any) -> Any:
    state = {**msgspec.json.decode(found["state"].tobytes()), **changes}
    return np.frombuffer(msgspec.json.encode(state), np.uint8)


def test_what_lies_is_refused(saved: bytes, tmp_path: Path) -> None:
    found = parts(saved)
    path = tmp_path / "it.npz"
    count = len(found["networks"])
    bad = found["networks"].copy()
    bad[7] = np.nan
    large = found["replay"].copy()
    large[3, 2] = 1e7
    lies: list[tuple[dict[str, Any], str]] = [
        (
            {"networks": found["networks"][:-1]},
            rf"networks is float32 \({count - 1},\); it must be float32 \({count},\)",
        ),
        ({"networks": bad}, "numbers that are not finite"),
        ({"targets": np.zeros(count, np.uint8)}, "targets is uint8"),
        ({"targets": np.zeros(count, np.float64)}, "an array of float64"),
        ({"means": np.zeros((count, 1), np.float32)}, "means is float32"),
        ({"squares": -np.ones(count, np.float32)}, "numbers that cannot be"),
        ({"noise": np.zeros((2, 3), np.float32)}, "noise is float32"),
        ({"noise": np.float32(1.0)}, "noise is float32"),
        ({"replay": np.zeros((5, 8), np.float32)}, "replay is float32"),
        ({"replay": np.zeros((91, 7), np.float32)}, "replay is float32"),
        ({"replay": np.float32(1.0)}, "replay is float32"),
        ({"replay": large}, "numbers that cannot be"),
        ({"more": np.zeros(1, np.float32)}, "no checkpoint of ours: it has "),
        ({"state": np.zeros(10, np.uint8)}, "no checkpoint of ours"),
        ({"state": np.full(70_000, 32, np.uint8)}, "no checkpoint of ours"),
    ]
    states: list[tuple[dict[str, Any], str]] = [
        ({"format": 2}, "of format 2; this version reads 1"),
        ({"state_dim": 3}, "networks is float32"),
        ({"state_dim": 10**9}, "state_dim=1000000000 must be"),
        ({"hyper": {"memory": 10**10}}, "no checkpoint of ours.*memory"),
        ({"state_dim": 900, "hyper": {"memory": 10**6}}, "more than 512 MiB"),
        ({"hyper": {"gamma": 2}}, "no checkpoint of ours.*gamma"),
        ({"hyper": {"seed": 2}}, "no checkpoint of ours.*seed"),
        ({"steps": -1}, "numbers that cannot be"),
        ({"adam_steps": [1]}, "numbers that cannot be"),
        ({"adam_steps": [10**400, 10**400]}, "no checkpoint of ours"),
        ({"rewards": [-1e9, 0]}, "numbers that cannot be"),
        ({"rewards": [1.0, 0]}, "numbers that cannot be"),
        ({"replay_next": 91}, "numbers that cannot be"),
        ({"rng": ["x", "1", 0, 0]}, "its state of chance"),
        ({"rng": ["-1", "1", 0, 0]}, "its state of chance"),
        ({"rng": ["f" * 64, "1", 0, 0]}, "its state of chance"),
        ({"rng": ["1", "1", 0, -1]}, "its state of chance"),
        ({"rng": ["1", "1", 0, 2**63]}, "its state of chance"),
        ({"unknown": 1}, "no checkpoint of ours.*unknown"),
    ]
    for change, said in [*lies, *(({"state": _state(found, **change)}, said) for change, said in states)]:
        refused(path, arrays.packed({**found, **change}), said)
    missing = {name: array for name, array in found.items() if name != "means"}
    refused(path, arrays.packed(missing), "no checkpoint of ours: it has .*, not state, networks")
    DDPG.load(_written(path, arrays.packed(found)))  # what was changed above was all that was wrong


class Bomb:
    """What a pickle could do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("exploded",))


@pytest.mark.says("no-pickle")
def test_a_pickle_is_not_opened(saved: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = io.BytesIO()
    np.savez(file, **{**parts(saved), "networks": np.array([Bomb()], object)})
    refused(tmp_path / "it.npz", file.getvalue(), "an array of object, not of float32 or bytes")
    refused(tmp_path / "it.npz", pickle.dumps(Bomb()), "damaged")
    assert not (tmp_path / "exploded").exists()


def _zip(members: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return file.getvalue()


def _member(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_bombs_are_refused_unopened(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "it.npz"
    members = {f"{name}.npy": _member(array) for name, array in parts(saved).items()}
    refused(path, _zip({**members, "networks.npy": bytes(20 << 20)}, zipfile.ZIP_DEFLATED), "compressed; we neither")
    # one member's bytes, listed as several
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("networks.npy", members["networks.npy"])
        [real] = archive.filelist
        for name in ("state", "targets", "means", "squares", "noise"):
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.header_offset, entry.file_size, entry.compress_size, entry.CRC = (
                0,
                real.file_size,
                real.file_size,
                real.CRC,
            )
            archive.filelist.append(entry)
            archive.NameToInfo[entry.filename] = entry
        archive._didModify = True  # type: ignore[attr-defined]
    refused(path, file.getvalue(), "claims to hold more than its")
    # a header that claims terabytes
    for shape in (b"(9**9,)", b"(99999999999,)", b"(-1,-3524)", b"(1,2,3,4)"):
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + b"}"
        claim = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(3524 * 4)
        refused(path, _zip({**members, "networks.npy": claim}), "damaged")
    refused(path, _zip({**members, "networks.npy": b"\x93NUMPY\x02\x00" + bytes(100)}), "an array of another version")
    twice = _zip({**members, "networks_.npy": members["networks.npy"]}).replace(b"networks_.npy", b"networks.npy\x00")
    refused(path, twice, "no checkpoint of ours")


def test_what_is_no_file_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.npz: there is no such file; `vagus train` writes"):
        DDPG.load(tmp_path / "none.npz")
    with pytest.raises(ConfigError, match="there is no such file"):
        DDPG.load(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match="there is no such file"):
        DDPG.load(tmp_path / "fifo")  # and does not wait for a writer
    with open(tmp_path / "large.npz", "wb") as file:
        file.truncate(641 << 20)
    with pytest.raises(ConfigError, match="672137216 bytes; a checkpoint has at most"):
        DDPG.load(tmp_path / "large.npz")


def test_weights_from_outside_are_refused_alike() -> None:
    model = DDPG(2, 1)
    sent = model.weights()
    found = parts(sent)
    bad = found["actor"].copy()
    bad[0] = np.inf
    for data, said in (
        (bytes(MAX_WEIGHTS_BYTES + 1), "ddpg's weights: 4194305 bytes; at most 4194304"),
        (b"", "ddpg's weights: damaged"),
        (sent[:-30], "ddpg's weights: damaged"),
        (arrays.packed({**found, "actor": bad}), "numbers that are not finite"),
        (arrays.packed({**found, "critic": found["critic"][1:]}), "critic is float32"),
        (arrays.packed({**found, "about": np.zeros(3, np.uint8)}), "no checkpoint of ours"),
        (arrays.packed({"about": found["about"]}), "no checkpoint of ours: it has about"),
    ):
        with pytest.raises(ConfigError, match=said):
            model.load_weights(data)
        assert model.weights() == sent
