"""The codecs to measure: those named on the command line, or all; each is fitted before it is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.interfaces.codecs import FittedCodec, HeadCodec
from kdkit.errors import UsageError
from kdkit.logits.bench.records import first_tokens, state_block
from kdkit.logits.cache.state import pack_state
from kdkit.plugins.fields import options_of, table_of
from kdkit.plugins.structure import Structurer, dotted
from kdkit.recipe.codec_spec import read_codec_spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.interfaces import Codec
    from kdkit.logits.bench.records import Material
    from kdkit.plugins import Plugins

# Settings that are measured where none are named; a codec that is not here is measured as it comes.
SETTINGS: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "u8-lz4": ({}, {"clip": 16.0}, {"clip": 12.0}, {"clip": 8.0}),
    "float": (
        {"compression": "zstd", "planes": True},
        {"dtype": "fp16"},
        {"dtype": "bf16", "compression": "zstd", "planes": True},
    ),
    "subspace": ({}, {"step": 0.0125}),
    "topk": ({"temperatures": [0.5, 1.0, 2.0, 4.0]}, {"k": 32, "temperatures": [0.5, 1.0, 2.0, 4.0]}),
}


@attrs.frozen(kw_only=True, eq=False)
class Candidate:
    """A codec with its options.

    Attributes:
        name: Its registered name.
        options: All its options, as a recipe would have them.
        given: Those that were given, as text: `step=0.5`.
        component: The component.
    """

    name: str
    options: Mapping[str, Any]
    given: str
    component: Any

    @property
    def label(self) -> str:
        """Name and given options."""
        return f"{self.name}:{self.given}" if self.given else self.name


@attrs.frozen(kw_only=True, eq=False)
class Coder:
    """A codec that is ready to encode and decode.

    Attributes:
        candidate: What it is.
        codec: What encodes and decodes.
        state_bytes: What it learnt, as the bytes that a cache keeps of it once.
    """

    candidate: Candidate
    codec: Codec
    state_bytes: int


def parse_candidate(text: str, plugins: Plugins) -> Candidate:
    """A codec from `NAME[:key=value,...]`; see `kdkit.recipe.codec_spec.read_codec_spec`.

    Raises:
        UsageError: It is of another form, an option is given twice, or there is no such codec or option.
    """
    spec = read_codec_spec(text, plugins)
    given = text.partition(":")[2]
    return Candidate(name=spec.name, options=table_of(spec.codec), given=given, component=spec.codec)


def default_candidates(plugins: Plugins) -> list[Candidate]:
    """Every installed codec that needs no options, some of them with several settings."""
    found = []
    for name in plugins.names("codecs"):
        if any(option.required for option in options_of(plugins.get("codecs", name).load())):
            continue
        for options in SETTINGS.get(name, ({},)):
            given = ",".join(f"{key}={_spelt(value)}" for key, value in options.items())
            found.append(_candidate(plugins, name, options, given, f"codec {name}"))
    return found


def fit_candidate(candidate: Candidate, material: Material) -> Coder:
    """Fit a codec to the material's own output head, or to a sample of it, if the codec learns anything.

    Raises:
        UsageError: It cannot code such logits.
    """
    codec = candidate.component
    if not isinstance(codec, FittedCodec):
        return Coder(candidate=candidate, codec=codec, state_bytes=0)
    sample = first_tokens(material.learn(), codec.sample_tokens)
    if isinstance(codec, HeadCodec) and material.head is not None:
        state = codec.fit_head(material.head, [state_block(record) for record in sample])
    else:
        state = codec.fit([material.block(record) for record in sample])
    return Coder(candidate=candidate, codec=codec.bind(state), state_bytes=len(pack_state(state)))


def _candidate(plugins: Plugins, name: str, options: Mapping[str, Any], given: str, where: str) -> Candidate:
    structurer = Structurer(plugins)
    _, component = structurer.component("codecs", {**options, "name": name}, ())
    if structurer.problems:
        path, sentence = structurer.problems[0]
        key = dotted(tuple(part for part in path if part != "name"))
        raise UsageError(f"{where}: {key + ': ' if key else ''}{sentence}")
    return Candidate(name=name, options=table_of(component), given=given, component=component)


def _spelt(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{','.join(map(_spelt, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
