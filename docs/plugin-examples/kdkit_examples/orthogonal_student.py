"""A student: kdkit's own encoder-decoder, whose weights begin otherwise."""

from functools import cache
from typing import Any

import attrs

import kdkit
from kdkit.api import positive


@cache
def _shipped():
    """The class of kdkit's own student, from the registry, as a recipe finds it."""
    return kdkit.load_plugins().get("students", "hf-seq2seq").load()


@attrs.frozen(kw_only=True)
class Orthogonal:
    """A new encoder-decoder of transformers, whose weights begin as orthogonal matrices."""

    config: dict[str, Any] = kdkit.option("`model_type` and that transformers type's own fields.")
    gain: float = kdkit.option("Multiplies the matrices.", default=0.1, check=positive)

    @property
    def _plain(self):
        return _shipped()(config=self.config)

    @property
    def model_kind(self):
        """An encoder-decoder: how rows become token ids, and what a configuration means."""
        return self._plain.model_kind

    def load_tokenizer(self, teacher_tokenizer):
        """The teacher's."""
        return self._plain.load_tokenizer(teacher_tokenizer)

    def model_config(self, tokenizer, teacher_config):
        """The transformers configuration; no weights are made for it."""
        return self._plain.model_config(tokenizer, teacher_config)

    def build(self, teacher_tokenizer, teacher_folder, *, seed, device):
        """The model that kdkit would make, with other weights: they depend on the seed, and on nothing else."""
        import torch

        model = self._plain.build(teacher_tokenizer, teacher_folder, seed=seed, device="cpu")
        draw = torch.Generator().manual_seed(seed)
        for weight in model.module.parameters():
            if weight.ndim == 2:
                torch.nn.init.orthogonal_(weight, gain=self.gain, generator=draw)
        model.module.to(device)
        return model

    def open(self, folder, *, device):
        """What was saved is a plain transformers folder."""
        return self._plain.open(folder, device=device)
