"""Data sets of rows with fields: the options that all of them share, and how rows become examples of three splits.

A data set adds the method `parts`; docs/plugin-examples.md shows one.
"""

from __future__ import annotations

import math
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs import validators

from kdkit.api.options import not_negative, option
from kdkit.api.values import SPLITS, Drop, Example
from kdkit.data.fields import RowReader, Template, as_text, columns_of, field_value
from kdkit.data.files import FORMATS
from kdkit.data.row_forms import check_form
from kdkit.data.row_maker import RowMaker
from kdkit.data.splitting import Splitter, dealt
from kdkit.data.streams import gathered, require_streamed
from kdkit.data.written import WITHOUT_TARGET, has_target
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from kdkit.api.values import Corpus, SplitName
    from kdkit.api.values.corpus import Form
    from kdkit.data.csv_rows import Dialect
    from kdkit.data.files import Row
    from kdkit.system.progress import Progress

DEFAULT_SHARE = 0.1
_SHARE = validators.optional(validators.and_(validators.gt(0.0), validators.lt(1.0)))


def _is_template(_: object, __: object, value: str | None) -> None:
    if value is not None:
        Template.parse(value)


@attrs.frozen(kw_only=True)
class Part:
    """What some rows of a split are read from: a file, a split of a stored data set.

    Attributes:
        name: What it is called in messages.
        rows: Its rows, given the reader, which knows the fields that are needed.
        label: What tells it from the other parts in the ids of rows that have none; "" where it is alone.
        source: Which of the sources that are mixed it belongs to, from 0.
    """

    name: str
    rows: Callable[[RowReader], Iterable[Row]]
    label: str = ""
    source: int = 0


@attrs.frozen(kw_only=True)
class RowOptions:
    """The options of data sets whose rows have fields, and their methods; a data set adds `parts`."""

    formats: ClassVar[frozenset[str]] = FORMATS
    """What kinds of files are read."""

    source: str | None = option(
        'What the model reads: a field\'s name, a path ("meta.title") or a template ("summarize: {text}"); '
        "lists are joined with newlines.",
        default=None,
        check=_is_template,
    )
    target: str | None = option(
        "What the model should write: a field, path or template, as for source.", default=None, check=_is_template
    )
    text: str | None = option(
        "Instead of source and target, for decoder-only models: a text to learn whole, as a field, path or template. "
        "It is read in blocks (tokens.max_length), and the blocks of one text stay in one split.",
        default=None,
        check=_is_template,
    )
    messages: str | None = option(
        "Instead of source and target, for decoder-only models: field with a conversation, a list of messages with a "
        "role and a content each. The tokenizer's chat template writes it, and each of the assistant's turns is a row.",
        default=None,
    )
    tools: str | None = option(
        "With messages: field with the tools that the assistant may call, as the chat template reads them (JSON "
        "schemas).",
        default=None,
    )
    template: dict[str, Any] | None = option(
        "With messages: variables for the chat template, such as `{ enable_thinking = false }`.", default=None
    )
    id: str | None = option(
        "Field with each row's id, unique over all files; a row without one is called by its number (of JSON lines, "
        'its line), such as "train:17".',
        default=None,
    )
    prediction: str | None = option(
        'Field with a teacher\'s text, for teacher "recorded" with a loss that needs no logits.', default=None
    )
    meta: tuple[str, ...] = option("Fields to keep for metric suites and reports.", default=())
    validation_share: float | None = option(
        "Without validation rows of their own: the share of training rows to hold out, chosen by a hash of their ids "
        f"or of their group (default {DEFAULT_SHARE}).",
        default=None,
        check=_SHARE,
    )
    test_share: float | None = option(
        "Without test rows of their own: the share of training rows to hold out for the test, likewise; by default "
        "none.",
        default=None,
        check=_SHARE,
    )
    group: str | None = option(
        "Field whose rows of one value stay together when shares are held out: an author, a document.", default=None
    )
    train_rows: int = option("How many training rows to use, from the first; 0 for all.", default=0, check=not_negative)
    validation_rows: int = option(
        "How many validation rows to use, from the first; 0 for all.", default=0, check=not_negative
    )
    test_rows: int = option("How many test rows to use, from the first; 0 for all.", default=0, check=not_negative)
    skip_broken: bool = option(
        "Whether to leave out and count rows that cannot be read (lines that are not JSON, rows of too few values); "
        "otherwise they are an error.",
        default=False,
    )

    def __attrs_post_init__(self) -> None:
        """Refuse options that contradict each other."""
        check_form(self)
        has = {split for split in SPLITS if self.has(split)}
        for split, share in (("validation", self.validation_share), ("test", self.test_share)):
            if split in has and share is not None:
                raise UsageError(f"{split} and {split}_share are both given; remove one of them")
        if self.group is not None and "validation" in has and self.test_share is None:
            raise UsageError("group is given, but no share is split off; take it out, or set test_share")
        if self._splitter.validation_share + self._splitter.test_share >= 1:
            raise UsageError("validation_share and test_share leave no training rows; make their sum less than 1")

    @property
    def form(self) -> Form:
        """What its rows are: see `kdkit.api.Example`."""
        return "text" if self.text else "chat" if self.messages else "pair"

    def has(self, split: SplitName) -> bool:
        """Whether a split has rows of its own; of the others a share of the training rows may be split off."""
        return split == "train" or bool(getattr(self, split, None))

    def parts(self, split: SplitName) -> Sequence[Part]:
        """What a split is read from; nothing where it has no rows of its own."""
        raise NotImplementedError

    @property
    def mix(self) -> Sequence[float]:
        """The shares by which the sources of the training rows are mixed; none where one follows the other."""
        return ()

    @property
    def dialect(self) -> Dialect | None:
        """How the values of tables of values are separated."""
        return None

    def load(self, progress: Progress) -> Corpus:
        """Read every row.

        Raises:
            MissingInput: A file is not there.
            UsageError: A row is broken, an id comes twice, no row has a field that is named here, or no row is usable.
            DamagedData: A file is cut or damaged.
        """
        return gathered(self.stream(progress))

    def stream(self, progress: Progress) -> Iterator[tuple[SplitName, Example] | Drop]:
        """Read every row, one after the other; raises what `load` raises."""
        return self._stream(progress, to_write=False)

    def stream_prompts(self, progress: Progress) -> Iterator[tuple[SplitName, Example] | Drop]:
        """As `stream`, but training rows need no target, which is then empty: a teacher writes them."""
        return self._stream(progress, to_write=True)

    def _stream(self, progress: Progress, *, to_write: bool) -> Iterator[tuple[SplitName, Example] | Drop]:
        parts = {split: list(self.parts(split)) if self.has(split) else [] for split in SPLITS}
        train, validation = (", ".join(part.name for part in parts[split]) for split in ("train", "validation"))
        origin = validation or f"the validation_share of {train}"
        rows = self._rows(parts, progress, to_write=to_write)
        yield from require_streamed(rows, train=train, validation=origin)

    def prompt(self, row_id: str, row: Mapping[str, Any]) -> Example | str:
        """The input made from a row, with an empty target; or the reason why there is none.

        After a conversation a model writes the assistant's next turn, and a text it continues. An answer at the end of
        a conversation is its target, and is not read.
        """
        if self.messages is not None:
            return self._maker().conversation(row_id, row, to_answer=True)
        template = Template.parse(self.source or self.text or "")
        source = template.fill(row)
        if source is None:
            option = "source" if self.source else "text"
            return f"it lacks the field {' or '.join(template.fields)}, which data.{option} names"
        return Example(id=row_id, source=source, target="")

    @property
    def prompt_columns(self) -> frozenset[str]:
        """The columns in which the fields may be that `prompt` reads."""
        if self.messages is not None:
            return columns_of([name for name in (self.messages, self.tools) if name])
        return columns_of(Template.parse(self.source or self.text or "").fields)

    def _maker(self) -> RowMaker:
        """Makes the examples, with the templates parsed once."""
        named = {"source": self.source, "target": self.target, "text": self.text}
        return RowMaker(
            templates={name: Template.parse(value) for name, value in named.items() if value is not None},
            messages=self.messages,
            tools=self.tools,
            template=self.template,
            prediction=self.prediction,
            meta=self.meta,
        )

    @property
    def _splitter(self) -> Splitter:
        validation = 0.0 if self.has("validation") else (self.validation_share or DEFAULT_SHARE)
        return Splitter(validation_share=validation, test_share=self.test_share or 0.0)

    def _rows(
        self, parts: Mapping[SplitName, list[Part]], progress: Progress, *, to_write: bool
    ) -> Iterator[tuple[SplitName, Example] | Drop]:
        left = {split: getattr(self, f"{split}_rows") or math.inf for split in SPLITS}
        splitter, given = self._splitter, set[str]()
        with progress.task("data", total=None, unit="rows") as task:
            reader = RowReader(
                partial(self._maker().example, to_write=to_write),
                id_field=self.id,
                fields=self._fields(),
                optional=("target",) if to_write else (),
                skip_broken=self.skip_broken,
                task=task,
                formats=self.formats,
                dialect=self.dialect,
            )
            for own in SPLITS:
                fed = splitter.splits if own == "train" else (own,)
                with closing(self._examples(reader, parts[own], own)) as examples:
                    for example, row in examples:
                        split = splitter.split_of(self._key(example, row)) if own == "train" else own
                        if to_write and split != "train" and not has_target(example):
                            yield Drop(reason=WITHOUT_TARGET, count=1, first=(example.id,))
                        elif left[split]:
                            left[split] -= 1
                            given.add(split)
                            yield split, example
                        if not any(left[each] for each in fed):
                            break
            reader.check_fields()
            for split in splitter.splits:
                if split not in given and "train" in given:
                    raise UsageError(self._nothing_held_out(split, ", ".join(part.name for part in parts["train"])))
            yield from reader.drops

    def _nothing_held_out(self, split: SplitName, origin: str) -> str:
        share = self._splitter.validation_share if split == "validation" else self._splitter.test_share
        few = f'rows of one "{self.group}" stay together, and it has few values' if self.group else "there are too few"
        return (
            f"no row of {origin} is held out for {split}, with a share of {share:g}: {few}; set "
            f"{split}_share higher, or name {split} rows of their own"
        )

    def _examples(
        self, reader: RowReader, parts: Sequence[Part], split: SplitName
    ) -> Generator[tuple[Example, Mapping[str, Any]], None, None]:
        """The examples of some parts: one after the other, or mixed."""

        def of(source: int | None) -> Generator[tuple[Example, Mapping[str, Any]], None, None]:
            for part in parts:
                if source is None or part.source == source:
                    prefix = f"{split}:{part.label}" if part.label else split
                    yield from reader.examples(part.rows(reader), part.name, prefix=prefix)

        if split != "train" or not self.mix:
            return of(None)
        return dealt([of(source) for source in range(len(self.mix))], self.mix)

    def _key(self, example: Example, row: Mapping[str, Any]) -> str:
        """What decides the split of a row: its group, or else its id."""
        group = as_text(field_value(row, self.group)) if self.group else ""
        return group or example.id

    def _fields(self) -> dict[str, tuple[str, ...]]:
        templates, names = ("source", "target", "text"), ("messages", "tools", "id", "prediction", "group")
        return {
            **{name: Template.parse(value).fields for name in templates if (value := getattr(self, name))},
            **{name: (value,) for name in names if (value := getattr(self, name))},
            "meta": self.meta,
        }
