"""Files of tools: where they are, and how they are always whole."""

from __future__ import annotations

import os
from pathlib import Path

from vagus.errors import ConfigError
from vagus.feeds.contracts import ToolContext

STANDARD_OUTPUT = "-"


def file_of(context: ToolContext, file: str, what: str = "file") -> Path:
    """The path of a tool's file: a relative one is in the context's folder, and stays there. Raises ConfigError."""
    path = Path(file)
    if not file or "\0" in file or not path.name:
        raise ConfigError(f"{what}: {file!r} is not the name of a file")
    if path.is_absolute():
        return path
    if ".." in path.parts:
        raise ConfigError(f"{what}: {file!r} leaves the folder {context.folder}; write the whole path instead")
    return context.folder / path


def write_whole(path: Path, body: bytes | str) -> None:
    """Writes a file so that readers find the old or the new one, never a part. Makes its folder. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}")
    try:
        temporary.write_bytes(body.encode(errors="backslashreplace") if isinstance(body, str) else body)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
