"""What models of teachers and students must be, and the conformance check of students.

Letters: B batch, T target, V vocabulary, D hidden.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit.testing.corpora import synthetic_corpus
from kdkit.testing.sequences import check_greedy, check_masks, check_own_loss
from kdkit.testing.turns import check_turns
from kdkit.testing.values import check_value

if TYPE_CHECKING:
    from kdkit.api.interfaces import Student, TextModel, Tokenizer
    from kdkit.api.interfaces.models import ModelKind
    from kdkit.api.options import Generation
    from kdkit.api.values import EncodedExample, FloatArray, TokenBatch

_ROWS = 4
# Of one row alone beside the same row in a batch, in float32.
_NEAR = 1e-3


def check_student(
    student: Student,
    *,
    teacher_tokenizer: Tokenizer | None = None,
    teacher_folder: Path | None = None,
    device: str = "cpu",
) -> None:
    """Check that a student keeps the promises of `kdkit.api.Student`, on a few rows; keep its model small.

    - It is a value: its options are its identity.
    - Its configuration tells the model's parameters and vocabulary before there is one, and fits the tokenizer.
    - The same seed gives the same weights.
    - Logits are `[B, T, V]`, finite, the same for a row alone and in a batch, and weights have a gradient.
    - Those about a label depend on the source and on the labels before it, and on no later one.
    - States through the head, where it has both, are its logits.
    - They do not change with the ids of padding, and give the labels the loss that the module itself reports.
    - Rows that are packed, where it can do that, have the logits and the gradients that they have apart.
    - It writes one text a row, the same each time: what its module writes of the source alone, as far as the first of
      the tokens that end texts. Of a decoder-only model the logits of the labels rank these tokens first.
    - What `save` writes holds the texts that go with it, and opens with the same tokens, logits and texts.

    Args:
        student: The student, with its options.
        teacher_tokenizer: The tokenizer of its teacher; by default one that is trained on a few synthetic rows.
        teacher_folder: The folder of its teacher's model, for students that are made of it.
        device: Where its model lives.

    Raises:
        AssertionError: A promise is broken; the message says which and by what.
    """
    from kdkit import models
    from kdkit.api.interfaces import Student
    from kdkit.api.options import Generation, TokenLimits
    from kdkit.data.tokens import collate

    check_value(student, Student)
    corpus = synthetic_corpus()
    given = teacher_tokenizer
    if given is None:
        given = models.train_bpe([each.source for each in corpus.train], vocab_size=300)
    tokenizer = student.load_tokenizer(given)
    teacher_config = None if teacher_folder is None else models.read_config(str(teacher_folder))
    kind, config = student.model_kind, student.model_config(tokenizer, teacher_config)
    model, same = (student.build(given, teacher_folder, seed=1, device=device) for _ in range(2))
    check_config(student, kind, config, tokenizer, model)
    assert same_weights(model, same), f"{student!r} makes other weights from the same seed"
    rows = kind.encode(corpus.train[:_ROWS], tokenizer, TokenLimits())
    batch = collate(rows, pad_id=tokenizer.pad_token_id, device=device)
    _check_logits(student, model, batch, collate(rows[:1], pad_id=tokenizer.pad_token_id, device=device))
    check_turns(student, rows, lambda row: _logits_of(model, row, pad_id=tokenizer.pad_token_id, device=device))
    _check_head(student, model, batch)
    check_masks(student, model, batch)
    check_own_loss(student, kind, model, rows, batch)
    if kind.is_joined:
        check_packing(student, model, batch)
    options = Generation(beams=1, max_new_tokens=8)
    model.module.eval()
    said, again = (model.generate(batch, options) for _ in range(2))
    assert len(said) == len(rows), f"{student!r} writes {len(said)} texts for {len(rows)} rows"
    assert said == again, f"{student!r} writes other texts when it is asked again"
    check_greedy(student, kind, model, batch, options)
    _check_saved(student, model, batch, device, options)


def check_packing(component: Any, model: TextModel, batch: TokenBatch) -> None:
    """Check that a model either refuses to pack rows, or has their logits and gradients in packed sequences too.

    Args:
        component: Whose model it is, for messages.
        model: The model; its dropout is switched off meanwhile.
        batch: Rows of different lengths.
    """
    import torch

    from kdkit.api.interfaces import LeanModel
    from kdkit.api.options import Training
    from kdkit.errors import UsageError

    if not isinstance(model, LeanModel):
        return
    weights = [each for each in model.module.parameters() if each.requires_grad]

    def told() -> tuple[torch.Tensor, list[torch.Tensor]]:
        logits_NV = batch.places.pick(model.logits(batch)).float()
        loss = torch.nn.functional.cross_entropy(logits_NV, batch.places.pick(batch.labels_BT))
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        return logits_NV.detach(), [
            torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)
        ]

    noisy = [each for each in model.module.modules() if isinstance(each, torch.nn.Dropout)]
    rates = [each.p for each in noisy]
    was_training = model.module.training
    model.module.train()
    for each in noisy:
        each.p = 0.0
    try:
        apart, gradients = told()
        try:
            with model.lean(Training(packing=True)):
                packed, others = told()
        except UsageError:
            return
    finally:
        for each, rate in zip(noisy, rates, strict=True):
            each.p = rate
        model.module.train(was_training)
    distance = float((packed - apart).abs().max())
    assert distance <= _NEAR * max(1.0, float(apart.abs().max())), (
        f"{component!r} has other logits for packed rows than for the same rows apart: {distance:g} lies between them"
    )
    largest = max(float(each.abs().max()) for each in gradients)
    distance = max(float((one - other).abs().max()) for one, other in zip(others, gradients, strict=True))
    assert distance <= _NEAR * largest, (
        f"{component!r} has other gradients for packed rows than for the same rows apart: they are {distance:g} apart"
    )


def check_config(
    component: Any, kind: ModelKind, config: Any, tokenizer: Tokenizer, model: TextModel | None = None
) -> None:
    """Check that a configuration fits a tokenizer and, where there is one, its model."""
    size = kind.size_of(config)
    assert size.parameters > 0, f"{component!r} has a configuration of {size.parameters} parameters"
    assert size.vocab_size >= len(tokenizer), (
        f"{component!r} has a vocabulary of {size.vocab_size} entries, and a tokenizer of {len(tokenizer)}"
    )
    if model is None:
        return
    parameters = sum(each.numel() for each in model.module.parameters() if each.requires_grad)
    assert parameters == size.parameters, (
        f"{component!r} has a model of {parameters} trainable parameters, and its configuration says {size.parameters}"
    )
    assert model.vocab_size == size.vocab_size, (
        f"{component!r} has logits {model.vocab_size} wide, and its configuration says {size.vocab_size}"
    )


def same_weights(one: TextModel, other: TextModel) -> bool:
    """Whether two models have equal weights."""
    import torch

    weights, others = one.module.state_dict(), other.module.state_dict()
    return weights.keys() == others.keys() and all(torch.equal(weights[key], others[key]) for key in weights)


def _check_logits(student: Student, model: TextModel, batch: TokenBatch, first: TokenBatch) -> None:
    import torch

    model.module.eval()  # without dropout
    logits_BTV = model.logits(batch)
    shape = (*batch.labels_BT.shape, model.vocab_size)
    assert tuple(logits_BTV.shape) == shape, f"{student!r} has logits of shape {tuple(logits_BTV.shape)}, not {shape}"
    assert logits_BTV.isfinite().all(), f"{student!r} has logits that are not finite"
    length = first.labels_BT.shape[1]
    with torch.no_grad():
        distance = float((model.logits(first)[0] - logits_BTV[0, :length]).abs().max())
        largest = float(logits_BTV.abs().max())
    assert distance <= _NEAR * max(1.0, largest), (
        f"{student!r} has other logits for a row alone than in a batch: {distance:g} lies between them"
    )
    weights = [each for each in model.module.parameters() if each.requires_grad]
    assert weights, f"{student!r} has no weights to train"
    gradients = torch.autograd.grad(logits_BTV.float().logsumexp(-1).mean(), weights, allow_unused=True)
    assert any(each is not None and bool(each.abs().max() > 0) for each in gradients), (
        f"{student!r} has logits that no gradient of its weights comes from"
    )


def _logits_of(model: TextModel, row: EncodedExample, *, pad_id: int, device: str) -> FloatArray:
    import torch

    from kdkit.data.tokens import collate

    with torch.no_grad():
        logits_TV: FloatArray = model.logits(collate([row], pad_id=pad_id, device=device))[0].float().cpu().numpy()
    return logits_TV


def _check_head(student: Student, model: TextModel, batch: TokenBatch) -> None:
    import torch

    from kdkit.api.interfaces import HeadModel

    if not isinstance(model, HeadModel):
        return
    head = model.head_function()
    if head is None:
        return
    with torch.no_grad():
        states_BTD = model.states(batch)
        found, expected = head(states_BTD.flatten(0, 1)), model.logits(batch).flatten(0, 1)
    distance = float((found - expected).abs().max())
    assert distance <= _NEAR * max(1.0, float(expected.abs().max())), (
        f"{student!r}: states put through the head are {distance:g} from the logits"
    )


def _check_saved(student: Student, model: TextModel, batch: TokenBatch, device: str, options: Generation) -> None:
    import torch

    from kdkit.models import tokenizer_digest

    texts = model.generate(batch, options)
    with tempfile.TemporaryDirectory(prefix="kdkit-student-") as place:
        folder = Path(place, "student")
        model.save(folder, texts={"README.md": "of the check\n"})
        kept = (folder / "README.md").read_text(encoding="utf-8")
        assert kept == "of the check\n", f"{student!r} saves another README.md than it is given"
        opened = student.open(folder, device=device)
        opened.module.eval()
        assert tokenizer_digest(opened.tokenizer) == tokenizer_digest(model.tokenizer), (
            f"{student!r} has other tokens when it was saved and opened"
        )
        with torch.no_grad():
            assert torch.equal(opened.logits(batch), model.logits(batch)), (
                f"{student!r} has other logits when it was saved and opened"
            )
        assert opened.generate(batch, options) == texts, f"{student!r} writes other texts when it was saved and opened"
