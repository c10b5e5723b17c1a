"""JSON and TOML are refused in a sentence with a place where they go beyond what any function can walk or compute."""

from __future__ import annotations

import json
import time
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdkit.system.parsing import DEEPEST, DEEPEST_ROW, LARGEST_INTEGER, Beyond, check_value, parse_json, parse_toml

values = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(values)
def test_whatever_is_within_the_limits_is_read_as_python_reads_it(value):
    text = json.dumps(value)
    assert parse_json(text) == parse_json(text.encode()) == value
    check_value(value)


def nested(depth):
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("depth", [DEEPEST + 1, 900, 100_000])
def test_what_is_nested_too_deeply_is_refused_where_it_becomes_so(depth):
    parse_json(nested(DEEPEST))
    with pytest.raises(Beyond) as raised:
        parse_json('{"a": "[[[",\n "b": ' + nested(depth) + "}")
    assert str(raised.value) == f"line 2, column {6 + DEEPEST}: it is nested more than {DEEPEST} levels deep"
    with pytest.raises(Beyond, match=rf"line 2, column {5 + DEEPEST}: it is nested more than"):
        parse_toml("b = 1\na = " + nested(depth))


def test_a_row_of_data_may_be_deeper_than_a_record_of_ours():
    assert parse_json(nested(DEEPEST_ROW), deepest=DEEPEST_ROW)
    with pytest.raises(Beyond, match=f"more than {DEEPEST_ROW} levels"):
        parse_json(nested(DEEPEST_ROW + 1), deepest=DEEPEST_ROW)


@pytest.mark.parametrize("text", ["a." * 100 + "b = 1", "[" + "a . " * 50_000 + "b]", 'x = {"a"' + ".a" * 70 + " = 1}"])
def test_keys_of_very_many_parts_take_no_time(text):
    begun = time.process_time()
    with pytest.raises(Beyond, match=f"line 1, column .*: a key has more than {DEEPEST} parts"):
        parse_toml(text)
    assert time.process_time() - begun < 2


def test_tables_in_tables_are_as_deep_as_lists_in_lists():
    headers = "\n".join("[" + ".".join("a" * length) + "]" for length in range(1, DEEPEST + 1))
    with pytest.raises(Beyond, match="levels deep"):
        parse_toml(headers + "\nb = {c = 1}")


@pytest.mark.parametrize("digits", [21, 400, 5000])
def test_whole_numbers_beyond_64_bits_are_refused_with_their_place(digits):
    with pytest.raises(Beyond, match=r"line 2, column 5: (a whole number of|a number has)"):
        parse_toml("b = 1\na = " + "9" * digits)
    assert parse_toml(f"a = {2**64 - 1}\nb = -{2**63}")


def test_numbers_that_python_does_not_read_have_their_place_in_json_too():
    with pytest.raises(Beyond, match="line 1, column 7: a number has more than 4,300 digits"):
        parse_json('{"a": ' + "1" * 5000 + "}")


def test_what_is_not_json_or_toml_is_said_as_before():
    with pytest.raises(json.JSONDecodeError):
        parse_json("{")
    with pytest.raises(tomllib.TOMLDecodeError):
        parse_toml("a = ")
