"""A benchmark's figures: a line of JSON for programs, a line each for people."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from typing import Any


def parser(about: str | None) -> argparse.ArgumentParser:
    """With `--json`; a benchmark adds its own options."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true")
    return made


def show(found: Mapping[str, Any], as_json: bool) -> None:
    """Prints numbers by name."""
    if as_json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:46} {value:14.3f}")


def run(about: str | None, measure: Callable[[], Mapping[str, Any]]) -> None:
    """The whole of a benchmark without options."""
    as_json = parser(about).parse_args().json
    show(measure(), as_json)
