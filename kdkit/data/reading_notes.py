"""What is to be said of how rows were read, as sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.data.given import reason_of
from kdkit.data.reading import Mark
from kdkit.data.streams import merged
from kdkit.data.text_ends import better_end
from kdkit.system.wording import first_few, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.data.rows import Rows

_SENTENCES = {
    Mark.DIFFERS: "the labels of {turns} are not what the chat template marks as the assistant's ({first}); the labels "
    "are what follows the prompt, so look at them: kdkit plan --show",
    Mark.OPENED: "{turns} of the assistant do not begin as the chat template opens an answer ({first}): the labels "
    "follow what both have in common, so a server asks for an answer at another place than the one that is learned; "
    "look at them: kdkit plan --show",
    Mark.LACKS_TOOLS: "the chat template writes nothing of the tools, or nothing of the calls, of {turns} ({first}): "
    "the models neither see nor learn them; use a tokenizer whose template does",
}


def notes_on_reading(found: Sequence[Rows]) -> Iterator[str]:
    """Warnings about the rows of all splits: a sentence each."""
    for drop in merged(drop for each in found for drop in each.left_out):
        yield f"of the turns of conversations {reason_of(drop)}"
    for mark, sentence in _SENTENCES.items():
        ids = [id_ for each in found for id_ in each.encoded.take(each.reading.marked(mark)).each_id()]
        if ids:
            yield sentence.format(turns=plural(len(ids), "turn"), first=first_few(ids))
    blocks = next((each for each in found if each.are_blocks and not each.encoding.limits.document_end), None)
    other = better_end(blocks.tokenizer) if blocks is not None else None
    if blocks is not None and other is not None:
        yield (
            f"each text ends with {getattr(blocks.tokenizer, 'eos_token', '')}, with which the chat template ends "
            "turns; this tokenizer has another token, with which such models mostly learn documents: "
            f'tokens.document_end = "{other}"'
        )
