"""The types of the format language that stand alone, and what those that are made of others need.

Optional, Constrained and Union are in compounds.py, List and Lines in lists.py, Keyed and Map in keyed.py, Layout in
layout.py, Time in timestamps.py.
"""

from __future__ import annotations

from vagus.feeds.formats.nodes import (
    GREATEST_INT,
    LEAST_INT,
    MAX_DEPTH,
    MAX_PATTERN,
    Node,
    Printer,
    Reader,
    Reading,
    broken,
    check_number,
    depth,
    filled,
    fixed,
    kept,
    literal,
    quoted,
    refuse,
    trimmed,
    user_regex,
)
from vagus.feeds.formats.numeric import BOOLS, Binary, Bool, Float, Int, matched
from vagus.feeds.formats.texts import Bytes, Choice, Str

__all__ = [
    "BOOLS",
    "GREATEST_INT",
    "LEAST_INT",
    "MAX_DEPTH",
    "MAX_PATTERN",
    "Binary",
    "Bool",
    "Bytes",
    "Choice",
    "Float",
    "Int",
    "Node",
    "Printer",
    "Reader",
    "Reading",
    "Str",
    "broken",
    "check_number",
    "depth",
    "filled",
    "fixed",
    "kept",
    "literal",
    "matched",
    "quoted",
    "refuse",
    "trimmed",
    "user_regex",
]
