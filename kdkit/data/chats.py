"""Conversations: rendered by the chat template of a tokenizer, a row for each turn of the assistant.

Of a turn, `prompt` is the rendering of what precedes it with the template's own opening of an answer, and `full` is the
rendering that includes it. The labels are what follows the prompt in the full rendering: what a model has to write once
it has read the conversation as a server shows it.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import Example
from kdkit.data.rendered import SpeltTokens, Told, restored, shared
from kdkit.errors import UsageError
from kdkit.system.parsing import DEEPEST_ROW, parse_json
from kdkit.system.wording import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.data.rendered import Rendered

MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
"""What a template puts before text that is the assistant's."""
# A template that tells the day would render otherwise tomorrow: in all renderings it is this one, Llama's own default.
_DAY = {"%Y": "2024", "%m": "07", "%d": "26", "%B": "July", "%b": "Jul", "%A": "Friday", "%a": "Fri", "%y": "24"}
_CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f' | replace("{code}", "{text}")' for code, text in _DAY.items())
    + " }}{%- endmacro -%}"
)
NO_ANSWER = "has no message of the role assistant"
"""What is wrong with a conversation in which nothing is to be learned."""


def chat(
    messages: Sequence[Mapping[str, Any]],
    *,
    id: str,  # noqa: A002 - the field's name
    tools: Sequence[Any] = (),
    template: Mapping[str, Any] | None = None,
    **rest: Any,
) -> Example:
    """A conversation as an example (`form` "chat").

    Args:
        messages: Each with a `role` and what else the chat template reads: `content`, `tool_calls`.
        id: The example's id.
        tools: The tools that the assistant may call, as JSON schemas.
        template: Variables for the chat template, by name.
        rest: Other fields of the example.
    """
    table: dict[str, Any] = {"messages": list(messages)}
    table |= {"tools": list(tools)} if tools else {}
    table |= {"template": dict(template)} if template else {}
    return Example(id=id, source="", target=json.dumps(table, ensure_ascii=False), form="chat", **rest)


def fault_of(conversation: str) -> str:
    """What is wrong with a conversation as JSON, as a verb and its object; "" if nothing is."""
    try:
        table = parse_json(conversation, deepest=DEEPEST_ROW)
    except ValueError:
        return "is not JSON"
    messages = table.get("messages") if isinstance(table, dict) else None
    return fault_of_messages(messages)


def fault_of_messages(messages: Any) -> str:
    """What is wrong with messages, as a verb and its object; "" if nothing is."""
    if not isinstance(messages, list) or not all(
        isinstance(each, dict) and isinstance(each.get("role"), str) for each in messages
    ):
        return "is not a list of messages, each with a role and a content"
    if not any(each["role"] == "assistant" for each in messages):
        return NO_ANSWER
    return ""


def unanswered(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Messages without those of the assistant at their end, which are what a model is asked for."""
    asked = len(messages)
    while asked and messages[asked - 1]["role"] == "assistant":
        asked -= 1
    return list(messages[:asked])


@attrs.frozen(kw_only=True)
class Turn:
    """A turn of the assistant.

    Attributes:
        number: Which of the assistant's turns it is, from 1.
        full: The rendering that includes it.
        boundary: How many characters of that are the prompt.
        marked: What of `full` the template marks as this turn, from where to where; None where it marks nothing.
        is_opened: Whether `full` begins with the conversation and the template's own opening of an answer.
        lacks_tools: Whether the template writes nothing of the tools, or nothing of the calls of this turn.
    """

    number: int
    full: Rendered
    boundary: int
    marked: tuple[int, int] | None = None
    is_opened: bool = True
    lacks_tools: bool = False


@attrs.frozen
class Refused:
    """A turn that is not learned.

    Attributes:
        number: Which of the assistant's turns it is, from 1.
        reason: Why: the end of "left out because ...".
    """

    number: int
    reason: str


class _Unwritten(Exception):
    """A template raised something on a conversation: a clause that says what."""


@attrs.frozen
class ChatTemplate:
    """The chat template of a tokenizer."""

    tokenizer: Any

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> ChatTemplate:
        """The tokenizer's.

        Raises:
            UsageError: It has none.
        """
        if not getattr(tokenizer, "chat_template", None):
            raise UsageError(
                "the tokenizer has no chat template, so conversations (data.messages) cannot be written as its model "
                "reads them; use a teacher that has one (an instruct or chat model), put its chat_template.jinja in "
                "the folder of the tokenizer, or write the text of a row yourself with data.source and data.target"
            )
        return cls(tokenizer)

    def turns(self, conversation: str) -> Iterator[Turn | Refused]:
        """Each of the assistant's turns in a conversation, given as JSON."""
        table = parse_json(conversation, deepest=DEEPEST_ROW)
        messages, told = table["messages"], Told.of(table)
        number = 0
        for place, message in enumerate(messages):
            if message.get("role") != "assistant":
                continue
            number += 1
            try:
                yield self._turn(number, messages[:place], messages[: place + 1], told)
            except _Unwritten as error:
                yield Refused(number, str(error))

    def opened(self, conversation: str) -> Rendered | str:
        """A conversation with the opening of the assistant's answer to it, or why there is none: a clause."""
        table = parse_json(conversation, deepest=DEEPEST_ROW)
        try:
            return self._render(table["messages"], Told.of(table), opens=True)
        except _Unwritten as error:
            return str(error)

    def _turn(
        self, number: int, before: list[dict[str, Any]], after: list[dict[str, Any]], told: Told
    ) -> Turn | Refused:
        prompt, full = self._render(before, told, opens=True), self._render(after, told, opens=False)
        boundary = len(prompt.text)
        is_opened, is_written = full.text.startswith(prompt.text), True
        if not is_opened:
            base = self._render(before, told, opens=False).text
            boundary, is_written = shared(prompt.text, full.text), full.text != base
            if not base or not full.text.startswith(base) or boundary < len(base):
                return Refused(number, "the chat template writes what precedes the turn otherwise once it is there")
        if not is_written or (_says(after[-1]) and not self._has_text(full, boundary)):
            return Refused(number, "the chat template writes nothing of it after the prompt")
        return Turn(
            number=number,
            full=full,
            boundary=boundary,
            marked=self._marked(after, told, full) if self._marks else None,
            is_opened=is_opened,
            lacks_tools=self._lacks_tools(after, told, full),
        )

    def _has_text(self, full: Rendered, boundary: int) -> bool:
        """Whether a rendering has more than special tokens and white space behind a place."""
        spelt = any(end > boundary for _, end in full.plain)
        return spelt or bool(self._spelt.special.sub("", full.text[boundary:]).strip())

    def _lacks_tools(self, messages: list[dict[str, Any]], told: Told, full: Rendered) -> bool:
        """Whether a rendering is the same without the tools, or without the calls of the last message."""
        *before, last = messages
        others = []
        if told.tools:
            others.append((messages, attrs.evolve(told, tools=None)))
        if last.get("tool_calls"):
            others.append(([*before, {key: each for key, each in last.items() if key != "tool_calls"}], told))
        for its, given in others:
            try:
                if self._render(its, given, opens=False) == full:
                    return True
            except _Unwritten:  # it cannot do without, so it reads them
                continue
        return False

    def _render(self, messages: list[dict[str, Any]], told: Told, *, opens: bool) -> Rendered:
        its, given, spelt = self._spelt.hidden(messages, told.tools)
        try:
            text: str = self.tokenizer.apply_chat_template(
                [its],
                tools=given,
                chat_template=self._template(told.tools),
                tokenize=False,
                add_generation_prompt=opens,
                **told.rest,
            )[0]
        except _jinja_errors() as error:
            raise _Unwritten(f"the chat template refuses it ({first_line(error)})") from error
        return restored(text, spelt)

    def _marked(self, messages: list[dict[str, Any]], told: Told, full: Rendered) -> tuple[int, int] | None:
        """What the template marks as the last turn.

        Its tags give characters. The tokens are found by `marked_tokens`: what transformers makes of them is wrong
        where a span ends at the first token, or on a character that no token has.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        its, given, spelt = self._spelt.hidden(messages, told.tools)
        template = self._template(told.tools)
        (text,), (spans,) = render_jinja_template(
            [its],
            tools=given,
            chat_template=template,
            return_assistant_tokens_mask=True,
            **{**self.tokenizer.special_tokens_map, **told.rest},
        )
        if not spans or restored(text, spelt) != full:
            return None
        begin, end = spans[-1]
        return len(restored(text[:begin], spelt).text), len(restored(text[:end], spelt).text)

    @cached_property
    def _marks(self) -> bool:
        return MARKS.search(str(self.tokenizer.chat_template)) is not None

    @cached_property
    def _spelt(self) -> SpeltTokens:
        return SpeltTokens(self.tokenizer)

    def _template(self, tools: Any) -> str:
        template: str = self.tokenizer.get_chat_template(tools=tools)
        return _CLOCK + template if "strftime_now" in template else template


def _says(message: Mapping[str, Any]) -> bool:
    """Whether a message has something that a template ought to write."""

    def has_text(value: Any) -> bool:
        if isinstance(value, dict):
            return any(has_text(each) for key, each in value.items() if key != "type")
        if isinstance(value, list):
            return any(map(has_text, value))
        return bool(value.strip() if isinstance(value, str) else value)

    return any(has_text(message.get(name)) for name in ("content", "tool_calls"))


def _jinja_errors() -> tuple[type[Exception], ...]:
    """What a template raises on a conversation that it was not made for."""
    from jinja2 import TemplateError

    return (TemplateError, TypeError, KeyError, IndexError, ValueError, AttributeError)
