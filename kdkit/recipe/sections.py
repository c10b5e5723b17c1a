"""The parts of a recipe: a few keys of its own, and its sections."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
from attrs import validators

from kdkit.api.interfaces import WritingTeacher
from kdkit.api.options import Evaluation, Generation, StoreOptions, TokenLimits, Training, option
from kdkit.recipe import shown
from kdkit.recipe.stored import stored_text
from kdkit.system.digests import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from kdkit.api.interfaces import DataSource, LossMixer, Reference, Student, Teacher, Tracker
    from kdkit.api.interfaces.codecs import AnyCodec
    from kdkit.api.options import TargetWriting
    from kdkit.api.values import Example
    from kdkit.data.rows import Encoding


@attrs.frozen(kw_only=True)
class Section:
    """A table of a recipe.

    Attributes:
        help: One sentence.
        kind: The kind of component that its `name` picks; None for a section with options of its own.
        options: The class whose fields are its options, if it is not a component's.
        default_name: The component when none is named; None where one must be.
        default: What the section says when the recipe leaves it out, beyond its options' defaults.
        is_optional: Whether a recipe can do without the component; what it does changes no number of a run.
    """

    help: str
    kind: str | None = None
    options: type[Any] | None = None
    default_name: str | None = None
    default: Mapping[str, Any] = attrs.field(factory=dict)
    is_optional: bool = False

    @property
    def is_required(self) -> bool:
        """Whether a recipe must have it."""
        return self.kind is not None and self.default_name is None and not self.is_optional


SECTIONS: Mapping[str, Section] = {
    "data": Section(help="The data set to learn from.", kind="datasets"),
    "tokens": Section(help="How many tokens a row may have.", options=TokenLimits),
    "teacher": Section(help="The teacher.", kind="teachers"),
    "codec": Section(help="How logits are stored.", kind="codecs", default_name="u8-lz4"),
    "store": Section(help="Where runs keep what they share.", options=StoreOptions),
    "student": Section(help="The student.", kind="students"),
    "loss": Section(help="The loss that the student is trained on.", kind="losses", default_name="kd"),
    "training": Section(help="How the student is trained.", options=Training),
    "generation": Section(help="How models generate texts.", options=Generation),
    "evaluation": Section(help="How models are scored.", options=Evaluation, default={"suites": ["text"]}),
    "reference": Section(help="Published numbers to print beside yours.", kind="references", is_optional=True),
    "track": Section(help="Where metrics are sent during a run.", kind="trackers", is_optional=True),
}
COMPONENT_SECTIONS: Mapping[str, Section] = {
    name: section for name, section in SECTIONS.items() if section.kind is not None
}
SWEEP = "sweep"
"""The section of a recipe that is many trials; see `kdkit.sweeps.reading`."""
OPTIONAL_SECTIONS = tuple(name for name, section in SECTIONS.items() if section.is_optional)
_NOT_IN_DIGEST = {"name", "description", *OPTIONAL_SECTIONS}


def _is_device(_instance: object, _field: object, value: str) -> None:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        raise ValueError(f'must be "auto", "cpu", "cuda", "cuda:N" or "mps", is "{value}"')


@attrs.frozen(kw_only=True)
class Preamble:
    """The keys of a recipe before its sections, except its name."""

    description: str = option("What the recipe does, in one sentence.", default="")
    seed: int = option(
        "Seed of everything random.", default=42, check=validators.and_(validators.ge(0), validators.lt(2**32))
    )
    requires: tuple[str, ...] = option(
        "Plugins that must be installed: names of distributions, with a version range if it matters.", default=()
    )
    device: str = option(
        'Device that models run on: "auto", "cpu", "cuda", "cuda:N" or "mps".', default="auto", check=_is_device
    )


@attrs.frozen(kw_only=True)
class Recipe(Preamble):
    """A whole distillation: what is distilled, from which teacher, into which student, and how.

    Relative paths in a component's options are relative to the working directory, not to the recipe.

    Attributes:
        name: What the run is called; by default the stem of the file.
        names: Section to the name of its component.
        resolved: The recipe as tables with every default filled in; what is None is left out.
        digested: The same as digests cover it: without the options that have their neutral value.
        path: The file it was read from, if any.
        places: Where its keys stand, by their paths.
    """

    name: str
    data: DataSource
    tokens: TokenLimits
    teacher: Teacher
    codec: AnyCodec
    store: StoreOptions
    student: Student
    loss: LossMixer
    training: Training
    generation: Generation
    evaluation: Evaluation
    reference: Reference | None = None
    track: Tracker | None = None
    names: Mapping[str, str]
    resolved: Mapping[str, Any] = attrs.field(repr=False)
    digested: Mapping[str, Any] = attrs.field(repr=False)
    path: Path | None = attrs.field(default=None, eq=False)
    places: Mapping[tuple[str | int, ...], object] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def digest(self) -> str:
        """SHA-256 of what the recipe asks for; its name, spelling and place do not matter."""
        return digest_of({key: value for key, value in self.digested.items() if key not in _NOT_IN_DIGEST})

    @property
    def writing(self) -> TargetWriting | None:
        """How the teacher writes the targets of the training rows; None where these have their own."""
        return self.teacher.write_targets if isinstance(self.teacher, WritingTeacher) else None

    def with_targets(self, rows: Sequence[Example]) -> Sequence[Example]:
        """Those of some rows that have a target of their own: all of them, unless the teacher is to write some."""
        if self.writing is None:
            return rows
        from kdkit.data.written import with_targets

        return with_targets(rows)

    @property
    def encoding(self) -> Encoding:
        """How its rows become token ids."""
        from kdkit.data.rows import Encoding  # a wrong recipe is told without the readers of rows

        return Encoding(kind=self.student.model_kind, limits=self.tokens)

    def __repr__(self) -> str:
        """A line: its name and its components."""
        return shown.line(self.name, self.names)

    def __rich__(self) -> RenderableType:
        """What rich's `print` shows: its name, what it does, and its components."""
        return shown.rich(self.name, self.description, self.names)

    def _repr_html_(self) -> str:
        return shown.html(self.name, self.description, self.names, self.to_toml())

    def to_toml(self) -> str:
        """The resolved recipe as a TOML document, which loads as the same recipe."""
        return stored_text(self.resolved)
