"""Each file of examples/ is run or read by a test: one names it, or a block of a page that is run, or a file that is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.fixtures.blocks import blocks

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *EXAMPLES.rglob("*.md")]
DATA = (".npz", ".csv", ".txt")  # names nothing

# names that a test puts together or finds: the words with which it does so
PUT_TOGETHER = {
    "cluster/gcp.yaml": ("tests/unit/test_examples_cluster.py", 'HERE / f"{cloud}.yaml"'),
    "cluster/kuberay/kustomization.yaml": ("tests/unit/test_examples_kuberay.py", '["kubectl", "kustomize", str(HERE / folder)]'),
    "cluster/kuberay-act/kustomization.yaml": ("tests/unit/test_examples_kuberay.py", '["kubectl", "kustomize", str(HERE / folder)]'),
    "feeds/tools/longest.yaml": ("tests/system/test_examples_feeds_users.py", 'run(folder / "tools", "-m", "vagus", "feed", "run", "longest.yaml"'),
    "health/none.py": ("tests/unit/test_examples_patterns.py", '"none": {'),
    "health/pool.py": ("tests/unit/test_examples_patterns.py", '"pool": {'),
    "health/proxy.py": ("tests/unit/test_examples_patterns.py", '"proxy": {'),
    "health/reply.py": ("tests/unit/test_examples_patterns.py", '"reply": {'),
    "health/request.py": ("tests/unit/test_examples_patterns.py", '"request": {'),
    "social_network/measure.py": ("tests/system/test_social_network.py", "import measure"),
    "social_network/train.yaml": ("tests/unit/test_examples.py", 'path.name == "train.yaml"'),
    "social_network/traces/diurnal.txt": ("tests/unit/test_examples_social_network.py", '(EXAMPLE / "traces").glob("*.txt")'),
    "social_network/traces/noisy.txt": ("tests/unit/test_examples_social_network.py", '(EXAMPLE / "traces").glob("*.txt")'),
}  # fmt: skip


def files() -> list[Path]:
    """All but the pages, which tests/system/test_docs_blocks.py runs."""
    found = (p for p in EXAMPLES.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return [path for path in found if path.suffix != ".md"]


def named(text: str, path: Path, folders: set[Path]) -> bool:
    """Whether a text names a file: with its folder, or alone where the text is about that folder."""
    if path.stem not in text:
        return False
    said = [re.escape(f"{path.parent.name}/{path.name}"), rf'{path.parent.name}" / "{re.escape(path.name)}"']
    if path.parent in folders:
        said.append(rf"(?<![\w.-]){re.escape(path.name)}\b")
        if path.suffix == ".py":
            said += [rf"^\s*(?:import|from) {path.stem}\b", rf"\b{path.stem}:\w"]
    return any(re.search(one, text, re.MULTILINE) for one in said)


def about(text: str) -> set[Path]:
    """The folders of examples that a test names."""
    found = set()
    for folder in EXAMPLES.rglob("*"):
        parts = folder.relative_to(ROOT).parts
        if folder.is_dir() and (f'"{"/".join(parts)}"' in text or '" / "'.join(parts) in text):
            found.add(folder)
    return found


def reached() -> set[Path]:
    """What tests and blocks name, what that names, and so on."""
    texts = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    for page in PAGES:
        texts += [b.text for b in blocks(page.name, page.read_text()) if b.mark != "shown by"]
    every = files()
    found = {EXAMPLES / name for name in PUT_TOGETHER}
    for text in texts:
        folders = about(text)
        found |= {path for path in every if named(text, path, folders)}
    new = found
    while new:
        read = [(path.parent, path.read_text()) for path in new if path.suffix not in DATA]
        new = {p for p in every if p not in found and any(named(text, p, {folder}) for folder, text in read)}
        found |= new
    return found


def test_every_file_is_reached() -> None:
    assert sorted(str(path.relative_to(EXAMPLES)) for path in set(files()) - reached()) == []


@pytest.mark.parametrize("name", PUT_TOGETHER)
def test_what_puts_a_name_together_does(name: str) -> None:
    test, words = PUT_TOGETHER[name]
    assert (EXAMPLES / name).is_file()
    assert words in (ROOT / test).read_text(), f"{test} no longer has: {words}"


def test_a_file_that_nothing_names_would_be_found() -> None:
    path = EXAMPLES / "controller" / "gentle.py"
    assert named("policy: examples/controller/gentle.py:Gentle", path, set())
    assert named('EXAMPLE / "gentle.py"', path, about('EXAMPLE = ROOT / "examples" / "controller"'))
    assert not named("gentle.py", path, set())
    assert not named("not-gentle.py", path, {path.parent})
