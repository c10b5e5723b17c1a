"""What a layer is worth: the loss without it is that of the student without it."""

from __future__ import annotations

import attrs
import pytest
import tiny
import torch
from architectures import batch as pairs_batch
from architectures import table as pairs_table
from causal_architectures import table
from causal_kit import batch, model

from kdkit import models
from kdkit.api.values import EncodedExample, Measuring
from kdkit.errors import UsageError
from kdkit.models.layers import Stack
from kdkit.models.ranking import measure_importance
from kdkit.system.progress import Silent

STACKS = {True: ("layers",), False: ("encoder_layers", "decoder_layers")}
"""The stacks of a model, by whether it is decoder-only."""


def teacher_of(model_type, **fields):
    """A teacher, its stacks and some rows."""
    is_causal = model_type not in {"t5", "led"}
    teacher = model(table(model_type), **fields) if is_causal else tiny.model(pairs_table(model_type))
    teacher.module.eval()
    return teacher, STACKS[is_causal], rows_of(batch() if is_causal else pairs_batch())


def rows_of(tokens):
    sources = [ids[:count] for ids, count in zip(tokens.source_ids_BS.tolist(), tokens.source_counts, strict=True)]
    targets = [[label for label in labels if label >= 0] for labels in tokens.labels_BT.tolist()]
    return [
        EncodedExample(id=str(place), source_ids=tuple(source), target_ids=tuple(target))
        for place, (source, target) in enumerate(zip(sources, targets, strict=True))
    ]


def ranked(teacher, stacks, rows, by="loss"):
    wanted = (1,) * len(stacks) if by == "greedy" else ()
    return measure_importance(teacher, stacks, rows, Measuring(by=by, tokens=1, stacks=stacks, wanted=wanted), Silent())


def loss_of(teacher, rows):
    from kdkit.evaluation.losses import loss_means, row_losses
    from kdkit.logits.targets import NoTargets
    from kdkit.losses import HardLoss
    from kdkit.training.tokenloss import Forward

    losses = row_losses(
        rows, Forward.of(teacher), HardLoss(), NoTargets(), pad_id=teacher.tokenizer.pad_token_id, device="cpu",
        batch_size=2,
    )  # fmt: skip
    return loss_means(losses, 0)["hard"]


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2", "bamba", "t5", "led"])
def test_the_loss_without_a_layer_is_that_of_the_student_without_it(model_type):
    """Of all attention, sliding windows, recurrent layers, a bias in the first layer, and padding by a layer's window."""
    teacher, stacks, rows = teacher_of(model_type)
    found = ranked(teacher, stacks, rows)
    assert (found.rows, found.tokens) == (len(rows), sum(len(row.target_ids) for row in rows))
    assert found.loss == pytest.approx(loss_of(teacher, rows), rel=1e-5)
    counts = {stack: len(Stack.of(teacher.module, stack).layers) for stack in stacks}
    for stack in stacks:
        for layer in range(counts[stack]):
            kept = {side: [each for each in range(counts[side]) if (side, each) != (stack, layer)] for side in stacks}
            student = attrs.evolve(teacher, module=models.keep_layers(teacher.module, kept, seed=9).eval())
            assert found.layers[stack][layer] == pytest.approx(loss_of(student, rows), rel=1e-5)
    assert len({*found.layers[stacks[-1]], found.loss}) > 1


def test_one_layer_after_another_is_left_out_and_the_rest_is_measured_again():
    teacher, stacks, rows = teacher_of("llama", num_hidden_layers=6)
    measuring = Measuring(by="greedy", tokens=1, stacks=stacks, wanted=(2,))
    found = measure_importance(teacher, stacks, rows, measuring, Silent())
    assert found.loss == pytest.approx(loss_of(teacher, rows), rel=1e-5)
    scores = found.layers["layers"]
    order = sorted(range(6), key=lambda layer: scores[layer])

    def without(gone):
        kept = {"layers": [layer for layer in range(6) if layer not in gone]}
        return loss_of(attrs.evolve(teacher, module=models.keep_layers(teacher.module, kept, seed=9).eval()), rows)

    losses = [without(order[: count + 1]) for count in range(4)]
    assert losses[0] == pytest.approx(min(without([layer]) for layer in range(6)), rel=1e-5)
    for count, loss in enumerate(losses):
        assert scores[order[count]] == pytest.approx(max(losses[: count + 1]), rel=1e-5), loss
    assert min(scores[layer] for layer in order[4:]) > scores[order[3]]


def test_a_layer_that_has_to_stay_keeps_no_other_one_from_being_left_out(monkeypatch):
    from kdkit.models import elimination

    def but_the_last_but_one(model, counts, stack, layer):
        if layer == counts[stack] - 2:
            raise UsageError("it has to stay")
        return without(model, counts, stack, layer)

    without = elimination.without
    monkeypatch.setattr(elimination, "without", but_the_last_but_one)
    teacher, stacks, rows = teacher_of("llama", num_hidden_layers=4)
    measuring = Measuring(by="greedy", tokens=1, stacks=stacks, wanted=(3,))
    scores = measure_importance(teacher, stacks, rows, measuring, Silent()).layers["layers"]
    alone = ranked(teacher, stacks, rows).layers["layers"]
    assert scores == (pytest.approx(alone[0]), pytest.approx(alone[1]), None, pytest.approx(alone[3]))


def test_influence_is_one_minus_the_cosine_of_what_a_layer_takes_and_gives():
    teacher, stacks, rows = teacher_of("llama")
    found = ranked(teacher, stacks, rows, by="influence")
    sums, count = [0.0, 0.0], 0
    for row in rows:
        ids_1W = torch.tensor([[*row.source_ids, *row.target_ids[:-1]]])
        with torch.no_grad():
            states = teacher.module.model(ids_1W, output_hidden_states=True).hidden_states[:2]
            last = teacher.module.model.layers[1]
            noted = []
            hook = last.register_forward_hook(lambda *call, noted=noted: noted.append(call[2]))
            teacher.module(ids_1W)
            hook.remove()
        for layer, (took, gave) in enumerate(zip(states, (states[1], noted[0]), strict=True)):
            sums[layer] += float((1 - torch.cosine_similarity(took[0], gave[0], dim=-1)).sum())
        count += ids_1W.shape[1]
    assert found.layers["layers"] == pytest.approx([value / count for value in sums], rel=1e-4)
    assert found.loss is None


def test_influence_counts_the_tokens_that_each_stack_reads():
    teacher, stacks, rows = teacher_of("t5")
    whole = ranked(teacher, stacks, rows, by="influence")
    each = [ranked(teacher, stacks, [row], by="influence") for row in rows]
    for stack, length in (("encoder_layers", "source_ids"), ("decoder_layers", "target_ids")):
        weights = [len(getattr(row, length)) for row in rows]
        means = [sum(w * one.layers[stack][0] for w, one in zip(weights, each, strict=True)) / sum(weights)]
        assert whole.layers[stack][:1] == pytest.approx(means, rel=1e-5)


@pytest.mark.parametrize("by", ["loss", "greedy"])
def test_a_layer_without_which_there_is_no_such_model_has_no_score(by):
    teacher, stacks, rows = teacher_of("deepseek_v3", num_hidden_layers=3)
    first, *others = ranked(teacher, stacks, rows, by).layers["layers"]
    assert first is None
    assert all(score > 0 for score in others)
    prompted = tiny.model(pairs_table("mvp", use_prompt=True, prompt_length=2, prompt_mid_dim=4))
    with pytest.raises(
        UsageError, match="no layer can be left out alone: from_teacher cannot keep some layers of this"
    ):
        ranked(prompted, STACKS[False], rows, by)


@pytest.mark.parametrize("by", ["loss", "greedy"])
def test_a_model_that_changes_its_weights_while_it_computes_is_refused(by):
    with pytest.raises(
        UsageError, match=r'rwkv model changes its weights .*; name the layers to keep, or set by = "inf'
    ):
        ranked(*teacher_of("rwkv"), by)


def test_a_model_whose_layers_leave_something_for_later_ones_computes_them_all(monkeypatch):
    """As layers do that share keys and values: here each adds what the one before it gave."""
    teacher, stacks, rows = teacher_of("llama", num_hidden_layers=3)
    layer_type, left = type(teacher.module.model.layers[0]), {}
    own = layer_type.forward

    def forward(self, states, *arguments, **named):
        given = own(self, states, *arguments, **named)
        if self.self_attn.layer_idx:
            given = given + 3 * left["states"]
        left["states"] = given
        return given

    monkeypatch.setattr(layer_type, "forward", forward)
    found = ranked(teacher, stacks, rows)
    for layer in range(3):
        kept = {"layers": [each for each in range(3) if each != layer]}
        student = attrs.evolve(teacher, module=models.keep_layers(teacher.module, kept, seed=9).eval())
        assert found.layers["layers"][layer] == pytest.approx(loss_of(student, rows), rel=1e-5)
