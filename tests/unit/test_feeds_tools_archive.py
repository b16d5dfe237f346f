"""Feature 11 and 17, archive: few files, that any tar reads, whole after a kill; read again by `archived`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from feed_items import T0, at, context, item

from vagus.clock import NS
from vagus.errors import ConfigError, NoData, StoreError
from vagus.feeds import Item, Meta, Net, Raw
from vagus.feeds.containers import SUFFIX, archived, containers, slug, whole_bytes
from vagus.feeds.tools.archive import Archive
from vagus.feeds.tools.files import append, replace, replace_by

BODY = b"Date: 1202486984.709880\nVMStat: 10 14 64\n\0\xff" * 30


def raw(n: int, body: bytes | None = None, location: str = "http://a/") -> Raw:
    meta = Meta("comon", location, at(n), at(n) + 5, Net.OK, size_bytes=len(BODY), note="é\n" if n == 3 else "")
    return Raw(meta, BODY + str(n).encode() if body is None else body)


def store(tool: Archive, *raws: Raw) -> None:
    for one in raws:
        tool.take_raw(one)
        assert list(tool.take(Item(one.meta, {}))) == []


@pytest.mark.parametrize("kind", ["gzip", "xz", "zstd", "none", True, False])
def test_feature_11_archive_is_read_again_and_by_tar(tmp_path: Path, kind: Any) -> None:
    tool = Archive(context(tmp_path), folder="temp", compress=kind, every="5s")
    raws = [raw(n, location=f"http://h{n % 7}:3121/../../{n}'\n") for n in range(50)]
    store(tool, *raws)
    tool.tick(at(60))
    assert list(archived(tmp_path / "temp"))[:45] == raws[:45]
    tool.finish(at(61))
    assert list(archived(tmp_path / "temp", "comon")) == raws
    [path] = containers(tmp_path / "temp")
    suffix = SUFFIX["gzip" if kind is True else "none" if kind is False else kind]
    assert path.name == f"comon_20231114T221320Z{suffix}"
    # GNU tar: all members, names that stay in the folder, no warning
    listed = subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True)
    names = listed.stdout.splitlines()
    assert listed.stderr == ""
    assert len(set(names)) == 50
    assert all("/" not in name and name.startswith("comon_20231114T221") for name in names)
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(["tar", "-xf", path, "-C", out], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert [(out / name).read_bytes() for name in names] == [one.body for one in raws]
    assert int((out / names[0]).stat().st_mtime) == T0
    if suffix != ".tar.zst":  # Python's tarfile knows zstd since 3.14
        with tarfile.open(path) as tar:
            assert tar.getnames() == names
    # the log of what was stored
    logged = [json.loads(line) for line in (tmp_path / "temp/comon.log").read_text().splitlines()]
    assert [entry["member"] for entry in logged] == names
    assert {entry["container"] for entry in logged} == {path.name}
    assert (logged[3]["due_ns"], logged[3]["net"], logged[3]["size_bytes"]) == (at(3), "ok", len(raws[3].body))


def test_feature_17_coral_many_items_few_files(tmp_path: Path) -> None:
    """260 nodes, whose logs are archived periodically: what plagued Coral were too many files."""
    tool = Archive(context(tmp_path), folder="coral", max_bytes=1_000_000, max_files=5, rotate="1h")
    for hour in range(10):
        for node in range(260):
            store(tool, raw(hour * 3600 + node, os.urandom(100), f"http://node{node}/log"))
        tool.tick(at(hour * 3600 + 300))
    tool.finish(at(36000))
    files = sorted(p.name for p in (tmp_path / "coral").iterdir() if not p.name.startswith("."))
    assert len(files) == 6  # containers and the log
    kept = list(archived(tmp_path / "coral"))
    assert len(kept) == 5 * 260
    assert kept[-1].meta.location == "http://node259/log"
    assert kept[0].meta.due_ns == at(5 * 3600)


def test_feature_11_archive_rotates_by_size_and_age_and_closes(tmp_path: Path) -> None:
    tool = Archive(context(tmp_path), folder="a", compress=False, max_bytes=4096, rotate="1m", every=0)
    for n in range(6):
        store(tool, raw(n, b"x" * 1000))
    store(tool, raw(100))
    tool.finish(at(101))
    paths = containers(tmp_path / "a")
    assert [path.name[6:] for path in paths] == [
        "20231114T221320Z.tar",
        "20231114T221322Z.tar",
        "20231114T221324Z.tar",
        "20231114T221500Z.tar",
    ]
    assert [whole_bytes(path) for path in paths] == [
        (p.stat().st_size - 1024 * (p != paths[-1]), p != paths[-1]) for p in paths
    ]
    assert len(list(archived(tmp_path / "a"))) == 7


@pytest.mark.parametrize("kind", ["gzip", "xz", "zstd", "none"])
def test_feature_11_archive_goes_on_after_a_restart_and_cuts_off_what_a_kill_left(tmp_path: Path, kind: Any) -> None:
    first = Archive(context(tmp_path), compress=kind, every=0)
    store(first, raw(0), raw(1))
    first.finish(at(2))
    [path] = containers(tmp_path / "archive")
    whole = path.read_bytes()
    for torn in (whole[:30], whole[: len(whole) // 2], b"garbage" * 100, b"\0"):
        path.write_bytes(whole + torn)
        told: list[str] = []
        found = list(archived(tmp_path / "archive", told=told.append))
        assert found[:2] == [raw(0), raw(1)]
        assert len(found) <= 3  # of an uncompressed one, half may be one more member
        assert told or len(found) == 3 or kind == "none"
    (tmp_path / "archive" / ".comon_20231114T221320Z.tar.gz.77.new").write_bytes(b"half")
    (tmp_path / "archive" / ".other_20231114T221320Z.tar.gz.77.new").write_bytes(b"half")
    path.write_bytes(whole + whole[:30])
    second = Archive(context(tmp_path), compress=kind, every=0)
    store(second, raw(3))
    second.finish(at(4))
    assert containers(tmp_path / "archive") == [path]
    assert list(archived(tmp_path / "archive")) == [raw(0), raw(1), raw(3)]
    assert [p.name for p in (tmp_path / "archive").glob(".*.new")] == [".other_20231114T221320Z.tar.gz.77.new"]
    subprocess.run(["tar", "-tf", path], capture_output=True, check=True)


WRITER = """
import sys
from pathlib import Path
from vagus.feeds import Item, Meta, Net, Raw, ToolContext
from vagus.feeds.tools.archive import Archive
tool = Archive(ToolContext("comon", Path(sys.argv[1])), compress=sys.argv[2], every=0, max_bytes=30_000)
n = int(sys.argv[3])
while True:
    meta = Meta("comon", f"http://h{n % 9}/", n * 10**9, n * 10**9, Net.OK)
    raw = Raw(meta, f"{n} ".encode() * 500)
    tool.take_raw(raw)
    tool.take(Item(meta, 1))
    print(n, flush=True)
    n += 1
"""


@pytest.mark.parametrize("kind", ["gzip", "none"])
def test_feature_11_archive_loses_nothing_that_was_written_by_kill_9(tmp_path: Path, kind: str) -> None:
    seen = 0
    for begin in (0, 1000, 2000):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path, kind, str(begin)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            last = begin
            for line in writer.stdout:
                last = int(line)
                if last >= begin + 40:
                    writer.send_signal(signal.SIGKILL)
                    break
            last = max([last, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        found = list(archived(tmp_path / "archive"))
        run = found[seen:]
        assert [one.meta.due_ns for one in run[: last - begin + 1]] == [n * NS for n in range(begin, last + 1)]
        assert all(one.body == f"{one.meta.due_ns // NS} ".encode() * 500 for one in run)
        assert len(run) - (last - begin) in (1, 2)
        seen = len(found)
        for path in containers(tmp_path / "archive")[:-1]:
            subprocess.run(["tar", "-tf", path], capture_output=True, check=True)


def test_feature_11_archive_stores_the_bytes_of_many_items_once(tmp_path: Path) -> None:
    tool = Archive(context(tmp_path))
    one = raw(1)
    for n in range(10):
        tool.take_raw(one)
        tool.take(Item(msgspec.structs.replace(one.meta, part=str(n)), n))
    tool.finish(at(5))
    assert list(archived(tmp_path / "archive")) == [one]


def test_feature_11_archive_of_items_without_bytes_has_their_values(tmp_path: Path) -> None:
    tool = Archive(context(tmp_path))
    pair = item(({"rtt_ms": 1.5}, None), 1, part="3")
    failed = item(None, 2)
    tool.take(pair)
    tool.take(failed)
    tool.finish(at(5))
    assert list(archived(tmp_path / "archive")) == [
        Raw(pair.meta, b'[{"rtt_ms":1.5},null]'),
        Raw(failed.meta, b""),
    ]


def test_feature_11_archive_takes_whatever_a_function_made_and_a_note_of_broken_text(tmp_path: Path) -> None:
    ring: list[Any] = []
    ring.append(ring)
    tool = Archive(context(tmp_path))
    for n, value in enumerate((ring, "\ud800", object(), 1 << 2000)):
        tool.take(item({"a": value}, n))
    failed = item(None, 9)
    tool.take(Item(msgspec.structs.replace(failed.meta, note="half of \ud800"), None))
    tool.finish(at(20))
    found = list(archived(tmp_path / "archive"))
    assert [type(json.loads(one.body or "null")) for one in found] == [dict, dict, dict, dict, type(None)]
    assert found[-1].meta.note == "half of ?"


def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path: Path) -> None:
    left, lives, other = ".a[1].xml.0.new", ".a[1].xml.1.new", ".a1.xml.0.new"
    for name in (left, lives, other):
        (tmp_path / name).write_text("half")
    replace(tmp_path / "a[1].xml", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a[1].xml", lives, other}


def test_feature_11_archive_waits_for_its_batch(tmp_path: Path) -> None:
    tool = Archive(context(tmp_path), every="10s")
    store(tool, raw(0))
    tool.tick(at(9))
    assert not (tmp_path / "archive").exists()
    tool.tick(at(11))
    assert list(archived(tmp_path / "archive")) == [raw(0)]


def test_feature_11_archive_that_cannot_write_tries_again(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("in the way")
    tool = Archive(context(tmp_path), every="1s")
    store(tool, raw(0))
    with pytest.raises(OSError, match="archive"):
        tool.tick(at(2))
    (tmp_path / "archive").unlink()
    tool.tick(at(4))
    assert list(archived(tmp_path / "archive")) == [raw(0)]


def test_feature_11_archive_on_a_full_disk_keeps_a_bounded_amount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.feeds.tools.archive.MAX_WAITING_BYTES", 100_000)
    tool = Archive(context(tmp_path), every="1s", compress="none")
    store(tool, raw(0))
    tool.tick(at(2))
    real = os.write
    free = [700]

    def write(file: int, data: Any) -> int:
        if free[0] <= 0:
            raise OSError(28, "No space left on device")
        done = real(file, bytes(data)[: free[0]])
        free[0] -= done
        return done

    monkeypatch.setattr(os, "write", write)
    for n in range(1, 50):
        tool.take_raw(raw(n, b"x" * 9_500))
    with pytest.raises(OSError, match="No space"):
        tool.tick(at(100))
    assert tool.lost == 40
    assert list(archived(tmp_path / "archive")) == [raw(0)]  # what was begun is taken back
    monkeypatch.setattr(os, "write", real)
    tool.tick(at(200))
    assert [one.meta.due_ns for one in archived(tmp_path / "archive")] == [at(n) for n in (0, *range(41, 50))]


def test_feature_11_archive_of_one_name_has_one_writer(tmp_path: Path) -> None:
    first, second = (Archive(context(tmp_path), every=0) for _ in range(2))
    store(first, raw(0))
    with pytest.raises(StoreError, match="another archive named 'comon'"):
        store(second, raw(1))
    other = Archive(context(tmp_path), every=0, name="other")
    store(other, raw(2))
    first.finish(at(3))
    second.tick(at(4))
    assert sorted(one.meta.due_ns for one in archived(tmp_path / "archive", "comon")) == [at(0), at(1)]
    assert [one.meta.due_ns for one in archived(tmp_path / "archive", "other")] == [at(2)]


def test_feature_11_archived_says_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(NoData, match="cannot read"):
        list(archived(tmp_path / "no"))
    with pytest.raises(NoData, match="has no containers"):
        list(archived(tmp_path))
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(NoData, match="archive 'comon'"):
        list(archived(tmp_path, "comon"))
    assert list(archived(tmp_path)) == []
    told: list[str] = []
    (tmp_path / "x.tar.gz").write_bytes(b"no gzip")
    assert list(archived(tmp_path, told=told.append)) == []
    assert "7 bytes" in told[0]
    with tarfile.open(tmp_path / "foreign.tar", "w") as tar:
        tar.add(__file__, "foreign.py")
    assert list(archived(tmp_path)) == []  # it has no meta
    with tarfile.open(tmp_path / "forged.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("x")
        info.pax_headers = {"SCHILY.xattr.user.vagus.meta": '["f",1]'}
        tar.addfile(info)
    with pytest.raises(NoData, match="not vagus'"):
        list(archived(tmp_path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": "../up"}, "leaves its folder"),
        ({"compress": "rar"}, "compress"),
        ({"max_files": 0}, "max_files"),
        ({"max_bytes": 1}, "max_bytes"),
        ({"rotate": "0s"}, "too short"),
        ({"every": "soon"}, "every"),
        ({"arch_dir": "temp/"}, r"arch_dir.*options are folder"),
    ],
)
def test_feature_11_archive_refuses_wrong_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Archive(context(tmp_path), **options)


def test_slugs_are_names_of_files_and_differ() -> None:
    texts = ["http://a/", "http://a:/", "http://a", "a", "../a", "a" * 500, "a" * 501, "é", "", "a/b", "a_b", "a b"]
    slugs = [slug(text) for text in texts]
    assert len(set(slugs)) == len(texts)
    assert all("/" not in one and len(one) <= 80 and not one.startswith(".") for one in slugs)
    assert slugs[3] == "a"


def test_a_full_disk_is_told_with_the_file_that_had_no_room(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left.*/dev/full"):
        append(tmp_path / "full", b"line\n")

    def make(temporary: Path) -> None:
        temporary.touch()
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x")

    with pytest.raises(OSError, match=r"No space left.*/a\.xml'"):
        replace_by(tmp_path / "a.xml", make)
    assert {path.name for path in tmp_path.iterdir()} == {"full"}
