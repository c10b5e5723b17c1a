"""Recipe sections that are not components: frozen attrs classes whose fields are the options."""

from __future__ import annotations

import attrs
from attrs import validators

from kdkit.api.option import at_least_one, not_negative, one_of, option, positive, share
from kdkit.api.suites import NamedSuite  # noqa: TC001 - the type of a field, which is resolved
from kdkit.api.training import FineTuning, Training
from kdkit.api.values.results import Direction

__all__ = [
    "Evaluation",
    "FineTuning",
    "Generation",
    "StoreOptions",
    "TargetWriting",
    "TokenLimits",
    "Training",
    "at_least_one",
    "not_negative",
    "one_of",
    "option",
    "positive",
    "share",
]


@attrs.frozen(kw_only=True)
class TokenLimits:
    """`[tokens]`: how long a row may be; longer sources and targets are cut (see `Example.cuts`), texts in blocks."""

    max_source: int = option("Most tokens of a source, special tokens included.", default=1024, check=at_least_one)
    max_target: int = option("Most tokens of a target, special tokens included.", default=512, check=at_least_one)
    max_length: int = option(
        "Of texts (data.text): most tokens of a block, what begins it and the overlap included.",
        default=1024, check=validators.ge(2), neutral=1024,
    )  # fmt: skip
    overlap: int = option(
        "Of texts: how many of the tokens before it each block reads first, without learning them again.",
        default=0, check=not_negative, neutral=0,
    )  # fmt: skip
    max_blocks: int = option(
        "Of texts: most blocks of each, from its beginning; 0 for all.", default=0, check=not_negative, neutral=0
    )
    document_end: str = option(
        "Of texts: the special token that is a label after each text, and that begins blocks where the tokenizer puts "
        "nothing before a text; by default the tokenizer's eos_token and bos_token. Chat models have another one for "
        'documents, such as "<|endoftext|>".',
        default="", neutral="",
    )  # fmt: skip

    def __attrs_post_init__(self) -> None:
        """Refuse an overlap that leaves a block nothing to learn."""
        if self.overlap > self.max_length - 2:
            raise ValueError(
                f"overlap is {self.overlap}, but a block has {self.max_length} tokens (max_length): lower overlap"
            )


@attrs.frozen(kw_only=True)
class Generation:
    """`[generation]`: how texts are generated, by teacher and student alike."""

    beams: int = option("Beams of the search; 1 is greedy.", default=1, check=at_least_one)
    max_new_tokens: int = option(
        "Most tokens of a generated text, its end included (transformers' max_new_tokens); by default "
        "tokens.max_target.",
        default=512,
        check=at_least_one,
    )
    early_stopping: bool = option("Whether the search stops as soon as that many beams have ended.", default=True)
    batch_size: int = option("Rows in a batch.", default=16, check=at_least_one)
    min_new_tokens: int = option(
        "Fewest tokens of a generated text, before its end.", default=0, check=not_negative, neutral=0
    )
    length_penalty: float = option(
        "With 2 beams or more: a text's log-likelihood is divided by its length to this power. Above 0 "
        "favours longer texts, below 0 shorter ones.",
        default=1.0,
        check=validators.and_(validators.gt(-10.0), validators.lt(10.0)),
        neutral=1.0,
    )
    no_repeat_ngram_size: int = option(
        "A sequence of this many tokens may occur only once in a text; 0 for no limit.",
        default=0,
        check=not_negative,
        neutral=0,
    )
    temperature: float = option(
        "Above 0, texts are drawn from the model's distribution at this temperature instead of searched for; needs "
        "beams = 1.",
        default=0.0,
        check=not_negative,
        neutral=0.0,
    )
    top_p: float = option(
        "Draw from the fewest tokens whose probabilities add up to this much; 1 for all.",
        default=1.0,
        check=validators.and_(positive, validators.le(1.0)),
        neutral=1.0,
    )
    top_k: int = option(
        "Draw from this many of the likeliest tokens; 0 for all.", default=0, check=not_negative, neutral=0
    )
    seed: int = option(
        "Seed of drawn texts. Each row has random numbers of its own, by this seed and its id, so that its text does "
        "not depend on the rows beside it.",
        default=0,
        check=not_negative,
        neutral=0,
    )

    @property
    def in_words(self) -> str:
        """How texts come about: `with 4 beams`."""
        if self.temperature:
            return f"drawn at temperature {self.temperature:g}"
        return f"with {self.beams} beam{'s' if self.beams > 1 else ''}"

    def __attrs_post_init__(self) -> None:
        """Refuse an option that the others leave without effect."""
        if self.temperature and self.beams > 1:
            raise ValueError(
                f"temperature is {self.temperature:g} and beams is {self.beams}, but a text is either drawn or "
                "searched for; set beams to 1, or leave temperature out"
            )
        if not self.temperature and (self.top_p != 1 or self.top_k or self.seed):
            name = "top_p" if self.top_p != 1 else "top_k" if self.top_k else "seed"
            raise ValueError(
                f"{name} is {getattr(self, name):g}, but temperature is 0, so no text is drawn; set temperature above "
                f"0, or leave {name} out"
            )
        if self.min_new_tokens >= self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens is {self.min_new_tokens}, but a text has {self.max_new_tokens} tokens at "
                "most (max_new_tokens), its end included; lower min_new_tokens"
            )
        if self.length_penalty != 1 and self.beams == 1:
            raise ValueError(
                f"length_penalty is {self.length_penalty:g}, but beams is 1, so there is no choice between "
                "texts; set beams to 2 or more, or leave length_penalty out"
            )


@attrs.frozen(kw_only=True)
class TargetWriting(Generation):
    """`[teacher.write_targets]`: how a teacher writes the targets of the training rows."""

    keep_cut: bool = option(
        "Whether to keep texts that max_new_tokens cuts. A student of such texts learns to stop where they were cut, "
        "so by default their rows are left out and counted.",
        default=False,
    )


def _no_suite_twice(_instance: object, _field: object, suites: tuple[NamedSuite, ...]) -> None:
    names = [suite.name for suite in suites]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'lists "{name}" more than once')


@attrs.frozen(kw_only=True)
class Evaluation:
    """`[evaluation]`: which suites score, on which rows, and with how many resamplings.

    A recipe without this option gets `suites = ["text"]`; the default here is none, since making one takes a registry.
    """

    suites: tuple[NamedSuite, ...] = option(
        "Metric suites: names, or tables with a name and options. With [] no model writes texts: losses and tokens are "
        "scored alone, and the baselines that are texts are left out.",
        default=(),
        check=_no_suite_twice,
    )
    headline: str = option(
        'The metric that verdict and comparisons are about: "SUITE.METRIC" of one of the suites, or what '
        "needs no texts (acceptance of tokens, for a draft). By default the one that picks the best epoch, if that is "
        "a metric other than F1; else exact_match, where targets are short; else F1.",
        default="",
        neutral="",
    )
    rows: int = option("Held-out rows to score; 0 for all.", default=0, check=not_negative)
    bootstrap: int = option("Resamplings behind each 95 % interval.", default=1000, check=at_least_one)
    loss_mean: str = option(
        "Unit of the mean of reported losses: label tokens, or batches as in the thesis.",
        default="tokens",
        check=one_of("tokens", "batches"),
    )
    baselines: bool = option(
        "Whether to compare the student with baselines: itself trained on labels only, itself untouched, the "
        "most frequent target, and the target of the most similar training row.",
        default=True,
    )
    examples: int = option("Examples shown in the report.", default=20, check=not_negative)

    @property
    def wants_texts(self) -> bool:
        """Whether models write texts for the held-out rows: only suites need them."""
        return bool(self.suites)

    def rows_together(self, generation: Generation) -> int:
        """Rows whose tokens a loss averages together: 0 for all of them, or a batch of the evaluation."""
        return generation.batch_size if self.loss_mean == "batches" else 0

    def suite_of(self, best_by: str) -> NamedSuite | None:
        """The suite of a `best_by` such as "text.f1"; None where it names a loss."""
        return next((named for named in self.suites if best_by.startswith(f"{named.name}.")), None)

    def direction_of(self, best_by: str) -> Direction:
        """Which values of a `best_by` are better: of a loss lower ones, of a metric what its suite says."""
        named = self.suite_of(best_by)
        return Direction.LOWER if named is None else named.direction_of(best_by.removeprefix(f"{named.name}."))


STORE_VARIABLE = "KDKIT_STORE"
"""The environment variable that names the store."""


@attrs.frozen(kw_only=True)
class StoreOptions:
    """`[store]`: where runs keep what they share: captured logits, teachers, baselines and texts."""

    dir: str = option(
        "Folder; by default the environment variable KDKIT_STORE, else `cache` beside the run folders. A URL "
        "such as `s3://bucket/x` holds only the logits.",
        default="",
    )
    shard_mb: int = option("Size at which a shard is sealed, in MB.", default=256, check=at_least_one)
