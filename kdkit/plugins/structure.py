"""Tables to components: checks every value, keeps every problem, repairs none.

This is not left to cattrs. It would structure the values, but attrs checks them while the object is made and stops at
the first that is wrong, in words meant for programmers; and once coercion, messages and places are all our own, what
is left for it to do is one loop over the fields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.suites import NamedSuite
from kdkit.errors import PluginError
from kdkit.plugins import SINGULAR, Plugins
from kdkit.plugins.checks import broken_rules, show
from kdkit.plugins.fields import (
    TEXTS,
    default_of,
    is_free_table,
    is_table,
    member_type,
    number_or_table,
    options_of,
    without_none,
)
from kdkit.system.wording import near_or_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kdkit.plugins.fields import KeyPath


class _Wrong:
    """Stands for a value that could not be made; its problem has been noted."""


WRONG = _Wrong()
MOST_TOLD = 20
"""Unknown keys of a table that a message names; it counts the rest."""
_SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class Structurer:
    """Makes components and options of tables.

    Attributes:
        plugins: What components there are.
        is_stored: Whether the tables were written by kdkit: an option that is not in them was added later, and has its
            neutral value.
        problems: What was found wrong so far: the path of the key, and a sentence.
        unknown: Those keys of them that there are not.
        suggestion: What is said of such a key, given what there is in its place.
    """

    def __init__(
        self,
        plugins: Plugins,
        *,
        is_stored: bool = False,
        suggestion: Callable[[str, Sequence[str]], str] = near_or_all,
    ) -> None:
        self.plugins = plugins
        self.is_stored = is_stored
        self.problems: list[tuple[KeyPath, str]] = []
        self.unknown: list[KeyPath] = []
        self.suggestion = suggestion

    def component(self, kind: str, table: Any, path: KeyPath, default_name: str | None = None) -> tuple[str, Any]:
        """The component that a table names, and its name."""
        if not isinstance(table, Mapping):
            meant = f"; write {dotted(path)}.name = {show(table)}" if isinstance(table, str) else ""
            return "", self._wrong(path, f"must be a table, is {show(table)}{meant}")
        name = table.get("name", default_name)
        if name is None:
            known = ", ".join(self.plugins.names(kind))
            return "", self._wrong(path, f"needs a name, one of: {known}")
        if not isinstance(name, str):
            return "", self._wrong((*path, "name"), f"must be text, is {show(name)}")
        try:
            cls = self.plugins.get(kind, name).load()
            rest = {key: value for key, value in table.items() if key != "name"}
            return name, self.instance(cls, rest, path, owner=f'{SINGULAR[kind]} "{name}"')
        except PluginError as error:
            return name, self._wrong((*path, "name"), str(error))

    def instance(self, cls: type[Any], table: Any, path: KeyPath, *, owner: str) -> Any:
        """An object of an attrs class from a table of its fields.

        Args:
            cls: The class.
            table: The values.
            path: Where they stand.
            owner: What they are options of, for messages: `loss "kd"`, `[training]`.
        """
        if not isinstance(table, Mapping):
            return self._wrong(path, f"must be a table, is {show(table)}")
        before = len(self.problems)
        options = {option.name: option for option in options_of(cls)}
        unknown = [key for key in table if key not in options]
        for key in unknown[:MOST_TOLD]:
            self.no_key((*path, key), f"an option of {owner}", list(options))
        if len(unknown) > MOST_TOLD:
            self._wrong(path, f"has {len(unknown) - MOST_TOLD:,} more keys, none of them an option of {owner}")
        values = {}
        for name, option in options.items():
            if name in table:
                values[name] = self.value(option.annotation, table[name], (*path, name))
            elif self.is_stored and option.neutral is not attrs.NOTHING:
                values[name] = option.neutral
            elif option.required:
                self._wrong((*path, name), f"is missing: {option.help or 'the option has no default'}")
        self._check(cls, values, path, complete=len(self.problems) == before)
        if len(self.problems) > before:
            return WRONG
        try:
            return cls(**{field.alias: values[field.name] for field in attrs.fields(cls) if field.name in values})
        except (ValueError, TypeError) as error:
            return self._wrong(path, str(error.args[0] if error.args else error))

    def value(self, annotation: Any, raw: Any, path: KeyPath) -> Any:
        """A value of a type, from the recipe's value; only whole numbers are converted, where any number will do."""
        wanted = without_none(annotation)
        either = number_or_table(wanted)
        if either is not None:
            wanted = either[isinstance(raw, Mapping)]
        if wanted == TEXTS:
            wanted = tuple[str, ...] if isinstance(raw, list) else str
        if wanted in _SCALARS:
            return self._scalar(wanted, raw, path)
        if wanted is NamedSuite:
            return self._suite(raw, path)
        if is_table(wanted):
            return self.instance(wanted, raw, path, owner=f"[{dotted(path)}]")
        if member_type(wanted) is not None:
            return self._list(member_type(wanted), raw, path)
        if is_free_table(wanted) and not isinstance(raw, Mapping):
            return self._wrong(path, f"must be a table, is {show(raw)}")
        return self._free(raw, path)

    def _scalar(self, wanted: type[Any], raw: Any, path: KeyPath) -> Any:
        # To Python true is a whole number; to a reader of recipes it is none.
        python_types = (int, float) if wanted is float else wanted
        if not isinstance(raw, python_types) or isinstance(raw, bool) != (wanted is bool):
            return self._wrong(path, f"must be {_SCALARS[wanted]}, is {show(raw)}")
        if wanted is not float:
            return raw
        try:
            number = float(raw)
        except OverflowError:
            number = math.inf
        return number if math.isfinite(number) else self._wrong(path, f"must be a finite number, is {show(raw)}")

    def _list(self, member: Any, raw: Any, path: KeyPath) -> Any:
        if not isinstance(raw, list):
            return self._wrong(path, f"must be a list, is {show(raw)}")
        members = [self.value(member, item, (*path, index)) for index, item in enumerate(raw)]
        return WRONG if any(item is WRONG for item in members) else tuple(members)

    def _suite(self, raw: Any, path: KeyPath) -> Any:
        if not isinstance(raw, str | Mapping):
            return self._wrong(path, f"must be the name of a metric suite, or a table with a name, is {show(raw)}")
        is_name = isinstance(raw, str)
        name, suite = self.component("metrics", {"name": raw} if is_name else raw, path)
        return suite if suite is WRONG else NamedSuite(name=name, suite=suite)

    def _free(self, raw: Any, path: KeyPath) -> Any:
        """Any value, as long as JSON can hold it."""
        if isinstance(raw, Mapping):
            items = {key: self._free(item, (*path, key)) for key, item in raw.items()}
            return WRONG if any(item is WRONG for item in items.values()) else items
        if isinstance(raw, list):
            members = [self._free(item, (*path, index)) for index, item in enumerate(raw)]
            return WRONG if any(item is WRONG for item in members) else members
        if isinstance(raw, float):
            return self._scalar(float, raw, path)
        if isinstance(raw, bool | int | str):
            return raw
        return self._wrong(path, f"must be text, a number, true, false, a list or a table, is {show(raw)}")

    def _check(self, cls: type[Any], values: Mapping[str, Any], path: KeyPath, *, complete: bool) -> None:
        """The validators of every field that was given a value of the right type."""
        draft = _draft(cls, values) if complete else None
        for field in attrs.fields(cls):
            value = values.get(field.name, WRONG)
            if value is not WRONG:
                for within, sentence in broken_rules(field.validator, draft, field, value):
                    self._wrong((*path, field.name, *within), sentence)

    def no_key(self, path: KeyPath, what: str, known: Sequence[str]) -> None:
        """Refuse an unknown key: it is not `what`; the message suggests a known one."""
        self.unknown.append(path)
        self._wrong(path, f"is not {what}{self.suggestion(str(path[-1]), known)}")

    def _wrong(self, path: KeyPath, sentence: str) -> _Wrong:
        self.problems.append((path, sentence))
        return WRONG


def dotted(path: KeyPath) -> str:
    """A path as a person writes it: `evaluation.suites[1].name`."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _draft(cls: type[Any], values: Mapping[str, Any]) -> object:
    """The object before its validators have run: some of them look at several fields of it."""
    draft: object = object.__new__(cls)
    for field in attrs.fields(cls):
        value = values[field.name] if field.name in values else default_of(field, draft)
        object.__setattr__(draft, field.name, value)
    return draft
