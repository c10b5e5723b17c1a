"""Baselines that a distilled student has to beat for its scores to mean anything.

labels-only   the same student, trained in the same way on the labels alone (see `kdkit.pipeline.stages.baseline`)
untouched     the student before any training
constant      the most frequent training target, whatever the source
nearest       the target of the most similar training source

The last two know the rows that the student trains on: all, or those that `training.rows` draws.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kdkit.data.splitting import drawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.api.values import Example

LABELS_ONLY = "labels-only"
NAMES = (LABELS_ONLY, "untouched", "constant", "nearest")

TOKENS = r"\w+|[^\w\s]"
"""The tokens that sources are compared by: words, names and numbers, and each other sign."""

AMONG = 100_000
"""Training rows among which the nearest is looked for: the time grows with these times the rows that are scored."""
_CELLS = 4_000_000  # similarities held at once: 16 MB in float32, and as much again while they are made


def most_frequent_target(train: Sequence[Example]) -> str:
    """The most frequent training target; of several, the first."""
    from kdkit.data.text_rows import targets_of

    return Counter(targets_of(train)).most_common(1)[0][0]


def nearest_targets(train: Sequence[Example], sources: Sequence[str]) -> list[str]:
    """For each source, the target of the training row with the most similar source, by cosine of TF-IDF vectors.

    Of rows that are equally similar the first is taken; so it is where a source shares no token with any. Of more than
    `AMONG` training rows, so many are drawn.

    Args:
        train: Training rows, at least one.
        sources: What is looked for.
    """
    train = drawn(train, AMONG)
    return [train[row].target for row in _nearest_rows([example.source for example in train], sources)]


def _nearest_rows(known: Sequence[str], sources: Sequence[str]) -> Iterator[int]:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not sources or not any(text.strip() for text in known):  # without any token all are alike
        yield from [0] * len(sources)
        return
    vectorizer = TfidfVectorizer(token_pattern=TOKENS, lowercase=False, sublinear_tf=True, dtype=np.float32)
    known_VR = vectorizer.fit_transform(known).T.tocsr()
    asked_NV = vectorizer.transform(sources)
    at_once = max(1, _CELLS // len(known))
    for start in range(0, len(sources), at_once):
        similarity_CR = (asked_NV[start : start + at_once] @ known_VR).toarray()
        yield from similarity_CR.argmax(axis=1).tolist()
