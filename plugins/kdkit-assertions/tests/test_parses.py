"""The metric `parses` of the `assertions` suite: whether a text is code at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdkit.api import Example
from kdkit_assertions.parsing import parses
from kdkit_assertions.strict_metrics import Assertions

JAVA = [
    "assertEquals(3, list.size());",
    'assertEquals("a;b }", text);\nassertTrue(flag); // said',
    "assertThrows(Failure.class, () -> { run(); stop(); });",
    "Assertions.assertThat(xs).hasSize(2).containsExactly(1, 2);",
    'fail("never");',
    "assertEquals(0x1fL, (int) a[i++]);",
]
PYTHON = [
    "assert total == 3\nassert name is None",
    "with pytest.raises(ValueError):",
    "with raises(E):\nassert f(x) == 2",
    "  assert indented",
    "== 3",
    "is true",
    "is false",
    "is not None",
    "raises ValueError",
    "warns (A, B)",
    "not isinstance Symbol",
    "== approx(2.0)",
]
statements = st.lists(st.sampled_from(JAVA), min_size=1, max_size=4)


@given(statements)
def test_statements_of_java_parse(parts):
    assert parses("\n".join(parts), "java")


@given(statements, st.data())
def test_java_without_one_of_its_brackets_does_not_parse(parts, data):
    text = "\n".join(part for part in parts if '"' not in part and "//" not in part) or JAVA[0]
    brackets = [place for place, sign in enumerate(text) if sign in "(){}[]"]
    place = data.draw(st.sampled_from(brackets))
    assert not parses(text[:place] + text[place + 1 :], "java")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        ";",
        "// only said",
        "assertEquals(3, x)",
        "assertEquals(3, x;",
        'assertEquals("never closed, (x);',
        "assertTrue(a); } void b() { assertTrue(c);",
        "} } class B { void b() {",
        "assertTrue(a); /* never closed",
        "assertTrue(a); //",
        "== 3",
        "again and again",
        "assert total == 3\nassert name is None",
    ],
)
def test_what_is_no_java_statement_does_not_parse(text):
    expected = text == "assertTrue(a); //"  # the comment ends with its line
    assert parses(text, "java") == expected


@pytest.mark.parametrize("text", PYTHON)
def test_assertions_and_their_bare_ends_parse_as_python(text):
    assert parses(text, "python")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "== ",
        "== 3)",
        "= = 3",
        "assert",
        "assert (a",
        "raises E F",
        "isinstance )",
        "is 3 4",
        "# said",
        "assertTrue(a); x y",
    ],
)
def test_what_is_no_python_does_not_parse(text):
    assert not parses(text, "python")


@pytest.mark.parametrize("language", ["java", "python"])
@pytest.mark.parametrize(
    "text",
    [
        "(" * 20_000,
        "-" * 50_000 + "1",
        "a" + ".b" * 50_000,
        "\0",
        "\ud800",
        "x = " + "[" * 300 + "]" * 300,
        "1" + "+1" * 50_000,
    ],
)
def test_no_text_is_too_much(language, text):
    assert parses(text, language) in {True, False}


@given(st.text())
def test_any_text_can_be_asked_about(text):
    for language in ("java", "python"):
        assert parses(text, language) in {True, False}


def test_the_suite_says_of_each_row_whether_its_text_parses():
    pairs = [
        ("assertTrue(x);", "assertTrue(y);", 1.0),
        ("assertTrue(x", "assertTrue(y);", 0.0),
        ("== 4", "== 3", 1.0),
        ("== ", "== 3", 0.0),
    ]
    examples = [Example(id=str(row), source="", target=truth) for row, (_, truth, _) in enumerate(pairs)]
    found = Assertions().score([text for text, _, _ in pairs], [truth for _, truth, _ in pairs], examples)
    assert found["parses"] == [value for _, _, value in pairs]
