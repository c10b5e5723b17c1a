"""A codec as one word on the command line: `NAME`, or `NAME:key=value,...` with the options of its `[codec]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit import plugins as plugin_loading
from kdkit.errors import UsageError
from kdkit.plugins.structure import Structurer, dotted
from kdkit.recipe.spelling import toml_value
from kdkit.system.parsing import Beyond

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.api.interfaces.codecs import AnyCodec
    from kdkit.plugins import Plugins

_OPENING, _CLOSING, _QUOTES = "[{", "]}", "\"'"


@attrs.frozen(kw_only=True)
class CodecSpec:
    """A codec named on the command line.

    Attributes:
        text: What was written.
        name: Its registered name.
        codec: The codec, with these options.
    """

    text: str
    name: str
    codec: AnyCodec


def read_codec_spec(text: str, plugins: Plugins | None = None) -> CodecSpec:
    """The codec that a text such as `u8-lz4:scope=row,level=3` names.

    Values are read as those of `kdkit run -o`: as TOML, and what is no TOML as text. A comma within brackets or quotes
    is part of a value: `topk:temperatures=[1,2]`.

    Args:
        text: The codec and its options.
        plugins: What components there are; by default the built-in and installed ones.

    Raises:
        UsageError: There is no such codec or option, or a value is wrong; names every problem.
    """
    name, _, rest = text.partition(":")
    table: dict[str, Any] = {"name": name}
    for part in _parts(rest):
        key, equals, value = (each.strip() for each in part.partition("="))
        if not key or not equals:
            raise UsageError(f'--codec {text}: "{part}" must have the form key=value')
        if key in table:
            raise UsageError(f"--codec {text}: {key} is given twice")
        try:
            table[key] = toml_value(value)
        except Beyond as error:
            raise UsageError(f"--codec {text[:60]}: {key}: {error.what}") from error
    structurer = Structurer(plugins if plugins is not None else plugin_loading.load())
    name, codec = structurer.component("codecs", table, ())
    if structurer.problems:
        raise UsageError("; ".join(f"--codec {text}: {_sentence(path, what)}" for path, what in structurer.problems))
    return CodecSpec(text=text, name=name, codec=codec)


def _sentence(path: tuple[str | int, ...], what: str) -> str:
    return f"{dotted(path)}: {what}" if path and path != ("name",) else what


def _parts(text: str) -> Iterator[str]:
    """The text between commas that stand neither in brackets nor in quotes."""
    depth, quote, start = 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES:
            quote = letter
        elif letter in _OPENING:
            depth += 1
        elif letter in _CLOSING:
            depth -= 1
        elif letter == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    if text:
        yield text[start:]
