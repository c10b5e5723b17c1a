"""Rows whose targets a teacher writes: what it reads, and the rows that come of its texts.

Of a conversation the assistant's last turn is written; the turns before it stay as they are.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.data.chats import chat, unanswered
from kdkit.data.splitting import taken
from kdkit.errors import UsageError
from kdkit.system.parsing import DEEPEST_ROW, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import EncodedExample, Example
    from kdkit.data.encoded_rows import EncodedRows
    from kdkit.data.rows import Encoding

WITHOUT_TARGET = "it has no target, which only a training row may lack"


def has_target(example: Example) -> bool:
    """Whether a row has a target of its own; a conversation, an answer at its end."""
    if example.form != "chat":
        return bool(example.target)
    messages = parse_json(example.target, deepest=DEEPEST_ROW)["messages"]
    return bool(messages) and messages[-1]["role"] == "assistant"


def with_targets(examples: Sequence[Example]) -> Sequence[Example]:
    """Those of some rows that have a target of their own."""
    places = [place for place, example in enumerate(examples) if has_target(example)]
    return examples if len(places) == len(examples) else taken(examples, places)


def asked(example: Example) -> Example:
    """What a teacher reads to write a row's target.

    Raises:
        UsageError: The row is a text without a prompt, a conversation with tools, or one that asks nothing.
    """
    if example.form == "pair":
        return attrs.evolve(example, target="")
    if example.form == "text":
        raise UsageError(
            f"row {example.id} is a text without a prompt, after which a teacher could write nothing; leave "
            "teacher.write_targets out, or give rows with a source (data.source) or conversations (data.messages)"
        )
    table = parse_json(example.target, deepest=DEEPEST_ROW)
    if table.get("tools") or any(each.get("tool_calls") for each in table["messages"]):
        raise UsageError(
            f"row {example.id} is a conversation with tools, and what a teacher writes is kept as text, not as calls; "
            "leave teacher.write_targets out, or give conversations without tools"
        )
    messages = unanswered(table["messages"])
    if not messages:
        raise UsageError(f"row {example.id} is a conversation in which nobody asks anything; leave the row out")
    return _with_messages(example, messages)


def prompt_of(example: Example) -> str:
    """What is asked of a model by a row, whatever target it has: two rows with the same one ask the same."""
    if example.form == "pair":
        return example.source
    table = parse_json(example.target, deepest=DEEPEST_ROW) if example.form == "chat" else None
    if table is None:
        return example.target
    return json.dumps({**table, "messages": unanswered(table["messages"])}, sort_keys=True)


def with_text(example: Example, text: str) -> Example:
    """A row with a teacher's text as its target; of a conversation, as the assistant's last turn."""
    if example.form == "pair":
        return attrs.evolve(example, target=text, prediction=None)
    messages = unanswered(parse_json(example.target, deepest=DEEPEST_ROW)["messages"])
    return _with_messages(example, [*messages, {"role": "assistant", "content": text}])


def _with_messages(example: Example, messages: Sequence[Mapping[str, Any]]) -> Example:
    """A conversation of other messages, with what else its chat template reads."""
    template = parse_json(example.target, deepest=DEEPEST_ROW).get("template")
    return chat(messages, id=example.id, template=template, meta=example.meta, document=example.document)


def prompts_of(examples: Sequence[Example], tokenizer: Tokenizer, encoding: Encoding) -> Sequence[EncodedExample]:
    """The token ids that a teacher reads to write the targets of rows.

    Raises:
        UsageError: See `asked`.
    """
    return encoding.prompts([asked(example) for example in examples], tokenizer)


def longest_rows(prompts: Sequence[EncodedExample], tokens: int) -> EncodedRows:
    """Rows as they will be at most: each prompt with so many labels, whose ids stand for those to come."""
    import numpy as np

    from kdkit.data.columns import Ragged
    from kdkit.data.encoded_rows import EncodedRows

    rows = EncodedRows.of(prompts)
    taken = [getattr(rows, name).taken(rows.places_R) for name in ("ids", "sources")]
    labels = np.broadcast_to(np.zeros((), np.int32), (len(rows) * tokens,))  # takes no memory
    targets = Ragged(labels, np.arange(len(rows) + 1, dtype=np.int64) * tokens)
    return EncodedRows.whole(ids=taken[0], sources=taken[1], targets=targets)
