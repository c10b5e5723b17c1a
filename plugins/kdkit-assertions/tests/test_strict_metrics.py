"""The `assertions` suite."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdkit.api import Example
from kdkit.testing import check_metrics
from kdkit_assertions.kinds import kind_of
from kdkit_assertions.statements import split_statements, tokens_of
from kdkit_assertions.strict_metrics import Assertions
from kdkit_assertions.thesis_metrics import ThesisAssertions

WHOLE = ["precision", "recall", "f1", "accuracy", "exact_match", "similarity"]
STATEMENTS = ["assertEquals(1, x)", "assertEquals(2, x)", "assertTrue(y)", 'assertEquals("a;b", z)', "assertNull(w)"]
statements = st.lists(st.sampled_from(STATEMENTS), max_size=6)


def row(generated, reference, *, language="java", **meta):
    example = Example(id="1", source="", target=reference, meta=meta)
    found = Assertions(language=language).score([generated], [reference], [example])
    return {name: values[0] for name, values in found.items()}


def java(parts):
    return "".join(f"{part};\n" for part in parts)


@pytest.mark.parametrize("language", ["auto", "java", "python"])
def test_the_suite_keeps_the_rules_of_metric_suites(language):
    check_metrics(Assertions(language=language))
    check_metrics(Assertions(language=language), meta={"answerable": True})


@given(statements, statements)
def test_values_lie_between_0_and_1_and_are_1_together(generated, reference):
    found = row(java(generated), java(reference))
    assert all(0.0 <= value <= 1.0 for value in found.values())
    same = sorted(generated) == sorted(reference)
    for name in ("f1", "accuracy", "exact_match", "similarity"):
        assert (found[name] == 1.0) == same, name
    assert found["accuracy"] <= found["f1"]
    assert found["accuracy"] <= found["similarity"]


@given(statements, statements, st.randoms(use_true_random=False))
def test_neither_order_nor_white_space_matters(generated, reference, shuffler):
    shuffled = generated.copy()
    shuffler.shuffle(shuffled)
    spaced = java(shuffled).replace("(", " ( ").replace(";\n", " ;  // note;\n")
    assert row(spaced, java(reference)) == pytest.approx(row(java(generated), java(reference)))


@given(statements, statements)
def test_precision_and_recall_change_places_with_the_texts(left, right):
    one, other = row(java(left), java(right)), row(java(right), java(left))
    assert one["precision"] == other["recall"]
    assert one["f1"] == other["f1"]


@pytest.mark.parametrize(
    ("generated", "reference", "expected"),
    [
        # one of two is right, of three wanted: 1/2, 1/3, 2/5, 1/3
        ("a();x();", "a();b();c();", (1 / 2, 1 / 3, 2 / 5, 1 / 3, 0.0)),
        # written three times, it still counts once: 1/3, 1/1, 2/4, 1/3
        ("a();a();a();", "a();", (1 / 3, 1.0, 1 / 2, 1 / 3, 0.0)),
        # wanted twice, written twice
        ("a();a();", "a();a();", (1.0, 1.0, 1.0, 1.0, 1.0)),
        ("", "a();", (0.0, 0.0, 0.0, 0.0, 0.0)),
        ("a();", "", (0.0, 0.0, 0.0, 0.0, 0.0)),
        (" ; ", "// nothing", (1.0, 1.0, 1.0, 1.0, 1.0)),
    ],
)
def test_scores_worked_out_by_hand(generated, reference, expected):
    found = row(generated, reference)
    assert tuple(found[name] for name in WHOLE[:5]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("generated", "reference", "expected"),
    [
        # ab and ac: `a` is common: 2 * 1 / 4
        ("ab;", "ac;", 0.5),
        # ab is matched with itself, which leaves nothing for ac: 1 / 2
        ("ab;", "ab;ac;", 0.5),
        # two copies are matched with ab (1) and ac (0.5), over two
        ("ab;ab;", "ac;ab;", 0.75),
        # abcd-abcx (2 * 3 / 8) goes first, and leaves zz and yz (2 * 1 / 4): (0.75 + 0.5) / 2
        ("abcd;zz;", "yz;abcx;", 0.625),
        ("", "ab;", 0.0),
    ],
)
def test_similarity_is_that_of_greedy_pairs_over_the_longer_list(generated, reference, expected):
    assert row(generated, reference)["similarity"] == pytest.approx(expected)


def test_recall_by_kind_is_over_the_rows_that_have_the_kind():
    texts = ["assertEquals(1, x);assertTrue(z);", "assertTrue(y);", ""]
    truths = ["assertEquals(1, x);assertEquals(2, x);", "assertTrue(y);", "assertNull(x);"]
    examples = [Example(id=str(number), source="", target=truth) for number, truth in enumerate(truths)]
    found = Assertions().score(texts, truths, examples)
    assert {name: values for name, values in found.items() if "/" in name} == {
        "recall/equals": [0.5, None, None],
        "recall/null": [None, None, 0.0],
        "recall/true": [None, 1.0, None],
    }


def kinds_of_recall(generated, reference, truth, **meta):
    example = Example(id="1", source="", target=truth, meta=meta)
    found = Assertions().score([generated], [reference], [example])
    return {name.removeprefix("recall/"): values[0] for name, values in found.items() if name.startswith("recall/")}


def test_listed_kinds_are_those_of_the_ground_truth():
    truth = "assertFoo(x);\nassertEquals(1, x);\n"
    assert kinds_of_recall("assertFoo(x);", truth, truth) == {"other": 1.0, "equals": 0.0}
    assert kinds_of_recall("assertFoo(x);", truth, truth, kinds=["foo", "same"]) == {"foo": 1.0, "same": 0.0}


@pytest.mark.parametrize("kinds", [["foo"], ["foo", "a/b"], ["foo", ""], ["foo", 3], "ab", None])
def test_lists_that_are_not_one_word_a_statement_are_passed_over(kinds):
    truth = "assertFoo(x);\nassertEquals(1, x);\n"
    assert set(kinds_of_recall("", truth, truth, kinds=kinds)) == {"other", "equals"}


def test_listed_kinds_say_nothing_about_another_reference():
    truth = "assertFoo(x);\nassertEquals(1, x);\n"
    teacher = "assertTrue(x);\nassertNull(x);\n"
    assert set(kinds_of_recall("", teacher, truth, kinds=["foo", "same"])) == {"true", "null"}


@given(
    st.lists(st.tuples(st.sampled_from(STATEMENTS), st.sampled_from(["a", "b"])), min_size=1, max_size=6), statements
)
def test_listed_kinds_share_out_the_recall(listed, generated):
    """Whatever the kinds, the recalls weighted with their numbers make the whole recall."""
    truth = java([statement for statement, _ in listed])
    kinds = [kind for _, kind in listed]
    found = row(java(generated), truth, kinds=kinds)
    total = sum(found[f"recall/{kind}"] * kinds.count(kind) for kind in set(kinds))
    assert total / len(kinds) == pytest.approx(found["recall"])


def test_answerable_rows_are_also_scored_apart():
    truths = ["assertTrue(x);"] * 3
    metas = [{"answerable": True}, {"answerable": False}, {}]
    examples = [Example(id=str(n), source="", target=truths[n], meta=meta) for n, meta in enumerate(metas)]
    found = Assertions().score(["assertTrue(x);"] * 3, truths, examples)
    assert found["f1/answerable"] == [1.0, None, None]
    assert found["exact_match/answerable"] == [1.0, None, None]
    assert found["f1"] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("generated", "truth", "exact", "kind"),
    [
        ("==3", "== 3", 1.0, "equals"),
        ("== 4", "== 3", 0.0, "equals"),
        ("is  None", "is None", 1.0, "is"),
        ('== "a  b"', '== "a b"', 0.0, "equals"),
        ("raises ValueError", "raises ValueError", 1.0, "raises"),
        ("raises TypeError", "raises ValueError", 0.0, "raises"),
    ],
)
def test_ends_of_python_assertions_are_judged_as_statements(generated, truth, exact, kind):
    found = row(generated, truth, language="auto")
    assert found["exact_match"] == exact
    assert found[f"recall/{kind}"] == exact


def test_the_ground_truth_decides_the_language_whatever_the_reference_is():
    example = Example(id="1", source="", target="assertTrue(x); // Java")
    teacher = "assertTrue(x // cut off"
    assert Assertions().score([teacher], [teacher], [example])["f1"] == [1.0]
    java_example = Example(id="1", source="", target="assertTrue(x);")
    found = Assertions().score(["assertTrue(x) // sure"], ["assertTrue(x)"], [java_example])
    assert found["exact_match"] == [1.0]


@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from("xyz")), min_size=1, max_size=4))
def test_wrong_expected_values_pass_in_the_thesis_and_fail_here(pairs):
    truth = java(f"assertEquals({value}, {name})" for value, name in pairs)
    wrong = java(f"assertEquals({value + 100}, {name})" for value, name in pairs)
    examples = [Example(id="1", source="", target=truth)]
    assert ThesisAssertions().score([wrong], [truth], examples)["accuracy"] == [1.0]
    assert Assertions().score([wrong], [truth], examples)["accuracy"] == [0.0]


SHARED = Path(__file__).resolve().parents[3] / "../shared/data/java_assertions/valid.jsonl.gz"

OPPOSITES = {"True": "False", "Null": "NotNull", "Same": "NotSame", "Throws": "DoesNotThrow", "That": "ThatNot"}
OPPOSITES |= {other: name for name, other in OPPOSITES.items()}


def make_wrong(statement):
    """The assertion with another expected value, or the opposite of it where it names none."""
    call = re.match(r"(.*?\bassert(?:Not|Array)?Equals\s*)\((.*)\);", statement, re.DOTALL)
    if call is None:
        return re.sub(
            r"assert(\w+)", lambda name: f"assert{OPPOSITES.get(name[1], 'Not' + name[1])}", statement, count=1
        )
    arguments = [""]
    for token in tokens_of(call[2], "java"):
        if token.depth == 0 and token.text == ",":
            arguments.append("")
        else:
            arguments[-1] += f" {token.text}" if token.spaced else token.text
    # JUnit 4 puts a message first, JUnit 5 last.
    message_first = len(arguments) > 2 and arguments[0].startswith('"') and not arguments[-1].strip().startswith('"')
    arguments[1 if message_first else 0] = "WRONG"
    return f"{call[1]}({','.join(arguments)});"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.exists(), reason="needs the data folder beside the checkout")
def test_on_real_java_tests_the_strict_suite_sees_what_the_thesis_suite_does_not():
    with gzip.open(SHARED, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    assertions = [record["assertions"] for record in records]
    truths = ["\n".join(parts) for parts in assertions]
    examples = [
        Example(id=record["id"], source="", target=truth) for record, truth in zip(records, truths, strict=True)
    ]

    itself = Assertions().score(truths, truths, examples)
    assert all(value == 1.0 for values in itself.values() for value in values if value is not None)

    same_count = [len(split_statements(t, "java")) == len(a) for t, a in zip(truths, assertions, strict=True)]
    print(f"statements counted as listed: {sum(same_count) / len(same_count):.4f} of {len(same_count)} rows")
    assert sum(same_count) / len(same_count) >= 0.99

    kinds = [(kind_of(s), k) for record in records for s, k in zip(record["assertions"], record["kinds"], strict=True)]
    agree = sum(found == listed for found, listed in kinds) / len(kinds)
    print(f"kinds as listed: {agree:.4f} of {len(kinds)} assertions")
    assert agree >= 0.99

    wrong = ["\n".join(make_wrong(part) for part in parts) for parts in assertions]
    means = {}
    for name, suite in (("thesis", ThesisAssertions()), ("strict", Assertions())):
        values = suite.score(wrong, truths, examples)["accuracy"]
        means[name] = sum(values) / len(values)
    print(f"accuracy of wrong assertions: {means}")
    assert means["thesis"] > 0.5
    assert means["strict"] < 0.02
