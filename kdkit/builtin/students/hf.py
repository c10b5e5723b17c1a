"""What students that are Hugging Face models have in common: where they come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.lora import Lora  # noqa: TC001 - the type of a field, which is resolved
from kdkit.api.options import one_of, option
from kdkit.builtin.students.from_teacher import evenly
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import TextModel, Tokenizer
    from kdkit.api.values import EncodedExample, Importance, Measuring, Pruning
    from kdkit.builtin.students.from_teacher import Layers
    from kdkit.models import HFKind
    from kdkit.models.open_model import HFModel
    from kdkit.system.progress import Progress


@attrs.frozen(kw_only=True)
class HFStudent(ABC):
    """A model of transformers by name or path, new from a configuration, or made of the teacher's own layers."""

    model: str = option(
        "Hub name of a model, path of its folder or GGUF file, or `dist:NAME` for the model in an installed "
        "distribution; or give `config` or `from_teacher`.",
        default="",
    )
    config: dict[str, Any] | None = option(
        "A new model instead: `model_type` and that transformers type's own fields; it uses the teacher's tokenizer.",
        default=None,
    )

    dtype: str = option(
        "Type in which its weights are saved and scored: float32, bfloat16 or float16. They are trained in float32, "
        "where a small step is not rounded away; `training.precision` makes that faster.",
        default="float32",
        check=one_of("float32", "bfloat16", "float16"),
        neutral="float32",
    )
    lora: Lora | None = option(
        "Train LoRA adapters beside the weights of `model` or `from_teacher`, which stay as they are.",
        default=None,
    )

    def __attrs_post_init__(self) -> None:
        if bool(self.model) + (self.config is not None) + (self.from_teacher is not None) != 1:
            raise UsageError("give exactly one of `model`, `config` and `from_teacher`")
        if self.lora is not None and self.config is not None:
            raise UsageError(
                "lora trains adapters beside weights that stay as they are, and those of a new model (config) would "
                "stay random; leave lora out, or give model or from_teacher"
            )
        if self.lora is not None and not self.lora.merge and not self.model:
            raise UsageError(
                "lora.merge = false saves the adapters alone, and a student made of the teacher's layers lies in no "
                "folder that they could be added to later; leave merge out"
            )

    @property
    @abstractmethod
    def model_kind(self) -> HFKind:
        """What kind of model it is."""

    @property
    @abstractmethod
    def from_teacher(self) -> Any:
        """The teacher's layers that it is made of, as its kind names them; None if it is not."""

    @property
    def is_self_contained(self) -> bool:
        """Whether it names no model or tokenizer outside of the recipe."""
        return not self.model

    def check_inputs(self) -> None:
        """Refuse a named model that is not there.

        Raises:
            MissingInput: It is not there.
            UsageError: What is there is something else.
        """
        if self.is_self_contained:
            return
        from kdkit import models

        self.model_kind.load_tokenizer(self.model)
        models.load_config(self.model, self.model_kind.auto)

    def find_folder(self) -> Path | None:
        """The named model's folder."""
        from kdkit import models

        return models.find_folder(self.model, weights=True) if self.model else None

    @abstractmethod
    def load_tokenizer(self, teacher_tokenizer: Tokenizer) -> Tokenizer:
        """The named model's own, else the teacher's."""

    def model_config(self, tokenizer: Tokenizer, teacher_config: Any | None) -> Any:
        """The transformers configuration."""
        from kdkit import models

        config = self._config(tokenizer, teacher_config)
        models.check_reopens(config, tokenizer)
        if self.lora is not None:
            models.check_lora(models.looked_at(config), self.lora)
        return config

    def _config(self, tokenizer: Tokenizer, teacher_config: Any | None) -> Any:
        from kdkit import models

        if self.model:
            return self._named_config(tokenizer)
        if self.config is not None:
            return self._new_config(self.config, tokenizer)
        if teacher_config is None:
            raise UsageError(
                "from_teacher needs a teacher that is a model, and this one is recorded logits; give model or config"
            )
        layers: Layers = self.from_teacher
        config = _config_of(teacher_config, layers)
        return config if layers.width is None else models.config_of_width(config, layers.width)

    @property
    def chooses(self) -> bool:
        """Whether a measure chooses the teacher's layers that it is made of."""
        return self.from_teacher is not None and bool(self.from_teacher.chooses)

    @property
    def choice_in_words(self) -> str:
        """What is chosen, and by what; "" where nothing is."""
        words: str = self.from_teacher.in_words if self.chooses else ""
        return words

    def measuring(self, teacher_folder: Path) -> Measuring | None:
        """What has to be measured of the teacher; None where nothing has."""
        layers: Layers = self.from_teacher
        return layers.measuring(self._counts(teacher_folder))

    def measure(
        self,
        teacher_tokenizer: Tokenizer,
        teacher_folder: Path,
        rows: Sequence[EncodedExample],
        *,
        device: str,
        progress: Progress,
    ) -> Importance:
        """How much each layer of the teacher matters on these rows."""
        from kdkit import models

        measuring = self.measuring(teacher_folder)
        assert measuring is not None, "it is asked for where something has to be measured"
        module = models.load_model(str(teacher_folder), self.model_kind.auto, device=device).eval()
        model = self._ready(module, teacher_tokenizer)
        return models.measure_importance(model, self.from_teacher.stacks, rows, measuring, progress)

    def choose(self, teacher_folder: Path, scores: Importance | None) -> Pruning:
        """The teacher's layers that it is to be made of."""
        from kdkit import models

        layers: Layers = self.from_teacher
        chosen, config = layers.pruning(self._counts(teacher_folder), scores), models.read_config(str(teacher_folder))
        config = models.config_with_layers(config, chosen.kept)
        if layers.width is None:
            return chosen
        assert scores is not None, "the width is measured"
        return attrs.evolve(chosen, width=models.choose_width(config, layers.width, chosen.kept["layers"], scores))

    def build_pruned(
        self, pruning: Pruning, teacher_tokenizer: Tokenizer, teacher_folder: Path, *, seed: int, device: str
    ) -> TextModel:
        """The student before training, of what was chosen of its teacher."""
        return self._built(teacher_tokenizer, teacher_folder, pruning, seed=seed, device=device)

    def _counts(self, teacher_folder: Path) -> dict[str, int]:
        from kdkit import models

        return models.layer_counts(models.read_config(str(teacher_folder)), self.from_teacher.stacks)

    @abstractmethod
    def _named_config(self, tokenizer: Tokenizer) -> Any: ...

    @abstractmethod
    def _new_config(self, table: Mapping[str, Any], tokenizer: Tokenizer) -> Any: ...

    def build(self, teacher_tokenizer: Tokenizer, teacher_folder: Path | None, *, seed: int, device: str) -> TextModel:
        """The student before training."""
        pruning = None
        if self.from_teacher is not None:
            assert teacher_folder is not None, "model_config refuses this before anything is made"
            assert not self.chooses, "then `build_pruned` is called"
            pruning = self.choose(teacher_folder, None)
        return self._built(teacher_tokenizer, teacher_folder, pruning, seed=seed, device=device)

    def _built(
        self,
        teacher_tokenizer: Tokenizer,
        teacher_folder: Path | None,
        pruning: Pruning | None,
        *,
        seed: int,
        device: str,
    ) -> TextModel:
        from kdkit import models

        tokenizer, auto = self.load_tokenizer(teacher_tokenizer), self.model_kind.auto
        if self.model:
            module = models.load_model(self.model, auto, device=device)
        elif self.config is not None:
            module = models.new_model(self._new_config(self.config, tokenizer), seed=seed).to(device)
        else:
            assert pruning is not None, "a student with neither model nor config is made of its teacher"
            module = models.keep_layers(models.load_model(str(teacher_folder), auto), pruning.kept, seed=seed)
            if pruning.width is not None:
                module = models.keep_width(module, pruning.width, seed=seed)
            module = module.to(device)
        if teacher_folder is not None:
            self._write_like(module, models.generation_of(teacher_folder))
        model = self._opened(module, tokenizer)
        if self.lora is None:
            return model
        base = models.name_for_others(self.model) if self.model else ""
        return model.with_adapters(self.lora, seed=seed, base=base)

    def _write_like(self, module: Any, teacher: Any) -> None:
        """Have the student begin and end texts by the rules of its teacher's generation configuration."""
        from kdkit import models

        models.write_like(module, teacher)

    def open(self, folder: Path, *, device: str) -> TextModel:
        """A student that was saved."""
        from kdkit import models

        kind = self.model_kind
        module = models.load_model(str(folder), kind.auto, dtype=self.dtype, device=device)
        return self._opened(module, kind.load_tokenizer(str(folder)))

    def _opened(self, module: Any, tokenizer: Tokenizer) -> HFModel:
        return attrs.evolve(self._ready(module, tokenizer), saved_dtype=self.dtype)

    @abstractmethod
    def _ready(self, module: Any, tokenizer: Tokenizer) -> HFModel:
        """A module that was loaded or made, as a model."""


def _config_of(teacher_config: Any, layers: Layers) -> Any:
    """The configuration of a student of some layers; of layers that are still to be chosen, about as large.

    Raises:
        UsageError: The teacher has no such layers, or not so many.
    """
    from kdkit import models

    counts = models.layer_counts(teacher_config, layers.stacks)
    named, wanted = layers.named(counts), layers.wanted(counts)
    if named is not None:
        return models.config_with_layers(teacher_config, named)
    try:
        return models.config_with_layers(teacher_config, {side: evenly(counts[side], wanted[side]) for side in counts})
    except UsageError:  # no such model has these in that order
        return models.config_with_layers(teacher_config, {side: range(wanted[side]) for side in counts})
