"""What follows from the kind of a model is asked of the teacher or the student that it is of."""

from __future__ import annotations

import runpy

import attrs
import causal_kit
import pytest
import tiny
from architectures import BERT, table
from transformers.pipelines import SUPPORTED_TASKS

from kdkit.api.options import Generation, TokenLimits
from kdkit.api.values import ModelSize
from kdkit.builtin.students.hf_seq2seq import HFSeq2SeqStudent
from kdkit.errors import UsageError
from kdkit.models import DecoderOnly, EncoderDecoder, config_from, new_model
from kdkit.models.tokenizers import ends_texts
from kdkit.pipeline.estimate import estimate
from kdkit.recipe import load_recipe
from kdkit.runs.model_card import model_card
from kdkit.system.progress import Silent


def test_the_code_of_a_model_card_opens_a_saved_model(tmp_path, capsys):
    model, options = tiny.model(tiny.T5), Generation(max_new_tokens=7, beams=1)
    model.adopt(options)
    model.save(tmp_path / "model", texts={})
    file = tmp_path / "code.py"
    file.write_text(EncoderDecoder().code(str(tmp_path / "model"), options))
    names = runpy.run_path(str(file))
    assert names["model"].config.model_type == "t5"
    assert capsys.readouterr().out.endswith("\n")


def test_the_code_of_a_card_does_not_ask_after_the_end_of_a_text(tmp_path):
    """Where the tokenizer puts an end after each text, a decoder-only model would be asked what comes after it."""
    asking = causal_kit.model()
    ending = tiny.tokenizer()
    model, options = attrs.evolve(asking, tokenizer=ending), Generation(max_new_tokens=3, beams=1)
    assert (ends_texts(ending), ends_texts(asking.tokenizer)) == (True, False)
    model.adopt(options)
    model.save(tmp_path / "model", texts={})
    file = tmp_path / "code.py"
    for form in ("pair", "text"):
        file.write_text(DecoderOnly().code(str(tmp_path / "model"), options, form, ended=True))
        names = runpy.run_path(str(file))
        read = ending("the prompt")["input_ids"]
        assert read[-1] == ending.eos_token_id
        assert names["inputs"]["input_ids"].tolist() == [read[:-1]]
        assert names["ids"][0, : len(read) - 1].tolist() == read[:-1]
    assert "the end" not in DecoderOnly().code("m", options, "chat", ended=True)


@attrs.frozen(kw_only=True)
class Written(EncoderDecoder):
    """A kind with a task and a size of its own."""

    asked: list

    @property
    def pipeline_tag(self):
        return "text-generation"

    def code(self, folder, generation, form, *, ended):
        assert (form, ended) == ("pair", True)
        return f"open({folder!r}, {generation.max_new_tokens})"

    def size_of(self, config):
        return ModelSize(parameters=7, vocab_size=config.vocab_size)

    def check_positions(self, *limits):
        self.asked.append(limits)


@attrs.frozen(kw_only=True)
class Writer(HFSeq2SeqStudent):
    """A student whose model is of a kind that kdkit does not know."""

    asked: list = attrs.field(factory=list, init=False)

    @property
    def model_kind(self):
        return Written(asked=self.asked)


def test_card_and_estimate_take_a_model_of_another_kind(tmp_path):
    recipe = load_recipe(tiny.recipe_table(tmp_path))
    student = Writer(from_teacher=recipe.student.from_teacher)
    recipe = attrs.evolve(recipe, student=student)
    found = estimate(recipe, recipe.data.load(Silent()))
    assert found.student.parameters == 7
    assert found.teacher.parameters > 7
    assert [limits[1:] for limits in student.asked] == [(recipe.tokens, recipe.generation, "pair")]
    for role in ("student", "labels-only"):
        card = model_card(recipe, tiny.tokenizer(), role=role)
        assert "pipeline_tag: text-generation\n" in card
        assert "text-generation" in SUPPORTED_TASKS
        assert f"```python\nopen('PATH/OF/THIS/FOLDER', {recipe.generation.max_new_tokens})\n```" in card
    assert "AutoModelForSeq2SeqLM" in model_card(recipe, tiny.tokenizer(), role="teacher")


@pytest.mark.parametrize(
    ("model_type", "fields", "sentence"),
    [
        ("encoder-decoder", {"encoder": {**BERT, "max_position_embeddings": 20}}, "tokens.max_source is 24"),
        ("encoder-decoder", {"decoder": {**BERT, "max_position_embeddings": 7}}, "tokens.max_target is 8"),
        ("led", {"max_encoder_position_embeddings": 20}, "tokens.max_source is 24"),
        ("encoder-decoder", {}, None),
        ("t5gemma", {}, None),  # which knows distances
        ("t5gemma2", {}, None),
    ],
)
def test_limits_beyond_the_positions_of_encoder_or_decoder_are_refused(model_type, fields, sentence):
    config = config_from(table(model_type, **fields), tiny.tokenizer())
    limits, generation = TokenLimits(max_source=24, max_target=8), Generation(max_new_tokens=7)
    if sentence is None:
        EncoderDecoder().check_positions(config, limits, generation)
    else:
        with pytest.raises(UsageError, match=sentence):
            EncoderDecoder().check_positions(config, limits, generation)


def test_the_last_positions_of_roberta_are_beyond_its_padding():
    """Its first token has the position after the padding's id: what the check allows works, and one more does not."""
    import torch
    from causal_kit import tokenizer

    fields = {**BERT, "model_type": "roberta", "is_decoder": True, "max_position_embeddings": 20}
    config = config_from(fields, tokenizer(), DecoderOnly().auto)
    model = new_model(config, seed=1).eval()
    config.pad_token_id = model.config.pad_token_id
    most = 20 - config.pad_token_id - 1
    model(input_ids=torch.full((1, most), 5))
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, most + 1), 5))
    DecoderOnly().check_positions(config, TokenLimits(max_length=most), Generation(), "text")
    with pytest.raises(UsageError, match=rf"tokens.max_length is {most + 2}, .* has positions for {most}; set it"):
        DecoderOnly().check_positions(config, TokenLimits(max_length=most + 2), Generation(), "text")


def test_prompt_and_completion_have_to_fit_a_decoder_together():
    from causal_kit import GPT2, tokenizer

    config = config_from(GPT2, tokenizer(), DecoderOnly().auto)
    fits = TokenLimits(max_source=49, max_target=16)  # the last label is not read
    DecoderOnly().check_positions(config, fits, Generation(max_new_tokens=16))
    for limits, new, name in (
        (TokenLimits(max_source=50, max_target=16), 8, "tokens.max_target is 16"),
        (fits, 17, "generation.max_new_tokens is 17"),
    ):
        with pytest.raises(UsageError, match=rf"and {name}, but a gpt2 .* positions for 64 tokens of both together"):
            DecoderOnly().check_positions(config, limits, Generation(max_new_tokens=new))


@pytest.mark.parametrize(
    ("kind", "special", "sentence"),
    [
        (
            DecoderOnly,
            {},
            r"no token that ends texts \(eos_token\) and none that pads \(pad_token\).*set eos_token in its",
        ),
        (
            EncoderDecoder,
            {"eos_token": "</s>"},
            r"no token that pads \(pad_token\); set one in its tokenizer_config.json",
        ),
        (DecoderOnly, {"eos_token": "</s>"}, None),
    ],
)
def test_a_tokenizer_without_the_tokens_that_a_kind_needs_is_a_sentence_with_the_cure(
    tmp_path, kind, special, sentence
):
    from causal_kit import tokenizer
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer, **special).save_pretrained(tmp_path)
    if sentence is None:
        assert kind().load_tokenizer(str(tmp_path)).pad_token == "</s>"
    else:
        with pytest.raises(UsageError, match=sentence):
            kind().load_tokenizer(str(tmp_path))
