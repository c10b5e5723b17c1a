"""Rows with fields made into examples: a source with its target, a text, or a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import Example
from kdkit.data.chats import NO_ANSWER, chat, fault_of_messages, unanswered
from kdkit.data.fields import Template, as_text, field_value
from kdkit.system.parsing import DEEPEST_ROW, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
"""Whom `from` names in conversations as ShareGPT wrote them: their roles."""


@attrs.frozen(kw_only=True)
class RowMaker:
    """Makes examples of rows.

    Attributes:
        templates: "source" and "target", or "text": templates of what a row's are; none of a conversation.
        messages: The field with a conversation.
        tools: The field with the tools of a conversation.
        template: Variables for the chat template.
        prediction: The field with a teacher's text.
        meta: Fields to keep.
    """

    templates: Mapping[str, Template]
    messages: str | None = None
    tools: str | None = None
    template: Mapping[str, Any] | None = None
    prediction: str | None = None
    meta: Sequence[str] = ()

    def example(self, id_: str, row: Mapping[str, Any], *, to_write: bool = False) -> Example | str:
        """The example made of a row, or why there is none: the end of "dropped because ...".

        Args:
            id_: Its id.
            row: The values of its fields.
            to_write: Whether it may lack a target, which is then empty; of a conversation, an answer.
        """
        if self.messages is not None:
            return self.conversation(id_, row, needs_answer=not to_write)
        texts = {name: template.fill(row) for name, template in self.templates.items()}
        missing = next((n for n, text in texts.items() if text is None and not (to_write and n == "target")), None)
        if missing is not None:
            return f"it has no {missing}"
        if "text" in texts:
            return Example(id=id_, source="", target=texts["text"] or "", form="text", meta=self._meta(row))
        prediction = field_value(row, self.prediction) if self.prediction else None
        return Example(
            id=id_,
            source=texts["source"] or "",
            target=texts["target"] or "",
            prediction=as_text(prediction) if prediction is not None else None,
            meta=self._meta(row),
        )

    def conversation(
        self, id_: str, row: Mapping[str, Any], *, to_answer: bool = False, needs_answer: bool = True
    ) -> Example | str:
        """A row's messages; to be answered, those before the assistant's answer at their end, if they have one."""
        assert self.messages is not None
        messages = _parsed(field_value(row, self.messages))
        if isinstance(messages, list):
            messages = [_with_role(_without_nothing(each)) for each in messages]
        fault = fault_of_messages(messages)
        if fault and not (fault == NO_ANSWER and (to_answer or not needs_answer)):
            return f"its {self.messages} {fault}"
        if to_answer:
            messages = unanswered(messages)
            if not messages:
                return f"its {self.messages} has nothing that the assistant could answer"
        tools = _parsed(field_value(row, self.tools)) if self.tools else None
        if tools is not None and not isinstance(tools, list):
            return f"its {self.tools} is not a list"
        tools = [_without_nothing(each) for each in tools or ()]
        return chat(messages, id=id_, tools=tools, template=self.template, meta=self._meta(row))

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        meta = {name: field_value(row, name) for name in self.meta}
        return {name: value for name, value in meta.items() if value is not None}


def _with_role(message: Any) -> Any:
    """A message of the older shape, `from` and `value`, as one with a role and a content; others as they are.

    Speakers without a name that says their role, such as those of calls, stay, and their conversation is left out.
    """
    if not isinstance(message, dict) or message.keys() != {"from", "value"}:
        return message
    speaker = message["from"]
    role = SPEAKERS.get(speaker) if isinstance(speaker, str) else None
    return message if role is None else {"role": role, "content": message["value"]}


def _parsed(value: Any) -> Any:
    """A value that may be written as JSON in a text, as tables have it."""
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value, deepest=DEEPEST_ROW)
    except ValueError:
        return value


def _without_nothing(value: Any) -> Any:
    """A value without fields that are null: columns of Parquet and Arrow give every message the fields of all."""
    if isinstance(value, dict):
        return {key: _without_nothing(each) for key, each in value.items() if each is not None}
    return [_without_nothing(each) for each in value] if isinstance(value, list) else value
