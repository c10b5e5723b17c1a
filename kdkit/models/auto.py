"""Which class of transformers opens a model of a kind, and whether a configuration is of that kind."""

from __future__ import annotations

from typing import Any

import attrs

from kdkit.errors import UsageError


@attrs.frozen(kw_only=True)
class AutoClass:
    """A class of transformers that opens all models of one kind.

    Attributes:
        name: Its name in transformers.
        kind: What such a model is, with its article.
        example: A model type of the kind, for messages.
        is_encoder_decoder: What the configurations of such models say of themselves.
    """

    name: str
    kind: str
    example: str
    is_encoder_decoder: bool

    @property
    def loader(self) -> Any:
        """The class itself."""
        import transformers

        return getattr(transformers, self.name)

    def check(self, config: Any, of: str) -> None:
        """Refuse the configuration of another kind of model.

        Args:
            config: The transformers configuration.
            of: Whose it is, for the message.

        Raises:
            UsageError: It is of another kind.
        """
        if not self.fits(config):
            raise UsageError(
                f"{of} is a {config.model_type} model, not {self.kind}; "
                f'use one such as "{self.example}"{_other(config)}'
            )

    def fits(self, config: Any) -> bool:
        """Whether a configuration is of this kind, and transformers has a class for it."""
        mapping = self.loader._model_mapping  # noqa: SLF001 - transformers has no public question for it
        return bool(config.is_encoder_decoder) == self.is_encoder_decoder and type(config) in mapping


SEQ2SEQ = AutoClass(name="AutoModelForSeq2SeqLM", kind="an encoder-decoder", example="t5", is_encoder_decoder=True)
CAUSAL = AutoClass(name="AutoModelForCausalLM", kind="a decoder-only model", example="llama", is_encoder_decoder=False)


def auto_of(config: Any) -> AutoClass:
    """The class that opens models of a configuration, whose kind was checked before."""
    return SEQ2SEQ if config.is_encoder_decoder else CAUSAL


def _other(config: Any) -> str:
    """What to write instead where kdkit has components for models of this other kind."""
    for name, auto in (("hf-seq2seq", SEQ2SEQ), ("hf-causal", CAUSAL)):
        if auto.fits(config):
            return f', or set name = "{name}"'
    return ""
