"""How models are trained: `[training]` for students, `[teacher.fine_tune]` for teachers; one loop does both."""

from __future__ import annotations

import attrs
from attrs import validators

from kdkit.api.lora import Lora  # noqa: TC001 - the type of a field, which is resolved
from kdkit.api.option import at_least_one, not_negative, one_of, option, positive, share

__all__ = ["FineTuning", "Training"]


@attrs.frozen(kw_only=True)
class Training:
    """`[training]` and `fine_tune`: one training loop for students and teachers alike."""

    seed: int | None = option(
        "Seed of this training alone: order of rows, dropout, new weights; by default the recipe's. It tells "
        "several students of one teacher apart.",
        default=None,
        check=validators.optional(validators.and_(validators.ge(0), validators.lt(2**32))),
    )
    rows: int = option(
        "Train on only this many of the training rows, drawn by a digest of their ids, so that a smaller "
        "number takes a subset of a larger one. 0 for all. In [training] it applies to the student and the "
        "labels-only student, and only these rows' logits are captured.",
        default=0,
        check=not_negative,
        neutral=0,
    )
    epochs: int = option("Passes over the training rows.", default=3, check=at_least_one)
    max_steps: int = option("Stop after this many steps; 0 for no limit.", default=0, check=not_negative)
    batch_size: int = option("Rows in a micro-batch, unless batch_tokens is set.", default=8, check=at_least_one)
    batch_tokens: int = option(
        "If not 0, replaces batch_size: a micro-batch takes as many rows as fit into so many tokens, padding included: "
        "rows x (longest source + longest target); of decoder-only models rows x the longest row, or with packing all "
        "places of the packed sequences. A longer row gets a batch of its own. No row is left out: drop_last does not "
        "apply.",
        default=0,
        check=not_negative,
    )
    accumulation: int = option("Micro-batches in a step.", default=1, check=at_least_one)
    learning_rate: float = option(
        "Peak learning rate of AdamW. Left out, it is 1e-3 for a new model (config) and a student of its layers, 2e-4 "
        "for LoRA adapters and a student of a trained teacher's layers, and else 5e-5.",
        default=5e-5,
        check=positive,
    )
    weight_decay: float = option("AdamW's decoupled weight decay, on all parameters.", default=0.01, check=not_negative)
    warmup_ratio: float = option("Share of the steps during which the rate rises from 0.", default=0.1, check=share)
    schedule: str = option(
        "Course of the rate after the warm-up: falls to 0 linearly or along a cosine, or stays constant.",
        default="linear",
        check=one_of("linear", "cosine", "constant"),
    )
    max_grad_norm: float = option("Norm at which gradients are clipped; 0 for never.", default=1.0, check=not_negative)
    shuffle: bool = option("Whether each epoch has its own order (from the seed) or the file's.", default=True)
    group_by_length: bool = option(
        "With shuffle: batches of rows of similar length, in random order; saves padding.", default=True
    )
    drop_last: bool = option(
        "Whether to leave out the last rows of an epoch that do not fill a batch; has no effect with batch_tokens.",
        default=False,
    )
    precision: str = option("fp32, or bf16 autocast with fp32 weights.", default="fp32", check=one_of("fp32", "bf16"))
    gradient_checkpointing: bool = option(
        "Whether to compute activations again for the gradient instead of keeping them: less memory, more time.",
        default=False,
    )
    compile: bool = option(
        "Whether to compile the model, but for its output head, with torch.compile for the training; the first steps "
        "then take long.",
        default=False,
    )
    packing: bool = option(
        "Decoder-only models: whether the rows of a micro-batch are packed into a few sequences, hardly longer "
        "than the longest row, instead of padded. Loss and gradients stay the same, but for rounding. A model that "
        "does not keep rows of one sequence apart (Mamba, BLOOM) is refused.",
        default=False,
        neutral=False,
    )
    best_by: str = option(
        'Measure that picks the best epoch: "loss", "hard", "soft" (lower is better) or "SUITE.METRIC" of an '
        "evaluation suite against the ground truth (the suite says which values are better; generates texts "
        "at the end of each epoch).",
        default="hard",
    )
    validation_rows: int = option("Validation rows used at each epoch's end; 0 for all.", default=0, check=not_negative)
    log_every: int = option("Steps between lines in metrics.jsonl.", default=10, check=at_least_one)
    checkpoint_every: int = option("Steps between checkpoints to resume from.", default=500, check=at_least_one)

    def own_seed(self, recipe_seed: int) -> int:
        """The seed of this training, within a recipe with that one."""
        return self.seed if self.seed is not None else recipe_seed


@attrs.frozen(kw_only=True)
class FineTuning(Training):
    """`[teacher.fine_tune]`: how a teacher is trained on the ground truth before it is asked."""

    layers: int = option(
        "Train only this many of the last layers, of an encoder-decoder the decoder's, and the norm after them; "
        "embeddings, output head and all other layers stay as they are, and no gradient is computed below. 0 for the "
        "whole model.",
        default=0,
        check=not_negative,
        neutral=0,
    )
    lora: Lora | None = option(
        "Train LoRA adapters beside the weights, and add them to these when it is done.", default=None
    )

    def __attrs_post_init__(self) -> None:
        """Refuse options of which one leaves the other without effect."""
        if self.lora is not None and self.layers:
            raise ValueError(
                f"layers is {self.layers}, which trains whole layers, and lora trains adapters instead; give one"
            )
        if self.lora is not None and not self.lora.merge:
            raise ValueError("lora.merge is false, but a teacher is saved as a whole model; leave merge out")
