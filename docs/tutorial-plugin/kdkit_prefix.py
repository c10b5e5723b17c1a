"""How much of a text is right from its start: what a reader of completions need not delete."""

from itertools import takewhile

import attrs

import kdkit


@attrs.frozen(kw_only=True)
class Prefix:
    """Characters that a text and its reference share from the start, over those of the longer one."""

    ignore_case: bool = kdkit.option("Whether upper and lower case count as one.", default=False)

    def score(self, generated, references, examples):
        """`share` of every row."""
        return {"share": [self._share(*pair) for pair in zip(generated, references, strict=True)]}

    def _share(self, *texts):
        text, reference = (text.lower() if self.ignore_case else text for text in texts)
        shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, reference, strict=False)))
        return shared / max(len(text), len(reference)) if text or reference else 1.0


@kdkit.hookimpl
def register_metrics(register):
    """Enter the suite under the name that recipes use."""
    register("prefix", Prefix)
