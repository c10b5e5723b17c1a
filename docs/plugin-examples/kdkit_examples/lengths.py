"""A metric suite: how long texts are beside their references."""

import attrs

import kdkit
from kdkit.api import one_of


@attrs.frozen(kw_only=True)
class Lengths:
    """How far the length of a text is from its reference's."""

    unit: str = kdkit.option("What is counted.", default="words", check=one_of("words", "characters"))

    # Of a metric that is not named here more is better.
    directions = {"off_by": "lower", "is_longer": "neither"}

    def score(self, generated, references, examples):
        """From 0 to 1, a value a row for each metric; None where a row does not count for it."""
        pairs = [(self._length(text), self._length(other)) for text, other in zip(generated, references, strict=True)]
        return {
            "off_by": [abs(length - wanted) / max(length, wanted, 1) for length, wanted in pairs],
            "is_longer": [float(length > wanted) if wanted else None for length, wanted in pairs],
        }

    def _length(self, text):
        return len(text.split() if self.unit == "words" else text)
