"""How much of a model's vocabulary stays."""

from __future__ import annotations

import attrs

from kdkit.api.option import at_least_one, option


@attrs.frozen(kw_only=True)
class Vocabulary:
    """`[teacher] vocabulary`: keep the part of a vocabulary that the training rows use."""

    keep: int = option(
        "Most ids that stay: bytes, special and added tokens, and those that the training rows use most, with the "
        "tokens that these are made of.",
        check=at_least_one,
    )
