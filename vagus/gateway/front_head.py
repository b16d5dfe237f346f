"""Heads of requests, read only as far as it takes to see whose they are and where they end.

What the front answers itself, and what it hands on whole, is of the plainest form; anything else (chunked bodies,
upgrades, folded or odd lines, HTTP/1.0) has an end that only aiohttp's parser is trusted to find, and is its for good.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from vagus.access import Verb
from vagus.gateway.door import HostNames, Keys

DECIDE, UPDATE, OTHER, UNKNOWN = range(4)
"""Answered here: a decision, outcomes. Of somebody else: a request whose end is known, or not."""
PATHS: tuple[tuple[bytes, str, Verb, str], ...] = (
    (b"POST /v1/decide HTTP/1.1", "/v1/decide", "act", "decide"),
    (b"POST /v1/update HTTP/1.1", "/v1/update", "send", "reward"),
)
"""By kind: the request line, the path, and what the access rules are asked."""
MAX_HEAD_BYTES = 8000
"""Of one that is read here; aiohttp refuses lines longer than 8190."""
MAX_LINES = 100
MAX_REMEMBERED = 2048
JSON = b"application/json"
PACKED = frozenset((b"application/msgpack", b"application/x-msgpack", b"application/vnd.msgpack"))

_LINE = re.compile(rb"(?:GET|POST|PUT|DELETE|PATCH|HEAD|OPTIONS) [!-~]+ HTTP/1\.1")
_FIELDS = re.compile(rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[ \t]*[\t\x20-\x7e\x80-\xff]*)*")
_TRACED = re.compile(rb"(?i)\r\ntrace(?:parent|state):[\t\x20-\x7e]*(?=\r\n|\Z)")
_BEGINNING = re.compile(rb"[A-Z]{1,7}(?:\Z| )")
_FRAMING = frozenset((b"transfer-encoding", b"upgrade", b"connection", b"content-length"))
_ASKED = frozenset((b"host", b"authorization", b"content-type", b"content-encoding", b"expect"))


class Head(NamedTuple):
    """kind: DECIDE, UPDATE, OTHER or UNKNOWN; length: of the body, bytes; packed: it is MessagePack; close: after it.

    plain: a decision's length with the empty line before it, where nothing else is special about it; else -1.
    """

    kind: int
    length: int = 0
    packed: bool = False
    close: bool = False
    plain: int = -1


_UNKNOWN = Head(UNKNOWN)


class Heads:
    """Reads heads; those of clients that may do what they ask are remembered by their bytes.

    A client sends the same head again and again (all but the length): the look-up is then all that is done. Who may
    not, or is not understood, is left to aiohttp's path, which says so in its words and tells of it. The context of a
    trace is another one each time and says nothing to us: heads are remembered without it.
    """

    def __init__(self, keys: Keys, names: HostNames, max_body_bytes: int) -> None:
        self._keys = keys
        self._names = names
        self._max_body_bytes = max_body_bytes
        self.known: dict[bytes, Head] = {}

    def read(self, head: bytes) -> Head:
        """What the bytes before the empty line say."""
        if len(head) <= MAX_HEAD_BYTES:
            plain = _TRACED.sub(b"", head, count=2)
            known = self.known.get(plain)
            if known is not None:
                return known
            head = plain
        found = self._read(head)
        if found.kind < OTHER:
            if len(self.known) >= MAX_REMEMBERED:
                self.known.clear()
            self.known[head] = found
        return found

    def _read(self, head: bytes) -> Head:
        line, _, _ = head.partition(b"\r\n")
        if len(head) > MAX_HEAD_BYTES or not _LINE.fullmatch(line) or not _FIELDS.fullmatch(head, len(line)):
            return _UNKNOWN
        lines = head.split(b"\r\n")
        if len(lines) > MAX_LINES:
            return _UNKNOWN
        framing: dict[bytes, bytes] = {}
        asked: dict[bytes, bytes] = {}
        twice = False
        for field in lines[1:]:
            name, _, value = field.partition(b":")
            name = name.lower()
            if name in _FRAMING:
                if name in framing:
                    return _UNKNOWN
                framing[name] = value.strip(b" \t")
            elif name in _ASKED:
                twice = twice or name in asked
                asked[name] = value.strip(b" \t")
        connection = framing.get(b"connection", b"keep-alive").lower()
        digits = framing.get(b"content-length", b"0")
        if (
            b"transfer-encoding" in framing
            or b"upgrade" in framing
            or connection not in (b"keep-alive", b"close")
            or not (digits.isdigit() and len(digits) <= 15)
        ):
            return _UNKNOWN
        length = int(digits)
        for kind, (ours, _, verb, what) in enumerate(PATHS):
            if line == ours and b"content-length" in framing and not twice:
                packed = _packed(asked)
                if packed is not None and length <= self._max_body_bytes and self._allowed(asked, verb, what):
                    last = connection == b"close"
                    plain = kind == DECIDE and not packed and not last
                    return Head(kind, length, packed, last, length + 4 if plain else -1)
        return Head(OTHER, length)

    def _allowed(self, asked: dict[bytes, bytes], verb: Verb, what: str) -> bool:
        host = asked.get(b"host", b"").decode("latin-1")
        scheme, _, token = asked.get(b"authorization", b"").decode("latin-1").partition(" ")
        if not host or not self._names.allowed(host) or scheme.lower() != "bearer":
            return False
        who = self._keys.holder(token.strip())
        return who is not None and self._keys.allows(who, verb, what)


def _packed(asked: dict[bytes, bytes]) -> bool | None:
    """Whether the body is MessagePack; None when it is not to be read here."""
    if b"expect" in asked or asked.get(b"content-encoding", b"identity").lower() != b"identity":
        return None
    media = asked.get(b"content-type", b"").partition(b";")[0].strip().lower()
    return True if media in PACKED else False if media == JSON else None


def hopeless(begun: bytes) -> bool:
    """Whether what has come of a head cannot become one that is read here."""
    if len(begun) > MAX_HEAD_BYTES or not _BEGINNING.match(begun):
        return True
    return begun.count(b"\n") != begun.count(b"\r\n")
