"""Any text as XML 1.0."""

from __future__ import annotations

import re

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SPECIAL = re.compile('[&<>"\t\n\r]')
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,199}\Z")


def legal(text: str) -> bool:
    """Whether XML 1.0 can say this text at all; it has no control characters, surrogates and U+FFFE."""
    return _ILLEGAL.search(text) is None


def escaped(text: str) -> str:
    r"""Text for an element or an attribute; what XML cannot say is written as `\x1b`, `\ufffe`."""
    if _ILLEGAL.search(text):
        text = _ILLEGAL.sub(lambda found: _escape(ord(found[0])), text)
    return _SPECIAL.sub(lambda found: _ENTITIES.get(found[0]) or f"&#{ord(found[0])};", text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def is_name(text: str) -> bool:
    """Whether a text can be the name of an element: no colon, and none of XML's own."""
    return _NAME.match(text) is not None and not text.lower().startswith("xml")
