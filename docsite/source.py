"""What the source says of classes and functions: fields with their comments, signatures, docstrings. Nothing is imported."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Member(NamedTuple):
    """A field of a record or a member of an enumeration: name, type and default as written, its comment."""

    name: str
    type: str
    default: str
    comment: str


class Function(NamedTuple):
    """signature: as it is called; kind: `async `, `property `, `classmethod ` or nothing."""

    name: str
    signature: str
    doc: str
    kind: str


class Class(NamedTuple):
    """bases: their names as written; section: the heading that the file has above it."""

    name: str
    doc: str
    bases: tuple[str, ...]
    members: tuple[Member, ...]
    functions: tuple[Function, ...]
    section: str


class Source:
    """One file of the package, by its dotted name."""

    def __init__(self, module: str) -> None:
        stem = ROOT / module.replace(".", "/")
        self.path = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
        self.module = module
        text = self.path.read_text("utf-8")
        self.tree = ast.parse(text)
        self._lines = text.splitlines()
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        self._comments = {t.start[0]: t.string.lstrip("#").strip() for t in tokens if t.type == tokenize.COMMENT}

    def classes(self) -> Iterator[Class]:
        """The public classes, in their order."""
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield self._class(node)

    def named(self, name: str) -> Class | Function | None:
        """The class or function of that name, or behind it (`name = Class`, `name = Class()`); None when there is none.

        Of overloads, the one that does it.
        """
        for node in reversed(self.tree.body):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                made = node.value.func if isinstance(node.value, ast.Call) else node.value
                return self.named(made.id) if isinstance(made, ast.Name) and made.id != name else None
            if getattr(node, "name", "") == name:
                if isinstance(node, ast.ClassDef):
                    return self._class(node)
                if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    return _function(node)
        return None

    def instance(self, name: str) -> bool:
        """Whether the name is an object that the module makes of a class."""
        return any(
            isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name and isinstance(node.value, ast.Call)
            for node in self.tree.body
        )

    def origin(self, name: str) -> str:
        """The module of this package that a name was imported from, or this one."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and any((a.asname or a.name) == name for a in node.names):
                return node.module or self.module
        return self.module

    def _class(self, node: ast.ClassDef) -> Class:
        functions = [
            _function(item)
            for item in node.body
            if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))
            and (item.name == "__init__" or not item.name.startswith("_"))
            and "overload" not in map(ast.unparse, item.decorator_list)
        ]
        bases = tuple(ast.unparse(base) for base in node.bases)
        doc = ast.get_docstring(node) or ""
        return Class(node.name, doc, bases, tuple(self._members(node)), tuple(functions), self._section(node.lineno))

    def _members(self, node: ast.ClassDef) -> Iterator[Member]:
        for item, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                name, kind, value = item.target.id, ast.unparse(item.annotation), item.value
            elif isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
                name, kind, value = item.targets[0].id, "", item.value
            else:
                continue
            if not name.startswith("_"):
                default = ast.unparse(value) if value is not None else ""
                yield Member(name, kind, default, _text(after) or self._comment(item))

    def _comment(self, item: ast.stmt) -> str:
        """The comments within and right behind a statement, else those in the lines above that stand alone."""
        last = item.end_lineno or item.lineno
        found = [self._comments[n] for n in range(item.lineno, last + 1) if n in self._comments]
        if not found:
            n = item.lineno - 1
            while n in self._comments and self._lines[n - 1].lstrip().startswith("#"):
                found.insert(0, self._comments[n])
                n -= 1
        return " ".join(word for word in found if not word.startswith(("noqa", "type:")))

    def _section(self, line: int) -> str:
        for n in range(line, 0, -1):
            if found := re.match(r"# --- (.+?) -+\Z", self._lines[n - 1].strip()):
                return found[1]
        return ""


def _text(node: ast.stmt | None) -> str:
    """A string that stands alone, as behind a field that it describes."""
    alone = node.value if isinstance(node, ast.Expr) else None
    return alone.value if isinstance(alone, ast.Constant) and isinstance(alone.value, str) else ""


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Function:
    marks = [ast.unparse(mark) for mark in node.decorator_list]
    kind = next((f"{mark} " for mark in ("property", "classmethod", "staticmethod") if mark in marks), "")
    kind += "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    arguments = node.args
    if arguments.args and arguments.args[0].arg in ("self", "cls"):
        arguments.args = arguments.args[1:]
    elif arguments.posonlyargs and arguments.posonlyargs[0].arg in ("self", "cls"):
        arguments.posonlyargs = arguments.posonlyargs[1:]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return Function(node.name, f"({ast.unparse(arguments)}){returns}", ast.get_docstring(node) or "", kind)
