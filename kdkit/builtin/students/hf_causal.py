"""`hf-causal`: any Hugging Face decoder-only model as the student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import option
from kdkit.api.values import Width  # noqa: TC001 - options are read off the hints of fields
from kdkit.builtin.students.from_teacher import Layers, by_option, count_option, layers_option, tokens_option
from kdkit.builtin.students.hf import HFStudent
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kdkit.api.interfaces import Tokenizer
    from kdkit.models import DecoderOnly
    from kdkit.models.open_model import HFModel


@attrs.frozen(kw_only=True)
class FromTeacher(Layers):
    """Which of the teacher's layers the student starts from."""

    stacks = ("layers",)

    layers: tuple[int, ...] | None = layers_option("The teacher's layers")
    keep: int | None = count_option("How many layers to keep, chosen by `by`.")
    by: str = by_option()
    width: Width | None = option(
        "Narrower layers: fewer attention heads and feed-forward channels, chosen by activation norm; of models of "
        "Llama's shape.",
        default=None,
    )
    tokens: int = tokens_option()

    def _wanted(self, stack: str) -> int | None:  # noqa: ARG002 - it has one
        return self.keep

    @property
    def _keep_in_words(self) -> str:
        """How many layers are kept."""
        return plural(self.keep or 0, "layer")


@attrs.frozen(kw_only=True)
class HFCausalStudent(HFStudent):
    """A decoder-only model by name or path, new from a configuration, or made of the teacher's own layers."""

    from_teacher: FromTeacher | None = option(
        "Some of the teacher's layers instead, with their weights; it uses the teacher's tokenizer.", default=None
    )

    @property
    def model_kind(self) -> DecoderOnly:
        """A decoder-only model."""
        from kdkit import models

        return models.DecoderOnly()

    def load_tokenizer(self, teacher_tokenizer: Tokenizer) -> Tokenizer:
        """The teacher's, if the named model's has the same tokens; else the named model's own.

        With the teacher's come the token that ends texts and the chat template.
        """
        from kdkit import models

        if not self.model:
            return teacher_tokenizer
        own = self.model_kind.load_tokenizer(self.model)
        return teacher_tokenizer if models.same_tokens(own, teacher_tokenizer) else own

    def remarks(self, teacher_tokenizer: Tokenizer) -> Iterator[str]:
        """That the student is to end texts with another token than it was made with."""
        from kdkit import models

        if not self.model:
            return
        own = self.model_kind.load_tokenizer(self.model)
        if own.eos_token_id != teacher_tokenizer.eos_token_id and models.same_tokens(own, teacher_tokenizer):
            yield (
                f"the student {self.model} was made to end texts with {_token(own)}, and the teacher ends them with "
                f"{_token(teacher_tokenizer)}: the student learns that, and is saved with the teacher's tokenizer"
            )

    def _named_config(self, tokenizer: Tokenizer) -> Any:
        from kdkit import models

        config = models.load_config(self.model, self.model_kind.auto)
        if tokenizer.eos_token_id not in models.end_ids(config, tokenizer):
            config.eos_token_id, config._name_or_path = tokenizer.eos_token_id, ""  # noqa: SLF001 - as it will be saved
        return config

    def _write_like(self, module: Any, teacher: Any) -> None:
        if teacher.eos_token_id is not None:
            module.generation_config.eos_token_id = teacher.eos_token_id

    def _new_config(self, table: Mapping[str, Any], tokenizer: Tokenizer) -> Any:
        from kdkit import models

        return models.config_from(table, tokenizer, self.model_kind.auto)

    def _ready(self, module: Any, tokenizer: Tokenizer) -> HFModel:
        from kdkit import models

        return models.causal_model(module, tokenizer)


def _token(tokenizer: Any) -> str:
    return f"{tokenizer.eos_token!r} (id {tokenizer.eos_token_id})"
