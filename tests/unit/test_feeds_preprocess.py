"""Steps before parsing: what compressors and ciphers really write is read back; what is cut, damaged or a bomb is told."""

from __future__ import annotations

import base64
import bz2
import gzip
import lzma
import os
import secrets
import shutil
import subprocess
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vagus.errors import ConfigError
from vagus.feeds import STEPS
from vagus.feeds.preprocess import MAX_STEPS, apply_steps, steps_of
from vagus.feeds.preprocess_expand import MAX_STREAMS

PLAIN = b"Date: 1202486984.709880\nVMStat: 10 14 64\n" * 100
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}
PROGRAMS = {"gzip": "gzip", "bz2": "bzip2", "xz": "xz", "zstd": "zstd"}


def refused(name: str | dict[str, dict[str, Any]], body: bytes, max_bytes: int = 1 << 20) -> str:
    with pytest.raises(ValueError) as error:
        apply_steps(steps_of((name,)), body, max_bytes)
    return str(error.value)


def test_every_step_is_tested_here() -> None:
    assert set(STEPS) == {*COMPRESS, "decrypt"}


@pytest.mark.parametrize("name", COMPRESS)
def test_feature_3_decompresses_up_to_the_limit(name: str) -> None:
    body = COMPRESS[name](PLAIN)
    assert apply_steps(steps_of((name,)), body, len(PLAIN)) == PLAIN
    assert refused(name, body, len(PLAIN) - 1) == f"preprocess {name}: it holds more than max_bytes={len(PLAIN) - 1}"
    assert apply_steps(steps_of((name,)), COMPRESS[name](b""), 10) == b""


@pytest.mark.parametrize("name", COMPRESS)
def test_feature_3_takes_streams_one_after_the_other_and_padding(name: str) -> None:
    body = COMPRESS[name](PLAIN) + COMPRESS[name](b"more")
    assert apply_steps(steps_of((name,)), body + b"\0" * 512, 1 << 20) == PLAIN + b"more"


@pytest.mark.parametrize("name", COMPRESS)
def test_feature_3_what_is_cut_short_is_told_wherever_it_is_cut(name: str) -> None:
    body = COMPRESS[name](PLAIN)
    for size in range(1, len(body)):
        assert f"preprocess {name}: cut short" in refused(name, body[:size])
    assert refused(name, b"") == f"preprocess {name}: there is nothing: an empty body is not {name}"


def outcome(name: str, body: bytes) -> bytes | str:
    try:
        return apply_steps(steps_of((name,)), body, 1000)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("name", COMPRESS)
def test_feature_3_no_damage_gives_other_bytes(name: str) -> None:
    plain = secrets.token_bytes(300)
    with_checksum = {zstd.CompressionParameter.checksum_flag: 1}
    body = zstd.compress(plain, options=with_checksum) if name == "zstd" else COMPRESS[name](plain)
    outcomes = [outcome(name, body[:at] + bytes([body[at] ^ 0x55]) + body[at + 1 :]) for at in range(len(body))]
    told = [found for found in outcomes if isinstance(found, str)]
    assert len(told) > 200
    assert all(found.startswith(f"preprocess {name}: ") for found in told)
    assert {found for found in outcomes if isinstance(found, bytes)} <= {plain}  # a time or a flag was hit


@pytest.mark.parametrize("name", COMPRESS)
def test_feature_3_other_bytes_are_told(name: str) -> None:
    for body in (b"junk" * 20, COMPRESS[name](PLAIN) + b"trailing junk, longer than a header"):
        assert f"preprocess {name}: not {name}, or damaged, at byte" in refused(name, body)


@pytest.mark.parametrize("name", COMPRESS)
def test_feature_3_a_bomb_costs_no_more_memory_than_the_limit(name: str) -> None:
    body = COMPRESS[name](b"\0" * (32 << 20))
    step = steps_of((name,))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than max_bytes=1000000"):
            apply_steps(step, body, 1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000  # xz has a dictionary of 8 MiB, and 32 MiB would come out


@pytest.mark.parametrize("name", COMPRESS)
def test_feature_3_many_empty_streams_end(name: str) -> None:
    empty = COMPRESS[name](b"")
    assert f"more than {MAX_STREAMS} {name} streams" in refused(name, empty * (MAX_STREAMS + 1))


@pytest.mark.parametrize("name", PROGRAMS)
def test_feature_3_what_the_real_programs_write(name: str) -> None:
    program = shutil.which(PROGRAMS[name])
    if program is None:
        pytest.skip(f"no {PROGRAMS[name]} here")
    levels = ["-1", "-9"] if name != "zstd" else ["-1", "-19", "--ultra -22 --long=27"]
    for level in levels:
        written = subprocess.run([program, *level.split(), "-c"], input=PLAIN, capture_output=True, check=True).stdout
        assert apply_steps(steps_of((name,)), written, 1 << 20) == PLAIN


def key_file(tmp_path: Path, content: bytes, mode: int = 0o600) -> str:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def test_feature_3_decrypts_fernet(tmp_path: Path) -> None:
    key = Fernet.generate_key()
    step: dict[str, dict[str, Any]] = {"decrypt": {"key_file": key_file(tmp_path, key + b"\n")}}
    token = Fernet(key).encrypt(PLAIN)
    assert apply_steps(steps_of((step,)), token + b"\n", 1 << 20) == PLAIN
    assert "not a Fernet token of this key" in refused(step, Fernet(Fernet.generate_key()).encrypt(PLAIN))
    assert "not a Fernet token of this key" in refused(step, token[:-10])
    assert "not a Fernet token of this key" in refused(step, b"\xff")
    assert "more than max_bytes=100" in refused(step, token, 100)


@pytest.mark.parametrize("written", ["hex", "base64", "raw"])
def test_feature_3_decrypts_aes_256_gcm(tmp_path: Path, written: str) -> None:
    key, nonce = bytes(range(200, 232)), secrets.token_bytes(12)
    content = {"hex": key.hex().encode(), "base64": base64.b64encode(key), "raw": key}[written]
    step: dict[str, dict[str, Any]] = {"decrypt": {"key_file": key_file(tmp_path, content), "scheme": "aes-256-gcm"}}
    sealed = nonce + AESGCM(key).encrypt(nonce, PLAIN, None)
    assert apply_steps(steps_of((step,)), sealed, 1 << 20) == PLAIN
    for at in (0, 12, len(sealed) - 1):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        assert "not AES-256-GCM of this key, or changed" in refused(step, changed)
    assert "nonce and tag alone are 28" in refused(step, sealed[:27])


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (Fernet.generate_key(), 0o640, "can be read by others; run: chmod 600"),
        (b"short", 0o600, "holds no key of 32 bytes"),
        (b"", 0o600, "holds no key of 32 bytes"),
    ],
    ids=["readable", "short", "empty"],
)
def test_feature_3_keys_that_will_not_do(tmp_path: Path, content: bytes, mode: int, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        steps_of(({"decrypt": {"key_file": key_file(tmp_path, content, mode)}},))


def test_feature_3_key_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, told in (
        (tmp_path / "no", "No such file"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(ConfigError, match=told):
            steps_of(({"decrypt": {"key_file": str(path)}},))
    with pytest.raises(ConfigError, match="scheme 'rot13' is not one of fernet, aes-256-gcm"):
        steps_of(({"decrypt": {"key_file": "/x", "scheme": "rot13"}},))


def test_feature_3_steps_in_their_order(tmp_path: Path) -> None:
    key = Fernet.generate_key()
    steps = steps_of(("xz", {"decrypt": {"key_file": key_file(tmp_path, key)}}, "gzip"))
    body = lzma.compress(Fernet(key).encrypt(gzip.compress(PLAIN)))
    assert apply_steps(steps, body, 1 << 20) == PLAIN
    with pytest.raises(ValueError, match="preprocess gzip: not gzip"):
        apply_steps(steps, lzma.compress(Fernet(key).encrypt(zlib.compress(PLAIN))), 1 << 20)
    assert apply_steps((), PLAIN, 1 << 20) == PLAIN


@pytest.mark.parametrize(
    ("preprocess", "told"),
    [
        (("nosuch",), "vagus.steps has no 'nosuch'"),
        (({"gzip": {"level": 3}},), "does not take these options"),
        (("decrypt",), "does not take these options"),
        (("gzip",) * (MAX_STEPS + 1), f"at most {MAX_STEPS} are allowed"),
    ],
)
def test_feature_3_wrong_declarations(preprocess: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        steps_of(preprocess)


def test_feature_3_a_step_from_outside_that_breaks_its_contract_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bad:
        def apply(self, body: bytes, max_bytes: int) -> bytes:
            return body * 2 if body else body[0:1][0].to_bytes(1, "big")

    monkeypatch.setattr(STEPS, "get", lambda name: Bad)
    assert refused("bad", b"") == "preprocess bad: IndexError: index out of range"
    assert refused("bad", b"12345", 8) == "preprocess bad: it made 10 bytes, more than max_bytes=8"
