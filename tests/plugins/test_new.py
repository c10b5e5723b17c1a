"""`kdkit plugins new` writes packages that work: each passes its own tests, and kdkit finds its component."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from importlib.resources import files

import pytest
from pages import ROOT, read

from kdkit import cli
from kdkit import plugins as plugin_loading
from kdkit.errors import UsageError
from kdkit.plugins import KINDS
from kdkit.plugins.new import NEW_KINDS, write_plugin


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A plugin of every kind: its module, its tests, and what was said of it."""
    folder, plugins = tmp_path_factory.mktemp("new"), plugin_loading.load()
    # Names that templates import or define themselves are no trouble: prediction, drop, path.
    names = dict(
        zip(
            NEW_KINDS,
            ("drop", "prediction", "my-any", "row-bytes", "my-loss", "b-2", "path", "find", "csv"),
            strict=True,
        )
    )
    written = {kind: write_plugin(name, kind, plugins, folder / kind) for kind, name in names.items()}
    with pytest.MonkeyPatch.context() as patched:
        for each in written.values():
            patched.syspath_prepend(str(each.folder))
            patched.syspath_prepend(str(each.folder / "tests"))
        patched.setattr(sys, "dont_write_bytecode", True)
        importlib.invalidate_caches()
        modules = {
            kind: importlib.import_module(f"kdkit_{each.name.replace('-', '_')}") for kind, each in written.items()
        }
        yield written, modules
        for module in [
            name for name in sys.modules if name.startswith(tuple(each.__name__ for each in modules.values()))
        ]:
            del sys.modules[module]


def test_there_is_one_for_every_kind_of_component(made):
    written, modules = made
    found = plugin_loading.load(extra=tuple(modules.values()))
    mine = {module.__name__ for module in modules.values()}
    assert {entry.kind for entry in found.all if entry.plugin in mine} == set(KINDS)
    for kind, plugin in written.items():
        (entry,) = [each for each in found.find(plugin.name) if each.plugin == modules[kind].__name__]
        assert entry.load().__doc__
        assert f'"{plugin.name}"' in plugin.lines
        project = tomllib.loads((plugin.folder / "pyproject.toml").read_text())["project"]
        assert project["entry-points"]["kdkit"] == {plugin.name: modules[kind].__name__}
        readme = (plugin.folder / "README.md").read_text()
        assert plugin.lines in readme
        named = re.findall(r"`([a-z0-9_/]+\.py)`", readme)
        assert len(named) == 2
        assert [file for file in named if not (plugin.folder / file).is_file()] == []


@pytest.mark.parametrize("kind", NEW_KINDS)
def test_it_passes_its_own_tests(made, kind, tmp_path):
    """They are called here as pytest would call them, since a process for each takes longer than all of them."""
    _, modules = made
    tests = importlib.import_module(f"test_{modules[kind].__name__}")
    del sys.modules[tests.__name__]
    found = {name: function for name, function in vars(tests).items() if name.startswith("test_")}
    assert found
    for function in found.values():
        marks = getattr(function, "pytestmark", [])
        (names, values), *_ = [mark.args for mark in marks] or [("", [None])]
        takes = function.__code__.co_varnames[: function.__code__.co_argcount]
        for value in values:
            given = {names: value} if names else {}
            function(**given, **({"tmp_path": tmp_path} if "tmp_path" in takes else {}))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("MyCodec", r'"MyCodec" cannot name a plugin: use small letters, .*; did you mean "my-codec"\?'),
        ("my_codec", r'did you mean "my-codec"\?'),
        ("2bit", r"a letter first$"),
        ("", r"a letter first$"),
        ("topk", r'there is a codec "topk" already, of kdkit; take another name, such as "my-topk"'),
        ("kdkit-optuna", r'a plugin kdkit-optuna is installed already; take another name, such as "my-optuna"'),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_with_another(tmp_path, name, said):
    with pytest.raises(UsageError, match=said):
        write_plugin(name, "codec", plugin_loading.load(), tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_the_command_says_what_to_do_next_and_writes_over_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        cli.main(["plugins", "new", "kdkit-nibbles", "--kind", "codec"])
    assert (left.value.code, (tmp_path / "kdkit-nibbles" / "kdkit_nibbles" / "codec.py").is_file()) == (0, True)
    assert capsys.readouterr().out.splitlines() == [
        'wrote kdkit-nibbles: the codec "nibbles", with tests that it passes',
        "",
        "  cd kdkit-nibbles",
        "  pip install -e .",
        "  pytest",
        "",
        "A recipe then has it by these lines:",
        "",
        "  [codec]",
        '  name = "nibbles"',
    ]
    with pytest.raises(SystemExit) as left:
        cli.main(["plugins", "new", "nibbles", "--kind", "loss"])
    assert left.value.code == 2
    assert (
        "kdkit-nibbles is there already; give another name, or another folder with --output" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("kind", "module", "class_name"),
    [
        ("codec", "row_bytes", "RowBytes"),
        ("dataset", "quotes", "Quotes"),
        ("loss", "hellinger", "Hellinger"),
        ("metrics", "lengths", "Lengths"),
        ("reference", "table_reference", "Table"),
        ("search", "even_search", "Evenly"),
        ("student", "orthogonal_student", "Orthogonal"),
        ("teacher", "bigram_teacher", "Bigrams"),
        ("tracker", "csv_tracker", "CsvFile"),
    ],
)
def test_what_is_written_is_the_example_of_the_documentation(kind, module, class_name):
    """Written twice, since the documentation is not in the package; change both."""
    template = files("kdkit.plugins") / "templates" / f"{kind}.py.jinja2"
    example = ROOT / "docs" / "plugin-examples" / "kdkit_examples" / f"{module}.py"
    assert read(example) == template.read_text(encoding="utf-8").replace("{{ class_name }}", class_name)
