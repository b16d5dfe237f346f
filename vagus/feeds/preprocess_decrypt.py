"""Decryption with a key of one's own: Fernet tokens, or AES-256-GCM."""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

from vagus.errors import ConfigError

NONCE_BYTES = 12
TAG_BYTES = 16
KEY_BYTES = 32
MAX_KEY_FILE_BYTES = 4096

_HEX = re.compile(rb"[0-9a-fA-F]{64}\Z")
_BASE64 = re.compile(rb"[0-9A-Za-z+/_-]{43}=?\Z")


class Decrypt:
    """Authenticated decryption: what was changed on its way is an error, never a wrong value.

    key_file: 32 bytes as 64 hexadecimal digits, as base64 (what `Fernet.generate_key()` gives) or as they are, in a
    file that only its owner can read. scheme: `fernet` (a token), or `aes-256-gcm`: a nonce of 12 bytes, the encrypted
    bytes, the tag of 16. Raises ConfigError for an unknown scheme and a key file that will not do.
    """

    name = "decrypt"

    def __init__(self, key_file: str, scheme: str = "fernet") -> None:
        openers: dict[str, Callable[[bytes], Callable[[bytes], bytes]]] = {"fernet": _fernet, "aes-256-gcm": _aes_gcm}
        if scheme not in openers:
            raise ConfigError(f"decrypt: scheme {scheme!r} is not one of {', '.join(openers)}")
        self._scheme = scheme
        self._open = openers[scheme](_key(key_file))

    def apply(self, body: bytes, max_bytes: int) -> bytes:
        """The plain bytes. Raises ValueError for what was not encrypted with this key and scheme, or was changed."""
        plain = self._open(body)
        if len(plain) > max_bytes:
            raise ValueError(f"it holds more than max_bytes={max_bytes}")
        return plain


def _fernet(key: bytes) -> Callable[[bytes], bytes]:
    from cryptography.fernet import Fernet, InvalidToken

    fernet = Fernet(base64.urlsafe_b64encode(key))

    def opened(body: bytes) -> bytes:
        try:
            return fernet.decrypt(body.strip())
        except InvalidToken as error:
            raise ValueError("not a Fernet token of this key, or changed on its way") from error

    return opened


def _aes_gcm(key: bytes) -> Callable[[bytes], bytes]:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher = AESGCM(key)

    def opened(body: bytes) -> bytes:
        if len(body) < NONCE_BYTES + TAG_BYTES:
            raise ValueError(f"{len(body)} bytes; nonce and tag alone are {NONCE_BYTES + TAG_BYTES}")
        try:
            return cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], None)
        except InvalidTag as error:
            raise ValueError("not AES-256-GCM of this key, or changed on its way") from error

    return opened


def _key(path: str) -> bytes:
    where = f"decrypt: key_file {path}"
    try:
        handle = os.open(Path(path).expanduser(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError(f"{where} is not a regular file")
            if found.st_mode & 0o077:
                raise ConfigError(f"{where} can be read by others; run: chmod 600 {path}")
            content = file.read(MAX_KEY_FILE_BYTES)
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    word = content.strip()
    if _HEX.match(word):
        return bytes.fromhex(word.decode())
    if _BASE64.match(word):
        try:
            key = base64.b64decode(word.rstrip(b"=") + b"=", altchars=b"-_" if b"-" in word or b"_" in word else None)
            if len(key) == KEY_BYTES:
                return key
        except binascii.Error:
            pass
    if len(content) == KEY_BYTES:
        return content
    raise ConfigError(f"{where} holds no key of {KEY_BYTES} bytes, as 64 hexadecimal digits or as base64")
