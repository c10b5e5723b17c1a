"""The validators of attrs fields as plain sentences: what a value must be, and what it is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdkit.api.schedules import EachValue, values_of
from kdkit.plugins.fields import EACH, IN, NUMBER, rules
from kdkit.system.wording import did_you_mean

if TYPE_CHECKING:
    import attrs

    from kdkit.plugins.fields import KeyPath

_COMPARISON = {">=": "at least", "<=": "at most", ">": "greater than", "<": "less than"}
_SHOWN = 60


def broken_rules(
    validator: Any, draft: object | None, field: attrs.Attribute[Any], value: Any
) -> Iterator[tuple[KeyPath, str]]:
    """The faults of a value of the right type: where each is (for members of a list), and a sentence.

    Args:
        validator: The field's.
        draft: The component with all its values, for validators that look at several; None where some value is
            wrong or missing: then only the rules are checked that need no more than this value.
        field: The field.
        value: Its value.
    """
    for rule in rules(validator) if value is not None else ():
        if isinstance(rule, EACH):
            yield from broken_rules(rule.iterable_validator, draft, field, value)
            for index, member in enumerate(value):
                for within, sentence in broken_rules(rule.member_validator, draft, field, member):
                    yield (index, *within), sentence
        elif isinstance(rule, EachValue):
            for each in values_of(value):
                yield from broken_rules(rule.rule, draft, field, each)
        else:
            complaint = _complaint(rule, draft, field, value)
            if complaint is not None:
                yield (), complaint


def _complaint(rule: Any, draft: object | None, field: attrs.Attribute[Any], value: Any) -> str | None:
    """Why one rule refuses a value; None if it accepts the value."""
    if isinstance(rule, IN):
        fits = value in rule.options
        return None if fits else f"must be {either(rule.options)}, is {show(value)}{did_you_mean(value, rule.options)}"
    if isinstance(rule, NUMBER):
        fits = rule.compare_func(value, rule.bound)
        return None if fits else f"must be {_COMPARISON[rule.compare_op]} {number(rule.bound)}, is {number(value)}"
    if draft is not None:
        try:
            rule(draft, field, value)
        except (ValueError, TypeError) as error:
            return str(error.args[0] if error.args else error)
    return None


def show(value: Any) -> str:
    """A value as a recipe spells it, shortened when it is long."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        text = '"' + value.replace("\n", "\\n") + '"'
    elif isinstance(value, float):
        text = repr(value)
    elif isinstance(value, Mapping):
        return "a table"
    elif isinstance(value, Sequence):
        text = "[" + ", ".join(show(item) for item in value) + "]"
    elif isinstance(value, dt.date | dt.time):
        return f"the date or time {value}"
    else:
        text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]} ..."


def number(value: float) -> str:
    """A number as a person writes it: 1 for 1.0."""
    return repr(value).removesuffix(".0")


def either(choices: Sequence[Any]) -> str:
    """`"a", "b" or "c"`."""
    shown = [show(choice) for choice in choices]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
