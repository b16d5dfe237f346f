"""An accumulator as plain data, and as PADS/D's XML."""

from __future__ import annotations

from typing import Any

from vagus.feeds.item import Data, Net
from vagus.feeds.tools.accum_profile import Profile, Tracked
from vagus.feeds.tools.accumulator import FETCHED, Accumulator
from vagus.feeds.tools.xml_text import escaped

TOP = 10
MESSAGES = {
    Net.TIMEOUT: "no answer within the time-out",
    Net.REFUSED: "the connection was refused, or could not be made",
    Net.STATUS: "an HTTP error status, or a command that failed",
    Net.TOO_LARGE: "the body is larger than allowed",
    Net.FAILED: "the fetch failed for another reason",
    Net.MISSED: "not fetched at all",
    Data.MAYBE: "not everything was looked at",
    Data.NESTED: "a part is wrong",
    Data.SYNTAX: "not written as the format says",
    Data.SEMANTIC: "well written, but not a possible value",
    Data.NONE: "nothing to parse",
}


def report(accum: Accumulator, more: int = TOP, less: int = 3) -> dict[str, Any]:
    """What an accumulator counted, JSON-ready. more, less: how many of the most and least frequent values.

    Times in ns; percentages of all values of a place. In `places`, in the order in which they were met: path, kind,
    unit, good, bad, percent_bad, missing, codes, count, min, max, mean, sum, distinct, tracked_percent, most, least.
    """
    return {
        "items": accum.items,
        "good": accum.good,
        "bad": accum.bad,
        "failed": accum.failed,
        "percent_bad": _percent(accum.bad + accum.failed, accum.items),
        "errors": accum.errors,
        "first_ns": accum.first_ns,
        "last_ns": accum.last_ns,
        "net_errors": [
            {"code": code.value, "message": MESSAGES[code], "count": accum.net[code.value], "note": _note(accum, code)}
            for code in Net
            if code not in FETCHED and accum.net[code.value]
        ],
        "data_errors": [
            {"code": code.value, "message": MESSAGES[code], "count": accum.data[code.value]}
            for code in Data
            if code is not Data.GOOD and accum.data[code.value]
        ],
        "places": [_place(profile, more, less) for profile in accum.profiles.values()],
    }


def _note(accum: Accumulator, code: Net) -> str:
    return accum.notes.get(code.value, "")


def _place(profile: Profile, more: int, less: int) -> dict[str, Any]:
    place, seen = profile.place, profile.good + profile.bad
    tracked = sum(profile.values.values())
    ranked = sorted(profile.values.items(), key=lambda pair: (-pair[1], str(pair[0])))
    rarest = sorted(ranked[more:], key=lambda pair: (pair[1], str(pair[0])))[:less]
    try:
        total = float(profile.sum)
    except OverflowError:
        total = None
    return {
        "path": place.path,
        "kind": place.kind,
        "unit": place.unit,
        "good": profile.good,
        "bad": profile.bad,
        "percent_bad": _percent(profile.bad, seen),
        "missing": profile.missing,
        "codes": dict(sorted(profile.codes.items())),
        "count": profile.count,
        "min": profile.min,
        "max": profile.max,
        "mean": profile.mean,
        "sum": total if profile.count else None,
        "distinct": len(profile.values),
        "tracked_percent": _percent(tracked, tracked + profile.untracked),
        "most": [_value(value, times, profile.good) for value, times in ranked[:more]],
        "least": [_value(value, times, profile.good) for value, times in rarest],
    }


def _value(value: Tracked, times: int, of: int) -> dict[str, Any]:
    return {"value": value, "count": times, "percent": _percent(times, of)}


def _percent(part: int, whole: int) -> float:
    return round(100 * part / whole, 3) if whole else 0.0


def xml_of(found: dict[str, Any], **attributes: str | int) -> str:
    """A report as `<feed_accumulator>`; attributes go into its first element."""
    given = "".join(f' {name}="{escaped(str(value))}"' for name, value in attributes.items())
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<feed_accumulator{given}>"]
    counts = ("items", "good", "bad", "failed", "percent_bad", "errors", "first_ns", "last_ns")
    lines += [f"  <{key}>{found[key]}</{key}>" for key in counts]
    for key in ("net_errors", "data_errors"):
        lines.append(f"  <{key}>")
        for error in found[key]:
            lines.append("    <error>")
            lines += _elements(error, {"code": "errcode", "message": "errmsg", "count": "errnum", "note": "errnote"}, 6)
            lines.append("    </error>")
        lines.append(f"  </{key}>")
    lines.append("  <places>")
    for place in found["places"]:
        lines += _place_lines(place)
    return "\n".join([*lines, "  </places>", "</feed_accumulator>", ""])


_PLACE = ("good", "bad", "percent_bad", "missing", "count", "min", "max", "mean", "sum", "distinct", "tracked_percent")


def _place_lines(place: dict[str, Any]) -> list[str]:
    unit = f' unit="{escaped(place["unit"])}"' if place["unit"] else ""
    lines = [f'    <place path="{escaped(place["path"])}" kind="{place["kind"]}"{unit}>']
    lines += _elements(place, {key: "avg" if key == "mean" else key for key in _PLACE}, 6)
    for code, times in place["codes"].items():
        lines.append(f"      <error><errcode>{code}</errcode><errnum>{times}</errnum></error>")
    for key in ("most", "least"):
        for value in place[key]:
            numbers = f'count="{value["count"]}" percent="{value["percent"]}"'
            lines.append(f"      <{key} {numbers}>{escaped(str(value['value']))}</{key}>")
    return [*lines, "    </place>"]


def _elements(values: dict[str, Any], names: dict[str, str], indent: int) -> list[str]:
    """An element for each value that there is."""
    shown = ((name, values.get(key)) for key, name in names.items())
    return [f"{' ' * indent}<{name}>{escaped(str(value))}</{name}>" for name, value in shown if value not in (None, "")]
