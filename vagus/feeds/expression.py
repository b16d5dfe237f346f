"""CoMon's select expressions: `resptime>0 && (drift>1m || sshstatus>2h)==0`. Their grammar: expression_grammar.py.

What they mean:
- A comparison is true or false, which are 1 and 0 and can be compared again; so are `&&`, `||` and `!`.
- What is missing (no such field or index, None, NaN, a broken part, division by zero) is *null*. A comparison with it
  is false, `!=` and `!~` too, arithmetic with it gives null, and as a condition it is false. So `!(load > 5)` is true
  where there is no load, and `load <= 5` is not. `load == null` asks for it, `load != null` is its opposite.
- So is a comparison of what cannot be compared: a text with a number, a list with anything.
- Arithmetic is of numbers (true is 1); division gives a fraction, `%` has the sign of the divisor.
- As a condition, 0, "" and an empty list or mapping are false.
- `=~` is true when *all* of a text matches the regular expression (RE2's syntax), as in selectors; `!~` when not.
- Texts are compared by characters. Names are exactly those of the fields (or keys); `$` is the value itself, `$[0]` the
  first of a pair, `meta.location` what an item's meta says.
Nothing here ever raises for a value, whatever it is.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable
from typing import Any

import msgspec

from vagus.errors import ConfigError
from vagus.feeds.contracts import PAIR, Shape
from vagus.feeds.expression_grammar import (
    META,
    VALUE,
    Binary,
    Chain,
    Literal,
    Match,
    Node,
    Path,
    Unary,
    compiled_pattern,
    parse,
)
from vagus.feeds.item import Meta

Run = Callable[[Any, Meta | None], Any]

NUMBERS = (int, float)
MAX_NUMBER = 1e308
MAX_KINDS = 32  # of values that an expression has code of their own for
_ORDERS = ("<", "<=", ">", ">=")
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "%": lambda a, b: a % b,
}


class Expression:
    """A compiled expression. names: the fields of the value that it asks for; text: as it was written."""

    def __init__(self, text: str, node: Node) -> None:
        self.text = text.strip()
        self.tree = node
        self.names = frozenset(path.steps[0] for path in paths(node) if path.root == VALUE and path.steps)
        self._runs: dict[type, Run] = {}  # by the type of the value
        self._general = _generated(node, object)

    def evaluate(self, value: Any, meta: Meta | None = None) -> Any:
        """What it gives for this value: a bool, a number, a text, a part of the value; None for null."""
        return (self._runs.get(type(value)) or self._made_for(type(value)))(value, meta)

    def test(self, value: Any, meta: Meta | None = None) -> bool:
        """Whether it is true of this value."""
        return truth((self._runs.get(type(value)) or self._made_for(type(value)))(value, meta))

    def _made_for(self, kind: type) -> Run:
        special = kind is dict or issubclass(kind, msgspec.Struct)
        run = _generated(self.tree, kind) if special else self._general
        if len(self._runs) < MAX_KINDS:
            self._runs[kind] = run
        return run

    def unknown(self, shape: Shape) -> tuple[str, ...]:
        """The fields (`a.b`) that it asks for and no value of this shape has; none where the shape does not tell."""
        asked = [path.steps for path in paths(self.tree) if path.root == VALUE]
        return tuple(sorted({".".join(map(str, lost)) for steps in asked if (lost := _lost(shape, steps))}))

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def compile_expression(text: str) -> Expression:
    """The expression of a text. Raises ConfigError, which shows the place of a mistake."""
    return Expression(text, parse(text))


def paths(node: Node) -> list[Path]:
    """All paths of a tree, in the order in which they are written."""
    if isinstance(node, Path):
        return [node]
    inside: tuple[Node, ...] = ()
    if isinstance(node, Unary):
        inside = (node.operand,)
    elif isinstance(node, Binary):
        inside = (node.left, node.right)
    elif isinstance(node, Chain):
        inside = node.parts
    elif isinstance(node, Match):
        inside = (node.subject,)
    return [path for part in inside for path in paths(part)]


def fields_of(shape: Shape) -> frozenset[str | int] | None:
    """The names of a shape's fields, of a union those of all branches; None where any name may be there."""
    if shape.kind in ("any", "map"):
        return None
    if shape.kind == "record":
        return frozenset(name for name, _ in shape.parts)
    if shape.kind in ("union", "optional"):
        known = [fields_of(part) for _, part in shape.parts]
        return frozenset().union(*(names or () for names in known)) if known and None not in known else None
    return None if shape.kind == "list" else frozenset()


def expression_of_value(option: str, text: str, shape: Shape) -> Expression:
    """An expression that is asked of values of this shape, without their meta. Raises ConfigError."""
    found = compile_expression(text)
    if any(path.root == META for path in paths(found.tree)):
        raise ConfigError(
            f"{option}: meta is known to tools alone, such as select: {{where: …}}; here there is the value"
        )
    check_names(option, found, shape)
    return found


def check_names(option: str, expression: Expression, shape: Shape) -> None:
    """Raises ConfigError when an expression asks for what no value of this shape has: it would never be true."""
    unknown = expression.unknown(shape)
    if unknown:
        known = ", ".join(f"$[{name}]" if shape.name == PAIR else name for name, _ in shape.parts)
        there = {"record": known, "list": "elements: $[0] is the first", "union": f"fields of {known}"}
        raise ConfigError(
            f"{option}: the feed has no {', '.join(unknown)}; there are: {there.get(shape.kind) or 'none, it is $'}"[
                :1000
            ]
        )


def _lost(shape: Shape, steps: tuple[str | int, ...], at: int = 0) -> tuple[str | int, ...]:
    """The beginning of a path, up to the step that no value of this shape has; empty where one may have all."""
    if at == len(steps) or shape.kind == "any" or (shape.kind in ("list", "map", "optional") and not shape.parts):
        return ()
    step_, parts = steps[at], dict(shape.parts)
    if shape.kind in ("union", "optional"):
        losses = [_lost(part, steps, at) for part in parts.values()]
        return max(losses, key=len, default=()) if all(losses) else ()
    if shape.kind == ("list" if isinstance(step_, int) else "map"):
        return _lost(parts[""], steps, at + 1)
    if shape.kind == "record" and isinstance(step_, int) == (shape.name == PAIR):
        name = str(step_ + len(parts)) if isinstance(step_, int) and step_ < 0 else str(step_)
        if name in parts:
            return _lost(parts[name], steps, at + 1)
    return steps[: at + 1]


# --- what the generated code calls ----------------------------------------------------------------------------------


def step(value: Any, key: str | int) -> Any:
    """A field of a record, the value of a key, an element of a list; None where there is none. Never raises."""
    if isinstance(key, str):
        if isinstance(value, dict):
            return value.get(key)
        if isinstance(value, msgspec.Struct) and key in value.__struct_fields__:
            return getattr(value, key, None)
        return None
    if isinstance(value, (list, tuple)) and -len(value) <= key < len(value):
        return value[key]
    return None


def truth(value: Any) -> bool:
    """Whether a value counts as true."""
    if isinstance(value, (bool, int, str, list, tuple, dict, bytes)):
        return bool(value)
    if isinstance(value, float):
        return value == value and value != 0
    return value is not None


def null(value: Any) -> bool:
    """Whether a value is missing."""
    return value is None or (isinstance(value, float) and value != value)


def _equal(left: Any, right: Any) -> bool | None:
    """Whether they are equal; None when they cannot be compared."""
    numbers = isinstance(left, NUMBERS) and isinstance(right, NUMBERS) and left == left and right == right
    if numbers or (isinstance(left, str) and isinstance(right, str)):
        return bool(left == right)
    return None


def _order(operator: str) -> Callable[[Any, Any], bool]:
    compare = _COMPARE[operator]

    def ordered(left: Any, right: Any) -> bool:
        if isinstance(left, NUMBERS):
            return isinstance(right, NUMBERS) and compare(left, right)
        return isinstance(left, str) and isinstance(right, str) and compare(left, right)

    return ordered


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _computed(operator: str) -> Callable[[Any, Any], Any]:
    compute = _ARITHMETIC[operator]

    def computed(left: Any, right: Any) -> Any:
        if not (isinstance(left, NUMBERS) and isinstance(right, NUMBERS)):
            return None
        try:
            found = compute(left, right)
        except (ArithmeticError, ValueError):
            return None
        return found if -MAX_NUMBER < found < MAX_NUMBER else None  # whole numbers would grow without end, too

    return computed


def _negative(value: Any) -> Any:
    return -value if isinstance(value, NUMBERS) and value == value else None


def _matcher(pattern: str, wanted: bool) -> Callable[[Any], bool]:
    found = compiled_pattern(pattern)

    def matches(value: Any) -> bool:
        if not isinstance(value, str):
            return False
        try:
            return (found.fullmatch(value) is not None) is wanted
        except UnicodeError:  # half of a surrogate pair
            return False

    return matches


# --- code ------------------------------------------------------------------------------------------------------------


def _generated(node: Node, kind: type) -> Run:
    """A function of value, of this type (object: of any), and meta.

    Its source is made of the tree alone: of what the user wrote it has, as such, only names of the type's own fields.
    """
    names: dict[str, Any] = {"_step": step, "_truth": truth, "_null": null, "_equal": _equal, "_numbers": NUMBERS}
    source = f"def run(value, meta):\n    return {_Code(names, kind).of(node)}\n"
    exec(compile(source, "<expression>", "exec"), names)  # noqa: S102  see above
    run: Run = names["run"]
    return run


class _Code:
    """Python of a tree; constants and functions go into `names`."""

    def __init__(self, names: dict[str, Any], kind: type) -> None:
        self._names = names
        self._kind = kind

    def _name(self, thing: Any) -> str:
        name = f"_{len(self._names)}"
        self._names[name] = thing
        return name

    def of(self, node: Node) -> str:
        if isinstance(node, Literal):
            return self._name(node.value)
        if isinstance(node, Path):
            code, steps = ("meta", node.steps) if node.root == META else self._first(node.steps)
            for key in steps:
                code = f"_step({code}, {self._name(key)})"
            return code
        if isinstance(node, Match):
            return f"{self._name(_matcher(node.pattern, node.operator == '=~'))}({self.of(node.subject)})"
        if isinstance(node, Unary):
            if node.operator == "!":
                return f"(not {self.condition(node.operand)})"
            return f"{self._name(_negative)}({self.of(node.operand)})"
        if isinstance(node, Chain):
            word = " and " if node.operator == "&&" else " or "
            return f"({word.join(self.condition(part) for part in node.parts)})"
        return self._binary(node)

    def _first(self, steps: tuple[str | int, ...]) -> tuple[str, tuple[str | int, ...]]:
        """Code for the first step into the value, where its type makes that cheap, and the steps after it."""
        key = steps[0] if steps else None
        if not isinstance(key, str) or self._kind is object:
            return "value", steps
        if self._kind is dict:
            return f"value.get({self._name(key)})", steps[1:]
        fields: tuple[str, ...] = self._kind.__struct_fields__  # type: ignore[attr-defined]
        if key in fields and key.isidentifier() and key.isascii() and not keyword.iskeyword(key):
            return f"value.{key}", steps[1:]
        return "value", steps

    def condition(self, node: Node) -> str:
        """What is true or false."""
        return self.of(node) if _is_bool(node) else f"_truth({self.of(node)})"

    def _binary(self, node: Binary) -> str:
        operator, left, right = node.operator, node.left, node.right
        if operator in _ORDERS:
            if isinstance(right, Literal) and isinstance(right.value, NUMBERS):  # by far the most frequent
                local = f"t{len(self._names)}"
                constant = self._name(right.value)
                return f"(isinstance({local} := {self.of(left)}, _numbers) and {local} {operator} {constant})"
            return f"{self._name(_order(operator))}({self.of(left)}, {self.of(right)})"
        if operator in ("==", "!="):
            wanted = operator == "=="
            for one, other in ((left, right), (right, left)):
                if isinstance(one, Literal) and one.value is None:
                    return f"({'' if wanted else 'not '}_null({self.of(other)}))"
            return f"(_equal({self.of(left)}, {self.of(right)}) is {wanted})"
        return f"{self._name(_computed(operator))}({self.of(left)}, {self.of(right)})"


def _is_bool(node: Node) -> bool:
    if isinstance(node, Binary):
        return node.operator not in _ARITHMETIC
    return isinstance(node, (Chain, Match)) or (isinstance(node, Unary) and node.operator == "!")
