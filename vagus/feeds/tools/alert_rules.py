"""The rules of an alert: whether an item breaks them, and whether it is clear again; None where that cannot be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vagus.errors import ConfigError
from vagus.feeds.contracts import ToolContext
from vagus.feeds.item import Item
from vagus.feeds.tools.alert_options import AlertOptions
from vagus.feeds.tools.fields import expression_of
from vagus.feeds.tools.judge import judge_of
from vagus.feeds.tools.options import function_of

Rule = Callable[[Item[Any]], bool | None]


class Rules:
    """All rules of one alert; it stands when one of them is broken. Raises ConfigError. text: how they are told."""

    def __init__(self, options: AlertOptions, context: ToolContext) -> None:
        self._field = expression_of("field", options.field, context) if options.field else None
        bounds = (options.minimum, options.maximum)
        if (bounds != (None, None) or isinstance(options.clear, float)) and self._field is None:
            raise ConfigError("minimum, maximum and a numeric clear are about a number: name it by `field`")
        self._rules: list[Rule] = []
        told = []
        if options.minimum is not None:
            self._rules.append(self._bound(lambda number, low=options.minimum: number < low))  # type: ignore[misc]
            told.append(f"{options.field} < {options.minimum:g}")
        if options.maximum is not None:
            self._rules.append(self._bound(lambda number, high=options.maximum: number > high))  # type: ignore[misc]
            told.append(f"{options.field} > {options.maximum:g}")
        if options.when:
            self._rules.append(_expression("when", options.when, context))
            told.append(options.when)
        if options.function:
            self._rules.append(_function(options.function))
            told.append(getattr(options.function, "__name__", None) or str(options.function))
        self.text = " || ".join(told)
        self._clear = self._clear_of(options, context)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def judge(self, item: Item[Any]) -> tuple[bool | None, bool | None]:
        """Whether a rule is broken, and whether the alert may end. Raises what the user's function raises."""
        if item.value is None:
            return None, None
        found = [rule(item) for rule in self._rules]
        bad = True if True in found else None if None in found or not found else False
        if self._clear is None:
            return bad, None if bad is None else not bad
        # what breaks a rule is not clear, whatever `clear` says
        return bad, False if bad else self._clear(item)

    def number(self, item: Item[Any]) -> float | None:
        """The field's number; None where it has none."""
        value = None if self._field is None else self._field.evaluate(item.value, item.meta)
        return float(value) if isinstance(value, (int, float)) and abs(value) < 1e308 else None

    def present(self, item: Item[Any]) -> bool:
        """Whether the item has the field, or without one any value: what `missing` alone asks for."""
        return item.value is not None and (self._field is None or self.number(item) is not None)

    def _bound(self, broken: Callable[[float], bool]) -> Rule:
        return lambda item: None if (number := self.number(item)) is None else broken(number)

    def _clear_of(self, options: AlertOptions, context: ToolContext) -> Rule | None:
        clear = options.clear
        if isinstance(clear, str):
            return _expression("clear", clear, context) if clear else None
        low, high = options.minimum, options.maximum
        if (low is None) == (high is None):
            raise ConfigError("clear: a number is of a minimum or a maximum, and of only one; write an expression")
        if (high is not None and clear > high) or (low is not None and clear < low):
            raise ConfigError(f"clear: {clear:g} is beyond the bound itself; it lies on the good side of it")
        return self._bound((lambda number: number <= clear) if high is not None else (lambda number: number >= clear))


def _expression(option: str, text: str, context: ToolContext) -> Rule:
    judge = judge_of(expression_of(option, text, context))
    return lambda item: judge(item.value, item.meta)


def _function(given: Any) -> Rule:
    if not isinstance(given, str) and not callable(given):
        raise ConfigError(f"function: {given!r} is no function; write it as module:function")
    function = function_of(given)

    def rule(item: Item[Any]) -> bool | None:
        found = function(item)
        return None if found is None else bool(found)

    return rule
