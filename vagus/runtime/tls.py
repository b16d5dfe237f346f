"""TLS between Ray's processes: certificates that lie in the state folder are used by whatever is started from there."""

from __future__ import annotations

from pathlib import Path

from vagus.errors import ConfigError

FILES = {"RAY_TLS_CA_CERT": "ca.crt", "RAY_TLS_SERVER_CERT": "node.crt", "RAY_TLS_SERVER_KEY": "node.key"}


def settings(home: Path) -> dict[str, str]:
    """Ray's settings for the certificates in `HOME/tls`; none without that folder.

    Raises ConfigError: one of the three files is missing (Ray would abort without a word), or the key is not private.
    """
    folder = home / "tls"
    if not folder.is_dir():
        return {}
    missing = [name for name in FILES.values() if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{folder} lacks {' and '.join(missing)}: TLS between nodes needs {', '.join(FILES.values())}; "
            "docs/security.md shows how to make them"
        )
    key = folder / FILES["RAY_TLS_SERVER_KEY"]
    if key.stat().st_mode & 0o077:
        raise ConfigError(f"{key} can be read by others; run: chmod 600 {key}")
    return {"RAY_USE_TLS": "1", **{name: str(folder / file) for name, file in FILES.items()}}
