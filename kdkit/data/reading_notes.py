"""What is to be said of how rows were read, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.data.given import reason_of
from kdkit.data.reading import Mark
from kdkit.data.streams import merged
from kdkit.system.wording import first_few, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.data.rows import Rows


def notes_on_reading(found: Sequence[Rows]) -> Iterator[str]:
    """Warnings about the rows of all splits: a sentence each."""
    for drop in merged(drop for each in found for drop in each.left_out):
        yield f"of the turns of conversations {reason_of(drop)}"
    other = [id_ for each in found for id_ in each.encoded.take(each.reading.marked(Mark.DIFFERS)).each_id()]
    if other:
        yield (
            f"the labels of {plural(len(other), 'turn')} are not what the chat template marks as the assistant's "
            f"({first_few(other)}); the labels are what follows the prompt, so look at them: kdkit plan --show"
        )
