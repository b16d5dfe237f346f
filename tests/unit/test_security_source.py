"""What the source may not do, what it may depend on, and what `make check` looks for."""

from __future__ import annotations

import ast
import importlib.metadata as metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]

# --- what runs code ----------------------------------------------------------------------------------------------------

ALLOWED = {
    ("vagus/feeds/expression.py", "exec"): "of a checked tree, in which only known names and operators are",
    ("vagus/feeds/expression.py", "compile"): "the same",
    ("vagus/feeds/formats/generated.py", "exec"): "no text of a user is in it: names are indexes",
    ("vagus/feeds/formats/generated.py", "compile"): "the same",
    ("vagus/config/reading.py", "yaml.load"): "with a SafeLoader that reads `on` as a word",
    ("vagus/controllers/load.py", "exec_module"): "the file of a controller that vagus.yaml or a shell names",
    ("vagus/runtime/travel.py", "ray.cloudpickle"): "a user's class on its way through Ray, behind Ray's token",
}
"""The only places, each with its reason."""

UNPICKLING = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle"}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("asyncio.create_subprocess_shell", "create_subprocess_shell", "exec_module", "numpy.fromregex"),
}
SHELLS = {"sh", "bash", "/bin/sh", "/bin/bash", "dash", "zsh"}


SUSPECT = re.compile(
    r"pickle|marshal|shelve|\bdill\b|joblib|(?<![.\w])(eval|exec|compile|__import__)\(|os\.system|popen\(|getoutput|getstatus"
    r"|shell|exec_module|fromregex|(yaml|np|numpy)\.\w*load|[\"'](/bin/)?(ba|da|z|)sh[\"']|subprocess\."
)
"""One of these words is in the text of whatever is looked for below; parsing all modules would take seconds."""


@cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    texts = ((path, path.read_text()) for path in sorted((ROOT / "vagus").rglob("*.py")))
    return tuple((str(path.relative_to(ROOT)), ast.parse(text)) for path, text in texts if SUSPECT.search(text))


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def running_code(tree: ast.Module) -> Iterator[str]:
    """What of a module could run what it was given, by the name under which ALLOWED would have it."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            within = f"{node.module}." if isinstance(node, ast.ImportFrom) and node.module else ""
            for name in (within + alias.name for alias in node.names):
                if parts := UNPICKLING.intersection(name.split(".")):
                    yield name[: name.index(min(parts, key=name.index))] + min(parts, key=name.index)
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        last = name.rpartition(".")[2]
        keywords = {k.arg: k.value for k in node.keywords}
        if name in CALLS:
            yield name
        if name in METHODS or last in METHODS:
            yield last if last in METHODS else name
        if re.fullmatch(r"yaml\.(load|load_all|unsafe_load\w*|full_load\w*)", name):
            yield "yaml.load"
        shell = keywords.get("shell")
        if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
            yield "shell="
        if name in ("np.load", "numpy.load"):
            allowed = keywords.get("allow_pickle")
            if not (isinstance(allowed, ast.Constant) and allowed.value is False):
                yield "np.load with objects"
        elif "allow_pickle" in keywords and not (
            isinstance(keywords["allow_pickle"], ast.Constant) and keywords["allow_pickle"].value is False
        ):
            yield "allow_pickle"


@pytest.mark.says("no-pickle", "yaml-safe")
def test_nothing_in_the_package_runs_what_it_is_given_but_in_known_places() -> None:
    found = {(path, what) for path, tree in sources() for what in running_code(tree)}
    assert found - set(ALLOWED) == set(), "a new place: it needs a reason that it is safe"
    assert {place for place in ALLOWED if (ROOT / place[0]).exists()} - found == set(), "no longer there"


@pytest.mark.says("no-pickle", "no-shell", "yaml-safe")
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import pickle", "pickle"),
        ("from cloudpickle import loads", "cloudpickle"),
        ("import ray.cloudpickle as rc", "ray.cloudpickle"),
        ("from ray import cloudpickle", "ray.cloudpickle"),
        ("x = eval('1')", "eval"),
        ("import os; os.system('x')", "os.system"),
        ("import subprocess; subprocess.run('x', shell=True)", "shell="),
        ("subprocess.run('x', shell=flag)", "shell="),
        ("await_ = asyncio.create_subprocess_shell('x')", "create_subprocess_shell"),
        ("np.load(f)", "np.load with objects"),
        ("np.load(f, allow_pickle=True)", "np.load with objects"),
        ("yaml.load(x, Loader=L)", "yaml.load"),
        ("yaml.unsafe_load(x)", "yaml.load"),
    ],
)
def test_the_check_finds_it(text: str, what: str) -> None:
    assert SUSPECT.search(text)
    assert what in set(running_code(ast.parse(text)))


@pytest.mark.says("no-pickle")
def test_the_check_lets_what_is_safe_pass() -> None:
    text = "import re, json, numpy as np\nre.compile('x')\nnp.load(f, allow_pickle=False)\nyaml.safe_load(x)\nrun(['x'], shell=False)"
    assert list(running_code(ast.parse(text))) == []


@pytest.mark.says("no-shell")
def test_no_program_is_a_shell() -> None:
    """Lists of arguments that begin with a shell, and commands that are one string."""
    found = []
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, (ast.List, ast.Tuple)) and len(node.elts) > 1:
                first = node.elts[0]
                if isinstance(first, ast.Constant) and first.value in SHELLS:
                    found.append((path, node.lineno))
            elif isinstance(node, ast.Call) and dotted(node.func).startswith("subprocess."):
                found += [
                    (path, node.lineno) for first in node.args[:1] if isinstance(first, (ast.Constant, ast.JoinedStr))
                ]
    assert found == []


# --- what it depends on --------------------------------------------------------------------------------------------------

LICENCES = {
    *("Apache-2.0", "Apache Software License", "Apache 2.0"),
    *("MIT", "MIT License", "MIT-0", "MIT-CMU", "0BSD", "Zlib", "CC0-1.0"),
    *("BSD License", "BSD-2-Clause", "BSD-3-Clause", "3-Clause BSD License"),
    *("PSF-2.0", "Python Software Foundation License", "OLDAP-2.8"),
    "Mozilla Public License 2.0 (MPL 2.0)",
}
"""All of them let vagus be passed on under Apache 2.0; MPL asks for changes of its own files only."""
SAID_ELSEWHERE = {"pysnmp": "BSD-2-Clause"}  # its metadata have none; its LICENSE.rst is


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict[str, object]:
    if sys.version_info < (3, 11):
        pytest.skip("tomllib is there from Python 3.11 on")
    import tomllib

    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


@cache
def depended() -> dict[str, set[str]]:
    """Every package that vagus or one of its extras installs, with the extras of it that are wanted."""
    told = project()
    extras: dict[str, list[str]] = told["optional-dependencies"]  # type: ignore[assignment]
    mandatory: list[str] = told["dependencies"]  # type: ignore[assignment]
    waiting = [Requirement(text) for text in [*mandatory, *(r for e in OF_USERS for r in extras[e])]]
    found: dict[str, set[str]] = {}
    while waiting:
        one = waiting.pop()
        if one.marker is not None and not one.marker.evaluate():
            continue
        name = normal(one.name)
        if name in found and found[name] >= one.extras:
            continue
        wanted = found[name] = found.get(name, set()) | one.extras
        try:
            needs = metadata.requires(one.name) or []
        except metadata.PackageNotFoundError:
            continue
        for text in needs:
            more = Requirement(text)
            if more.marker is None or any(more.marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                more.marker = None
                waiting.append(more)
    return found


OF_USERS = ("sql", "snmp", "grpc", "gym")


def licence_of(name: str) -> set[str]:
    """What its metadata say: every one of `A AND B`, one of `A OR B`."""
    told = metadata.metadata(name)
    named = [c.rpartition(" :: ")[2] for c in told.get_all("Classifier", []) if c.startswith("License ::")]
    text = told.get("License-Expression") or " AND ".join(named) or (told.get("License") or "").split("\n")[0]
    return {
        next((choice for choice in part.split(" OR ") if choice in LICENCES), part)
        for part in (text or SAID_ELSEWHERE.get(name, "none")).split(" AND ")
    }


@pytest.mark.says("scanned")
def test_every_package_that_is_installed_has_a_tested_version() -> None:
    lines = [line.split(";")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    tested = {normal(name) for name, _, version in (line.partition("==") for line in lines) if version}
    assert len(depended()) > 60
    assert depended().keys() - tested == set()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines if line and line[0] != "#")


@pytest.mark.says("scanned")
def test_every_package_has_a_licence_that_lets_vagus_be_passed_on() -> None:
    wrong = {}
    for name in depended():
        try:
            if more := licence_of(name) - LICENCES:
                wrong[name] = more
        except metadata.PackageNotFoundError:  # an extra that is not installed here
            continue
    assert wrong == {}


@pytest.mark.says("scanned", "audited")
def test_check_looks_for_secrets_and_audit_is_apart_from_it() -> None:
    text = (ROOT / "Makefile").read_text()
    recipes = dict(re.findall(r"^([a-z]+):.*\n((?:\t.*\n)+)", text, re.M))
    assert "secrets" in recipes["check"]
    assert "pip --disable-pip-version-check check" in recipes["check"]
    assert "audit" not in recipes["check"]
    assert "--no-validate" in recipes["secrets"]
    assert "--no-update-check" in recipes["secrets"]
    for needed in ("pip-audit --strict", "--requirement constraints.txt"):
        assert needed in recipes["audit"]


@pytest.mark.says("scanned")
def test_the_scanner_finds_what_is_planted(tmp_path: Path) -> None:
    scanner = Path(sys.executable).parent / "kingfisher"
    if not scanner.exists():
        pytest.skip("kingfisher is not installed beside this Python")
    text = (ROOT / "Makefile").read_text().replace("\\\n", "")
    (recipe,) = re.findall(r"kingfisher (scan .*?)\s+--rule-cache-dir", text)
    words = recipe.split()
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "a.py").write_text("token = read_token('x')\n")
    (tmp_path / "dirty").mkdir()
    planted = "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC2dF4hJ6"
    (tmp_path / "dirty" / "a.py").write_text(f"github = {planted!r}\n")
    rules = ["--rule-cache-dir", str(Path(sys.prefix) / "kingfisher")]
    done = [
        subprocess.run(
            [scanner, *words, *rules, tmp_path / name], capture_output=True, text=True, check=False, timeout=60
        )
        for name in ("clean", "dirty")
    ]
    assert done[0].returncode == 0, done[0].stdout + done[0].stderr
    assert done[1].returncode == 200, "as kingfisher says that it found something"
    assert planted not in done[1].stdout, "what was found is not shown"


@pytest.mark.says("scanned")
def test_no_tracked_file_holds_a_key_of_vagus_own() -> None:
    """64 hexadecimal digits, as vagus makes them, with `token`, `secret` or `key` before them on their line."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    pattern = re.compile(rb"(?i)(token|secret|key)\W[^\n]{0,40}\b[0-9a-f]{64}\b")
    found = [
        name.decode()
        for name in listed
        if name and (ROOT / name.decode()).is_file() and pattern.search((ROOT / name.decode()).read_bytes())
    ]
    assert found == []
