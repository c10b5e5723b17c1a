"""What teachers without a model share: what they know was made elsewhere, and came as texts and logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from kdkit.api.values import Prediction
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from kdkit.api.interfaces import TextModel, Tokenizer
    from kdkit.api.options import Generation, Training
    from kdkit.api.values import Corpus, EncodedExample


@attrs.frozen(kw_only=True)
class MadeElsewhere:
    """A teacher without its model: nothing of it is trained, built or looked for."""

    named: ClassVar[str]
    """What it is called where a model is asked of it: "a recorded teacher"."""
    instead: ClassVar[str]
    """The teacher that has a model."""

    @property
    def fine_tune(self) -> Training | None:
        """None: nothing is trained."""
        return None

    @property
    def is_made_here(self) -> bool:
        """False: it was made elsewhere."""
        return False

    @property
    def model_kind(self) -> None:
        """None: it is not a model."""
        return None

    def model_config(self, tokenizer: Tokenizer) -> None:
        """None: it is not a model."""

    def find_folder(self) -> None:
        """None: it is not a model."""

    def build(self, corpus: Corpus, *, seed: int, device: str) -> TextModel:  # noqa: ARG002 - as the protocol has it
        """Never called: `is_made_here` is False."""
        raise UsageError(f"{self.named} has no model to build; use {self.instead} to make one")


class OpenFromElsewhere:
    """Such a teacher, ready to be asked: its texts came with the rows."""

    without_text: ClassVar[str]
    """The end of the sentence about a row without a text: what that means, and what to do."""

    def __init__(self, predictions: Mapping[str, str | None]) -> None:
        """With the text of each row that has one, by id."""
        self._predictions = predictions

    def groups(self, rows: Sequence[EncodedExample]) -> Sequence[Sequence[EncodedExample]]:
        """Each row by itself: nothing is computed."""
        return [[row] for row in rows]

    def generate(
        self,
        rows: Sequence[EncodedExample],
        options: Generation,  # noqa: ARG002 - they were generated elsewhere
        *,
        done: Collection[str] = (),
    ) -> Iterator[Prediction]:
        """The text that came with each row; how it was searched for and how long it took is not known.

        Raises:
            UsageError: A row came without one.
        """
        for row in rows:
            if row.id in done:
                continue
            text = self._predictions.get(row.id)
            if text is None:
                raise UsageError(f"row {row.id} came without a prediction{self.without_text}")
            yield Prediction(id=row.id, text=text)

    def close(self) -> None:
        """Nothing to release."""
