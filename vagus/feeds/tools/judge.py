"""Whether an expression is true, false or cannot be told because something is missing (Kleene's strong logic).

`load > 5` cannot be told without a load, so neither can its opposite; `load > 5 || disk < 1` can, where one side is
true. In `expression.py` a comparison with what is missing is false: right for choosing items, wrong for ending alerts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from vagus.feeds.expression import Expression, null, paths, truth
from vagus.feeds.expression_grammar import Binary, Chain, Literal, Match, Node, Unary
from vagus.feeds.item import Meta

Judge = Callable[[Any, Meta | None], bool | None]
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def judge_of(expression: Expression) -> Judge:
    """The three-valued form of an expression. What it returns never raises."""
    return _judge(expression.tree)


def _judge(node: Node) -> Judge:
    if isinstance(node, Chain):
        return _chain([_judge(part) for part in node.parts], node.operator == "||")
    if isinstance(node, Unary) and node.operator == "!":
        inner = _judge(node.operand)
        return lambda value, meta: None if (found := inner(value, meta)) is None else not found
    if isinstance(node, Binary) and node.operator in _COMPARE:
        if any(isinstance(side, Literal) and side.value is None for side in (node.left, node.right)):
            asks = Expression("", node)  # whether something is missing: that can always be told
            return asks.test
        return _comparison(_COMPARE[node.operator], _side(node.left), _side(node.right))
    if isinstance(node, Match):
        subject, whole = _side(node.subject), Expression("", node)
        return lambda value, meta: whole.test(value, meta) if isinstance(subject(value, meta), str) else None
    side = _side(node)
    return lambda value, meta: None if null(found := side(value, meta)) else truth(found)


def _chain(parts: list[Judge], decides: bool) -> Judge:
    def judged(value: Any, meta: Meta | None) -> bool | None:
        answer: bool | None = not decides
        for part in parts:
            found = part(value, meta)
            if found is decides:
                return decides
            answer = None if found is None else answer
        return answer

    return judged


def _comparison(compare: Callable[[Any, Any], bool], left: Callable[..., Any], right: Callable[..., Any]) -> Judge:
    def judged(value: Any, meta: Meta | None) -> bool | None:
        one, other = left(value, meta), right(value, meta)
        numbers = isinstance(one, (int, float)) and isinstance(other, (int, float))
        if null(one) or null(other) or not (numbers or (isinstance(one, str) and isinstance(other, str))):
            return None
        return compare(one, other)

    return judged


def _side(node: Node) -> Callable[[Any, Meta | None], Any]:
    """What is compared: a truth, or a value; None where it, or what it is computed from, is missing."""
    boolean = (
        isinstance(node, (Chain, Match))
        or (isinstance(node, Unary) and node.operator == "!")
        or (isinstance(node, Binary) and node.operator in _COMPARE)
    )
    if boolean:
        return _judge(node)
    needed = [Expression("", path) for path in paths(node)]
    whole = Expression("", node)

    def value_of(value: Any, meta: Meta | None) -> Any:
        if any(null(need.evaluate(value, meta)) for need in needed):
            return None
        return whole.evaluate(value, meta)

    return value_of
