"""Ids of traces and spans as W3C writes them: 32 and 16 hexadecimal digits in lower case, not all zero."""

from __future__ import annotations

import re

from vagus.errors import ConfigError

_HEX = re.compile(r"[0-9a-f]+\Z")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


def trace_id_of(given: bytes | str, shorter: bool = False) -> str:
    """16 bytes, or as many hexadecimal digits as text; shorter: leading zeros may be left out. Raises ConfigError."""
    text = _hex(given, 32, shorter)
    if text is None or text == _NO_TRACE:
        raise ConfigError(f"trace id {_shown(given)} is not 32 hexadecimal digits that are not all zero")
    return text


def span_id_of(given: bytes | str, shorter: bool = False, optional: bool = False) -> str:
    """8 bytes, or as many digits; optional: nothing, or zeros, give empty text. Raises ConfigError."""
    if optional and not given:
        return ""
    text = _hex(given, 16, shorter)
    if text == _NO_SPAN and optional:
        return ""
    if text is None or text == _NO_SPAN:
        raise ConfigError(f"span id {_shown(given)} is not 16 hexadecimal digits that are not all zero")
    return text


def _hex(given: bytes | str, digits: int, shorter: bool) -> str | None:
    text = given.hex() if isinstance(given, bytes) else given.lower() if len(given) <= digits else ""
    if not _HEX.match(text) or len(text) > digits or (len(text) < digits and not shorter):
        return None
    return text.zfill(digits)


def _shown(given: bytes | str) -> str:
    text = given[:40].hex() if isinstance(given, bytes) else given[:40]
    return repr(text)
