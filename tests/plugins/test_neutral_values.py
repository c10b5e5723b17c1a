"""An option that is added to a released component changes no digest where the component does what it did before."""

from __future__ import annotations

import attrs
import pytest
import tiny

from kdkit import plugins as plugin_loading
from kdkit.api.hookspecs import hookimpl
from kdkit.api.options import Generation, option
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.builtin.students.hf_seq2seq import HFSeq2SeqStudent
from kdkit.builtin.teachers.hf_seq2seq import HFSeq2SeqTeacher
from kdkit.errors import Mismatch
from kdkit.pipeline.run import run
from kdkit.plugins.fields import digested, identity_of, table_of
from kdkit.plugins.structure import Structurer
from kdkit.recipe import load_recipe
from kdkit.store.texts import key_of

SECTIONS = ("teacher", "student")
KEPT = ("teachers", "baselines")


def added():
    return option("Added later.", default=1, neutral=0)


def with_later_option(cls):
    @attrs.frozen(kw_only=True)
    class Later(cls):
        later: int = added()

    return Later


def registry(change):
    """The built-in components, and some of them under another name, changed."""

    class Plugin:
        @hookimpl
        def register_teachers(self, register):
            register("mine", change(HFSeq2SeqTeacher))

        @hookimpl
        def register_codecs(self, register):
            register("mine", change(U8LZ4))

        @hookimpl
        def register_students(self, register):
            register("mine", change(HFSeq2SeqStudent))

    return plugin_loading.load(extra=(Plugin(),))


def recipe(folder, plugins, later=None, **changes):
    named = {f"{section}__name": "mine" for section in SECTIONS}
    options = {f"{section}__later": later for section in SECTIONS if later is not None}
    table = tiny.recipe_table(folder, **named, **options, evaluation__baselines=True, **tiny.NO_TEXTS, **changes)
    return load_recipe(table, plugins=plugins)


@attrs.frozen(kw_only=True)
class Inner:
    width: int = option("Width.", default=3)
    later: int = added()


@attrs.frozen(kw_only=True)
class Outer:
    inner: Inner = option("A table.", factory=Inner)
    inners: tuple[Inner, ...] = option("Tables.", default=())


def test_at_its_neutral_value_an_option_is_shown_and_not_digested_in_nested_tables_too():
    neutral, other = Inner(later=0), Inner()
    assert table_of(Outer(inner=neutral, inners=(neutral, other))) == {
        "inner": {"width": 3, "later": 0},
        "inners": [{"width": 3, "later": 0}, {"width": 3, "later": 1}],
    }
    assert digested(Outer(inner=neutral, inners=(neutral, other))) == {
        "inner": {"width": 3},
        "inners": [{"width": 3}, {"width": 3, "later": 1}],
    }


def test_what_was_made_before_an_option_was_added_is_found_at_its_neutral_value(tmp_path):
    before, after = registry(lambda cls: cls), registry(with_later_option)
    store = tmp_path / "runs" / "cache"

    def kept():
        return {each: {entry.name for entry in (store / each).iterdir() if entry.is_dir()} for each in KEPT}

    codec = with_later_option(U8LZ4)
    assert identity_of(U8LZ4()) == identity_of(codec(later=0)) != identity_of(codec())
    first, neutral, other = recipe(tmp_path, before), recipe(tmp_path, after, 0), recipe(tmp_path, after, 1)
    assert first.digest == neutral.digest != other.digest
    assert other.digest == recipe(tmp_path, after).digest
    assert "later = 0" in neutral.to_toml()
    run(first, tmp_path / "runs" / "first")
    old = kept()
    assert [len(each) for each in old.values()] == [1, 1]
    run(neutral, tmp_path / "runs" / "neutral")
    assert kept() == old
    resumed = tiny.Notes()
    run(neutral, tmp_path / "runs" / "first", progress=resumed)
    assert "report: done before" in resumed.notes
    run(other, tmp_path / "runs" / "other")
    assert [len(each) for each in kept().values()] == [2, 2]


def test_texts_are_found_under_a_key_that_covers_a_later_option_of_the_search():
    later = with_later_option(Generation)
    before, neutral, other = (
        key_of([], each, weights="w", tokenizer="t") for each in (Generation(), later(later=0), later())
    )
    assert before == neutral != other


def test_a_stored_table_without_an_option_means_its_neutral_value():
    plugins = registry(with_later_option)
    _, written = Structurer(plugins, is_stored=True).component("codecs", {"name": "mine"}, ("codec",))
    _, asked = Structurer(plugins).component("codecs", {"name": "mine"}, ("codec",))
    assert (written.later, asked.later) == (0, 1)


def test_a_refused_folder_of_before_differs_in_no_option_at_its_neutral_value(tmp_path):
    run(recipe(tmp_path, registry(lambda cls: cls)), tmp_path / "run")
    with pytest.raises(Mismatch) as refused:
        run(recipe(tmp_path, registry(with_later_option), 0, loss__alpha=0.25), tmp_path / "run")
    assert "loss.alpha: 0.5 there, 0.25 in this recipe" in str(refused.value)
    assert "later" not in str(refused.value)
