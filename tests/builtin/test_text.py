"""The `text` suite."""

from __future__ import annotations

import difflib
import random

import cydifflib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdkit.api.values import Example
from kdkit.builtin.metrics.text import Text, similarity, token_f1
from kdkit.system.wording import trim
from kdkit.testing.metrics import check_metrics

texts = st.text(alphabet="ab (),;\n\r\tß_1", max_size=40)


def one_row(reference, generated):
    examples = [Example(id="1", source="", target=reference)]
    return {name: values[0] for name, values in Text().score([generated], [reference], examples).items()}


def test_the_suite_keeps_the_rules_of_metric_suites():
    check_metrics(Text())


@given(texts)
def test_equal_texts_score_1_everywhere(text):
    assert one_row(text, text) == {"exact_match": 1.0, "f1": 1.0, "similarity": 1.0}


@given(texts, texts)
def test_exact_match_is_1_exactly_where_similarity_is(reference, generated):
    row = one_row(reference, generated)
    assert (row["exact_match"] == 1.0) == (row["similarity"] == 1.0)
    assert all(0.0 <= value <= 1.0 for value in row.values())


@given(texts, texts)
def test_token_f1_does_not_care_which_text_is_the_reference(left, right):
    assert token_f1(left, right) == token_f1(right, left)


@given(texts, texts)
def test_similarity_is_difflibs_ratio_of_trimmed_texts(reference, generated):
    expected = difflib.SequenceMatcher(None, trim(reference), trim(generated), autojunk=False).ratio()
    assert one_row(reference, generated)["similarity"] == expected


@given(texts, st.sampled_from([" ", "\n", "\r\n", "\t"]))
def test_white_space_at_the_ends_does_not_count(text, blank):
    assert one_row(text, f"{blank}{text}{blank}")["exact_match"] == 1.0


def test_line_ends_count_alike_but_white_space_within_counts():
    assert one_row("a\r\nb", "a\nb")["exact_match"] == 1.0
    assert one_row("a b", "a  b")["exact_match"] == 0.0
    assert one_row("a b", "a  b")["f1"] == 1.0


@pytest.mark.parametrize(
    ("reference", "generated", "expected"),
    [
        ("", "", 1.0),
        ("a", "", 0.0),
        ("", "a", 0.0),
        # f ( x ) against f ( y ): three tokens of four each are common: 2 * 3 / 8
        ("f(x)", "f(y)", 0.75),
        # a a b against a b b: a and b are common once each, of three: 2 * 2 / 6
        ("a a b", "a b b", 2 / 3),
        # one token of one against one of three: 2 * 1 / 4
        ("a", "a, b", 0.5),
        # the underscore belongs to words, so there is no common token
        ("a_b", "a b", 0.0),
        # as docs/evaluation.md warns: case and articles count, a run of Chinese is one word, an accent has two spellings
        ("The cat", "the cat", 0.5),
        ("cat", "a cat", 2 / 3),
        ("\u6211\u4eec\u8d70", "\u6211\u4eec", 0.0),
        ("\u00e9", "e\u0301", 0.0),
    ],
)
def test_token_f1_counts_repeated_tokens_and_punctuation(reference, generated, expected):
    assert token_f1(reference, generated) == pytest.approx(expected)


def test_similarity_of_long_texts_is_not_spoilt_by_the_junk_heuristic():
    words = random.Random(0).choices(["alpha", "beta", "gamma", "delta"], k=60)
    reference = " ".join(words)
    generated = "x" + reference[1:]
    assert difflib.SequenceMatcher(None, reference, generated).ratio() < 0.9  # what the heuristic makes of it
    # all but the first of n characters are common: 2 (n - 1) / 2n
    assert similarity(reference, generated) == pytest.approx(1 - 1 / len(reference))


@given(st.text("ab( );", max_size=300), st.text("ab( );", max_size=300), st.booleans())
def test_the_fast_matcher_gives_the_standard_librarys_ratio(reference, generated, autojunk):
    fast = cydifflib.SequenceMatcher(None, reference, generated, autojunk=autojunk).ratio()
    assert fast == difflib.SequenceMatcher(None, reference, generated, autojunk=autojunk).ratio()
