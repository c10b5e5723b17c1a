"""Records out of a finished cache, or as a recipe's teacher or a named model gives them."""

from __future__ import annotations

import sysconfig
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit import plugins
from kdkit.api.values import Corpus, EncodedExample
from kdkit.data import corpus as corpora
from kdkit.errors import MissingInput
from kdkit.logits.bench.records import Material, Record, check_finite, first_quarter, quarter_sentence
from kdkit.logits.cache import open_cache
from kdkit.logits.encoder import has_states
from kdkit.logits.token_entries import of_tokens
from kdkit.pipeline.vocabulary import settled
from kdkit.recipe.inputs import read_rows
from kdkit.runs.facts_table import facts_in
from kdkit.runs.record import check_no_evaluation, check_recipe, read_record
from kdkit.runs.stage_facts import DataRead, TeacherMade
from kdkit.store.rows import rows_of
from kdkit.system.reading import read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.api.interfaces import OpenTeacher, Tokenizer
    from kdkit.recipe import Recipe
    from kdkit.system.progress import Progress


_BLOCK = 64
"""Label tokens of a block of text."""
_CHARACTERS = 16 * _BLOCK
"""Characters that are read for a block: more than its tokens take."""


def of_cache(place: Path | str) -> Material:
    """The records of a finished cache, in a folder or at a URL, in their order; what it decodes to counts as exact.

    Raises:
        MissingInput: There is no finished cache.
        DamagedData: It is not what was written.
        UsageError: It has fewer than two records.
    """
    cache = open_cache(place)
    keys = list(cache)
    learnt = first_quarter(len(keys), str(place))

    def read(part: list[bytes]) -> Iterator[Record]:
        for key in part:
            logits_TV = cache.decode(key)
            check_finite(logits_TV, what=f"the logit of record {key.hex()}")
            yield Record(id=key.hex(), logits_TV=logits_TV)

    return Material(
        name=str(place),
        vocab_size=cache.vocab_size,
        head=None,
        learnt_from=quarter_sentence(learnt, len(keys)),
        learn=lambda: read(keys[:learnt]),
        measure=lambda: read(keys[learnt:]),
        records=len(keys) - learnt,
    )


@contextmanager
def of_recipe(recipe: Recipe, run_dir: Path | None, *, rows: int, progress: Progress) -> Iterator[Material]:
    """The answers of a recipe's teacher on the first training rows; hidden states if it can give them.

    A teacher that the recipe makes is the one of its run folder, which may have had another codec.

    Args:
        recipe: The recipe.
        run_dir: Its run folder; by default runs/NAME.
        rows: How many training rows are used at most.
        progress: Where progress is shown.

    Raises:
        MissingInput: The teacher has not been made yet, or something that the recipe names is not there.
        Mismatch: The run folder belongs to another recipe.
        UsageError: There are fewer than two rows.
    """
    path = run_dir if run_dir is not None else Path("runs") / recipe.name
    check_no_evaluation(path)
    # Which codec the run had makes no difference to what its teacher says.
    check_recipe(path, recipe, besides="codec", advice="use another --run-dir, or the recipe and -o of that run")
    record = read_record(path)
    folder = _teacher_folder(recipe, path, record)
    corpus = _corpus(recipe, path, record, progress)
    if (trimmed := settled(recipe, corpus, progress)) is not recipe:
        folder, recipe = _teacher_folder(trimmed, path, record), trimmed
    opened = recipe.teacher.open(folder, recipe.data, corpus, device="cpu")
    try:
        teacher = of_tokens(opened)
        chosen = rows_of(corpus.train, teacher.tokenizer, recipe.encoding, at_most=rows).encoded
        first_quarter(len(chosen), f"the training data of {recipe.name}")
        yield _answers(teacher, chosen, f"the teacher of {recipe.name}", progress)
    finally:
        opened.close()


@contextmanager
def of_model(name: str, *, rows: int, progress: Progress) -> Iterator[Material]:
    """The answers of a decoder-only model to blocks of Python's standard library, which every machine has.

    Args:
        name: As `teacher.model` of a recipe: a hub name, a folder, a GGUF file, `dist:NAME`.
        rows: How many blocks are used at most.
        progress: Where progress is shown.

    Raises:
        MissingInput: There is no such model.
        UsageError: It is of another kind.
    """
    teacher = plugins.load().get("teachers", "hf-causal").load()(model=name)
    folder = teacher.find_folder()
    with closing(teacher.open(folder, None, Corpus(train=(), validation=()), device="cpu")) as opened:
        told = of_tokens(opened)
        yield _answers(told, _blocks(told.tokenizer, rows), f"{name} on Python's standard library", progress)


def _blocks(tokenizer: Tokenizer, rows: int) -> list[EncodedExample]:
    """Blocks of the library's modules: from each as many, so that no module stands for all."""
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    each, found = -(-rows // max(len(modules), 1)), []
    for module in modules:
        text = read_bytes(module)[: _CHARACTERS * each].decode("utf-8", errors="ignore")
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        for start in range(0, min(len(ids) - _BLOCK, each * _BLOCK), _BLOCK):
            block = ids[start : start + _BLOCK + 1]
            found.append(
                EncodedExample(id=f"{module.name}:{start}", source_ids=tuple(block[:1]), target_ids=tuple(block[1:]))
            )
    return found[:rows]


def _answers(teacher: OpenTeacher, chosen: Sequence[EncodedExample], name: str, progress: Progress) -> Material:
    """What a teacher says of some rows; hidden states where it can give them."""
    learnt = first_quarter(len(chosen), name)
    head = teacher.head() if has_states(teacher) else None

    def read(part: Sequence[EncodedExample]) -> Iterator[Record]:
        if head is not None and has_states(teacher):
            for states in teacher.states(part, progress):
                check_finite(states.states_TD, what=f"the hidden state of example {states.id!r}")
                yield Record(id=states.id, states_TD=states.states_TD)
            return
        for block in teacher.logits(part, progress):
            check_finite(block.logits_TV, what=f"the logit of example {block.id!r}")
            yield Record(id=block.id, logits_TV=block.logits_TV)

    return Material(
        name=name,
        vocab_size=teacher.vocab_size,
        head=head,
        learnt_from=quarter_sentence(learnt, len(chosen)),
        learn=lambda: read(chosen[:learnt]),
        measure=lambda: read(chosen[learnt:]),
        records=len(chosen) - learnt,
    )


def _teacher_folder(recipe: Recipe, path: Path, record: dict[str, Any]) -> Path | None:
    if not recipe.teacher.is_made_here:
        found: Path | None = recipe.teacher.find_folder()
        return found
    made = facts_in(record, TeacherMade, path)
    places = [path / made.folder, Path(made.store)] if made is not None and made.folder and made.store else []
    for place in places:
        if (place / "config.json").is_file():
            return place
    raise MissingInput(
        f"the teacher of {recipe.name} is made by the run, but {path} has none; `kdkit run` the recipe first, "
        "or give its folder with --run-dir"
    )


def _corpus(recipe: Recipe, path: Path, record: dict[str, Any], progress: Progress) -> Corpus:
    """The run's own where it has read it."""
    read = facts_in(record, DataRead, path)
    if read is not None:
        return corpora.read(path / "data", read.digest)
    return read_rows(recipe, progress, when="first")
