"""Locations: `http://host/path`, `file:path`, `proc:command`, `gateway:/path`; what is before the colon names a source."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from vagus.config import hash_text

HTTP = ("http", "https")


def scheme(location: str) -> str:
    """What stands before the first colon: the registered name of the location's source."""
    return location.partition(":")[0].lower()


def shown(location: str, limit: int = 4000) -> str:
    """A location as it may be shown and stored: printable, without the user and password of a URL.

    What is longer than `limit` characters ends with a hash of it, so that two locations stay two.
    """
    if "@" in location and scheme(location) in HTTP:
        try:
            parts = urlsplit(location)
            location = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        except ValueError:
            location = f"{scheme(location)}://malformed"
    text = printable(location)
    return text if len(text) <= limit else f"{text[: limit - 17]}~{hash_text(text):016x}"


def host(location: str) -> str:
    """What shares a limit of fetches at once: a host and port; all commands; all files; the gateway."""
    name = scheme(location)
    if name in HTTP:
        try:
            return f"{name}://{urlsplit(location).netloc.rpartition('@')[2]}"
        except ValueError:
            return name
    return name


def printable(text: str) -> str:
    """The text with a space for each character that could harm a terminal or a store."""
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)
