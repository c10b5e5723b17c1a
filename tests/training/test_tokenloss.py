"""Head and loss in chunks of tokens: the same loss and the same gradients as with all logits at once.

Letters: B batch, T target tokens, V vocabulary, D hidden, N label tokens.
"""

from __future__ import annotations

import json
import sys

import pytest
import tiny
import torch
from pages import benchmark

from kdkit.api.values import DenseTargets, FactoredTargets, QuantizedTargets, SparseTargets
from kdkit.builtin.losses.kd import KD
from kdkit.data.tokens import collate
from kdkit.losses import distillation_loss, token_counts
from kdkit.losses.alignment import label_mask
from kdkit.training import Forward, tokenloss

MODELS = {
    "t5, tied": tiny.T5,
    "bart, with a bias": tiny.BART,
    "bart, not tied": {**tiny.BART, "tie_word_embeddings": False},
}
LOSS = KD(alpha=0.5, temperature=2.0)


def model(config=tiny.T5, **fields):
    made = tiny.model(config, **fields)
    bias = getattr(made.module, "final_logits_bias", None)
    if bias is not None:
        bias.copy_(torch.randn(bias.shape, generator=torch.Generator().manual_seed(0)))
    return made


def batch_of(count=5):
    return collate(tiny.encoded(count)[1], pad_id=tiny.tokenizer().pad_token_id)


def targets_of(batch, vocab_size, kind="dense"):
    draw = torch.Generator().manual_seed(3)
    shape = tuple(batch.labels_BT.shape)
    lengths_B = label_mask(batch.labels_BT).sum(1)
    lengths_B[1] -= 2  # as recorded logits may be
    if kind == "factored":
        return FactoredTargets(
            coordinates_BTR=torch.randn(*shape, 4, generator=draw),
            basis_RV=torch.randn(4, vocab_size, generator=draw),
            offset_V=torch.randn(vocab_size, generator=draw),
            lengths_B=lengths_B,
        )
    if kind == "quantized":
        return QuantizedTargets(
            codes_BTV=torch.randint(0, 256, (*shape, vocab_size), generator=draw).to(torch.uint8),
            scale_BT=torch.rand(shape, generator=draw) / 20 + 0.01,
            zero_point_BT=torch.rand(shape, generator=draw) * 255,
            tail_BT=torch.randn(shape, generator=draw),
            lengths_B=lengths_B,
        )
    logits_BTV = torch.randn(*shape, vocab_size, generator=draw) * 2
    if kind == "dense":
        return DenseTargets(logits_BTV=logits_BTV, lengths_B=lengths_B)
    values_BTK, ids_BTK = logits_BTV.topk(6)
    kept_BT = (logits_BTV / 2).softmax(-1).gather(-1, ids_BTK).sum(-1)
    return SparseTargets(
        ids_BTK=ids_BTK,
        values_BTK=values_BTK,
        log_tail_BT={2.0: torch.log1p(-kept_BT)},
        vocab_size=vocab_size,
        lengths_B=lengths_B,
    )


def plain(student, batch, targets):
    """All logits at once."""
    student.module.zero_grad()
    parts = distillation_loss(student.logits(batch), targets, batch.labels_BT, alpha=0.5, temperature=2.0)
    parts.total.backward()
    return parts, gradients(student)


def chunked(student, batch, targets, **options):
    student.module.zero_grad()
    parts = Forward.of(student)(batch, targets).backward(LOSS, token_counts(batch.labels_BT, targets), **options)
    return parts, gradients(student)


def gradients(student):
    return {
        name: parameter.grad.clone()
        for name, parameter in student.module.named_parameters()
        if parameter.grad is not None
    }


def assert_same(one, other, **tolerance):
    for name in ("total", "hard", "soft"):
        torch.testing.assert_close(getattr(one[0], name), getattr(other[0], name).detach(), **tolerance)
    assert one[1].keys() == other[1].keys()
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], **tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("kind", ["dense", "quantized", "factored", "sparse"])
@pytest.mark.parametrize("config", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(("chunk", "piece"), [(1, 1000), (7, 3), (1000, 4)])
def test_chunks_give_the_loss_and_the_gradients_of_all_logits_at_once(config, kind, chunk, piece, monkeypatch):
    student, batch = model(config), batch_of()
    monkeypatch.setattr(tokenloss, "PIECE", piece * student.vocab_size + 1)
    assert Forward.of(student).head is not None
    targets = targets_of(batch, student.vocab_size, kind)
    forward, whole = Forward.of(student), plain(student, batch, targets)
    for _ in range(2):  # the second time in the memory of the first
        student.module.zero_grad()
        parts = forward(batch, targets).backward(LOSS, token_counts(batch.labels_BT, targets), chunk=chunk)
        assert_same((parts, gradients(student)), whole, rtol=1e-4, atol=1e-6)


def test_a_model_that_does_more_after_its_head_goes_through_its_own_logits():
    student, batch = model(), batch_of()

    class Capped(type(student)):
        def logits(self, batch):
            return 2 * torch.tanh(super().logits(batch))

    capped = Capped(module=student.module, tokenizer=student.tokenizer)
    forward = Forward.of(capped)
    assert forward.head is None
    targets = targets_of(batch, student.vocab_size)
    assert_same(chunked(capped, batch, targets, chunk=4), plain(capped, batch, targets), rtol=1e-4, atol=1e-6)


def test_no_logits_of_more_than_a_chunk_are_ever_made():
    student, batch = model(), batch_of()
    seen, targets = [], targets_of(batch, student.vocab_size)
    forward = Forward.of(student)
    with_eyes = student.module.lm_head.register_forward_hook(lambda *arguments: seen.append(arguments[2].shape))
    forward(batch, targets).backward(LOSS, token_counts(batch.labels_BT, targets), chunk=4)
    with_eyes.remove()
    tokens = int(label_mask(batch.labels_BT).sum())
    assert [shape[:-1].numel() for shape in seen] == [4] * (tokens // 4) + [tokens % 4] * (tokens % 4 > 0)


def test_micro_batches_add_up():
    student, whole = model(), batch_of(6)
    targets = targets_of(whole, student.vocab_size)
    expected = chunked(student, whole, targets, chunk=5)
    counts, forward = token_counts(whole.labels_BT, targets), Forward.of(student)
    student.module.zero_grad()
    parts = []
    for start in (0, 2, 4):
        rows = slice(start, start + 2)
        batch = collate(tiny.encoded(6)[1][rows], pad_id=tiny.tokenizer().pad_token_id)
        of_batch = DenseTargets(logits_BTV=targets.logits_BTV[rows], lengths_B=targets.lengths_B[rows])
        parts.append(forward(batch, of_batch).backward(LOSS, counts, chunk=5))
    summed = type(parts[0])(**{name: sum(getattr(p, name) for p in parts) for name in ("total", "hard", "soft")})
    assert_same((summed, gradients(student)), expected, rtol=1e-4, atol=1e-6)


def test_autocast_gives_nearly_the_same_gradients_in_float32():
    student, batch = model(), batch_of()
    targets = targets_of(batch, student.vocab_size)

    def autocast():
        return torch.autocast("cpu", dtype=torch.bfloat16)

    expected = plain(student, batch, targets)[1]
    student.module.zero_grad()
    forward = Forward.of(student)
    with autocast():
        tokens = forward(batch, targets)
    tokens.backward(LOSS, token_counts(batch.labels_BT, targets), chunk=7, autocast=autocast)
    for name, gradient in gradients(student).items():
        assert gradient.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(gradient.flatten(), expected[name].flatten(), dim=0) > 0.99, name


def test_a_frozen_body_leaves_the_head_its_gradient():
    student, batch = model(MODELS["bart, not tied"]), batch_of()
    student.module.requires_grad_(requires_grad=False)
    student.module.lm_head.requires_grad_()
    targets = targets_of(batch, student.vocab_size)
    found = chunked(student, batch, targets, chunk=4)
    assert set(found[1]) == {"lm_head.weight"}
    assert_same(found, plain(student, batch, targets), rtol=1e-4, atol=1e-6)


def test_a_batch_without_labels_has_a_loss_of_0_and_gradients_of_0():
    student, batch = model(), batch_of(2)
    batch.labels_BT[:] = -100
    targets = targets_of(batch, student.vocab_size)
    parts, grads = chunked(student, batch, targets)
    assert float(parts.total) == float(parts.soft) == 0
    assert all(not gradient.any() for gradient in grads.values())


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_the_parts_of_the_examples_add_up_to_the_loss(chunk):
    student, batch = model(), batch_of()
    targets = targets_of(batch, student.vocab_size)
    counts = token_counts(batch.labels_BT, targets)
    with torch.inference_mode():
        parts = list(Forward.of(student)(batch, targets).parts(LOSS, lambda _: counts, chunk=chunk))
    whole = distillation_loss(student.logits(batch), targets, batch.labels_BT, alpha=0.5, temperature=2.0)
    for name in ("total", "hard", "soft"):
        found = sum(float(getattr(part.parts, name)) for part in parts)
        assert found == pytest.approx(float(getattr(whole, name).detach()), rel=1e-5)
    assert sum(part.hard_tokens for part in parts) == counts.hard
    assert sum(part.soft_tokens for part in parts) == counts.soft
    labels = [sum(part.hard_tokens for part in parts if part.example == each) for each in range(5)]
    assert labels == label_mask(batch.labels_BT).sum(1).tolist()


@pytest.mark.parametrize("training", [True, False])
def test_to_try_the_head_changes_neither_mode_nor_random_numbers(training):
    student = model(dropout_rate=0.5)
    student.module.train(training)
    before = torch.get_rng_state()
    assert student.head_function() is not None
    assert student.module.training == training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in student.module.parameters())


@pytest.mark.slow
def test_the_benchmark_of_memory_compares_the_same_loss(monkeypatch, capsys):
    """Its sides in this process: their memory is then not their own, and is not looked at."""
    script = benchmark("loss_memory")
    monkeypatch.setattr(script, "apart", script.measure)
    options = ["--json", "--tokens", "48", "--vocabularies", "3000", "--chunks", "16", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["loss_memory.py", *options])
    script.main()
    (result,) = json.loads(capsys.readouterr().out)["results"]
    sides = result["sides"]
    assert sides["factored:16"]["loss"] == pytest.approx(sides["plain"]["loss"], rel=1e-5)
    assert sides["codes:16"]["loss"] == pytest.approx(sides["plain"]["loss"], rel=1e-3)  # eight bits
    assert sides["codes:16"]["targets"] == 48 * 3000 + 48 * 8 + 8
    assert set(result["ratios"]) == {"factored:16", "codes:16"}
    assert set(result["ratios"]["codes:16"]) == {"bytes", "seconds"}
