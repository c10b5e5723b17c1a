"""LoRA: small trained matrices beside the linear layers of a model whose own weights stay as they are."""

from __future__ import annotations

import attrs
from attrs import validators

from kdkit.api.option import at_least_one, option, positive


@attrs.frozen(kw_only=True)
class Lora:
    """`lora`: train adapters instead of the model's own weights. Needs the package peft.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685).
    """

    rank: int = option("Rank of each adapter: its two matrices have so many rows and columns.", default=16,
                       check=at_least_one)  # fmt: skip
    scale: float = option(
        "What the adapters' output is multiplied with; peft calls scale x rank lora_alpha.", default=2.0, check=positive
    )
    dropout: float = option(
        "Dropout before each adapter.", default=0.0, check=validators.and_(validators.ge(0.0), validators.lt(1.0))
    )
    targets: tuple[str, ...] = option(
        "Names of the linear layers that get an adapter, such as `q_proj`; by default all but the output head.",
        default=(),
    )
    merge: bool = option(
        "Whether the adapters are added to the weights when the model is saved, as a plain model; else they are saved "
        "alone, in peft's format, and need the model that they were trained on beside them.",
        default=True,
    )
