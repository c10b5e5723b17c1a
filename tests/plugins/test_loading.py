"""Plugins load one by one; what is wrong with one is said, and stops only what needs it."""

from __future__ import annotations

import importlib
import re
import sys
import types

import pytest
from fake_plugin import FakeLoss, FakePlugin, Rows

from kdkit import plugins as plugin_loading
from kdkit.api.hookspecs import hookimpl
from kdkit.errors import PluginError
from kdkit.plugins.fields import options_of


def module(name="some_plugin", **functions):
    made = types.ModuleType(name)
    for key, function in functions.items():
        setattr(made, key, function)
    return made


def registering(kind, *components):
    """A plugin module whose one hook registers these."""

    def register_one(register):
        for name, target in components:
            register(name, target)

    register_one.__name__ = f"register_{kind}"
    return module(f"plugin_of_{kind}", **{f"register_{kind}": hookimpl(register_one)})


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch):
    monkeypatch.setenv(plugin_loading.DISABLE, "all")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with one plugin module on the path, as pip would."""
    monkeypatch.setenv(plugin_loading.DISABLE, "")
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(distribution, module_name, source, version="1.5", requires=()):
        (tmp_path / f"{module_name}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        needed = "".join(f"Requires-Dist: {each}\n" for each in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{needed}")
        (info / "entry_points.txt").write_text(f"[kdkit]\nit = {module_name}\n")
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, module_name, raising=False)

    return install


GOOD = """
from kdkit.api.hookspecs import hookimpl

@hookimpl
def register_losses(register):
    register("mine", "module_that_is_not_there:Mine")
"""


def test_an_installed_plugin_is_found_with_its_distribution_and_version(install):
    install("kdkit-good", "good_plugin_module", GOOD)
    found = plugin_loading.load()
    assert found.loaded["kdkit-good"] == "1.5"
    assert found.get("losses", "mine").plugin == "kdkit-good"
    assert "kd" in found.names("losses")


def test_a_plugin_that_is_installed_after_the_others_were_read_is_found_too(install):
    install("kdkit-good", "good_plugin_module", GOOD)
    assert "kdkit-late" not in plugin_loading.load().loaded
    install("kdkit-late", "late_plugin_module", GOOD.replace("mine", "later"))
    assert {"mine", "later"} <= set(plugin_loading.load().names("losses"))


def test_a_component_named_by_a_string_is_imported_only_when_asked_for(install):
    install("kdkit-good", "good_plugin_module", GOOD)
    entry = plugin_loading.load().get("losses", "mine")
    with pytest.raises(
        PluginError,
        match='loss "mine" of plugin kdkit-good cannot be imported from module_that_is_not_there:Mine: ModuleNotFoundError',
    ):
        entry.load()


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import module_that_is_not_there", "ModuleNotFoundError: No module named 'module_that_is_not_there'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import pytest; pytest.skip('not here', allow_module_level=True)", "Skipped: "),  # no Exception
        ("def broken(:", "SyntaxError: "),
        (GOOD.replace("losses", "loses"), "register_loses is not a hook of kdkit 0.1.0; did you mean register_losses?"),
        (GOOD.replace("losses", "optimizers"), "is not a hook of kdkit 0.1.0; kdkit's hooks are: register_datasets, register_teachers"),
        (GOOD.replace("losses", "optimizers"), "If a later kdkit has it, the plugin should depend on that"),
        (GOOD.replace("@hookimpl", ""), "register_losses is not marked as a hook; put @hookimpl of kdkit.api.hookspecs"),
        (GOOD.replace("register_losses", "add_losses"), "unknown hook 'add_losses'"),
        (GOOD.replace("(register)", "(registry)"), "registry"),
        (GOOD.replace('"mine"', '"kd"'), 'two components claim the name "kd" of a loss: kdkit.builtin.losses.kd and module'),
        (GOOD.replace('"mine"', '"kd"'), "kdkit keeps the name for its own component, so rename the plugin's"),
        (GOOD + '    register("mine", "other_module:Mine")', 'the name "mine" of a loss: module_that_is_not_there and other_module'),
        (GOOD.replace('"mine"', '"a.b"'), '"a.b" cannot name a loss: use letters, digits, - and _'),
        (GOOD.replace(":Mine", ""), 'loss "mine" must be a class or text such as "package.module:Class", is \'module_that_is_not_there\''),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_a_failure_that_says_why_and_leaves_nothing_behind(install, source, cause):
    install("kdkit-broken", "broken_plugin_module", source)
    install("kdkit-good", "good_plugin_module", GOOD.replace("mine", "yours"))
    found = plugin_loading.load()
    failure = next(failure for failure in found.failures if failure.plugin == "kdkit-broken")
    assert cause in failure.cause
    assert "kdkit-broken" not in found.loaded
    assert not [entry for entry in found.entries.values() if entry.plugin == "kdkit-broken"]
    assert found.get("losses", "yours").plugin == "kdkit-good"
    with pytest.raises(PluginError, match="plugin kdkit-broken failed to load"):
        found.get("losses", "no-such-loss")


@pytest.mark.parametrize(
    ("setting", "disabled"),
    [("1", True), ("all", True), ("kdkit-good", True), ("x, KDKIT_Good", True), ("kdkit-other", False), ("", False)],
)
def test_installed_plugins_can_be_disabled_by_the_environment(install, monkeypatch, setting, disabled):
    install("kdkit-good", "good_plugin_module", GOOD)
    monkeypatch.setenv(plugin_loading.DISABLE, setting)
    found = plugin_loading.load()
    assert ("kdkit-good" in found.disabled) is disabled
    assert ("kdkit-good" in found.loaded) is not disabled
    assert "kd" in found.names("losses")
    if disabled:
        with pytest.raises(PluginError, match=r'unknown loss "mine".*KDKIT_DISABLE_PLUGINS disables .*kdkit-good'):
            found.get("losses", "mine")


@pytest.mark.parametrize(
    "requires",
    [("kdkit>=2.0",), ("numpy", "KDkit<0.1"), ("kdkit>=0.1", 'kdkit>=3; python_version >= "3.0"')],
)
def test_a_plugin_for_another_kdkit_is_refused_before_it_runs(install, requires):
    install("kdkit-new", "new_plugin_module", "raise AssertionError('it ran')", requires=requires)
    (failure,) = [each for each in plugin_loading.load().failures if each.plugin == "kdkit-new"]
    assert re.fullmatch(
        r"version 1\.5 needs kdkit \S+, and this is kdkit 0\.1\.0: install a kdkit in that range, "
        r"or a version of kdkit-new made for kdkit 0\.1\.0",
        failure.cause,
    )


def test_what_a_plugin_needs_for_other_things_stops_nothing(install):
    requires = ("kdkit>=0.1,<2", 'kdkit>=3; extra == "new"', 'kdkit>=3; python_version < "3.0"', "not a requirement !")
    install("kdkit-good", "good_plugin_module", GOOD, requires=requires)
    assert "kdkit-good" in plugin_loading.load().loaded


OTHER = GOOD.replace("module_that_is_not_there", "other_module") + '    register("other", "other_module:Other")'


def test_of_two_plugins_with_one_name_neither_is_taken_and_how_to_choose_is_said(install, monkeypatch):
    install("kdkit-good", "good_plugin_module", GOOD)
    install("kdkit-other", "other_plugin_module", OTHER)
    found = plugin_loading.load()
    assert found.failures == ()
    assert [entry.plugin for entry in found.find("mine")] == ["kdkit-good", "kdkit-other"]
    assert "mine" not in found.names("losses")
    assert found.get("losses", "other").plugin == "kdkit-other"
    with pytest.raises(PluginError) as raised:
        found.get("losses", "mine")
    assert str(raised.value) == (
        '2 plugins have a loss "mine": kdkit-good (module_that_is_not_there) and kdkit-other (other_module); '
        "disable all but one: set KDKIT_DISABLE_PLUGINS=kdkit-other to use that of kdkit-good, "
        "or KDKIT_DISABLE_PLUGINS=kdkit-good to use that of kdkit-other"
    )
    monkeypatch.setenv(plugin_loading.DISABLE, "kdkit-good")
    assert plugin_loading.load().get("losses", "mine").plugin == "kdkit-other"


def test_a_module_that_was_handed_over_and_an_installed_plugin_may_claim_one_name_too(install):
    install("kdkit-good", "good_plugin_module", GOOD)
    found = plugin_loading.load(extra=(registering("losses", ("mine", FakeLoss)),))
    with pytest.raises(PluginError, match=r"set KDKIT_DISABLE_PLUGINS=kdkit-good to use that of plugin_of_losses$"):
        found.get("losses", "mine")


@pytest.mark.parametrize("name", ["plugin_of_losses", "another"])
def test_two_modules_that_were_handed_over_with_one_component_are_an_error(name):
    twins = (registering("losses", ("mine", FakeLoss)), registering("losses", ("mine", FakeLoss)))
    twins[1].__name__ = name
    with pytest.raises(PluginError, match='two components claim the name "mine" of a loss'):
        plugin_loading.load(extra=twins)


def test_a_module_can_be_handed_over_and_is_not_taken_twice(install):
    install("kdkit-good", "good_plugin_module", GOOD)
    found = plugin_loading.load(extra=(importlib.import_module("good_plugin_module"),))
    assert not [failure for failure in found.failures if failure.plugin == "kdkit-good"]
    assert found.get("losses", "mine").plugin == "good_plugin_module"


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (registering("losses", ("kd", FakeLoss)), "kdkit.builtin.losses.kd and fake_plugin"),
        (module(register_losses=lambda register: None), "register_losses is not marked as a hook"),
        (module(register_lossses=hookimpl(lambda register: None)), "did you mean register_losses"),
        (registering("losses", ("x", 3)), 'must be a class or text such as "package.module:Class", is 3'),
    ],
)
def test_a_broken_plugin_that_was_handed_over_is_an_error(plugin, message):
    with pytest.raises(PluginError, match=message):
        plugin_loading.load(extra=(plugin,))


def test_one_name_may_serve_two_kinds():
    both = FakePlugin()
    found = plugin_loading.load(
        extra=(registering("datasets", ("twin", Rows)), registering("losses", ("twin", FakeLoss)))
    )
    assert [entry.kind for entry in found.find("twin")] == ["datasets", "losses"]
    assert found.find(str(both)) == []


def test_a_name_that_nobody_registered_is_answered_with_what_there_is():
    found = plugin_loading.load()
    with pytest.raises(PluginError, match=r'^unknown codec "u8-lz"; did you mean "u8-lz4"\?'):
        found.get("codecs", "u8-lz")
    with pytest.raises(
        PluginError, match=r'^unknown codec "zzz"; available: float, sampled, subspace, topk, u4-lz4, u8-lz4'
    ):
        found.get("codecs", "zzz")


class NotAttrs:
    pass


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (NotAttrs, "is not an attrs class"),
        (Rows, r"lacks needs_teacher, __call__; see kdkit\.api\.LossMixer"),
        ("kdkit.plugins:KINDS", "is not an attrs class"),
        ("kdkit.plugins:Entry", 'has a field "name"'),
        ("kdkit.plugins:NoSuchClass", "cannot be imported from kdkit.plugins:NoSuchClass: AttributeError"),
    ],
)
def test_what_is_no_component_of_its_kind_is_refused_when_it_is_loaded(target, message):
    found = plugin_loading.load(extra=(registering("losses", ("odd", target)),))
    with pytest.raises(PluginError, match=message):
        found.get("losses", "odd").load()


def test_every_built_in_component_loads_and_shows_its_options():
    for entry in plugin_loading.load().entries.values():
        for option in options_of(entry.load()):
            assert option.help, f"{entry.name}: {option.name} has no help"
