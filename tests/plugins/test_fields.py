"""A component's options are what its fields say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from attrs import validators
from fake_plugin import FakeLoss, FakeStudent, FakeTeacher, Rows, Shape

from kdkit.api.options import Evaluation, Training, one_of, option
from kdkit.api.suites import NamedSuite
from kdkit.errors import PluginError
from kdkit.plugins.checks import broken_rules
from kdkit.plugins.fields import ALL_OF, EACH, IN, NUMBER, OPTIONAL, identity_of, options_of, plain, table_of

if TYPE_CHECKING:
    from kdkit.api.options import Generation


def by_name(cls):
    return {found.name: found for found in options_of(cls)}


def test_each_field_is_an_option_with_type_default_and_help():
    options = by_name(Rows)
    assert list(options) == ["path", "limit", "columns", "extra"]
    assert options["path"].to_json() == {"name": "path", "type": "text", "required": True, "help": "The file."}
    assert options["columns"].to_json() == {
        "name": "columns", "type": "list of texts", "required": False, "default": ["source", "target"], "help": "Columns.",
    }  # fmt: skip
    assert (options["extra"].type, options["extra"].default) == ("table", {})


def test_limits_and_choices_come_from_the_validators():
    options = by_name(FakeLoss)
    assert (options["alpha"].minimum, options["alpha"].maximum, options["alpha"].above) == (0, 1, None)
    assert (options["temperature"].above, options["temperature"].minimum) == (0, None)
    assert by_name(Training)["schedule"].choices == ("linear", "cosine", "constant")


def test_an_infinite_limit_is_none():
    made = attrs.make_class("Made", {"x": attrs.field(type=float, validator=validators.lt(math.inf))})
    assert "below" not in by_name(made)["x"].to_json()


def test_a_table_shows_its_own_options():
    assert [nested.name for nested in by_name(FakeTeacher)["shape"].nested] == ["layers", "width"]
    assert [nested.name for nested in by_name(FakeStudent)["shapes"].nested] == ["layers", "width"]
    assert by_name(FakeStudent)["shapes"].type == "list of tables"
    assert by_name(Evaluation)["suites"].type == "list of metric suites"


def test_a_class_whose_options_cannot_be_read_is_a_plugin_error():
    @attrs.frozen(kw_only=True)
    class Odd:
        values: set[int] = option("A set.")

    @attrs.frozen(kw_only=True)
    class Unresolved:
        generation: Generation | None = option("Imported for type checkers only.")

    with pytest.raises(PluginError, match=r"Odd\.values has the type set\[int\], which a recipe cannot express"):
        options_of(Odd)
    with pytest.raises(PluginError, match="import the type at the top of the module, not under TYPE_CHECKING"):
        options_of(Unresolved)
    with pytest.raises(PluginError, match="is not an attrs class"):
        options_of(int)


def test_a_plain_value_is_what_a_recipe_would_say():
    assert plain(FakeStudent(shapes=(Shape(layers=2, width=3), Shape(layers=1)))) == {
        "model": "",
        "shapes": [{"layers": 2, "width": 3}, {"layers": 1}],
    }
    assert plain(NamedSuite(name="s", suite=Shape(layers=1))) == {"name": "s", "layers": 1}


def test_an_option_that_does_nothing_by_default_is_not_in_the_identity():
    made = attrs.make_class(
        "Made",
        {
            "size": attrs.field(default=3),
            "limit": attrs.field(default=None),
            "packed": attrs.field(default=False),
            "shuffled": attrs.field(default=True),
        },
    )
    assert table_of(made()) == {"size": 3, "packed": False, "shuffled": True}
    assert identity_of(made()) == {"size": 3, "shuffled": True}
    assert identity_of(made(limit=0, packed=True, shuffled=False)) == {
        "size": 3, "limit": 0, "packed": True, "shuffled": False,
    }  # fmt: skip


def test_attrs_still_makes_validators_of_the_shape_that_is_read_here():
    assert validators.and_(validators.ge(0))._validators
    for kind, made, attributes in [
        (IN, validators.in_(("a",)), ["options"]),
        (NUMBER, validators.lt(3), ["bound", "compare_op", "compare_func"]),
        (ALL_OF, validators.and_(), ["_validators"]),
        (OPTIONAL, validators.optional(validators.ge(0)), ["validator"]),
        (EACH, validators.deep_iterable(validators.ge(0)), ["member_validator", "iterable_validator"]),
    ]:
        assert isinstance(made, kind)
        assert all(hasattr(made, attribute) for attribute in attributes)


def custom(instance, field, value):
    if value == instance.other:
        raise ValueError(f"must differ from {value}")


@attrs.frozen(kw_only=True)
class Ruled:
    value: Any = option("", default=None)
    other: int = option("", default=3)


@pytest.mark.parametrize(
    ("rule", "value", "sentences"),
    [
        (validators.ge(1), 0, ["must be at least 1, is 0"]),
        (validators.lt(1.5), 1.5, ["must be less than 1.5, is 1.5"]),
        (validators.and_(validators.ge(0), validators.le(1)), 2.0, ["must be at most 1, is 2"]),
        (validators.optional(validators.ge(1)), None, []),
        (validators.optional(validators.ge(1)), 0, ["must be at least 1, is 0"]),
        ([validators.ge(1), one_of(0)], 0, ["must be at least 1, is 0"]),
        (one_of("a", "b", "c"), "d", ['must be "a", "b" or "c", is "d"']),
        (one_of("one"), "on", ['must be "one", is "on"; did you mean "one"?']),
        (custom, 3, ["must differ from 3"]),
        (custom, 4, []),
        (None, 4, []),
    ],
)
def test_a_broken_rule_is_a_plain_sentence(rule, value, sentences):
    made = attrs.make_class("Made", {"x": attrs.field(validator=rule)})
    found = broken_rules(attrs.fields(made).x.validator, Ruled(), attrs.fields(made).x, value)
    assert [sentence for _, sentence in found] == sentences


def test_a_rule_for_members_says_which_member():
    rule = validators.deep_iterable(one_of("a", "b"))
    found = list(broken_rules(rule, None, attrs.fields(Ruled).value, ("a", "x", "b", "y")))
    assert [within for within, _ in found] == [(1,), (3,)]
