"""The state folder: where things lie, who may read them, secrets and tokens."""

from __future__ import annotations

import os
from pathlib import Path

from vagus.config.hashing import hash_text
from vagus.config.settings import Config
from vagus.errors import ConfigError, VagusError, unwritable


def home(config: Config | None = None) -> Path:
    """The state folder: the configuration's, $VAGUS_HOME, /var/lib/vagus for root, ~/.local/state/vagus for others."""
    chosen = (config.home if config else "") or os.environ.get("VAGUS_HOME", "")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/vagus")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "vagus"


def node_folder(base: Path, node: str) -> Path:
    """Everything that belongs to one node: `HOME/nodes/NODE`."""
    return base / "nodes" / node


def run_folder(base: Path) -> Path:
    """What programs of this machine leave for its nodes: `HOME/run/HOST`. The host is named since homes may be shared."""
    return base / "run" / os.uname().nodename


def socket_path(base: Path, node: str, name: str) -> Path:
    """A unix socket of a node; below /tmp when the state folder's path is too long for one.

    Not in $TMPDIR: that may differ between the actor that binds and the program that connects.
    """
    path = node_folder(base, node) / f"{name}.sock"
    if len(os.fsencode(path)) < 100:
        return path
    digest = f"{hash_text(str(path)):016x}"
    return Path("/tmp") / f"vagus-{os.geteuid()}" / f"{digest}.sock"  # noqa: S108


def private_folder(path: Path) -> None:
    """Makes a folder that only its owner may enter, and so those above it that are missing. Raises OSError."""
    if not path.is_dir():
        private_folder(path.parent)  # mkdir(parents=True) would make these for everyone
        path.mkdir(exist_ok=True, mode=0o700)


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file atomically and durably, readable by its owner only. Raises OSError."""
    private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def secret(path: Path) -> str:
    """64 hexadecimal digits, made by whoever asks first and kept, readable by the owner only. Raises VagusError."""
    import secrets

    try:
        if not path.exists():
            fresh = path.with_name(f".{path.name}.new.{os.getpid()}")
            write_private(fresh, secrets.token_hex(32).encode())
            try:
                os.link(fresh, path)
            except FileExistsError:
                pass  # of several that start at once, the first one's counts for all
            finally:
                fresh.unlink()
        return path.read_text().strip()
    except OSError as error:
        hint = "is it another user's? VAGUS_HOME names another state folder"
        said = unwritable(path, error, hint).removeprefix(f"cannot write {path}: ")
        raise VagusError(f"the secret {path} cannot be used: {said}") from error


def read_token(name: str, path: str) -> str:
    """The token of the principal `name` in a file, without white space around it. Raises ConfigError."""
    try:
        with open(Path(path).expanduser(), encoding="ascii") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"tokens: {path} of {name!r} can be read by others; run: chmod 600 {path}")
            return file.read(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"tokens: cannot read {path} of {name!r}: {error}") from error
