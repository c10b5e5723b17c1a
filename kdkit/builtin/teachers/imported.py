"""The teacher `imported`: log-probabilities that another tool kept, bound to rows by token ids."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
from attrs import validators

from kdkit.api.options import one_of, option, positive
from kdkit.builtin.teachers.from_elsewhere import MadeElsewhere
from kdkit.system.files import user_path

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.interfaces import DataSource, Tokenizer
    from kdkit.api.values import Corpus, KnownLogits
    from kdkit.builtin.teachers.open_imported import OpenImported
    from kdkit.builtin.teachers.said_of_guest import Said


@attrs.frozen(kw_only=True)
class ImportedTeacher(MadeElsewhere):
    """A teacher without its model: another tool kept its log-probabilities of the rows, for a decoder-only student."""

    named, instead = "an imported teacher", "hf-causal"

    logits: str = option(
        "The log-probabilities: a file or folder of Parquet with ids and log-probabilities, of DistillKit's Parquet, "
        "of Megatron-LM's tars, or a --kl-divergence-base file of llama.cpp. Which it is, is seen by what lies there."
    )
    tokenizer: str = option(
        "The tokenizer whose ids the log-probabilities are over: its name on the hub, or the path of its folder."
    )
    temperature: float = option(
        "The temperature of the probabilities that were kept; they are known at no other.",
        default=1.0,
        check=validators.and_(positive, validators.lt(math.inf)),
    )
    tail: str = option(
        'What entries that were not kept have together: the "rest", what is missing from 1; or "none", where the '
        "probabilities kept were made to sum to 1, so that the rest is lost.",
        default="rest",
        check=one_of("rest", "none"),
    )
    about: str = option(
        'For Parquet with ids and log-probabilities: whether a position\'s are about its "own" token or about the '
        '"next".',
        default="own",
        check=one_of("own", "next"),
    )
    ids: str = option(
        "For Megatron-LM's tars, which hold no ids: a Parquet file with a column input_ids, a row for each sample in "
        "the order of training.",
        default="",
    )
    partial: bool = option(
        "Whether rows may lack log-probabilities, from some label on or altogether: these labels then count for the "
        "hard loss alone. By default such rows are refused.",
        default=False,
    )

    def check_inputs(self) -> None:
        """Refuse log-probabilities or a tokenizer that are not available.

        Raises:
            MissingInput: They are not there.
            UsageError: They are not what kdkit can read.
            DamagedData: The log-probabilities are cut or damaged.
        """
        self._said.open(self._named_tokenizer())

    def load_tokenizer(self, corpus: Corpus) -> Tokenizer:  # noqa: ARG002 - other teachers train theirs on the corpus
        """The tokenizer whose ids the log-probabilities are over.

        Raises:
            MissingInput: It is not available.
        """
        return self._named_tokenizer()

    def _named_tokenizer(self) -> Tokenizer:
        from kdkit import models

        return models.DecoderOnly().load_tokenizer(self.tokenizer)

    @property
    def whose(self) -> str:
        """Where the logits come from, in words."""
        return f"log-probabilities that another tool kept ({user_path(self.logits).name})"

    @property
    def _said(self) -> Said:
        from kdkit.builtin.teachers.said_of_guest import Said

        return Said(
            name=self.logits,
            place=user_path(self.logits),
            ids=user_path(self.ids) if self.ids else None,
            temperature=self.temperature,
            tail=self.tail,
            about=self.about,
            partial=self.partial,
        )

    def known(self) -> KnownLogits:
        """What is known of the logits, as far as the first sequence tells.

        Raises:
            MissingInput: They are not there.
            UsageError: They are of no known format, or not over this vocabulary, or do not say what was left out.
            DamagedData: They are cut or damaged.
        """
        return self._said.known(self._named_tokenizer())

    def open(
        self,
        folder: Path | None,  # noqa: ARG002 - nothing was made
        source: DataSource,  # noqa: ARG002 - the logits lie elsewhere
        corpus: Corpus,
        *,
        device: str,  # noqa: ARG002 - nothing is computed
    ) -> OpenImported:
        """Ready to be asked for logits, and for texts of rows that came with a prediction.

        Raises:
            MissingInput: The log-probabilities or the tokenizer are not available.
            UsageError: They are not what kdkit can read.
            DamagedData: They are cut or damaged.
        """
        from kdkit.builtin.teachers.open_imported import opened

        return opened(self._said, self._named_tokenizer(), corpus)
