"""Links between the Markdown files of this repository, as Git shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from docsite.links import anchors, broken

ROOT = Path(__file__).resolve().parents[2]


def test_every_link_of_this_repository_leads_somewhere() -> None:
    assert broken(ROOT) == []


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("gone.md", "no such file"),
        ("other.md#gone", "no such heading"),
        ("#gone", "no such heading"),
        ("../elsewhere.md", "outside of this repository"),
    ],
)
def test_a_link_that_leads_nowhere_is_told(tmp_path: Path, link: str, why: str) -> None:
    (tmp_path / "other.md").write_text("# Other\n")
    (tmp_path / "README.md").write_text(f"# Here\n\n[well](other.md#other), [well](#here), [this]({link})\n")
    assert broken(tmp_path) == [f"README.md: {link}: {why}"]


def test_code_and_addresses_are_no_links_of_the_repository(tmp_path: Path) -> None:
    text = "`[a](gone.md)`\n\n```\n[b](gone.md)\n```\n\n[c](https://example.org/x) [d](mailto:a@example.org)\n"
    (tmp_path / "README.md").write_text(text)
    assert broken(tmp_path) == []


def test_headings_are_called_as_on_github() -> None:
    text = "# `vagus top`: a, b & c\n## Who may\n## Who may\n```sh\n# no heading\n```\n### [Linked](x.md) *word* a_b\n"
    assert anchors(text) == {"vagus-top-a-b--c", "who-may", "who-may-1", "linked-word-a_b"}
