"""Messages, help, the first sentences of docstrings and the pages have no phrase that a reader must read twice."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from pages import FENCE, ROOT, WRITTEN, name_of, read

COMPARED = "(?:more|worse|longer|larger|better|likelier|lower|higher|nearer|fewer|smaller)"
# What is refused, and what to write instead.
REFUSED = {
    r"\banew\b": '"again", or "from scratch"',
    r"\bto be had\b": '"available", or "can be recreated"',
    rf"(?<![Tt]here )\bis no (?!{COMPARED}\b)": '"is not a"',
    rf"(?<![Tt]here )\bare no (?!{COMPARED}\b)": '"are not"',
    r"\b(?:goes|go|going) on (?:at|from|with|as|in|where)\b|\b(?:command|run)(?: again)? goes on\b": '"resumes", or "continues"',
    r"\bheeded\b": '"respected"',
    r"\bwanted back\b": '"restored"',
    r"\b(?:is|are) told\b(?! apart)": '"receives", "is sent to", or "is reported"',
    r"\bwhich there is not\b": '"unknown"',
    r"\bsee to (?:it|the|that)\b": '"check"',
    r"\bstands? where\b": '"found ..., expected ..."',
    r"\bmend (?:it|that|the)\b": '"correct", "fix", or "repair"',
    r"\bmade of it\b|\bwhat came of\b": "the result, by its name",
    r"\bwhat is whole\b|\bwhat is damaged\b": '"intact records", "damaged files": name the things',
}
SOURCES = sorted(
    path
    for folder in (ROOT / "kdkit", ROOT / "plugins")
    for path in folder.rglob("*.py")
    if "tests" not in path.relative_to(ROOT).parts and "build" not in path.relative_to(ROOT).parts
)


def documented(node):
    return isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))


def texts(source):
    """Line and text of every string that has words; of a docstring, its first paragraph."""
    tree = ast.parse(source)
    paragraphs = {
        id(node.body[0].value): node.body[0].value.value.split("\n\n")[0]
        for node in ast.walk(tree)
        if documented(node) and ast.get_docstring(node, clean=False) is not None
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            pieces = (piece.value if isinstance(piece, ast.Constant) else "X" for piece in node.values)
            yield node.lineno, "".join(pieces)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, paragraphs.get(id(node), node.value)


def faults(text):
    return [f'"{found[0]}": write {instead}' for refused, instead in REFUSED.items() if (found := re.search(refused, text))]  # fmt: skip


@cache
def every_text():
    """Path, line and text of every string of the sources that has words."""
    return [(path, line, " ".join(text.split())) for path in SOURCES for line, text in texts(read(path))]


def test_no_message_help_or_first_sentence_must_be_read_twice():
    wrong = [f"{name_of(path)}:{line}: {fault}" for path, line, text in every_text() for fault in faults(text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", [*WRITTEN, ROOT / "docs" / "cache-format.md"], ids=name_of)
def test_no_page_must_be_read_twice(page):
    wrong = faults(" ".join(FENCE.sub("", read(page)).split()))
    assert not wrong, "\n".join(wrong)


def test_the_messages_that_the_page_of_fixes_quotes_are_printed():
    quoted = [" ".join(found.split()) for found in re.findall(r'\*"([^"]+)"\*', read(ROOT / "docs" / "fixing.md"))]
    assert len(quoted) > 20
    told = "\n".join(text for _, _, text in every_text())
    assert not [message for message in quoted if message not in told]


@pytest.mark.parametrize(
    "sentence",
    [
        "the teacher of runs/x is not to be had again",
        "run the recipe again, which makes all of it anew",
        "is a gpt2 model, which is no encoder-decoder",
        "the same command goes on from there",
        "see to the disk and run again",
        "3 bytes stand where 4 are expected",
    ],
)
def test_the_sentences_that_stopped_a_reader_are_refused(sentence):
    assert faults(sentence)


@pytest.mark.parametrize(
    "sentence",
    ["there is no file x; give train the path of a file", "it is no longer there", "rows are told apart by id"],
)
def test_plain_sentences_are_not(sentence):
    assert not faults(sentence)
