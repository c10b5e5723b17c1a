"""The thesis's prompt and what of it may be cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdkit_assertions.prompt import LEAST_FOCAL_TOKENS, assertion_prompt


@given(st.text().filter(str.strip), st.text())
def test_focal_code_comes_first_and_is_cut_first(focal, test):
    source, (focal_cut, test_cut) = assertion_prompt(focal, test)
    assert source == f"FOCAL CODE:\n{focal}\n\nTEST METHOD:\n{test}"
    assert source[focal_cut.start : focal_cut.end] == focal
    assert focal_cut.drop_below == LEAST_FOCAL_TOKENS == 10
    assert source[test_cut.start : test_cut.end] == test
    assert (test_cut.drop_below, test_cut.end) == (0, len(source))


@given(st.text().filter(str.strip), st.text())
def test_dropping_the_focal_code_leaves_the_prompt_without_one(focal, test):
    source, (focal_cut, _) = assertion_prompt(focal, test)
    assert source[: focal_cut.drop_start] + source[focal_cut.drop_end :] == assertion_prompt("", test)[0]


@given(st.text(" \n\t"), st.text())
def test_blank_focal_code_is_none(focal, test):
    source, (test_cut,) = assertion_prompt(focal, test)
    assert source == f"TEST METHOD:\n{test}"
    assert source[test_cut.start : test_cut.end] == test
