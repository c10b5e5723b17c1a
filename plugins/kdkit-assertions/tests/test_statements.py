"""Statements of Java and Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdkit_assertions.statements import language_of, split_statements, tokens_of

PARTS = [
    "assertEquals", "(", ")", "[", "]", "{", "}", ";", "\n", " ", "\t", '"', '"""', "'", "'''", "\\", "//", "/*", "*/",
    "#", ",", ".", "+", "++", "-", "==", ":", "->", "x", "3", "a;b", "é",
]  # fmt: skip
broken = st.lists(st.sampled_from(PARTS), max_size=30).map("".join)
languages = st.sampled_from(["java", "python"])

JAVA = [
    "assertEquals(3,list.size())",
    'assertEquals("a;b (c",text)',
    'assertEquals("say \\"hi;\\"",text)',
    "assertEquals(';',text.charAt(0))",
    "assertEquals('\"',text.charAt(0))",
    "assertEquals('\\'',text.charAt(0))",
    "assertThrows(E.class,()->{run();stop();})",
    'assertThrows(E.class,()->parser.parse(options,new String[]{"--x=/etc/;"}))',
    'assertEquals("""\n  one; "two"\n  three""",text)',
    "assertThat(new Runnable(){@Override public void run(){go();}}).isNotNull()",
    "assertTrue(a<b&&c>=d)",
    "for(int i=0;i<3;i++){assertTrue(x[i]);}",
    "return x",
]
PYTHON = [
    "assert x==3",
    'assert x=="a;b # no comment"',
    "assert x=='it\\'s'",
    "assert f(1,\n2)==[3,\n4]".replace("\n", ""),
    'assert x=="""one\ntwo;"""',
    "assert 7//2==3",
    "assert x is not None",
    "raises(ValueError,lambda:f(x))",
    "with raises(E):f(x)\ng(x)",
    'assert x==r"\\d"',
    "==3",
]


@pytest.mark.parametrize("statement", JAVA)
def test_a_java_statement_is_one_statement_spelt_as_it_is(statement):
    assert split_statements(f"{statement};", "java") == [statement]
    assert split_statements(statement, "java") == [statement]


@pytest.mark.parametrize("statement", PYTHON)
def test_a_python_statement_is_one_statement_spelt_as_it_is(statement):
    lines = statement.replace(":f(x)\n", ":\n  f(x)\n  ")
    assert split_statements(lines, "python") == [statement]


@given(
    st.lists(st.sampled_from(JAVA), max_size=6), st.sampled_from([";", "; ", ";\n", " ;\n\n// note; again\n", ";/*;*/"])
)
def test_java_statements_are_found_however_they_are_parted(statements, parting):
    assert split_statements(parting.join([*statements, ""]), "java") == statements


@given(
    st.lists(st.sampled_from([s for s in PYTHON if "\ng" not in s]), max_size=6),
    st.sampled_from(["\n", ";", "; ", "\n\n# note; again\n", "\r\n"]),
)
def test_python_statements_are_found_however_they_are_parted(statements, parting):
    assert split_statements(parting.join(statements), "python") == statements


@given(broken, languages)
def test_any_text_is_split_without_an_error_into_statements_that_say_something(text, language):
    assert all(statement.strip() for statement in split_statements(text, language))


@given(st.text(alphabet="ab3 ();{}+-.,\n", max_size=30))
def test_a_statement_in_its_spelling_is_that_statement(text):
    for statement in split_statements(text, "java"):
        assert split_statements(statement, "java") == [statement]


@given(broken, languages)
def test_tokens_are_stretches_of_the_text_in_order(text, language):
    position = 0
    for token in tokens_of(text, language):
        position = text.index(token.text, position) + len(token.text)
    assert position <= len(text)


@given(st.sampled_from(JAVA), st.sampled_from([" ", "\n", "\t ", " /* ; */ ", " // ;\n"]))
def test_white_space_and_comments_next_to_punctuation_do_not_count(statement, blank):
    tokens = list(tokens_of(statement, "java"))
    spaced = blank.join(token.text for token in tokens)
    assert split_statements(spaced, "java") == [statement]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("return x", "returnx"),
        ('f("a b")', 'f("ab")'),
        ('f("a  b")', 'f("a b")'),
        ("f(' ')", "f('')"),
        ("a+ ++b", "a++ +b"),
        ("a- -b", "a--b"),
        ('f("""\n  x""")', 'f("""\nx""")'),
        ("a is not b", "a isnot b"),
    ],
)
@pytest.mark.parametrize("language", ["java", "python"])
def test_white_space_that_carries_meaning_counts(left, right, language):
    assert split_statements(left, language) != split_statements(right, language)


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        (" ;; \n// only a comment", []),
        ("/* never closed; a;", []),
        # a literal that is not closed ends with its line
        ('a = "never closed;\n; b();', ['a="never closed;', "b()"]),
        # an open bracket takes all that follows, for nothing of it compiles
        ("a(1; b(); c();", ["a(1;b();c();"]),
        # a closing bracket too many is a mark as any other
        ("a()); b();", ["a())", "b()"]),
        # Java does not care for newlines
        ("assertThat(x)\n  .isEqualTo(y);\nb();", ["assertThat(x).isEqualTo(y)", "b()"]),
        ("a()\nb();", ["a()b()"]),
        # cut off in the middle of an escape
        ('a("x\\', ['a("x\\']),
    ],
)
def test_broken_java_is_split_as_stated(text, statements):
    assert split_statements(text, "java") == statements


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("assert a ==\\\n  b\nc", ["assert a==b", "c"]),
        # a block belongs to the line that opens it, and ends where the indentation does
        ("with raises(E):\n    f(x)\n\n    # why\n    g(x)\nassert y", ["with raises(E):f(x)\ng(x)", "assert y"]),
        ("with raises(E):\n    f(x); g(x)\nassert y", ["with raises(E):f(x)\ng(x)", "assert y"]),
        ("with raises(E): f(x)\nassert y", ["with raises(E):f(x)", "assert y"]),
        ("if a:\n  if b:\n    c\n  d\ne", ["if a:if b:c\nd", "e"]),
        ("if a:\nb", ["if a:", "b"]),
        # a line that is indented without reason is a statement of its own
        ("assert a\n  assert b", ["assert a", "assert b"]),
        # the block's lines are parted by more than a blank
        ("with a:\n  b c", ["with a:b c"]),
        ("with a:\n  b\n  c", ["with a:b\nc"]),
        # Java's comments are none
        ("assert a // b == c", ["assert a//b==c"]),
    ],
)
def test_python_lines_and_blocks_are_split_as_stated(text, statements):
    assert split_statements(text, "python") == statements


@pytest.mark.parametrize(
    ("truth", "language"),
    [
        ("assertTrue(x);", "java"),
        ("assertTrue(x);\n", "java"),
        ("assert x", "python"),
        ("== 3", "python"),
        ("", "python"),
    ],
)
def test_a_truth_that_ends_with_a_semicolon_is_java(truth, language):
    assert language_of(truth) == language
