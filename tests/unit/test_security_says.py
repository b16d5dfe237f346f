"""docs/security.md and the tests that hold it: no sentence without a test, no test of a sentence that is gone."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from vagus.actors import submits, transfers
from vagus.config import MAX_CONFIG_BYTES, Config
from vagus.gateway import door, inputs, routes_subscribe, server, websocket
from vagus.health import inbox
from vagus.inputs import admission, forward, native
from vagus.netlogger import MAX_LINE_BYTES
from vagus.sealing import MAX_DATAGRAM_BYTES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/security.md"
MARK = re.compile(r"<!--says ([a-z0-9-]+)-->")


def prose(text: str) -> str:
    """Without blocks of code."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


def claims(text: str) -> Iterator[str]:
    """Rows of tables without their heads, and items of lists, each in one line."""
    rows: list[str] = []
    for block in re.split(r"\n(?=- |\| |\n|#)", prose(text)):
        line = " ".join(block.split())
        if line.startswith("- "):
            yield line
        if line.startswith("| "):
            rows.append(line)
        elif rows:
            yield from rows[1:]
            rows = []
    yield from rows[1:]


def told() -> set[str]:
    return set(MARK.findall(prose(PAGE.read_text())))


def shown(text: str) -> Iterator[str]:
    """Names in `pytest.mark.says(...)` of tests, wherever it stands as a decorator or in `pytestmark`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "says":
            for argument in node.args:
                assert isinstance(argument, ast.Constant), "names of sentences are written out"
                yield str(argument.value)


def all_shown() -> set[str]:
    found: set[str] = set()
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        if "mark.says(" in text:
            found.update(shown(text))
    return found


def test_each_sentence_has_a_test_and_each_test_a_sentence() -> None:
    assert told() - all_shown() == set(), "of docs/security.md, without a test"
    assert all_shown() - told() == set(), "tests of what docs/security.md does not say"


def test_every_claim_is_marked() -> None:
    text = PAGE.read_text()
    found = list(claims(text))
    assert len(found) > 80
    for claim in found:
        assert MARK.search(claim), f"nothing says which test holds: {claim[:100]}"
        if claim.startswith("- "):
            # one mark for a sentence, behind it: several sentences under one mark would be several claims
            parts = [part.strip(" -") for part in MARK.split(claim)[::2]]
            assert parts[-1] == "", f"a sentence without a mark: {parts[-1][:100]}"
            for part in parts[:-1]:
                assert part, claim
                assert not re.search(r"[.!?] +[A-Z]", re.sub(r"`[^`]*`", "x", part)), f"two sentences: {part[:100]}"


def test_the_check_would_find_what_is_not_marked() -> None:
    text = "# A\n\n- One. <!--says a-->\n- Two\n  lines.\n\n| h | i |\n|---|---|\n| x | y |\n\n```\n- no claim\n```\n"
    found = list(claims(text))
    assert [MARK.findall(one) for one in found] == [["a"], [], []]
    assert found[1:] == ["- Two lines.", "| x | y |"]
    source = "import pytest\n@pytest.mark.says('a', 'b')\ndef test(): ...\npytestmark = [pytest.mark.says('c')]\n"
    assert sorted(shown(source)) == ["a", "b", "c"]


def test_names_of_sentences_are_used_once_but_in_the_table_of_routes() -> None:
    times = Counter(MARK.findall(prose(PAGE.read_text())))
    assert {name for name, count in times.items() if count > 1} <= {"roles-read-named"}


def size(count: int) -> str:
    """As people write it."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count % unit == 0 and count >= unit:
            return f"{count // unit} {name}"
    return f"{count:,}".replace(",", " ") if count >= 10_000 else str(count)


DEFAULTS = Config()
NUMBERS: dict[str, tuple[int, ...]] = {
    "limit-body": (DEFAULTS.gateway.max_body_bytes,),
    "limit-items": (inputs.MAX_ITEMS,),
    "limit-answer": (server.MAX_VALUES,),
    "limit-subscriptions": (*(routes_subscribe.MAX_READERS, websocket.MAX_SUBSCRIPTIONS), websocket.MAX_MESSAGE_BYTES),
    "limit-tokens": (door.MAX_TOKENS,),
    "limit-sealed": (MAX_DATAGRAM_BYTES,),
    "limit-reports": (inbox.MAX_INBOX_BYTES, inbox.MAX_INBOX_REPORTS),
    "limit-connections": (submits.MAX_CONNECTIONS,),
    "limit-parcel": (native.MAX_PARCEL_BYTES,),
    "limit-line": (MAX_LINE_BYTES, DEFAULTS.inputs.max_connections),
    "limit-forward": (forward.MAX_MESSAGE_BYTES, forward.MAX_INFLATED_BYTES),
    "limit-probes": (transfers.MAX_SERVED,),
    "limit-streams": (admission.MAX_STREAMS,),
    "limit-feed": (DEFAULTS.feeds[0].max_bytes,),
    "limit-config": (MAX_CONFIG_BYTES,),
}


@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_the_page_has_the_numbers_of_the_code(name: str) -> None:
    (row,) = [claim for claim in claims(PAGE.read_text()) if f"<!--says {name}-->" in claim]
    for number in NUMBERS[name]:
        assert re.search(rf"(?<!\d)(?<!\d ){re.escape(size(number))}\b(?! \d)", row), (number, row)
