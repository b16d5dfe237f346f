"""Bytes of a terminal as keys. Pure."""

from __future__ import annotations

import re

ESCAPED = {
    "A": "up",
    "B": "down",
    "H": "home",
    "F": "end",
    "Z": "backtab",
    "1~": "home",
    "4~": "end",
    "5~": "pageup",
    "6~": "pagedown",
    "7~": "home",
    "8~": "end",
}
CONTROLS = {"\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x0c": "redraw"}
ESCAPE = "\x1b"
MAX_REST = 32  # bytes; what is longer is no key
_SEQUENCE = re.compile(r"\x1b(?:\[([0-9;?]*[ -/]*[@-~])|O([A-Za-z]))")
_BEGUN = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*|O)?\Z")


def decode(data: bytes, final: bool = False) -> tuple[list[str], bytes]:
    """Keys, and the bytes of one that is not whole yet. final: nothing follows, so that Escape is a key by itself.

    A key is a printable character or a name: up, down, pageup, pagedown, home, end, tab, backtab, enter, backspace,
    escape, redraw. Others are left out.
    """
    text, rest = _text(data, final)
    keys: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == ESCAPE:
            found = _SEQUENCE.match(text, at)
            if found:
                at = found.end()
                keys += [ESCAPED[name] for name in found.groups() if name in ESCAPED]
                continue
            if _BEGUN.match(text, at) and not final and len(text) - at < MAX_REST:
                return keys, text[at:].encode() + rest
            keys.append("escape")
        elif text[at] in CONTROLS:
            keys.append(CONTROLS[text[at]])
        elif text[at].isprintable():
            keys.append(text[at])
        at += 1
    return keys, rest


def _text(data: bytes, final: bool) -> tuple[str, bytes]:
    """As much as is whole UTF-8; bytes that are none are left out."""
    for cut in range(0 if final else min(3, len(data)), 0, -1):
        head, tail = data[:-cut], data[-cut:]
        if tail[0] >= 0xC0 and cut < (2 if tail[0] < 0xE0 else 3 if tail[0] < 0xF0 else 4):
            return head.decode("utf-8", "ignore"), tail
    return data.decode("utf-8", "ignore"), b""
