"""The glossary: each word once, in plain sentences, with a name that the code or a recipe has."""

from __future__ import annotations

import re

import click
import pytest
from pages import ROOT, attribute, option_paths, read

from kdkit.cli import VERBS, Verb

WORDS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in read(ROOT / "docs" / "glossary.md").splitlines()
    if line.startswith("| ") and not line.startswith("| word ")
]


def commands():
    """Every command and subcommand, with its name."""
    for verb in VERBS:
        command = Verb(name=verb).load()
        yield verb, command
        if isinstance(command, click.Group):
            yield from ((f"{verb} {name}", sub) for name, sub in command.commands.items())


def flags():
    return {spelling for _, command in commands() for each in command.params for spelling in each.opts}


@pytest.mark.parametrize(("word", "meaning", "names"), WORDS, ids=[row[0] for row in WORDS])
def test_a_word_has_a_sentence_and_a_name_that_exists(word, meaning, names):
    assert meaning.endswith(".")
    assert not meaning.lower().startswith(f"{word} is")
    found = re.findall(r"`([^`]+)`", names)
    assert found
    for name in found:
        if name.startswith("kdkit."):
            attribute(name)
        elif name.startswith("--"):
            assert name in flags(), f"no command has the option {name}"
        elif name.isupper():
            assert any(f'"{name}"' in read(path) for path in (ROOT / "kdkit").rglob("*.py")), f"nothing reads {name}"
        else:
            assert name in option_paths(), f"no recipe has the key {name}"


def test_words_stand_once_and_in_order():
    words = [row[0] for row in WORDS]
    assert words == sorted(set(words))


def test_the_words_of_captures_and_caches_are_told_apart():
    words = {row[0] for row in WORDS}
    assert {"cache", "part", "record", "shard", "store"} <= words
