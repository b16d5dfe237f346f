"""The records and the Python API as pages, out of the source: nothing of it is imported but the list of names."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import vagus
from docsite.source import Class, Function, Source
from docsite.words import block, code, paragraphs, prose, table

MODULES = {  # what programs and controllers import beside `vagus` itself
    "vagus.controllers": "What a controller is, and what its `step` sees.",
    "vagus.policies": "What policies are.",
    "vagus.errors": "What is raised on purpose.",
}


def pages() -> dict[str, str]:
    """Pages by their path below docs/."""
    return {"reference/records.md": records(), "reference/python.md": python()}


def records() -> str:
    """The classes of vagus.model, in the order in which data flows."""
    source = Source("vagus.model")
    parts = ["# Records", paragraphs((ast.get_docstring(source.tree) or "").partition("\n")[2])]
    section = ""
    for one in source.classes():
        if one.section != section:
            section = one.section
            parts.append(f"## {section.capitalize()}")
        parts += [f"### {one.name}", paragraphs(one.doc), *_record(one)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _record(one: Class) -> Iterator[str]:
    if any("Enum" in base for base in one.bases):
        rows = [(code(m.name), code(m.default), prose(m.comment)) for m in one.members]
        yield table(("Member", "Value", "Meaning"), rows)
    else:
        fields = [
            (code(m.name), code(m.type), code(m.default) or "required", prose(m.comment)) for m in one.members if m.type
        ]
        yield table(("Field", "Type", "Default", "Meaning"), fields)
    yield from (_member(one.name, f) for f in one.functions if f.doc)


def _member(owner: str, function: Function) -> str:
    if "property" in function.kind:
        called = f"{owner}.{function.name}{function.signature.partition(')')[2]}"
    else:
        called = f"{function.kind}{owner}.{function.name}{function.signature}"
    return f"{code(called)}\n: {prose(function.doc)}" if function.doc else code(called)


def python() -> str:
    """Each public name of `vagus`, and of the modules that controllers and programs meet."""
    parts = [
        "# Python",
        "`import vagus` loads neither Ray nor numpy; what needs them loads them when called. "
        "Records are in [their own page](records.md).",
        "## vagus",
    ]
    for name in sorted(vagus.__all__, key=str.lower):
        if not name.startswith("__"):
            parts += _named(name, Source(vagus._LAZY[name]))
    for module, what in MODULES.items():
        parts += [f"## {module}", what]
        source = Source(module)
        for one in source.classes():
            parts += _named(one.name, source)
    return "\n\n".join(filter(None, parts)) + "\n"


def _named(name: str, source: Source) -> Iterator[str]:
    found = source.named(name)
    if found is None:
        raise LookupError(f"{source.module} does not define {name}: vagus._LAZY should name the module that does")
    yield f"### {name}"
    if isinstance(found, Function):
        yield block(f"{found.kind}{name}{found.signature}", "python")
        yield paragraphs(found.doc)
        return
    functions = list(_functions(found, source))
    made = next((f.signature.removesuffix(" -> None") for f in functions if f.name == "__init__"), "")
    if made and not source.instance(name) and found.bases != ("Protocol",):
        yield block(f"{name}{made}", "python")
    yield paragraphs(found.doc)
    fields = [(code(m.name), code(m.type), code(m.default), prose(m.comment)) for m in found.members if m.type]
    yield table(("Attribute", "Type", "Default", "Meaning"), fields)
    for function in functions:
        if function.name != "__init__" and (function.doc or found.bases == ("Protocol",)):
            yield _member(name, function)


def _functions(found: Class, source: Source) -> Iterator[Function]:
    """Its own functions, then those of its bases within this package that it does not replace."""
    seen: set[str] = set()
    queue = [(found, source)]
    while queue:
        one, where = queue.pop(0)
        for function in one.functions:
            if function.name not in seen:
                seen.add(function.name)
                yield function
        for base in one.bases:
            module = where.origin(base)
            if module.startswith("vagus"):
                inherited = Source(module)
                if isinstance(above := inherited.named(base), Class):
                    queue.append((above, inherited))
