"""A plugin with one or two small components of each kind, for tests of recipes, schema and command line.

They inherit the methods that their interfaces ask for, none of which is called here.
"""

from __future__ import annotations

from typing import Any

import attrs
from attrs import validators

from kdkit import plugins as plugin_loading
from kdkit.api import interfaces
from kdkit.api.hookspecs import hookimpl
from kdkit.api.options import Training, at_least_one, not_negative, one_of, option, positive, share


@attrs.frozen(kw_only=True)
class Rows(interfaces.DataSource):
    """Rows from a file."""

    path: str = option("The file.")
    limit: int = option("Rows at most.", default=0, check=not_negative)
    columns: tuple[str, ...] = option("Columns.", default=("source", "target"))
    extra: dict[str, Any] = option("Anything.", factory=dict)


@attrs.frozen(kw_only=True)
class Shape:
    """How big a model is."""

    layers: int = option("Layers.", check=at_least_one)
    width: int | None = option("Width.", default=None, check=validators.optional(at_least_one))


@attrs.frozen(kw_only=True)
class FakeTeacher(interfaces.Teacher):
    """A teacher."""

    model: str = option("Which.", default="")
    shape: Shape | None = option("Made new in this shape.", default=None)
    fine_tune: Training | None = option("Trained first.", default=None)

    @property
    def is_made_here(self):
        return self.fine_tune is not None


@attrs.frozen(kw_only=True)
class RecordedTeacher(interfaces.Teacher):
    """Another teacher."""

    logit_scale: float = option("Multiplies its logits.", default=1.0, check=positive)

    @property
    def fine_tune(self):
        return None

    @property
    def is_made_here(self):
        return False


def _model_or_shapes(instance, field, value):
    if bool(instance.model) == bool(value):
        raise ValueError("needs either model or shapes, not both or none")


@attrs.frozen(kw_only=True)
class FakeStudent(interfaces.Student):
    """A student."""

    model: str = option("Which.", default="")
    shapes: tuple[Shape, ...] = option("Made new of these.", default=(), check=_model_or_shapes)


@attrs.frozen(kw_only=True)
class FakeCodec(interfaces.Codec):
    """A codec."""

    scope: str = option("Over what a scale holds.", default="row", check=one_of("row", "array"))


@attrs.frozen(kw_only=True)
class FakeLoss(interfaces.LossMixer):
    """A loss."""

    alpha: float = option("Share of the soft loss.", default=0.5, check=share)
    temperature: float = option("Softens both.", default=1.0, check=positive)

    @property
    def needs_teacher(self):
        return self.alpha > 0


@attrs.frozen(kw_only=True)
class FakeSuite(interfaces.MetricSuite):
    """A metric suite."""

    strict: bool = option("Whether white space counts.", default=True)


class FakePlugin:
    """Registers all of the above, under names of its own and where the built-ins' defaults are wanted under those."""

    @hookimpl
    def register_datasets(self, register):
        register("rows", Rows)

    @hookimpl
    def register_teachers(self, register):
        register("big", FakeTeacher)
        register("tape", RecordedTeacher)

    @hookimpl
    def register_students(self, register):
        register("small", FakeStudent)

    @hookimpl
    def register_codecs(self, register):
        register("u8-lz4", FakeCodec)
        register("plain", FakeCodec)

    @hookimpl
    def register_losses(self, register):
        register("kd", FakeLoss)
        register("other", FakeLoss)

    @hookimpl
    def register_metrics(self, register):
        register("text", FakeSuite)
        register("loose", FakeSuite)


def fake_plugins(monkeypatch) -> plugin_loading.Plugins:
    """A registry of these components and no others."""
    monkeypatch.setattr(plugin_loading.loading, "BUILTINS", ())
    monkeypatch.setenv(plugin_loading.DISABLE, "all")
    return attrs.evolve(plugin_loading.load(extra=(FakePlugin(),)), disabled=())


SMALLEST = """\
[data]
name = "rows"
path = "rows.jsonl"

[teacher]
name = "big"

[student]
name = "small"
model = "m"
"""
