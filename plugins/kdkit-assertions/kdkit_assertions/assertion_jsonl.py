"""The data set `assertion-jsonl`: rows of focal code, masked test method and assertions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api import Corpus, Example, not_negative, option
from kdkit.data import RowReader, as_text, field_value, require_rows
from kdkit_assertions.prompt import assertion_prompt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api import Progress


@attrs.frozen(kw_only=True)
class AssertionJsonl:
    """JSON lines (plain, gzip or zstandard) of test methods with their assertions masked."""

    train: str = option("File of training rows.")
    validation: str = option("File of validation rows.")
    test: str | None = option("File of test rows; by default, evaluation uses the validation rows.", default=None)
    focal: str = option('Field with the code under test, which rows may lack; "" for none.', default="focal_code")
    test_method: str = option("Field with the test method, its assertions masked.", default="test_masked")
    assertions: str = option(
        "Field with the masked assertions: a list, or a text with one per line.", default="assertions"
    )
    kinds: str = option(
        'Field with the list of the assertions\' kinds, one word each, for scores by kind; "" to read the '
        "kinds off the assertions.",
        default="kinds",
    )
    answerable: str = option(
        'Field that says whether the input determines the assertion, for scores on such rows; "" for none.',
        default="focal_in_prefix",
    )
    project: str = option('Field with the project\'s name, kept for reports; "" for none.', default="project")
    id: str = option(
        'Field with the row\'s id; a row without one is called by its line, such as "train:17".', default="id"
    )
    train_rows: int = option("How many training rows to use, from the first; 0 for all.", default=0, check=not_negative)
    validation_rows: int = option(
        "How many validation rows to use, from the first; 0 for all.", default=0, check=not_negative
    )
    test_rows: int = option("How many test rows to use, from the first; 0 for all.", default=0, check=not_negative)
    skip_broken: bool = option(
        "Whether to leave out and count lines that are not JSON; otherwise they are an error.", default=False
    )

    def load(self, progress: Progress) -> Corpus:
        """Read every row.

        Raises:
            MissingInput: A file is not there.
            UsageError: A line is broken, an id comes twice, no row has a field that is named here, or no row is usable.
            DamagedData: A compressed file is cut or damaged.
        """
        with progress.task("data", total=None, unit="rows") as task:
            reader = RowReader(
                self._example, id_field=self.id, fields=self._fields(), skip_broken=self.skip_broken, task=task
            )
            train = reader.read(self.train, "train", limit=self.train_rows)
            validation = reader.read(self.validation, "validation", limit=self.validation_rows)
            test = reader.read(self.test, "test", limit=self.test_rows) if self.test is not None else ()
        corpus = Corpus(train=train, validation=validation, test=test, drops=reader.drops)
        return require_rows(corpus, train=self.train, validation=self.validation)

    def _fields(self) -> dict[str, tuple[str, ...]]:
        """The fields that must exist: those that every row needs, and those that the recipe sets."""
        required = {"test_method", "assertions"}
        defaults = {field.name: field.default for field in attrs.fields(type(self))}
        names = ("focal", "test_method", "assertions", "kinds", "answerable", "project", "id")
        values = {name: getattr(self, name) for name in names}
        return {
            name: (value,) for name, value in values.items() if value and (name in required or value != defaults[name])
        }

    def prompt(self, row_id: str, row: Mapping[str, Any]) -> Example | str:
        """The input made from a row, with an empty target; or the reason why there is none."""
        test_method = as_text(field_value(row, self.test_method))
        if not test_method.strip():
            return "it has no masked test"
        source, cuts = assertion_prompt(as_text(field_value(row, self.focal)) if self.focal else "", test_method)
        return Example(id=row_id, source=source, target="", cuts=cuts)

    def _example(self, id_: str, row: Mapping[str, Any]) -> Example | str:
        prompted = self.prompt(id_, row)
        statements = assertion_list(field_value(row, self.assertions))
        if isinstance(prompted, str):
            return prompted
        if not statements:
            return "it has no assertions"
        return attrs.evolve(prompted, target="\n".join(statements), meta=self._meta(row, statements))

    def _meta(self, row: Mapping[str, Any], statements: list[str]) -> dict[str, Any]:
        meta: dict[str, Any] = {"assertions": statements}
        kinds = field_value(row, self.kinds) if self.kinds else None
        if isinstance(kinds, list):
            meta["kinds"] = [as_text(kind) for kind in kinds]
        answerable = field_value(row, self.answerable) if self.answerable else None
        if isinstance(answerable, bool):
            meta["answerable"] = answerable
        project = field_value(row, self.project) if self.project else None
        if project is not None:
            meta["project"] = as_text(project)
        return meta


def assertion_list(value: Any) -> list[str]:
    """The statements of an assertions field, a list or a text with one a line; blank ones are left out."""
    statements = value if isinstance(value, list) else as_text(value).split("\n")
    return [text for text in map(as_text, statements) if text.strip()]
