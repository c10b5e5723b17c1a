"""`hf-seq2seq`: any Hugging Face encoder-decoder as the student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from attrs import validators

from kdkit.api.options import option
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.interfaces import ModelKind, TextModel, Tokenizer


def _some_layer(_instance: object, _field: object, layers: tuple[int, ...]) -> None:
    if not layers:
        raise ValueError("must name at least one layer")


_layers: Any = validators.and_(_some_layer, validators.deep_iterable(validators.ge(0)))


@attrs.frozen(kw_only=True)
class FromTeacher:
    """Which of the teacher's layers the student starts from."""

    encoder_layers: tuple[int, ...] = option("The teacher's encoder layers to keep, from 0, in order.", check=_layers)
    decoder_layers: tuple[int, ...] = option("The teacher's decoder layers to keep, from 0, in order.", check=_layers)


@attrs.frozen(kw_only=True)
class HFSeq2SeqStudent:
    """An encoder-decoder by name or path, new from a configuration, or made of the teacher's own layers."""

    model: str = option("Hub name or path of a model; or give `config` or `from_teacher`.", default="")
    config: dict[str, Any] | None = option(
        "A new model instead: `model_type` and that transformers type's own fields; it uses the teacher's tokenizer.",
        default=None,
    )
    from_teacher: FromTeacher | None = option(
        "Some of the teacher's layers instead, with their weights; it uses the teacher's tokenizer.", default=None
    )

    def __attrs_post_init__(self) -> None:
        if bool(self.model) + (self.config is not None) + (self.from_teacher is not None) != 1:
            raise UsageError("give one of `model`, `config` and `from_teacher`")

    def check_inputs(self) -> None:
        """Refuse a named model that is not there.

        Raises:
            MissingInput: It is not to be had.
            UsageError: What is there is none.
        """
        from kdkit import models

        if self.model:
            models.load_tokenizer(self.model)
            models.load_config(self.model)

    def find_folder(self) -> Path | None:
        """The named model's folder."""
        from kdkit import models

        return models.find_folder(self.model, weights=True) if self.model else None

    def load_tokenizer(self, teacher_tokenizer: Tokenizer) -> Tokenizer:
        """The named model's own, which marks texts with the teacher's languages; else the teacher's."""
        from kdkit import models

        if not self.model:
            return teacher_tokenizer
        tokenizer = models.load_tokenizer(self.model)
        models.adopt_languages(tokenizer, teacher_tokenizer)
        return tokenizer

    @property
    def model_kind(self) -> ModelKind:
        """An encoder-decoder."""
        from kdkit import models

        return models.EncoderDecoder()

    def model_config(self, tokenizer: Tokenizer, teacher_config: Any | None) -> Any:
        """The transformers configuration."""
        from kdkit import models

        if self.model:
            config, folder = models.load_config(self.model), models.find_folder(self.model, weights=False)
            models.check_beginning(config, tokenizer, folder=folder, ours=True)
            return config
        if self.config is not None:
            return models.new_config(self.config, tokenizer)
        assert self.from_teacher is not None
        if teacher_config is None:
            raise UsageError(
                "from_teacher needs a teacher that is a model, and this one is recorded logits; give model or config"
            )
        layers = self.from_teacher
        return models.config_with_layers(teacher_config, layers.encoder_layers, layers.decoder_layers)

    def build(self, teacher_tokenizer: Tokenizer, teacher_folder: Path | None, *, seed: int, device: str) -> TextModel:
        """The student before training."""
        from kdkit import models

        tokenizer = self.load_tokenizer(teacher_tokenizer)
        if self.model:
            module = models.load_model(self.model)
        elif self.config is not None:
            module = models.new_model(models.new_config(self.config, tokenizer), seed=seed)
        else:
            assert self.from_teacher is not None
            assert teacher_folder is not None, "model_config refuses this before anything is made"
            teacher = models.load_model(str(teacher_folder))
            layers = self.from_teacher
            module = models.keep_layers(teacher, layers.encoder_layers, layers.decoder_layers, seed=seed)
        if teacher_folder is not None:
            models.write_like(module, models.generation_of(teacher_folder))
        models.begin_alike(module, tokenizer, ours=True)
        return models.Seq2SeqModel(module=module.to(device), tokenizer=tokenizer)

    def open(self, folder: Path, *, device: str) -> TextModel:
        """A student that was saved."""
        from kdkit import models

        module, tokenizer = models.load_model(str(folder)), models.load_tokenizer(str(folder))
        models.begin_alike(module, tokenizer, ours=True)
        return models.Seq2SeqModel(module=module.to(device), tokenizer=tokenizer)
