"""Options of `alert`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from vagus.config import Duration, MailSettings, Settings

Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$", max_length=2000)]


class AlertOptions(Settings, frozen=True):
    """At least one rule (minimum, maximum, when, function, missing), how long it must hold, and where it is told."""

    name: str = ""  # of the rule, in what is told; empty: as it is written
    field: str = ""  # the number that minimum, maximum and a numeric clear are about: an expression
    minimum: float | None = None
    maximum: float | None = None
    when: str = ""  # an expression
    function: Any = None  # module:function of the item: true, false, or None where it cannot tell
    missing: Duration = 0  # for how long nothing could be told of a subject; 0: absence is no alert
    key: str = ""  # what tells subjects apart: an expression; empty: the location
    for_: Duration = msgspec.field(name="for", default=0)  # how long a rule holds before it is told
    clear: float | str = ""  # the alert ends at this number (hysteresis), or when this expression holds
    clear_for: Duration = 0  # and has done so for this long
    repeat: Duration = 0  # how often a standing alert is told again; 0: never
    most_per_hour: Annotated[int, msgspec.Meta(ge=1, le=60)] = 6  # begins of one subject, before it must calm down
    severity: Literal["maybe_unhealthy", "unhealthy", "dying"] = "unhealthy"
    message: str = ""  # such as: {location} has load {load1}
    file: str = ""  # a line for each notice
    style: Literal["json", "text"] = "json"  # of the file's lines
    event: bool = True
    webhooks: tuple[Url, ...] = ()
    mail: MailSettings | None = None
    report: bool = False  # it is health evidence about the subject
    subject: str = ""  # whose health, such as {node}; empty, or while that is missing: the key, or the location
