"""The glossary: each word once, in plain sentences, with a name that the code or a recipe has."""

from __future__ import annotations

import re

import click
import pytest
from pages import PAGES, ROOT, attribute, classes_of, option_paths, read

from kdkit.cli import VERBS, Verb
from kdkit.plugins.fields import options_of
from kdkit.recipe import SECTIONS

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


def test_options_flags_and_variables_have_the_words_of_the_glossary():
    assert {"store", "cache"} & SECTIONS.keys() == {"store"}
    assert {"--part", "--shard"} & flags() == {"--part"}
    assert not [path for path in option_paths() if path.endswith("max_tokens")]
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which says how to migrate
    code = [file for file in (ROOT / "kdkit").rglob("*.py") if file.name != "former_names.py"]
    for path in [*pages, *code, *(ROOT / "recipes").glob("*.toml")]:
        former = re.findall(r"KDKIT_CACHE|--shard\b|^\[cache\]|`\[cache\]`", read(path), re.MULTILINE)
        assert not former, f"{path.relative_to(ROOT)} says {former}"


def help_texts():
    """Every sentence of help, with its place: a command, or an option of a recipe."""
    for name, command in commands():
        yield f"kdkit {name}", command.help or ""
        yield from ((f"kdkit {name}", getattr(each, "help", None) or "") for each in command.params)
    for name, section in SECTIONS.items():
        for cls in classes_of(section):
            yield from ((f"{name}.{option.name}", option.help) for option in options_of(cls))


def test_help_says_shard_and_cache_of_logit_caches_only():
    """Names in backticks, such as the store's default folder, are not words; nor is the user's cache folder kdkit's."""
    for place, text in help_texts():
        words = set(re.findall(r"\w+", re.sub(r"`[^`]*`|user's cache folder", "", text)))
        if not place.startswith(("kdkit cache", "kdkit codec")):
            assert not words & {"cache", "caches"}, f"{place}: {text}"
            assert not words & {"shard", "shards"} or place.endswith(".shard_mb"), f"{place}: {text}"
