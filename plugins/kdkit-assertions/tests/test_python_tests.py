"""The data set `python-tests`, on a small package written for the purpose, and on the real default packages."""

from __future__ import annotations

import os
import sys
from collections import Counter

import attrs
import pytest

from kdkit.api import SPLITS, DataSource, Silent
from kdkit.errors import MissingInput, UsageError
from kdkit_assertions.python_tests import PythonTests

BOOM = 'raise AssertionError("a mined package must not be imported")\n'

CODE = '''
def area(width, height=1):
    """The area.

    >>> area(2, 3)
    6
    """
    return width * height


class Box:
    """A box."""

    def __init__(self, width):
        """Make one: >>> Box(1).width is 1"""
        self.width = width

    def grow(self, by):
        """Only a docstring: >>> Box(1).grow(2)"""
'''

TESTS = '''
import pytest
from quiet.shapes import area, Box
from ..shapes import Box as OtherBox

UNIT = 1


def test_area():
    # the easy ones
    w = 2
    assert area(w, 3) == 6  # six, of course
    h = 4
    assert area(w, h) == (
        8
    )
    for i in range(3):
        assert area(i) == i
    with pytest.raises(TypeError):
        area()
    assert not area(0)


class TestBox:
    def setup_method(self):
        self.box = Box(5)

    def test_width(self):
        """Boxes are wide."""
        unrelated = 1
        assert self.box.width == 5 and isinstance(self.box, Box)
        self.assertEqual(area(UNIT), 1)

    def helper(self):
        assert "this is no test" is None
'''


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    """A package that must not be imported, with forty small test modules beside the one above."""
    root = tmp_path / "quiet"
    tests = root / "deep" / "tests"
    tests.mkdir(parents=True)
    for folder in (root, root / "deep", tests):
        (folder / "__init__.py").write_text(BOOM)
    (root / "shapes.py").write_text(BOOM + CODE)
    (tests / "test_shapes.py").write_text(BOOM + TESTS.replace("from ..shapes", "from ...shapes"))
    (tests / "test_broken.py").write_text("def test_x(:\n    assert 1 == 2\n")
    (tests / "test_latin.py").write_bytes(b"# -*- coding: ascii -*-\nx = '\xe9'\ndef test_x():\n    assert x == 'e'\n")
    (tests / "helpers.py").write_text("def test_not_in_a_test_module():\n    assert 'helpers' == 3\n")
    for number in range(40):
        lines = [f"    x = {number}"] + [f"    assert x + {i} == {number + i}" for i in range(3)]
        text = "def test_sum():\n" + "\n".join(lines) + "\n\ndef test_same():\n    assert int('7') == 7\n"
        (root / f"test_{number:02}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return root


def load(**options):
    shares = {"validation_share": 0.2} | ({} if options.get("split_by") == "package" else {"test_share": 0.2})
    return PythonTests(**{"packages": ("quiet",)} | shares | options).load(Silent())


def all_rows(corpus):
    return {row.id: row for name in SPLITS for row in corpus.split(name)}


def of_test(corpus, name):
    module = "quiet.deep.tests.test_shapes"
    return [row for row in all_rows(corpus).values() if row.meta["module"] == module and row.meta["test"] == name]


def test_it_is_a_data_source():
    assert isinstance(PythonTests(), DataSource)


@pytest.mark.parametrize("task", ["oracle", "assertion"])
def test_nothing_is_imported(quiet, task):
    load(task=task)
    assert not [name for name in sys.modules if name.partition(".")[0] == "quiet"]


@pytest.mark.parametrize("task", ["oracle", "assertion"])
def test_rows_are_the_same_at_every_reading(quiet, task):
    assert load(task=task) == load(task=task)


@pytest.mark.parametrize("task", ["oracle", "assertion"])
def test_ids_are_unique(quiet, task):
    corpus = load(task=task)
    assert len(all_rows(corpus)) == sum(len(corpus.split(name)) for name in SPLITS)


def test_no_module_is_in_two_splits(quiet):
    corpus = load()
    modules = [{row.meta["module"] for row in corpus.split(name)} for name in SPLITS]
    assert all(modules)
    assert sum(map(len, modules)) == len(set().union(*modules))


def test_another_salt_gives_another_split(quiet):
    splits = {tuple(sorted({row.meta["module"] for row in load(split_salt=salt).test})) for salt in ("", "a", "b")}
    assert len(splits) == 3


def test_a_new_module_moves_no_other(quiet):
    before = {row.id: name for name in SPLITS for row in load().split(name)}
    (quiet / "test_new.py").write_text("def test_new():\n    assert str(1) == '1'\n")
    after = {row.id: name for name in SPLITS for row in load().split(name)}
    assert set(after) - set(before) == {"quiet.test_new::test_new#0"}
    assert before.items() <= after.items()


def test_rows_of_a_held_out_module_are_not_trained_on_nor_repeated(quiet):
    corpus = load()
    words = Counter((row.source, row.target) for name in SPLITS for row in corpus.split(name))
    assert words["int('7')", "== 7"] == 1
    assert set(words.values()) == {1}
    reasons = {drop.reason: drop.count for drop in corpus.drops}
    assert reasons["it also occurs word for word in a held-out module"] > 0
    assert sum(reasons[reason] for reason in reasons if "word for word" in reason) == 39


def test_files_that_do_not_parse_are_counted(quiet):
    drop = next(drop for drop in load().drops if "does not parse" in drop.reason)
    assert drop.count == 2
    assert [path.rpartition("/")[2] for path in drop.first] == ["test_broken.py", "test_latin.py"]


@pytest.mark.parametrize("task", ["oracle", "assertion"])
def test_what_cannot_be_used_costs_no_other_file(quiet, task):
    before = all_rows(load(task=task))
    digits = "def test_digits():\n    assert len('x') == 1\n    assert x != 0x" + "7" * 5000 + "\n"
    (quiet / "test_digits.py").write_text(digits + "\n\ndef test_beside():\n    assert len('xy') == 2\n")
    (quiet / "digits.py").write_text(f"class Wide(base=0x{'7' * 5000}):\n    pass\n\n\ndef thin():\n    return 1\n")
    os.mkfifo(quiet / "test_pipe.py")
    os.mkfifo(quiet / "pipe.py")
    (quiet / "test_dangling.py").symlink_to(quiet / "nowhere.py")
    with (quiet / "test_large.py").open("wb") as file:
        file.truncate(1 << 34)
    corpus = load(task=task)
    (drop,) = [drop for drop in corpus.drops if "written back" in drop.reason]
    assert (drop.count, drop.first) == (1, ("quiet.test_digits::test_digits",))
    assert next(drop.count for drop in corpus.drops if "does not parse" in drop.reason) == 3
    found = all_rows(corpus)
    assert found.keys() - before.keys() == {next(id_ for id_ in found if "test_beside" in id_)}
    assert before.keys() <= found.keys()


def test_functions_outside_test_modules_make_no_rows(quiet):
    assert "helpers" not in str(load(context="all"))
    assert "this is no test" not in str(load(context="all"))


def test_oracle_rows_end_in_what_is_checked_after_what_bears_on_it(quiet):
    rows = of_test(load(), "test_area")
    assert [(row.source, row.target, row.meta["kinds"]) for row in rows] == [
        ("w = 2\narea(w, 3)", "== 6", ["equals"]),
        ("w = 2\nh = 4\narea(w, h)", "== 8", ["equals"]),
        ("for i in range(3):\n    area(i)", "== i", ["equals"]),
        ("area()", "raises TypeError", ["raises"]),
        ("area(0)", "is false", ["false"]),
    ]
    assert all(row.meta["answerable"] for row in rows)
    assert rows[0].id == "quiet.deep.tests.test_shapes::test_area#0"
    assert rows[0].meta["line"] == 1 + TESTS[: TESTS.index("assert area(w, 3)")].count("\n") + 1


def test_set_up_and_module_variables_bear_on_a_check(quiet):
    rows = of_test(load(), "TestBox.test_width")
    assert [(row.source, row.target) for row in rows] == [
        ("self.box = Box(5)\nself.box.width", "== 5"),
        ("self.box = Box(5)\nself.box", "isinstance Box"),
        ("UNIT = 1\narea(UNIT)", "== 1"),
    ]


def test_the_whole_context_is_the_test_up_to_the_check(quiet):
    row = of_test(load(context="all"), "TestBox.test_width")[0]
    assert row.source == "self.box = Box(5)\ndef test_width(self):\n    unrelated = 1\n    self.box.width"


def test_context_limits_keep_the_nearest_lines(quiet):
    assert of_test(load(context_lines=1), "test_area")[1].source == "h = 4\narea(w, h)"
    assert of_test(load(max_context_chars=6), "test_area")[1].source == "h = 4\narea(w, h)"
    assert of_test(load(max_context_chars=12), "test_area")[1].source == "w = 2\nh = 4\narea(w, h)"


def test_a_long_context_is_cut_from_its_start(quiet):
    row = of_test(load(), "test_area")[1]
    (cut,) = row.cuts
    assert cut.keep == "tail"
    assert row.source[cut.start : cut.end] == "w = 2\nh = 4"
    assert row.source[: cut.drop_start] + row.source[cut.drop_end :] == "area(w, h)"


def test_long_targets_and_other_kinds_are_dropped_and_counted(quiet):
    corpus = load(max_target_chars=6, kinds=("equals", "raises"))
    rows = all_rows(corpus).values()
    assert {kind for row in rows for kind in row.meta["kinds"]} == {"equals"}
    assert max(len(row.target) for row in rows) <= 6
    counts = {drop.reason: drop.count for drop in corpus.drops}
    assert counts["its target is longer than max_target_chars"] == 1  # raises TypeError
    assert counts["its kind is not among kinds"] == 2  # isinstance, is false


def test_assertion_rows_mask_every_assertion_in_place(quiet):
    (row,) = of_test(load(task="assertion"), "test_area")
    assert row.source.partition("TEST METHOD:\n")[2] == (
        "def test_area():\n    # the easy ones\n    w = 2\n    <ASSERT_0>\n    h = 4\n    <ASSERT_1>\n"
        "    for i in range(3):\n        <ASSERT_2>\n    <ASSERT_3>\n        area()\n    <ASSERT_4>"
    )
    assert row.target.split("\n") == row.meta["assertions"]
    assert row.meta["assertions"] == [
        "assert area(w, 3) == 6",
        "assert area(w, h) == 8",
        "assert area(i) == i",
        "with pytest.raises(TypeError):",
        "assert not area(0)",
    ]
    assert row.meta["kinds"] == ["equals", "equals", "equals", "raises", "false"]
    assert row.meta["answerable"] is True  # area() is still to be seen in the block that should raise


def test_windows_take_out_the_assertions_before_them(quiet):
    rows = of_test(load(task="assertion", max_asserts=2), "test_area")
    assert [len(row.meta["assertions"]) for row in rows] == [1, 2, 2]
    assert rows[1].source.partition("TEST METHOD:\n")[2] == (
        "def test_area():\n    # the easy ones\n    w = 2\n    h = 4\n    <ASSERT_0>\n"
        "    for i in range(3):\n        <ASSERT_1>"
    )
    assert rows[2].source.endswith(
        "    for i in range(3):\n        pass\n    <ASSERT_0>\n        area()\n    <ASSERT_1>"
    )
    assert [row.meta["answerable"] for row in rows] == [False, False, True]


def test_focal_code_has_no_docstrings(quiet):
    corpus = load(task="assertion")
    (row,) = of_test(corpus, "test_area")
    assert row.source.startswith("FOCAL CODE:\ndef area(width, height=1):\n    return width * height\n\nTEST METHOD:\n")
    assert not [row.id for row in all_rows(corpus).values() if ">>>" in row.source]


def test_focal_code_can_be_limited(quiet):
    (row,) = of_test(load(task="assertion", max_focal_chars=30), "test_area")
    assert row.source.startswith("FOCAL CODE:\ndef area(width, height=1):\n\nTEST METHOD:\n")
    (row,) = of_test(load(task="assertion", focal_functions=0), "test_area")
    assert row.source.startswith("TEST METHOD:\n")


def test_samples_are_nested_and_in_order(quiet):
    whole, small, smaller = (load(train_rows=n).train for n in (0, 20, 10))
    assert (len(small), len(smaller)) == (20, 10)
    assert {row.id for row in smaller} < {row.id for row in small} < {row.id for row in whole}
    assert [row for row in whole if row in small] == list(small)
    assert list(small) != list(whole[:20])


def test_split_by_package_keeps_packages_apart(quiet, tmp_path):
    other = tmp_path / "loud"
    other.mkdir()
    (other / "__init__.py").write_text(BOOM)
    (other / "test_loud.py").write_text("def test_loud():\n    assert len('loud') == 4\n")
    corpus = load(packages=("quiet", "loud"), split_by="package", test_packages=("loud",))
    assert [row.id for row in corpus.test] == ["loud.test_loud::test_loud#0"]
    assert {row.meta["module"].partition(".")[0] for row in (*corpus.train, *corpus.validation)} == {"quiet"}
    corpus = load(packages=("quiet", "loud"), split_by="package", validation_packages=("loud",))
    assert [row.id for row in corpus.validation] == ["loud.test_loud::test_loud#0"]
    assert not corpus.test


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(MissingInput, match=r'"no_such_package" is not installed.*pip install no_such_package'):
        PythonTests(packages=("no_such_package",)).load(Silent())


def test_a_package_without_tests_is_named(tmp_path, monkeypatch):
    (tmp_path / "testless").mkdir()
    (tmp_path / "testless" / "__init__.py").write_text(BOOM)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingInput, match='"testless" has no test modules'):
        PythonTests(packages=("testless",)).load(Silent())


def test_no_row_to_validate_with_is_an_error(quiet):
    with pytest.raises(UsageError, match="no usable row for validation"):
        load(validation_share=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"packages": ("os.path",)}, 'packages: "os.path" is not the import name'),
        ({"packages": ()}, "packages"),
        ({"test_packages": ("numpy",)}, 'test_packages: "numpy" is not in packages'),
        ({"kinds": ("equal",)}, 'kinds: "equal" is not a kind of assertion'),
        ({"task": "oracles"}, "task"),
        ({"validation_share": 1.5}, "validation_share"),
        ({"max_asserts": 0}, "max_asserts"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PythonTests(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_packages": ("networkx",)}, 'test_packages has an effect only with split_by = "package", but split_by is "mod'),
        ({"validation_packages": ("networkx",)}, 'validation_packages has an effect only with split_by = "package"'),
        ({"split_by": "package", "test_share": 0.2}, 'test_share has an effect only with split_by = "module"'),
        *(
            ({"task": "assertion", name: value}, f'{name} has an effect only with task = "oracle", but task is "assertion"')
            for name, value in {
                "kinds": ("equals",), "context": "all", "context_lines": 3, "max_context_chars": 9,
                "max_checked_chars": 9,
            }.items()
        ),
        *(
            ({name: 2}, f'{name} has an effect only with task = "assertion", but task is "oracle"; remove {name} or change')
            for name in ("max_asserts", "focal_functions", "max_focal_chars")
        ),
    ],
)  # fmt: skip
def test_options_that_would_not_count_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        PythonTests(**options)


@pytest.mark.parametrize("task", ["oracle", "assertion"])
@pytest.mark.parametrize("split_by", ["module", "package"])
def test_an_option_at_its_default_is_no_option_given(task, split_by):
    fields = attrs.fields(PythonTests)
    given = {field.name: field.default for field in fields} | {"task": task, "split_by": split_by}
    assert PythonTests(**given) == PythonTests(task=task, split_by=split_by)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "options", "fewest", "most"),
    [("oracle", {}, 50_000, 120_000), ("assertion", {"packages": ("networkx",)}, 2_000, 6_000)],
    ids=["oracle", "assertion"],
)
def test_real_packages_give_data_enough(task, options, fewest, most):
    """The default packages; for the other task the smaller of them, since mining takes long."""
    corpus = PythonTests(task=task, **options).load(Silent())
    rows = all_rows(corpus)
    counts = {name: len(corpus.split(name)) for name in SPLITS}
    print(task, counts, [(drop.reason, drop.count) for drop in corpus.drops])
    assert len(rows) == sum(counts.values())
    assert fewest < len(rows) < most
    assert 0.7 < counts["train"] / len(rows) < 0.9
    assert min(counts.values()) > 0.03 * len(rows)
    modules = [{row.meta["module"] for row in corpus.split(name)} for name in SPLITS]
    assert sum(map(len, modules)) == len(set().union(*modules))
    for row in rows.values():
        assert row.source.strip()
        assert "\n" not in row.target if task == "oracle" else row.target.split("\n") == row.meta["assertions"]
    if task == "assertion":
        for row in rows.values():
            masked = row.source.rpartition("TEST METHOD:\n")[2]
            marks = [masked.count(f"<ASSERT_{i}>") for i in range(len(row.meta["assertions"]))]
            assert set(marks) == {1}
            assert not set(row.meta["assertions"]) & {line.strip() for line in masked.splitlines()}
