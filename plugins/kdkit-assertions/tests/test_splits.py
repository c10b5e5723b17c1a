"""Splits by digest: stable, about as large as asked for, and never torn within a module."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdkit.api import Example
from kdkit_assertions.splits import ByModule, ByPackage, fraction, sample, without_repeats

shares = st.floats(0, 0.5)


def test_digests_are_pinned():
    """They decide what is held out, so they must never change."""
    assert fraction("sympy.core.tests.test_expr", salt="") == 0.18670399210474722
    assert fraction("sympy.core.tests.test_expr", salt="a") != 0.18670399210474722


@given(shares, shares)
def test_shares_are_about_what_was_asked_for(validation, test):
    division = ByModule(validation_share=validation, test_share=test, salt="")
    splits = [division.split_of(f"pkg.test_{number}") for number in range(2000)]
    assert abs(splits.count("validation") / 2000 - validation) < 0.05
    assert abs(splits.count("test") / 2000 - test) < 0.05


@given(st.text(max_size=9), shares, shares)
def test_a_larger_test_share_takes_modules_only_from_the_others(salt, small, large):
    small, large = sorted((small, large))
    few, many = (ByModule(validation_share=0.1, test_share=share, salt=salt) for share in (small, large))
    for number in range(50):
        if few.split_of(f"m{number}") == "test":
            assert many.split_of(f"m{number}") == "test"


def test_named_packages_go_where_the_recipe_says():
    by_module = ByModule(validation_share=1.0, test_share=0.0, salt="")
    division = ByPackage(validation_packages=frozenset("b"), test_packages=frozenset("c"), otherwise=by_module)
    assert [division.split_of(f"{name}.test_x") for name in "abc"] == ["train", "validation", "test"]
    division = ByPackage(validation_packages=frozenset(), test_packages=frozenset("c"), otherwise=by_module)
    assert [division.split_of(f"{name}.test_x") for name in "abc"] == ["validation", "validation", "test"]


rows = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=12).map(
    lambda pairs: tuple(Example(id=str(n), source=s, target=t) for n, (s, t) in enumerate(pairs))
)


@given(rows, rows)
def test_no_wording_is_left_twice_or_in_what_is_held_out(split, held_out):
    kept = without_repeats(split, held_out=held_out)
    words = [(row.source, row.target) for row in kept.rows]
    assert len(words) == len(set(words))
    assert not set(words) & {(row.source, row.target) for row in held_out}
    assert len(kept.rows) + sum(drop.count for drop in kept.drops) == len(split)


@given(rows, st.integers(0, 12))
def test_a_sample_is_part_of_the_rows_in_their_order(split, at_most):
    chosen = sample(split, at_most, salt="")
    assert len(chosen) == (min(at_most, len(split)) if at_most else len(split))
    assert [row for row in split if row in chosen] == list(chosen)
