"""The data set `jsonl`: any JSON lines, with fields or templates for source and target."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
from attrs import validators

from kdkit.api.options import not_negative, option
from kdkit.api.values import Example
from kdkit.data import RowReader, Template, as_text, field_value, gathered, is_split_off, require_streamed
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kdkit.api.values import Corpus, Drop, SplitName
    from kdkit.system.progress import Progress

DEFAULT_SHARE = 0.1


def _is_template(_: object, __: object, value: str) -> None:
    Template.parse(value)


@attrs.frozen(kw_only=True)
class Jsonl:
    """Rows of JSON lines: plain, gzip or zstandard."""

    train: str = option("File of training rows.")
    validation: str | None = option("File of validation rows; by default, a share of the training rows.", default=None)
    test: str | None = option("File of test rows; by default, evaluation uses the validation rows.", default=None)
    validation_share: float | None = option(
        "Without a validation file: the share of training rows to hold out, chosen by a hash of their ids "
        f"(default {DEFAULT_SHARE}).",
        default=None,
        check=validators.optional(validators.and_(validators.gt(0.0), validators.lt(1.0))),
    )
    source: str = option(
        'What the model reads: a field\'s name, a path ("meta.title") or a template ("summarize: {text}"); '
        "lists are joined with newlines.",
        check=_is_template,
    )
    target: str = option("What the model should write: a field, path or template, as for source.", check=_is_template)
    id: str | None = option(
        "Field with each row's id, unique over all files; a row without one is called by its line, such "
        'as "train:17".',
        default=None,
    )
    prediction: str | None = option(
        'Field with a teacher\'s text, for teacher "recorded" with a loss that needs no logits.', default=None
    )
    meta: tuple[str, ...] = option("Fields to keep for metric suites and reports.", default=())
    train_rows: int = option("How many training rows to use, from the first; 0 for all.", default=0, check=not_negative)
    validation_rows: int = option(
        "How many validation rows to use, from the first; 0 for all.", default=0, check=not_negative
    )
    test_rows: int = option("How many test rows to use, from the first; 0 for all.", default=0, check=not_negative)
    skip_broken: bool = option(
        "Whether to leave out and count lines that are not JSON; otherwise they are an error.", default=False
    )

    def __attrs_post_init__(self) -> None:
        if self.validation is not None and self.validation_share is not None:
            raise UsageError("validation and validation_share are both given; remove one of them")

    def load(self, progress: Progress) -> Corpus:
        """Read every row.

        Raises:
            MissingInput: A file is not there.
            UsageError: A line is broken, an id comes twice, no row has a field that is named here, or no row is usable.
            DamagedData: A compressed file is cut or damaged.
        """
        return gathered(self.stream(progress))

    def stream(self, progress: Progress) -> Iterator[tuple[SplitName, Example] | Drop]:
        """Read every row, one after the other; raises what `load` raises."""
        origin = self.validation or f"the validation_share of {self.train}"
        yield from require_streamed(self._rows(progress), train=self.train, validation=origin)

    def _rows(self, progress: Progress) -> Iterator[tuple[SplitName, Example] | Drop]:
        with progress.task("data", total=None, unit="rows") as task:
            reader = RowReader(
                _Maker(self).example,
                id_field=self.id,
                fields=self._fields(),
                skip_broken=self.skip_broken,
                task=task,
            )
            if self.validation is not None:
                yield from (("train", row) for row in reader.stream(self.train, "train", limit=self.train_rows))
                rows = reader.stream(self.validation, "validation", limit=self.validation_rows)
                yield from (("validation", row) for row in rows)
            else:
                yield from self._split(reader.stream(self.train, "train"))
            if self.test is not None:
                yield from (("test", row) for row in reader.stream(self.test, "test", limit=self.test_rows))
            yield from reader.drops

    def _split(self, rows: Iterable[Example]) -> Iterator[tuple[SplitName, Example]]:
        """The rows of one file, a share of them for validation, and no more of each than are wanted."""
        share = DEFAULT_SHARE if self.validation_share is None else self.validation_share
        left: dict[SplitName, float] = {
            "train": self.train_rows or math.inf,
            "validation": self.validation_rows or math.inf,
        }
        for row in rows:
            split: SplitName = "validation" if is_split_off(row.id, share) else "train"
            if left[split]:
                left[split] -= 1
                yield split, row

    def prompt(self, row_id: str, row: Mapping[str, Any]) -> Example | str:
        """The input made from a row, with an empty target; or the reason why there is none."""
        template = Template.parse(self.source)
        source = template.fill(row)
        if source is None:
            return f"it lacks {' or '.join(template.fields)}, which its source needs"
        return Example(id=row_id, source=source, target="")

    def _fields(self) -> dict[str, tuple[str, ...]]:
        return {
            "source": Template.parse(self.source).fields,
            "target": Template.parse(self.target).fields,
            "id": (self.id,) if self.id else (),
            "prediction": (self.prediction,) if self.prediction else (),
            "meta": self.meta,
        }


class _Maker:
    """Makes examples of rows, with the templates parsed once."""

    def __init__(self, options: Jsonl) -> None:
        self._source = Template.parse(options.source)
        self._target = Template.parse(options.target)
        self._options = options

    def example(self, id_: str, row: Mapping[str, Any]) -> Example | str:
        source = self._source.fill(row)
        if source is None:
            return "it has no source"
        target = self._target.fill(row)
        if target is None:
            return "it has no target"
        prediction = field_value(row, self._options.prediction) if self._options.prediction else None
        meta = {name: field_value(row, name) for name in self._options.meta}
        return Example(
            id=id_,
            source=source,
            target=target,
            prediction=as_text(prediction) if prediction is not None else None,
            meta={name: value for name, value in meta.items() if value is not None},
        )
