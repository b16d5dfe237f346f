"""Containers of raw bytes: tar files that grow by whole batches, each a compressed stream of its own.

Any tar reads them (gzip, xz and zstd take streams one behind the other), and at any time: what a kill left of a batch
at the end is ignored here, and cut off before more is written. Each member is one body. Its meta stands beside it as an
extended attribute, as GNU tar writes those (`SCHILY.xattr.user.vagus.meta`), which tars that do not know it skip.
"""

from __future__ import annotations

import io
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Literal, cast

import msgspec

from vagus.clock import NS
from vagus.config import hash_text
from vagus.errors import ConfigError, NoData
from vagus.feeds.item import Meta, Raw

Compress = Literal["gzip", "xz", "zstd", "none"]
SUFFIX: dict[Compress, str] = {"gzip": ".tar.gz", "xz": ".tar.xz", "zstd": ".tar.zst", "none": ".tar"}
META = "SCHILY.xattr.user.vagus.meta"
END = bytes(2 * tarfile.BLOCKSIZE)
"""Two empty blocks: nothing more comes."""
MAX_BODY_BYTES = 64 << 20
MAX_META_BYTES = 1 << 20
_CHUNK = 1 << 16
_MOST = 1 << 22  # decompressed at once
_PLAIN = re.compile(r"[^A-Za-z0-9.-]+")


def slug(text: str, most: int = 80) -> str:
    """A text as a part of a file's name, different for different texts."""
    plain = _PLAIN.sub("_", text).strip("_.-")
    if plain and plain == text and len(plain) <= most:
        return plain
    return f"{plain[: most - 9] or 'none'}-{hash_text(text) & 0xFFFFFFFF:08x}"  # never begins like an option


def member(raw: Raw, name: str) -> bytes:
    """The blocks of one body in a tar."""
    info = tarfile.TarInfo(name)
    info.size = len(raw.body)
    info.mtime = raw.meta.arrived_ns // NS
    info.mode = 0o644
    note = raw.meta.note.encode("utf-8", "replace").decode()  # half of a surrogate pair is no text
    info.pax_headers = {META: msgspec.json.encode(msgspec.structs.replace(raw.meta, note=note)).decode()}
    padding = -len(raw.body) % tarfile.BLOCKSIZE
    return info.tobuf(tarfile.PAX_FORMAT) + raw.body + bytes(padding)


def compressor(kind: Compress) -> Callable[[bytes], bytes]:
    """Bytes to one whole stream. Raises ConfigError where zstd's library is missing."""
    if kind == "none":
        return lambda data: data
    if kind == "gzip":
        import gzip

        return lambda data: gzip.compress(data, 6, mtime=0)
    if kind == "xz":
        import lzma

        return lambda data: lzma.compress(data, preset=3)
    return cast("Callable[[bytes], bytes]", _zstd().compress)


def _zstd() -> Any:
    for module in ("compression.zstd", "backports.zstd"):  # the first since Python 3.14
        try:
            return import_module(module)
        except ImportError:
            continue
    raise ConfigError("zstd needs its library: pip install backports.zstd; or compress with gzip or xz")


def whole_bytes(path: Path) -> tuple[int, bool]:
    """How many bytes of a container are whole batches, and whether it was closed. Raises OSError.

    Of an uncompressed one: whole members.
    """
    kind = _kind(path)
    with open(path, "rb") as file:
        if kind == "none":
            return _whole_members(file)
        size = path.stat().st_size
        good, tail = 0, b""
        while good < size:
            file.seek(good)
            stream = _stream(kind)
            read, tail = 0, b""
            try:
                while not stream.eof:
                    chunk = file.read(_CHUNK)
                    if not chunk:
                        return good, False
                    read += len(chunk)
                    tail = (tail + stream.decompress(chunk, _MOST))[-len(END) :]
                    while not stream.eof and not stream.needs_input:
                        tail = (tail + stream.decompress(b"", _MOST))[-len(END) :]
            except Exception:  # zlib's, lzma's, zstd's: not a stream
                return good, False
            good += read - len(stream.unused_data)
        return good, tail == END


def _whole_members(file: IO[bytes]) -> tuple[int, bool]:
    good = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                end = info.offset_data + info.size + -info.size % tarfile.BLOCKSIZE
                if end > file.seek(0, io.SEEK_END):
                    return good, False
                good = end
    except tarfile.TarError:
        return good, False
    file.seek(good)
    rest = file.read(len(END) + 1)
    return good, rest == END


def _kind(path: Path) -> Compress:
    for kind, suffix in SUFFIX.items():
        if path.name.endswith(suffix):
            return kind
    raise NoData(f"{path.name} is no container: its name ends with none of {', '.join(SUFFIX.values())}")


def _stream(kind: Compress) -> Any:
    if kind == "gzip":
        return _Gzip()
    if kind == "xz":
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, 256 << 20)
    return _zstd().ZstdDecompressor()


class _Gzip:
    """zlib's decompressor of one gzip stream, with the names of the others'."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._inner.decompress(data or self._inner.unconsumed_tail, most)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


# --- reading ---------------------------------------------------------------------------------------------------------


def containers(folder: Path, name: str = "") -> list[Path]:
    """The containers of a folder, the oldest first; `name`: only those that an archive of this name wrote."""
    found = [path for path in folder.iterdir() if path.name.endswith(tuple(SUFFIX.values())) and path.is_file()]
    if name:
        found = [path for path in found if written_by(path.name, name)]
    return sorted(found, key=lambda path: (_time(path), path.name))


def holds_containers(folder: Path) -> bool:
    """Whether a folder is one that the `archive` tool writes."""
    return folder.is_dir() and any(_NAMED.fullmatch(path.name) for path in folder.iterdir())


_NAMED = re.compile(r"(.*)_(\d{8}T\d{6}Z)(?:-(\d+))?\.tar(?:\.[a-z0-9]+)?")


def written_by(container: str, name: str) -> bool:
    """Whether the container of this name is one that the archive of that name wrote."""
    found = _NAMED.fullmatch(container)
    return found is not None and found[1] == name


def _time(path: Path) -> tuple[str, int]:
    found = _NAMED.fullmatch(path.name)
    return (found[2], int(found[3] or 0)) if found else ("", 0)


def archived(folder: Path, name: str = "", told: Callable[[str], None] = lambda _: None) -> Iterator[Raw]:
    """All that the `archive` tool stored in a folder, container by container, in the order in which it was stored.

    name: only of the archive with this name; told: is told of what is left out at the end of a container, where a kill
    came between, or damage. Members without meta are left out too. Memory: one body. Raises NoData for a folder without containers, for a file that is no container, and for
    members beyond MAX_BODY_BYTES.
    """
    try:
        paths = containers(folder, name)
    except OSError as error:
        raise NoData(f"cannot read {folder}: {error.strerror}") from error
    if not paths:
        what = f"containers of the archive {name!r}" if name else "containers (*.tar, *.tar.gz, *.tar.xz, *.tar.zst)"
        raise NoData(f"{folder} has no {what}")
    for path in paths:
        yield from members(path, told)


def members(path: Path, told: Callable[[str], None] = lambda _: None) -> Iterator[Raw]:
    """The bodies of one container, in order. Raises NoData."""
    kind = _kind(path)
    try:
        whole, _ = whole_bytes(path)
        if whole < path.stat().st_size:
            told(f"{path.name}: its last {path.stat().st_size - whole} bytes are no whole batch, and left out")
        with open(path, "rb") as file, _opened(kind, _Part(file, whole)) as stream:
            yield from _members(path, stream)
    except OSError as error:
        raise NoData(f"cannot read {path}: {error}") from error


def _members(path: Path, stream: IO[bytes]) -> Iterator[Raw]:
    try:
        with tarfile.open(fileobj=stream, mode="r|", ignore_zeros=False) as tar:
            for info in tar:
                text = info.pax_headers.get(META)
                if text is None or not info.isreg():
                    continue
                if info.size > MAX_BODY_BYTES or len(text) > MAX_META_BYTES:
                    raise NoData(f"{path.name}: {info.name[:80]!r} has {info.size} bytes; at most {MAX_BODY_BYTES}")
                content = tar.extractfile(info)
                body = b"" if content is None else content.read()
                try:
                    yield Raw(msgspec.json.decode(text, type=Meta), body)
                except msgspec.MsgspecError as error:
                    raise NoData(f"{path.name}: the meta of {info.name[:80]!r} is not vagus': {error}") from error
                tar.members = []  # type: ignore[attr-defined]  # else they are all kept
    except tarfile.ReadError as error:
        if "empty" not in str(error):
            raise NoData(f"{path.name} is no container, or damaged: {error}") from error


def _opened(kind: Compress, part: _Part) -> IO[bytes]:
    if kind == "none":
        return cast("IO[bytes]", part)
    if kind == "gzip":
        import gzip

        return cast("IO[bytes]", gzip.GzipFile(fileobj=part))
    if kind == "xz":
        import lzma

        return cast("IO[bytes]", lzma.LZMAFile(cast("IO[bytes]", part)))
    return cast("IO[bytes]", _zstd().ZstdFile(part))


class _Part(io.RawIOBase):
    """The first bytes of a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)
