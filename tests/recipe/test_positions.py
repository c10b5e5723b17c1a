"""Every key and list item of a TOML document is found where it stands."""

from __future__ import annotations

import re
import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from kdkit.recipe.positions import positions

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12)
KEYS = st.one_of(st.text("abcAB-_019", min_size=1, max_size=6), TEXTS)
SCALARS = st.one_of(
    st.integers(-(2**60), 2**60),
    st.booleans(),
    st.floats(),
    TEXTS,
    st.sampled_from(['"', "'", "a # b", "[x]", "{y = 1}", "\\", '"""', "'''", "line\nbreak", 'ends in "']),
    st.datetimes(),
    st.dates(),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=6)
KEY_AT = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")


def paths(value, path=()):
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from paths(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield (*path, index)
            yield from paths(item, (*path, index))


def check(text):
    """Each path is found once, at a spelling of its own key."""
    document = tomllib.loads(text)
    found = positions(text)
    assert set(found) == set(paths(document))
    lines = text.split("\n")
    for path, (line, column) in found.items():
        rest = lines[line - 1][column - 1 :]
        if isinstance(path[-1], str):
            spelt = KEY_AT.match(rest).group()
            assert next(iter(tomllib.loads(f"{spelt} = 0"))) == path[-1]
        else:
            assert rest[0] not in " \t,]}=#", rest
    leaves = [path for path, value in walk(document) if not isinstance(value, dict)]
    assert len({found[path] for path in leaves}) == len(leaves)


def walk(document):
    for path in paths(document):
        value = document
        for key in path:
            value = value[key]
        yield path, value


@given(DOCUMENTS, st.booleans())
def test_every_key_of_a_written_document_is_found_where_it_stands(document, multiline):
    check(tomli_w.dumps(document, multiline_strings=multiline))


def spell_key(draw, key):
    styles = [tomli_w.dumps({key: 0}).rsplit(" = ", 1)[0]]
    if "'" not in key and all(" " <= c != "\x7f" for c in key):
        styles.append(f"'{key}'")
    return draw(st.sampled_from(styles))


def spell_value(draw, value):
    """A value in one of the ways that TOML knows."""
    if isinstance(value, dict):
        pairs = [f"{spell_key(draw, key)} = {spell_value(draw, item)}" for key, item in value.items()]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        gap = draw(st.sampled_from(["", " ", "\n  ", '\n# [not] "this\n\t']))
        comma = draw(st.sampled_from(["", ","])) if value else ""
        return "[" + gap + f",{gap}".join(spell_value(draw, item) + gap for item in value) + comma + gap + "]"
    if isinstance(value, str):
        styles = [tomli_w.dumps({"k": value})[4:-1]]
        if all(" " <= c != "\x7f" for c in value):
            if "'" not in value:
                styles += [f"'{value}'", f"'''{value}'''", f"'''\n{value}''''"[:-1]]
            if "\\" not in value and '"""' not in value:
                styles.append(f'"""{value}"""' if not value.endswith('"') else f'"""\n{value[:-1]}\\""""')
        return draw(st.sampled_from(styles))
    return tomli_w.dumps({"k": value})[4:-1]


@st.composite
def shuffled(draw):
    """Documents as people write them: dotted keys, headers out of order, arrays of tables, comments, odd blanks."""
    document = draw(DOCUMENTS)
    head, tables = [], []

    def pair(prefix, key, value):
        blanks = draw(st.sampled_from(["", " ", "\t "]))
        spelt = f" {blanks}.{blanks}".join(spell_key(draw, part) for part in (*prefix, key))
        comment = draw(st.sampled_from(["", " # [a] b = 'c'"]))
        return f"{blanks}{spelt}{blanks}={blanks}{spell_value(draw, value)}{comment}"

    def dotted(prefix, table):
        for key, value in table.items():
            if isinstance(value, dict) and value and draw(st.booleans()):
                yield from dotted((*prefix, key), value)
            else:
                yield pair(prefix, key, value)

    for key, value in document.items():
        name = spell_key(draw, key)
        if isinstance(value, dict) and draw(st.booleans()):
            tables.append([f" [ {name} ] # table", *dotted((), value)])
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            tables.append([line for item in value for line in (f"[[{name}]]", *dotted((), item))])
        else:
            head += dotted((), {key: value})
    lines = [*draw(st.permutations(head)), *(line for table in draw(st.permutations(tables)) for line in table)]
    return "\n".join(line for line in lines for line in draw(st.sampled_from([[line], [line, "", "# x"]])))


@given(shuffled())
def test_every_key_of_a_document_written_by_hand_is_found_where_it_stands(text):
    check(text)


@pytest.mark.parametrize(
    ("text", "path", "position"),
    [
        ("a = 1", ("a",), (1, 1)),
        ("\n\n  b = 1", ("b",), (3, 3)),
        ("[x.y]\nz = 1", ("x", "y"), (1, 4)),
        ("[x.y]\nz = 1", ("x", "y", "z"), (2, 1)),
        ("[[a.b]]\nc = 1\n[[a.b]]\nc = 2", ("a", "b", 1, "c"), (4, 1)),
        ("[[a]]\n[a.b]\nc = 1\n[[a]]\n[a.b]\nc = 2", ("a", 1, "b", "c"), (6, 1)),
        ("a = [1,\n 2]", ("a", 1), (2, 2)),
        ("a = [{b = 1}, {b = 2}]", ("a", 1, "b"), (1, 16)),
        ('a = """\n"b = 1"""\nc = 2', ("c",), (3, 1)),
        ('a = """x"""""\nb = 1', ("b",), (2, 1)),
        ("a = '''x'''''\nb = 1", ("b",), (2, 1)),
        ("a = 1979-05-27 07:32:00\nb = 1", ("b",), (2, 1)),
        ('"a.b".c = 1', ("a.b", "c"), (1, 7)),
        ("a = 1\r\nb = 2\r\n", ("b",), (2, 1)),
        ('"ä" = 1\n"ö" = {ü = 1}'.replace("ü", "u"), ("ö", "u"), (2, 8)),
    ],
)
def test_a_position_is_line_and_column_from_one(text, path, position):
    assert positions(text)[path] == position
