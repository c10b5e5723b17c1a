"""The options of a component, read off its attrs fields: for `kdkit plugins show`, the docs and the JSON Schema.

A component's fields are its options; nothing is written down twice. The field types that a recipe can express are
bool, int, float, str, `tuple[T, ...]`, `T | None`, `str | tuple[str, ...]` (one text or several), attrs classes,
`float | Schedule` (a number or a table of a class), `NamedSuite` and, where a table of any content is meant,
`dict[str, Any]`.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import validators

from kdkit.api.schedules import EachValue
from kdkit.api.suites import NamedSuite
from kdkit.errors import PluginError

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value stands in nested tables: keys, and places in arrays."""

# attrs keeps these classes private but their attributes have been stable for years; a test holds them in place.
IN: Any = type(validators.in_(()))
NUMBER: Any = type(validators.ge(0))
ALL_OF: Any = type(validators.and_())
OPTIONAL: Any = type(validators.optional(validators.ge(0)))
EACH: Any = type(validators.deep_iterable(validators.ge(0)))
FACTORY: Any = type(attrs.Factory(list))

TEXTS: Any = str | tuple[str, ...]
"""The type of an option that takes one text, or a list of them."""

_LIMIT = {">=": "minimum", "<=": "maximum", ">": "above", "<": "below"}
_NO_PLURAL = ("true or false", "anything")
_PLAIN_TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "anything"}


@attrs.frozen(kw_only=True)
class Option:
    """One option of a component or of a recipe's section.

    Attributes:
        name: Its key in a recipe.
        type: Its type, in words.
        annotation: Its type, as Python has it.
        required: Whether it must be given.
        default: Its default as a recipe would spell it; None where there is none.
        neutral: The value at which its component does what it did before it had the option; `attrs.NOTHING`
            where none is stated.
        help: One sentence.
        choices: The values allowed, where they are listed (of a list: of its members).
        minimum: The least number allowed.
        maximum: The greatest number allowed.
        above: It must be greater than this.
        below: It must be less than this.
        nested: The options of the table it is, or of each table of the list it is.
    """

    name: str
    type: str
    annotation: Any = attrs.field(repr=False)
    required: bool
    default: Any = None
    neutral: Any
    help: str = ""
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    nested: tuple[Option, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The option as JSON; empty facts are left out."""
        table: dict[str, Any] = {"name": self.name, "type": self.type, "required": self.required}
        if not self.required:
            table["default"] = self.default
        for key in ("help", "minimum", "maximum", "above", "below"):
            if getattr(self, key) not in (None, ""):
                table[key] = getattr(self, key)
        if self.choices:
            table["choices"] = list(self.choices)
        if self.nested:
            table["options"] = [option.to_json() for option in self.nested]
        return table


def options_of(cls: type[Any]) -> list[Option]:
    """The options of a component class, in the order of its fields.

    Raises:
        PluginError: The class is not made by attrs, or a field has a type that a recipe cannot express.
    """
    return list(_options_of(cls))  # type: ignore[arg-type]  # mypy does not see that classes can be hashed


def each_path(options: Iterable[Option], prefix: str = "") -> Iterator[tuple[str, Option]]:
    """Options with their paths, each followed by those of the table that it is."""
    for option in options:
        yield prefix + option.name, option
        yield from each_path(option.nested, f"{prefix}{option.name}.")


@functools.cache  # a sweep asks for the same few classes once a trial
def _options_of(cls: type[Any]) -> tuple[Option, ...]:
    if not attrs.has(cls):
        raise PluginError(f"{where(cls)} is not an attrs class, so it has no options to read; see kdkit.api.interfaces")
    try:
        hints = get_type_hints(cls)
    except NameError as error:
        raise PluginError(
            f"a field type of {where(cls)} cannot be resolved ({error}); import the type at the top of the "
            "module, not under TYPE_CHECKING"
        ) from error
    return tuple(_option(cls, field, hints[field.name]) for field in attrs.fields(cls) if field.init)


def where(cls: type[Any]) -> str:
    """Module and name of a class."""
    return f"{cls.__module__}:{cls.__qualname__}"


def without_none(annotation: Any) -> Any:
    """T of `T | None`; any other type as it is."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not types.NoneType]
        if len(members) == 1:
            return members[0]
        if set(members) == set(get_args(TEXTS)):
            return TEXTS
    return annotation


def member_type(annotation: Any) -> Any:
    """T of `tuple[T, ...]`; None for any other type."""
    arguments = get_args(annotation)
    return arguments[0] if get_origin(annotation) is tuple and arguments[1:] == (...,) else None


def is_table(annotation: Any) -> bool:
    """Whether a type is a table with options of its own."""
    return isinstance(annotation, type) and attrs.has(annotation) and annotation is not NamedSuite


def number_or_table(annotation: Any) -> tuple[type[Any], type[Any]] | None:
    """The number and the class of `float | Schedule` and the like; None for any other type."""
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()
    numbers = [member for member in members if member in (int, float)]
    tables = [member for member in members if is_table(member)]
    others = len(members) - len(numbers) - len(tables) - (types.NoneType in members)
    return (numbers[0], tables[0]) if (len(numbers), len(tables), others) == (1, 1, 0) else None


def is_free_table(annotation: Any) -> bool:
    """Whether a type is `dict[str, ...]`: a table of any content."""
    return get_origin(annotation) is dict


def rules(validator: Any) -> Iterator[Any]:
    """The single rules that a validator is made of; `and_` and `optional` are taken apart, and `EachValue` is not."""
    if isinstance(validator, ALL_OF):
        for part in validator._validators:  # noqa: SLF001 - there is no public way to see them
            yield from rules(part)
    elif isinstance(validator, OPTIONAL):
        yield from rules(validator.validator)
    elif validator is not None:
        yield validator


def default_of(field: attrs.Attribute[Any], draft: object | None = None) -> Any:
    """The default of a field that has one.

    Args:
        field: The field.
        draft: The object it is for; without one, a default that is made from other fields is its `usual` one.
    """
    if not isinstance(field.default, FACTORY):
        return field.default
    if field.default.takes_self:
        return field.metadata.get("usual") if draft is None else field.default.factory(draft)
    return field.default.factory()


def table_of(component: Any) -> dict[str, Any]:
    """Every option of a component, as a recipe spells it; options that are None are left out."""
    return _table(component, has_neutral=True)


def digested(component: Any) -> dict[str, Any]:
    """The options of a component that digests cover: `table_of` without those that have their neutral value."""
    return _table(component, has_neutral=False)


def identity_of(component: Any) -> dict[str, Any]:
    """The options that tell a codec from others: `digested` without options that are false by default and left so."""
    fields = attrs.fields_dict(type(component))
    return {
        name: value
        for name, value in digested(component).items()
        if value is not False or fields[name].default is not False
    }


def plain(value: Any) -> Any:
    """A value of an option as a recipe spells it: instances become tables, tuples lists; None is left out."""
    return _plain(value, has_neutral=True)


def _neutral(field: attrs.Attribute[Any]) -> Any:
    return field.metadata.get("neutral", attrs.NOTHING)


def _table(component: Any, *, has_neutral: bool) -> dict[str, Any]:
    options = {field: getattr(component, field.name) for field in attrs.fields(type(component)) if field.init}
    return {
        field.name: _plain(value, has_neutral=has_neutral)
        for field, value in options.items()
        if value is not None and (has_neutral or value != _neutral(field))
    }


def _plain(value: Any, *, has_neutral: bool) -> Any:
    if isinstance(value, NamedSuite):
        return {"name": value.name, **_table(value.suite, has_neutral=has_neutral)}
    if attrs.has(type(value)):
        return _table(value, has_neutral=has_neutral)
    if isinstance(value, Mapping):
        return {key: _plain(item, has_neutral=has_neutral) for key, item in value.items() if item is not None}
    if isinstance(value, tuple | list):
        return [_plain(item, has_neutral=has_neutral) for item in value]
    return value


def _option(cls: type[Any], field: attrs.Attribute[Any], annotation: Any) -> Option:
    inner = without_none(annotation)
    either = number_or_table(inner)
    table = either[1] if either is not None else member_type(inner) if is_table(member_type(inner)) else inner
    limits: dict[str, Any] = {}
    validator = field.validator.rule if isinstance(field.validator, EachValue) else field.validator
    for rule in rules(validator):
        if isinstance(rule, IN):
            limits["choices"] = tuple(rule.options)
        elif isinstance(rule, NUMBER):
            if math.isfinite(rule.bound):  # recipes have no infinite numbers, so such a bound says nothing
                limits[_LIMIT[rule.compare_op]] = rule.bound
        elif isinstance(rule, EACH):
            for part in rules(rule.member_validator):
                if isinstance(part, IN):
                    limits["choices"] = tuple(part.options)
    return Option(
        name=field.name,
        type=_in_words(cls, field.name, inner),
        annotation=annotation,
        required=field.default is attrs.NOTHING,
        default=None if field.default is attrs.NOTHING else plain(default_of(field)),
        neutral=_neutral(field),
        help=field.metadata.get("help", ""),
        nested=tuple(options_of(table)) if is_table(table) else (),
        **limits,
    )


def _in_words(cls: type[Any], name: str, annotation: Any) -> str:
    if annotation in _PLAIN_TYPES:
        return _PLAIN_TYPES[annotation]
    if annotation is NamedSuite:
        return "metric suite"
    either = number_or_table(annotation)
    if either is not None:
        return f"{_PLAIN_TYPES[either[0]]} or table"
    if annotation == TEXTS:
        return "text or list of texts"
    if is_table(annotation) or is_free_table(annotation):
        return "table"
    if member_type(annotation) is not None:
        member = _in_words(cls, name, without_none(member_type(annotation)))
        return f"list of {member}" if member in _NO_PLURAL else f"list of {member}s"
    raise PluginError(f"{where(cls)}.{name} has the type {annotation}, which a recipe cannot express")
