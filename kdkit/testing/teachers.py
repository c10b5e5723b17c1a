"""The conformance check of teachers. Letters: T target tokens, V vocabulary, D hidden."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit.testing.blocks import head_block
from kdkit.testing.corpora import Given, synthetic_corpus
from kdkit.testing.students import check_config, same_weights
from kdkit.testing.turns import check_turns
from kdkit.testing.values import check_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.interfaces import DataSource, Teacher, Tokenizer
    from kdkit.api.interfaces.teachers_and_students import OpenTeacher
    from kdkit.api.values import Corpus, EncodedExample, TeacherBlock

_ROWS = 5
# Of a head's product beside the model's own, in float32.
_NEAR = 1e-3


def check_teacher(teacher: Teacher, *, source: DataSource | None = None, device: str = "cpu") -> None:
    """Check that a teacher keeps the promises of `kdkit.api.Teacher`, on a few rows; keep its model small.

    - It is a value: its options are its identity.
    - Its tokenizer writes the same ids each time, and fits its configuration: as many entries at least.
    - One that is made by the run has the same weights for the same seed, and can be saved.
    - Opened twice it has one identity; rows are in one group each; each row has its logits once: float32, `[T, V]`,
      at least one finite in every row, the same bit for bit when they are asked for again, also where other rows were
      done before.
    - Of a model, the logits about a label depend on the source and on the labels before it, and on no later one; they
      and the texts are those of the row alone, whatever rows share its batch; and what opens is the tokenizer that its
      rows were encoded with.
    - States through the head, where it has both, are its logits.
    - It writes a text for each row that is not done.

    Args:
        teacher: The teacher, with its options.
        source: The data set that it is for; by default a few synthetic rows.
        device: Where its model lives.

    Raises:
        AssertionError: A promise is broken; the message says which and by what.
    """
    from kdkit.api.interfaces import Teacher
    from kdkit.api.options import TokenLimits
    from kdkit.data.tokens import encode
    from kdkit.models import tokenizer_digest
    from kdkit.system.progress import Silent

    check_value(teacher, Teacher)
    data: DataSource = Given(corpus=synthetic_corpus()) if source is None else source
    corpus = data.load(Silent())
    tokenizer = _check_tokenizer(teacher, corpus)
    kind, config = teacher.model_kind, teacher.model_config(tokenizer)
    assert (kind is None) == (config is None), (
        f"{teacher!r} has a kind of model without a configuration, or the reverse"
    )
    if kind is not None:
        check_config(teacher, kind, config, tokenizer)
    examples = [*corpus.train, *corpus.validation][:_ROWS]
    rows = (kind.encode if kind is not None else encode)(examples, tokenizer, TokenLimits())
    with tempfile.TemporaryDirectory(prefix="kdkit-teacher-") as place:
        folder = _folder(teacher, corpus, Path(place), device) if teacher.is_made_here else teacher.find_folder()
        assert kind is None or folder is not None, f"{teacher!r} is a model, and has no folder"
        with (
            closing(teacher.open(folder, data, corpus, device=device)) as opened,
            closing(teacher.open(folder, data, corpus, device=device)) as again,
        ):
            assert isinstance(opened.identity, str), (
                f"{teacher!r} has the identity {opened.identity!r}; it must be text"
            )
            assert opened.identity, f"{teacher!r} has no identity"
            assert opened.identity == again.identity, f"{teacher!r} has two identities when it is opened twice"
            assert tokenizer_digest(opened.tokenizer) == tokenizer_digest(tokenizer), (
                f"{teacher!r} opens with other tokens than its rows are encoded with"
            )
            _check_groups(teacher, opened, rows)
            blocks = _check_logits(teacher, opened, again, rows)
            if kind is not None:  # recorded logits are of their own rows alone
                check_turns(teacher, rows, lambda row: next(iter(opened.logits([row], Silent()))).logits_TV)
                _check_alone(teacher, opened, rows, blocks)
            _check_states(teacher, opened, rows, blocks)
            _check_texts(teacher, opened, rows)


def _check_tokenizer(teacher: Teacher, corpus: Corpus) -> Tokenizer:
    one, other = (teacher.load_tokenizer(corpus) for _ in range(2))
    texts = [example.source for example in corpus.train]
    ids, others = (tokenizer(texts)["input_ids"] for tokenizer in (one, other))
    assert ids == others, f"{teacher!r} loads another tokenizer at a second call: it writes other ids"
    for name in ("pad_token_id", "eos_token_id"):
        found: Any = getattr(one, name)
        assert isinstance(found, int), f"{teacher!r} has a tokenizer whose {name} is {found!r}"
    return one


def _folder(teacher: Teacher, corpus: Corpus, place: Path, device: str) -> Path:
    """A model that the run would make, saved: the same for the same seed."""
    model, same = (teacher.build(corpus, seed=1, device=device) for _ in range(2))
    assert same_weights(model, same), f"{teacher!r} makes other weights from the same seed"
    model.save(place / "teacher", texts={})
    return place / "teacher"


def _check_groups(teacher: Teacher, opened: OpenTeacher, rows: Sequence[EncodedExample]) -> None:
    ids = sorted(row.id for group in opened.groups(rows) for row in group)
    assert ids == sorted(row.id for row in rows), f"{teacher!r} has groups that do not hold each row once: {ids}"


def _check_logits(
    teacher: Teacher, opened: OpenTeacher, again: OpenTeacher, rows: Sequence[EncodedExample]
) -> dict[str, TeacherBlock]:
    import numpy as np

    from kdkit.system.progress import Silent

    blocks = _by_id(teacher, list(opened.logits(rows, Silent())), rows, "blocks of logits")
    tokens = {row.id: len(row.target_ids) for row in rows}
    for row_id, block in blocks.items():
        logits_TV = block.logits_TV
        what = f"{teacher!r}: the logits of {row_id!r}"
        assert logits_TV.dtype == np.float32, f"{what} are {logits_TV.dtype}, and must be float32"
        shape = (min(len(logits_TV), tokens[row_id]), opened.vocab_size)
        assert logits_TV.shape == shape, (
            f"{what} have the shape {logits_TV.shape}; the row has {tokens[row_id]} tokens, and the teacher says that "
            f"its logits are {opened.vocab_size} wide"
        )
        assert not np.isnan(logits_TV).any(), f"{what} hold NaN"
        assert (logits_TV.max(axis=1, initial=0) < np.inf).all(), f"{what} hold numbers that are not finite"
        assert np.isfinite(logits_TV).any(axis=1).all(), f"{what} have a row without a finite number"
    done = {rows[0].id, rows[-1].id}
    for other, without in ((opened, done), (again, set[str]())):
        left = [row for row in rows if row.id not in without]
        found = _by_id(teacher, list(other.logits(rows, Silent(), done=without)), left, "blocks of logits")
        for row_id, block in found.items():
            assert block.logits_TV.tobytes() == blocks[row_id].logits_TV.tobytes(), (
                f"{teacher!r}: the logits of {row_id!r} are others when they are asked for again"
                f"{' and other rows were done before' if without else ''}"
            )
    return blocks


def _check_alone(
    teacher: Teacher, opened: OpenTeacher, rows: Sequence[EncodedExample], blocks: dict[str, TeacherBlock]
) -> None:
    """The shortest row alone: in a batch it has most padding."""
    import numpy as np

    from kdkit.api.options import Generation
    from kdkit.system.progress import Silent

    options, row = Generation(beams=1, max_new_tokens=8), min(rows, key=lambda each: len(each.source_ids))
    alone_TV, logits_TV = next(iter(opened.logits([row], Silent()))).logits_TV, blocks[row.id].logits_TV
    distance = float(np.abs(alone_TV - logits_TV).max())
    assert distance <= _NEAR * max(1.0, float(np.abs(logits_TV).max())), (
        f"{teacher!r} has other logits for {row.id!r} alone than in a batch: {distance:g} lies between them"
    )
    said = next(each.text for each in opened.generate(rows, options) if each.id == row.id)
    alone = next(iter(opened.generate([row], options))).text
    assert said == alone, f"{teacher!r} writes {said!r} for {row.id!r} in a batch, and {alone!r} alone"


def _check_states(
    teacher: Teacher, opened: OpenTeacher, rows: Sequence[EncodedExample], blocks: dict[str, TeacherBlock]
) -> None:
    import numpy as np

    from kdkit.system.progress import Silent

    source: Any = opened  # `kdkit.api.HeadTeacher` has members that cannot be told apart at run time
    if not (hasattr(source, "head") and hasattr(source, "states")):
        return
    head = source.head()
    if head is None:
        return
    for states in _by_id(teacher, list(source.states(rows, Silent())), rows, "blocks of states").values():
        logits_TV = blocks[states.id].logits_TV
        distance = float(np.abs(head_block(head, states).logits_TV - logits_TV).max(initial=0))
        assert distance <= _NEAR * max(1.0, float(np.abs(logits_TV).max(initial=0))), (
            f"{teacher!r}: the states of {states.id!r}, put through the head, are {distance:g} from the logits"
        )


def _check_texts(teacher: Teacher, opened: OpenTeacher, rows: Sequence[EncodedExample]) -> None:
    from kdkit.api.options import Generation

    options = Generation(beams=1, max_new_tokens=8)
    said = _by_id(teacher, list(opened.generate(rows, options)), rows, "texts")
    for prediction in said.values():
        assert isinstance(prediction.text, str), f"{teacher!r} writes {prediction.text!r}, which is not text"
    left = rows[1:]
    others = _by_id(teacher, list(opened.generate(rows, options, done={rows[0].id})), left, "texts")
    for row_id, prediction in others.items():
        assert prediction.text == said[row_id].text, f"{teacher!r} writes another text for {row_id!r} at a second call"


def _by_id(teacher: Teacher, found: Sequence[Any], rows: Sequence[EncodedExample], what: str) -> dict[str, Any]:
    ids = sorted(each.id for each in found)
    assert ids == sorted(row.id for row in rows), (
        f"{teacher!r} gives {what} of {', '.join(ids) or 'no row'}, and is asked for each once of "
        f"{', '.join(sorted(row.id for row in rows))}"
    )
    return {each.id: each for each in found}
