"""What teachers that are Hugging Face models have in common: their options, and how they are made and opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from kdkit.api.options import FineTuning, TargetWriting, at_least_one, one_of, option
from kdkit.api.vocabulary import Vocabulary  # noqa: TC001 - the type of a field, which is resolved
from kdkit.builtin.teachers.asked_hf import OpenHFTeacher
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.interfaces import DataSource, OpenTeacher, TextModel, Tokenizer
    from kdkit.api.lora import Lora
    from kdkit.api.values import Corpus
    from kdkit.models import HFKind
    from kdkit.models.open_model import HFModel


@attrs.frozen(kw_only=True)
class HFTeacher(ABC):
    """A model of transformers by name or path, or new from a configuration; fine-tuned first if asked."""

    ends_texts: ClassVar[bool]
    """Whether a tokenizer that is trained here puts the end after each text by itself."""

    model: str = option(
        "Hub name of a model, path of its folder or GGUF file, or `dist:NAME` for the model in an installed "
        "distribution; or give `config`.",
        default="",
    )
    config: dict[str, Any] | None = option(
        "A new model instead: `model_type` and that transformers type's own fields.", default=None
    )
    tokenizer: str = option(
        "Hub name or path of a tokenizer; by default the model's, or a new one with `config`.", default=""
    )
    vocab_size: int = option(
        "With `config` and no `tokenizer`: size of the byte-level BPE that is trained on the training rows.",
        default=4096,
        check=at_least_one,
    )
    vocabulary: Vocabulary | None = option(
        "Trim the vocabulary of a named model to the training rows, before anything is done with it: of teacher, "
        "tokenizer and student alike. Byte-level BPE only.",
        default=None,
    )
    fine_tune: FineTuning | None = option(
        "Train it on the ground truth first: the student's loop at alpha 0.", default=None
    )
    write_targets: TargetWriting | None = option(
        "Have it write the targets of the training rows, which then need none of their own (sequence-level "
        "distillation); validation and test rows keep theirs.",
        default=None,
    )
    dtype: str = option(
        "Type of its weights while it is asked: float32, bfloat16, float16, or auto for the type that they are stored "
        "in. Fine-tuning is in float32 whatever this says; `fine_tune.precision` makes that faster.",
        default="float32",
        check=one_of("float32", "bfloat16", "float16", "auto"),
        neutral="float32",
    )
    device_map: str = option(
        "Spread over the GPUs of the machine while it is asked, as transformers does by this name: auto, balanced, "
        "balanced_low_0 or sequential; by default it is on one device.",
        default="",
        check=one_of("", "auto", "balanced", "balanced_low_0", "sequential"),
        neutral="",
    )
    max_memory: dict[str, Any] | None = option(
        'With device_map, the most that a device may take: `{ 0 = "20GiB", cpu = "60GiB" }`.', default=None
    )
    capture_batch_size: int = option("Rows a batch while its logits are captured.", default=16, check=at_least_one)

    def __attrs_post_init__(self) -> None:
        if bool(self.model) == (self.config is not None):
            raise UsageError("give exactly one of `model` and `config`")
        if self.max_memory is not None and not self.device_map:
            raise UsageError('max_memory needs device_map, such as device_map = "auto"')
        if self.config is not None and self.fine_tune is not None and self.fine_tune.layers:
            raise UsageError(
                f"fine_tune.layers is {self.fine_tune.layers}, but the other layers of a new model (config) would stay "
                "random; leave layers out, or name a trained model"
            )
        if self.vocabulary is not None and self.config is not None:
            raise UsageError(
                "vocabulary trims that of a named model, and a new one (config) has what its tokenizer has; set "
                "vocab_size instead"
            )
        if self.config is not None and self._lora is not None:
            raise UsageError(
                "fine_tune.lora trains adapters beside weights that stay as they are, and those of a new model "
                "(config) would stay random; leave lora out, or name a trained model"
            )

    @property
    @abstractmethod
    def model_kind(self) -> HFKind:
        """What kind of model it is."""

    @property
    def is_made_here(self) -> bool:
        """Whether the run makes the model: a new one, or one that is fine-tuned."""
        return self.config is not None or self.fine_tune is not None

    @property
    def _lora(self) -> Lora | None:
        """The adapters that its fine-tuning trains, if it does."""
        return self.fine_tune.lora if self.fine_tune is not None else None

    @property
    def is_self_contained(self) -> bool:
        """Whether it names no model or tokenizer outside of the recipe."""
        return not (self.model or self.tokenizer)

    def check_inputs(self) -> None:
        """Refuse a named model or tokenizer that is not there.

        Raises:
            MissingInput: It is not there.
            UsageError: What is there is something else.
        """
        if self.is_self_contained:
            return
        from kdkit import models

        tokenizer = self._named_tokenizer()
        if self.vocabulary is not None:
            models.check_trimmable(tokenizer, self.tokenizer or self.model)
        if self.model:
            models.load_config(self.model, self.model_kind.auto)

    def load_tokenizer(self, corpus: Corpus) -> Tokenizer:
        """The given one, the model's, or a new one trained on sources and targets of the training rows."""
        from kdkit import models

        if not self.is_self_contained:
            return self._named_tokenizer()
        texts = (text for example in corpus.train for text in (example.source, example.target))
        return models.train_bpe(texts, vocab_size=self.vocab_size, ends_texts=self.ends_texts)

    @abstractmethod
    def _named_tokenizer(self) -> Tokenizer: ...

    def find_folder(self) -> Path | None:
        """The named model's folder; None for a new model."""
        from kdkit import models

        return models.find_folder(self.model, weights=True) if self.model else None

    @abstractmethod
    def model_config(self, tokenizer: Tokenizer) -> Any:
        """The transformers configuration."""

    def _check_lora(self, config: Any) -> None:
        from kdkit import models

        if self._lora is not None:
            models.check_lora(models.looked_at(config), self._lora)

    def build(self, corpus: Corpus, *, seed: int, device: str) -> TextModel:
        """The model before fine-tuning."""
        from kdkit import models

        tokenizer = self.load_tokenizer(corpus)
        module = (
            models.load_model(self.model, self.model_kind.auto, device=device)
            if self.model
            else models.new_model(self.model_config(tokenizer), seed=seed).to(device)
        )
        model = self._ready(module, tokenizer, new=self.config is not None)
        return model if self._lora is None else model.with_adapters(self._lora, seed=seed)

    def open(
        self,
        folder: Path | None,
        source: DataSource,  # noqa: ARG002 - only recorded teachers read it
        corpus: Corpus,
        *,
        device: str,
    ) -> OpenTeacher:
        """The model that was made, or the named one as it is."""
        from kdkit import models

        assert folder is not None, "this teacher is a model"
        kind = self.model_kind
        tokenizer = kind.load_tokenizer(str(folder)) if self.is_made_here else self.load_tokenizer(corpus)
        with models.unchanged(folder):
            spread = models.Spread(device_map=self.device_map, max_memory=self.max_memory) if self.device_map else None
            module = models.load_model(str(folder), kind.auto, dtype=self.dtype, device=device, spread=spread)
            model = self._ready(module, tokenizer, new=self.is_made_here)
            model.module.eval()
            identity = models.logits_digest(folder, model.module)
        place = device if spread is None else models.device_of(module)
        return OpenHFTeacher(model=model, identity=identity, device=place, batch_size=self.capture_batch_size)

    @abstractmethod
    def _ready(self, module: Any, tokenizer: Tokenizer, *, new: bool) -> HFModel:
        """A module that was loaded or made, as a model; `new` if the run made it."""
