"""What a row is, by the options of its data set: a source with its target, a text, or a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN_WORDS = frozenset(
    (
        *("messages", "tools", "add_generation_prompt", "conversation", "documents", "chat_template", "tokenize"),
        *("continue_final_message", "padding", "truncation", "max_length", "return_tensors", "return_dict"),
        *("return_assistant_tokens_mask", "tokenizer_kwargs"),
    )
)
"""What transformers or kdkit set themselves, or take for something else."""


class FormColumns(Protocol):
    """What a row may be made of."""

    @property
    def source(self) -> str | None:
        """What the model reads."""
        ...

    @property
    def target(self) -> str | None:
        """What it should write."""
        ...

    @property
    def text(self) -> str | None:
        """A text to learn whole."""
        ...

    @property
    def messages(self) -> str | None:
        """The field with a conversation."""
        ...


class RowFields(FormColumns, Protocol):
    """The options that say what a row is."""

    @property
    def tools(self) -> str | None:
        """The field with the tools of a conversation."""
        ...

    @property
    def template(self) -> Mapping[str, Any] | None:
        """Variables for the chat template."""
        ...

    @property
    def prediction(self) -> str | None:
        """The field with a teacher's text."""
        ...


def check_columns(options: FormColumns) -> None:
    """Refuse columns of which it does not follow what a row is.

    Raises:
        UsageError: Says which, and what to give instead.
    """
    forms = {
        "source and target": options.source or options.target,
        "text": options.text,
        "messages": options.messages,
    }
    given = [name for name, value in forms.items() if value]
    if len(given) != 1:
        names = [name for name in ("source", "target", "text", "messages") if getattr(options, name)]
        told = f"{', '.join(names[:-1])} and {names[-1]} are given" if names else "nothing says what a row is"
        raise UsageError(
            f"{told}; give source and target, or for decoder-only models text (texts without a prompt) or messages "
            "(chats), and leave the others out"
        )
    if given == ["source and target"] and not (options.source and options.target):
        missing, there = ("target", "source") if options.source else ("source", "target")
        raise UsageError(f"{there} is given, and {missing} is not; give both")
    if options.source and options.source == options.target:
        raise UsageError(f'source and target are both "{options.source}", so a model would copy; correct one of them')


def check_form(options: RowFields) -> None:
    """Refuse options of which it does not follow what a row is.

    Raises:
        UsageError: Says which, and what to give instead.
    """
    check_columns(options)
    if options.tools is not None and not options.messages:
        raise UsageError("tools is given, but only conversations have them; give messages, or leave tools out")
    if options.template and not options.messages:
        raise UsageError(
            "template is given, but only conversations are written by a chat template; give messages, or leave "
            "template out"
        )
    if own := OWN_WORDS & (options.template or {}).keys():
        raise UsageError(f"template names {min(own)}, which is not a variable of chat templates; leave it out")
    if options.prediction is not None and not options.source:
        form = "text" if options.text else "messages"
        raise UsageError(
            f"prediction is given, but {form} makes several rows of one, and it would belong to none of them; "
            "leave it out"
        )
