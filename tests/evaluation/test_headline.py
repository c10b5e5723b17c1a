"""Which metric a report is about."""

from __future__ import annotations

import pytest

from kdkit.evaluation.headline import headline_of

TEXT = [("text", "exact_match"), ("text", "f1"), ("text", "similarity")]
CODE = [("assertions", "precision"), ("assertions", "f1"), ("assertions", "exact_match"), ("assertions", "recall/x")]
RUNS = [("execution", "holds"), ("execution", "fails")]
DATES = ["2026-11-30", "2024-01-05", "1999-12-31"]
LONG = ["the best student of the week", "what it says, it says of every row", "a sentence of seven words and signs."]


@pytest.mark.parametrize(
    ("metrics", "given", "found"),
    [
        (TEXT, {"targets": DATES}, "text.exact_match"),
        (TEXT, {"targets": DATES, "best_by": "text.f1"}, "text.exact_match"),
        (TEXT, {"targets": DATES, "asked": "text.f1"}, "text.f1"),
        (TEXT, {"targets": DATES, "best_by": "text.similarity"}, "text.similarity"),
        (TEXT, {"targets": DATES, "best_by": "hard"}, "text.exact_match"),
        (TEXT, {"targets": LONG, "best_by": "hard"}, "text.f1"),
        (TEXT, {"targets": [*DATES, *LONG]}, "text.exact_match"),
        (TEXT, {"targets": [*DATES, *LONG, LONG[0]]}, "text.f1"),
        (TEXT, {}, "text.f1"),
        ([*CODE, *TEXT], {"targets": DATES}, "assertions.exact_match"),
        ([*CODE, *TEXT], {"targets": LONG, "best_by": "text.f1"}, "text.f1"),
        ([*CODE, *TEXT], {"targets": LONG}, "assertions.f1"),
        ([*CODE, *TEXT], {"asked": "assertions.recall/x"}, "assertions.recall/x"),
        ([*RUNS, *TEXT], {"targets": DATES, "best_by": "loss"}, "execution.holds"),
        ([("mine", "part/x"), ("mine", "depth")], {"targets": DATES}, "mine.depth"),
        (TEXT, {"asked": "gone.metric"}, "text.f1"),
        ([], {"targets": DATES}, ""),
    ],
)
def test_the_headline_is_what_was_asked_for_else_what_suits_the_targets(metrics, given, found):
    assert headline_of(metrics, **given) == found
