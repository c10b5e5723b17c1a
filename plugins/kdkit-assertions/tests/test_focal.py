"""Focal code: which definition a call means, and what of it is shown."""

from __future__ import annotations

import ast

from kdkit_assertions.focal import FocalIndex, Imports, calls
from kdkit_assertions.mining import Parsed


def parsed(module, code):
    return Parsed(module=module, lines=[f"{line}\n" for line in code.split("\n")], tree=ast.parse(code))


INDEX = FocalIndex(
    "pkg",
    [
        parsed("pkg.a.left", "def f():\n    return 'left'\n\ndef only():\n    pass\n"),
        parsed(
            "pkg.b.right", "def f():\n    return 'right'\n\nclass A:\n    def go(self): pass\n    def run(self): pass\n"
        ),
        parsed("pkg.b.other", "class B:\n    def go(self): pass\n"),
    ],
)


def focal(test_code, module="pkg.b.tests.test_right"):
    test = parsed(module, test_code)
    return [(name, d.parsed.module) for name, d in INDEX.meant(calls(test.tree.body), test, Imports(test))]


def test_the_import_settles_which_definition_is_meant():
    assert focal("from pkg.a.left import f\nf()") == [("f", "pkg.a.left")]
    assert focal("from ...a.left import f\nf()") == [("f", "pkg.a.left")]
    assert focal("import pkg.a as p\np.f()") == [("f", "pkg.a.left")]


def test_else_the_nearest_to_the_test_is_meant():
    assert focal("from pkg import f\nf()") == [("f", "pkg.b.right")]
    assert focal("from pkg import f\nf()", "pkg.a.tests.test_left") == [("f", "pkg.a.left")]


def test_names_of_other_packages_and_of_the_test_itself_are_not_looked_up():
    assert focal("from elsewhere import f\nf()") == []
    assert focal("import elsewhere as e\ne.f()") == []
    assert focal("def f(): pass\nf()") == []


def test_a_method_is_taken_only_where_one_is_nearest():
    assert focal("x.run()") == [("run", "pkg.b.right")]
    assert focal("x.go()") == [("go", "pkg.b.right")]  # the test is its module's own
    assert focal("x.go()", "pkg.a.tests.test_left") == []


def test_what_stands_nearest_comes_first():
    assert focal("from pkg import f, only\nonly()\nf()") == [("f", "pkg.b.right"), ("only", "pkg.a.left")]


def code_of(text):
    test = parsed("pkg.tests.test_m", "from pkg import it\nit()")
    index = FocalIndex("pkg", [parsed("pkg.m", text)])
    ((_, definition),) = index.meant(calls(test.tree.body), test, Imports(test))
    return definition.code


def test_docstrings_go_wherever_they_stand():
    code = '@mark\ndef it(a):\n    """Doc\n    >>> it(1)\n    """\n    def inner():\n        "Doc"\n    def é(): "é"; return 1\n    return "kept"\n'
    shown = code_of(code)
    assert shown == '@mark\ndef it(a):\n    def inner():\n        ...\n    def é(): ...; return 1\n    return "kept"'
    ast.parse(shown)


def test_of_a_class_what_constructs_it_is_shown():
    code = 'class it(Base, metaclass=M):\n    "Doc"\n    x = 1\n    def __new__(cls):\n        """Doc"""\n        return 1\n    def go(self): pass\n'
    assert code_of(code) == "class it(Base, metaclass=M):\n    def __new__(cls):\n        return 1"
    assert code_of("class it:\n    x = 1\n") == "class it:\n    ..."
