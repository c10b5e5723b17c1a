"""The `assertions-thesis` suite: the published definition, worked out by hand."""

from __future__ import annotations

import difflib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdkit.api import Example
from kdkit.testing import check_metrics
from kdkit_assertions import score_thesis
from kdkit_assertions.thesis_metrics import ThesisAssertions, _pieces

KEYS = [
    "exact_matches",
    "generated_count",
    "reference_count",
    "precision",
    "recall",
    "f1",
    "accuracy",
    "similarity",
]

texts = st.lists(
    st.sampled_from(
        ["assertEquals", "ASSERTTrue", "assertNull", "(", ")", ",", " ", "  ", ";", "\n", "x", "y", '"a;b"', "\t"]
    ),
    max_size=25,
).map("".join)


def test_the_suite_keeps_the_rules_of_metric_suites():
    check_metrics(ThesisAssertions())


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", []),
        (" ; \n;;\n ", []),
        ("a", ["a;"]),
        ("a;b\nc;", ["a;", "b;", "c;"]),
        ("  a  \n  b  ;", ["a;", "b;"]),
        # the `;` within the literal splits it in two
        ('assertTrue(x.is("a;b"));', ['assertTrue(x.is("a;', 'b"));']),
        # a blank before the `;` is stripped before the `;` is put back
        ("assertTrue(a) ;", ["assertTrue(a);"]),
        # runs of white space become one blank
        ("assertTrue(\t a  ,\r b)", ["assertTrue( a , b);"]),
    ],
)
def test_a_text_is_split_at_every_semicolon_and_newline(text, pieces):
    assert _pieces(text) == pieces


@pytest.mark.parametrize(
    ("piece", "normalised"),
    [
        # FIRST = `3`, REST = `x.size()` up to its first closing bracket: `x.size(`
        ("assertEquals(3, x.size());", "assertEquals(VALUE, x.size());"),
        ("assertEquals(3, x);", "assertEquals(VALUE, x);"),
        ("assertEquals ( 3,x);", "assertEquals(VALUE, x);"),
        # the blank after `3` belongs to FIRST, the blank after `x` to REST, which keeps it
        ("assertEquals( 3 ,  x );", "assertEquals(VALUE, x );"),
        # FIRST ends at the first comma, wherever that stands: `f(a`; REST is `b`, and `, c);` is left as it is
        ("assertEquals(f(a, b), c);", "assertEquals(VALUE, b), c);"),
        # the comma within the literal ends FIRST: `"a`; REST is `b", x`
        ('assertEquals("a,b", x);', 'assertEquals(VALUE, b", x);'),
        # REST ends at the closing bracket within the literal
        ('assertEquals(1, f(")", x));', 'assertEquals(VALUE, f(")", x));'),
        # FIRST may run past a closing bracket
        ("assertEquals(a).with(b, c);", "assertEquals(VALUE, c);"),
        # three arguments: REST is `x, 0.1`
        ("assertEquals(1.5, x, 0.1);", "assertEquals(VALUE, x, 0.1);"),
        # everywhere: within another statement, and twice
        (
            "f(() -> assertEquals(1, x), () -> assertEquals(2, y));",
            "f(() -> assertEquals(VALUE, x), () -> assertEquals(VALUE, y));",
        ),
        ("Assert.assertEquals(1, x);", "Assert.assertEquals(VALUE, x);"),
        # FIRST and REST have a character at least, be it a blank
        ("assertEquals(, x);", "assertEquals(, x);"),
        ("assertEquals(1,);", "assertEquals(1,);"),
        ("assertEquals( , x);", "assertEquals(VALUE, x);"),
        ("assertEquals(1, );", "assertEquals(VALUE,  );"),
        # no comma, no closing bracket
        ("assertEquals(x);", "assertEquals(x);"),
        ("assertEquals(1, x;", "assertEquals(1, x;"),
        # a backslash in REST stays as it is
        (r'assertEquals(1, f("\1\n"));', r'assertEquals(VALUE, f("\1\n"));'),
        # case-sensitive, and before the case of `assert` is mended
        ("ASSERTEquals(3, x);", "assertEquals(3, x);"),
        ("AssertEquals(3, x);", "assertEquals(3, x);"),
        ("assertequals(3, x);", "assertequals(3, x);"),
        # only the word part `assert` is lower-cased
        ("AssertTRUE(x);", "assertTRUE(x);"),
        ("ASSERTNOTNULL(x);", "assertNOTNULL(x);"),
        ("AssertNotSame(x, y); ", "assertNotSame(x, y);"),
        ("AssertArrayEquals(x, y)", "assertArrayEquals(x, y)"),
        ("AssertThrows(E.class, f)", "assertThrows(E.class, f)"),
        # the name must end there
        ("AssertTrueish(x)", "AssertTrueish(x)"),
        ("AssertNotEquals(x, y)", "AssertNotEquals(x, y)"),
        ("AssertInstanceOf(x, y)", "AssertInstanceOf(x, y)"),
        # but need not begin there
        ("myAssertTrue(x)", "myassertTrue(x)"),
        ("Assert.AssertFalse(x)", "Assert.assertFalse(x)"),
    ],
)
def test_a_piece_is_normalised_as_published(piece, normalised):
    assert _pieces(piece) == [normalised.rstrip(";") + ";"]


@pytest.mark.parametrize(
    ("generated", "reference", "matches", "counts", "precision", "recall", "f1", "accuracy"),
    [
        # two pieces of four are in the reference, which has three: 2/4, 2/3, 2*(1/2)(2/3)/(7/6) = 4/7, 2/4
        ("a;b;x;y;", "a;b;c;", 2, (4, 3), 1 / 2, 2 / 3, 4 / 7, 1 / 2),
        # one of one, of two: 1/1, 1/2, 2*(1/2)/(3/2) = 2/3, 1/2
        ("a;", "a;b;", 1, (1, 2), 1.0, 1 / 2, 2 / 3, 1 / 2),
        # the same piece three times counts three times: 3/3, 3/1, 2*3/4 = 1.5, 3/3
        ("a;a;a;", "a;", 3, (3, 1), 1.0, 3.0, 1.5, 1.0),
        # a piece of the reference may be matched by two: 2/2, 2/2
        ("a;a;", "a;b;", 2, (2, 2), 1.0, 1.0, 1.0, 1.0),
        # nothing in common: F1 is 0, not a division by zero
        ("a;", "b;", 0, (1, 1), 0.0, 0.0, 0.0, 0.0),
        # every expected value is wrong, and nothing is noticed
        ("assertEquals(1, x);assertEquals(2, y);", "assertEquals(8, x);assertEquals(9, y);", 2, (2, 2), 1, 1, 1, 1),
        ("", "", 0, (0, 0), 1.0, 1.0, 1.0, 1.0),
        (" ;\n", "", 0, (0, 0), 1.0, 1.0, 1.0, 1.0),
        ("", "a;b;", 0, (0, 2), 0.0, 0.0, 0.0, 0.0),
        ("a;", "", 0, (1, 0), 0.0, 0.0, 0.0, 0.0),
    ],
)
def test_scores_worked_out_by_hand(generated, reference, matches, counts, precision, recall, f1, accuracy):
    found = score_thesis(generated, reference)
    assert (found["exact_matches"], found["generated_count"], found["reference_count"]) == (matches, *counts)
    assert found["precision"] == pytest.approx(precision)
    assert found["recall"] == pytest.approx(recall)
    assert found["f1"] == pytest.approx(f1)
    assert found["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("generated", "reference", "similarity"),
    [
        ("", "", 1.0),
        ("", "a;", 0.0),
        ("a;", "", 0.0),
        # `ab;` and `ac;`: `a` and `;` are common: 2 * 2 / 6
        ("ab;", "ac;", 2 / 3),
        # the best for `ab;` is `ac;` (2/3, against `x;` 2*1/5), that for `x;` is itself (1): their mean
        ("ab;x;", "x;ac;", (2 / 3 + 1) / 2),
        # the mean is over generated pieces: the reference's second piece costs nothing
        ("a;", "a;b;", 1.0),
    ],
)
def test_similarity_is_the_mean_over_generated_pieces_of_the_best_ratio(generated, reference, similarity):
    assert score_thesis(generated, reference)["similarity"] == pytest.approx(similarity)


def test_the_ratio_is_that_of_the_generated_piece_first():
    # difflib begins with the earliest of the longest common runs in its first text, and looks left and right of it:
    # in `bcc;` with the `b`, right of which `cacb;` has only `;` left: 2 * 2 / 9. In `cacb;` with the first `c`,
    # after which come `c` and `;`: 2 * 3 / 9.
    assert score_thesis("bcc;", "cacb;")["similarity"] == pytest.approx(4 / 9)
    assert score_thesis("cacb;", "bcc;")["similarity"] == pytest.approx(6 / 9)


def test_similarity_of_long_pieces_suffers_from_the_junk_heuristic():
    reference = " ".join(["alpha", "beta", "gamma", "delta"] * 15)
    generated = "x" + reference[1:-1] + "x"  # of 334 characters only these two are wrong
    fair = difflib.SequenceMatcher(None, reference + ";", generated + ";", autojunk=False).ratio()
    published = difflib.SequenceMatcher(None, generated + ";", reference + ";").ratio()
    assert fair > 0.99
    assert published < 0.1
    assert score_thesis(generated, reference)["similarity"] == published


@given(texts, texts)
def test_scores_are_those_of_the_definition_written_out(generated, reference):
    def normal(text):
        for part in re.split("[;\n]", text):
            if part.strip():
                piece = " ".join((part.strip() + ";").split())
                piece = re.sub(r"assertEquals *\( *([^,]+), *([^)]+)\)", r"assertEquals(VALUE, \2)", piece)
                yield re.sub(r"(?i:assert)((?i:Equals|True|Null)\b)", r"assert\1", piece)

    g, r = list(normal(generated)), list(normal(reference))
    found = score_thesis(generated, reference)
    matches = len([piece for piece in g if piece in r])
    assert [found[key] for key in KEYS[:3]] == [matches, len(g), len(r)]
    if g and r:
        ratios = [max(difflib.SequenceMatcher(None, piece, other).ratio() for other in r) for piece in g]
        assert found["similarity"] == pytest.approx(sum(ratios) / len(g))
        assert found["f1"] == pytest.approx(2 * matches / (len(g) + len(r)))


@given(texts)
def test_a_text_against_itself_scores_1(text):
    found = score_thesis(text, text)
    assert [found[key] for key in ("precision", "accuracy", "similarity")] == [1.0, 1.0, 1.0]


def test_a_list_of_statements_counts_as_its_lines():
    assert score_thesis(["a;", "b"], ["a", "b;"]) == score_thesis("a;\nb", "a\nb;")


def test_the_mapping_has_exactly_the_published_names():
    assert list(score_thesis("a;", "b;")) == KEYS


def test_the_suite_gives_each_row_what_score_thesis_gives():
    generated, references = ["a;b;", "", "a;a;"], ["a;", "b;", "a;"]
    examples = [Example(id=str(row), source="", target="") for row in range(3)]
    found = ThesisAssertions().score(generated, references, examples)
    assert list(found) == KEYS[3:]
    for row, (text, reference) in enumerate(zip(generated, references, strict=True)):
        expected = score_thesis(text, reference)
        assert {name: values[row] for name, values in found.items()} == {name: expected[name] for name in found}
