"""Features to group: the values of the critical features, joined so that no two combinations share a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vagus.config import hash_text
from vagus.errors import ConfigError
from vagus.model import MAX_LABEL_VALUE, MAX_NAME, Scalar

MAX_FEATURES = 100
MAX_GROUP = 400  # longer names end in a hash: a group stays printable in a table and fits a store's key
MISSING = "\\?"  # no escaped value reads so


def check_features(features: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """A copy of at most 100 features: names of 1 to 200 characters, values text of at most 500, 64-bit or float.

    Raises ConfigError, naming the feature.
    """
    if len(features) > MAX_FEATURES:
        raise ConfigError(f"{len(features)} features; a decision takes at most {MAX_FEATURES}")
    for name, value in features.items():
        if type(name) is not str or not 0 < len(name) <= MAX_NAME:
            raise ConfigError(f"feature name {str(name)[:50]!r} must be text of 1 to {MAX_NAME} characters")
        if not name.isascii():
            _check_unicode(name, name)
        if type(value) is str:
            if not value.isascii():
                _check_unicode(name, value)
            if len(value) > MAX_LABEL_VALUE:
                raise ConfigError(f"feature {name!r} has {len(value)} characters; at most {MAX_LABEL_VALUE}")
        elif type(value) is int:
            if not -(1 << 63) <= value < 1 << 63:
                raise ConfigError(f"feature {name!r} does not fit 64 bits; send it as text")
        elif type(value) is not float and type(value) is not bool:
            raise ConfigError(f"feature {name!r} must be text, a number or a boolean, not {type(value).__name__}")
    return dict(features)


def _check_unicode(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair: it could not be stored or sent
        raise ConfigError(f"feature {name[:50]!r} is not valid Unicode: {error.reason}") from error


def group_of(features: Mapping[str, Scalar], group_by: Sequence[str]) -> str:
    r"""The group's name: values of the `group_by` features in that order, joined by `:`; "" when there are none.

    `\` and `:` inside a value are escaped with `\`, and a feature that is not sent reads `\?`, so names never
    collide. Values are compared by their text (7922 and "7922", 1 and 1.0 are one group): query strings, CSV
    and JSON senders do not agree on types. Names beyond 400 characters are cut and end in a hash of the whole.
    """
    if not group_by:
        return ""
    return named(":".join([text_of(features.get(feature)) for feature in group_by]))


def named(name: str) -> str:
    """A name of at most 400 characters: longer ones are cut and end in a hash of the whole."""
    return name if len(name) <= MAX_GROUP else f"{name[: MAX_GROUP - 18]}\\#{hash_text(name):016x}"


def text_of(value: Scalar | None) -> str:
    r"""A value's text, by which values are compared; `\` and `:` in it are escaped, and what is not sent reads `\?`."""
    if type(value) is str:
        if "\\" in value or ":" in value:
            return value.replace("\\", "\\\\").replace(":", "\\:")
        return value
    if value is None:
        return MISSING
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is float and value.is_integer():
        return str(int(value))
    return str(value)
