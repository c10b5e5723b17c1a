"""A run whose teacher's vocabulary is trimmed, and whose models are trained by adapters: from plan to page."""

import attrs
import causal_kit
import pytest
import tiny
import torch
from safetensors.torch import load_file

import kdkit
from kdkit import models
from kdkit.api.values import ModelSize
from kdkit.errors import RecipeError, UsageError
from kdkit.evaluation import record
from kdkit.models.auto import CAUSAL
from kdkit.pipeline.plan import as_json, make_plan
from kdkit.pipeline.prepared import corpus_of
from kdkit.pipeline.vocabulary import facts_of, settled
from kdkit.recipe import load_recipe
from kdkit.report.closing.run import closing_text
from kdkit.report.parts import vocabulary
from kdkit.report.read.run import read_run
from kdkit.system.progress import Silent

KEEP = 262


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDKIT_STORE", str(folder / "store"))
        for name, seed in (("teacher", 1), ("student", 2)):
            causal_kit.model(seed=seed).save(folder / name, texts={})
        yield folder


def changes(folder, **more):
    return {
        "teacher": {"name": "hf-causal", "model": str(folder / "teacher"), "vocabulary": {"keep": KEEP}},
        "student": {"name": "hf-causal", "from_teacher": {"layers": [0, 2]}},
        "training__best_by": "hard",
        "training__epochs": 1,
        "evaluation__suites": [],
        "train": 16,
        "validation": 8,
        **more,
    }


@pytest.fixture(scope="module")
def notes():
    return tiny.Notes()


@pytest.fixture(scope="module")
def report(folder, notes):
    teacher = changes(folder)["teacher"] | {"fine_tune": {"lora": {"rank": 2}, "max_steps": 2, "best_by": "hard"}}
    student = {"name": "hf-causal", "model": str(folder / "student"), "lora": {"rank": 4, "merge": False}}
    more = {"teacher": teacher, "student": student, "evaluation__baselines": True}
    return tiny.run_here(folder, progress=notes, **changes(folder, **more))


@pytest.fixture(scope="module")
def run_dir(report):
    return report.run_dir


def test_teacher_tokenizer_and_student_have_the_ids_that_stay(folder, run_dir):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    whole = models.load_tokenizer(str(folder / "teacher"), pads_with_end=True)
    for part in ("teacher", "student/best"):
        tokenizer = AutoTokenizer.from_pretrained(run_dir / part)
        model = AutoModelForCausalLM.from_pretrained(run_dir / part)
        assert len(tokenizer) == model.config.vocab_size == KEEP < len(whole)
        text = "max of 7 and 3, Grüße \U0001f642"
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_adapters_are_added_to_the_teacher_and_saved_beside_the_student(report, folder, notes):
    run_dir = report.run_dir
    assert any(note.startswith("teacher: LoRA of rank 2 trains ") for note in notes.notes)
    assert any(note.startswith("student: LoRA of rank 4 trains ") for note in notes.notes)
    before, after = (load_file(each / "model.safetensors") for each in (folder / "teacher", run_dir / "teacher"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if any(part in name for part in ("_proj", "embed_tokens", "lm_head"))}
    best = run_dir / "student" / "best"
    assert (best / "adapter_model.safetensors").is_file()
    assert not (best / "model.safetensors").exists()
    size = models.size_of(models.load_config(str(folder / "student"), CAUSAL))
    assert report.costs["student"].parameters == size.parameters - 16 * 2 * (tiny.VOCAB - KEEP)


def test_what_is_lost_is_said_by_run_record_page_and_terminal(run_dir, notes):
    found = record.read(run_dir).vocabulary
    assert (found.facts.kept, found.facts.whole, found.facts.texts) == (KEEP, tiny.VOCAB, 8)
    assert found.facts.tokens >= found.facts.whole_tokens > 0
    assert 0 < found.facts.parameters < found.facts.whole_parameters
    assert found.before.value > 0 < found.after.value != found.before.value
    said = f"{KEEP} of {tiny.VOCAB} ids are kept, which saves "
    assert any(note.startswith(f"check: of the teacher's vocabulary {said}") for note in notes.notes)
    facts = read_run(run_dir)
    part = vocabulary.of_run(facts)
    assert part is not None
    assert part.blocks[0].startswith(f"{said}256 of ")
    assert "bits per byte" in part.blocks[0]
    assert f"{KEEP} of {tiny.VOCAB} ids, " in closing_text(run_dir)
    assert "bits per byte of the teacher" in closing_text(run_dir)
    taken = [note.partition(": answers taken from ")[0] for note in notes.notes if ": answers taken from " in note]
    assert taken == ["trimmed teacher"], "the same model as before its fine-tuning"


def test_its_student_is_scored_on_other_rows_with_the_ids_that_its_own_rows_left(folder, run_dir):
    tiny.write_rows(folder / "other.jsonl", 5, 99)
    found = kdkit.evaluate(run_dir, [f"data.validation={folder}/other.jsonl"]).run_dir
    told, trained = record.read(found), record.read(run_dir)
    assert (told.split, told.row_count) == ("test", 5)
    assert (told.vocabulary.facts.kept, told.vocabulary.facts.texts) == (KEEP, 5)
    assert told.vocabulary.before != trained.vocabulary.before
    assert len(told.fine_tuning) == len(trained.fine_tuning) > 0
    assert {each.metric for each in told.differences if each.than == "labels-only"} >= {"hard", "bits_per_byte"}
    assert f"{KEEP} of {tiny.VOCAB} ids, " in closing_text(found)


def test_a_plan_says_it_without_weights(folder, monkeypatch):
    recipe = load_recipe(tiny.recipe_table(folder, **changes(folder)))
    monkeypatch.setattr("kdkit.models.trimmed_folders._write_weights", lambda *_: pytest.fail("weights are made"))
    plan = make_plan(recipe, folder / "new", Silent())
    work = {stage["name"]: stage["work"] for stage in as_json(plan)["stages"]}["teacher"]
    assert f"used as it is; of the vocabulary {KEEP} of {tiny.VOCAB} ids are kept" in work


def test_a_plan_that_shows_rows_encodes_them_once_to_see_which_ids_stay(folder, monkeypatch):
    from kdkit.cli.plan import plan_with_rows
    from kdkit.pipeline import vocabulary as trimming

    counted, counts = [], trimming._counts
    monkeypatch.setattr(trimming, "_counts", lambda *given: counted.append(given) or counts(*given))
    plan, shown = plan_with_rows(load_recipe(tiny.recipe_table(folder, **changes(folder))), folder / "new", 2)
    assert (len(plan.stages), len(shown.rows), len(counted)) == (8, 2, 1)


def test_a_student_of_its_own_is_trimmed_by_the_same_ids_or_refused(folder, tmp_path):
    student = {"name": "hf-causal", "model": str(folder / "student")}
    recipe = load_recipe(tiny.recipe_table(folder, **changes(folder, student=student)))
    corpus = corpus_of(recipe, tmp_path / "run", Silent())
    made = settled(recipe, corpus)
    assert made.digest == recipe.digest
    assert settled(made, corpus) is made
    tokenizer = made.teacher.load_tokenizer(corpus)
    assert models.load_tokenizer(made.student.model).get_vocab() == tokenizer.get_vocab()
    of_layers = load_recipe(tiny.recipe_table(folder, **changes(folder))).student
    for each in (made.student, of_layers):
        assert each.build(tokenizer, made.teacher.find_folder(), seed=1, device="cpu").vocab_size == KEEP
    other = models.train_bpe(["other words"], vocab_size=tiny.VOCAB, ends_texts=False)
    causal_kit.model(seed=3).save(tmp_path / "other", texts={})
    other.save_pretrained(str(tmp_path / "other"))
    student = {"name": "hf-causal", "model": str(tmp_path / "other")}
    with pytest.raises(UsageError, match=r"^student: teacher.vocabulary keeps some ids .* has other tokens"):
        settled(load_recipe(tiny.recipe_table(folder, **changes(folder, student=student))), corpus)


def test_a_new_teacher_and_another_tokenizer_are_refused(folder):
    new = {"name": "hf-causal", "config": causal_kit.LLAMA, "vocabulary": {"keep": KEEP}}
    with pytest.raises(RecipeError, match="set vocab_size instead"):
        load_recipe(tiny.recipe_table(folder, **changes(folder, teacher=new)))


@pytest.mark.parametrize(
    ("form", "limits"),
    [("pair", {"max_source": 3}), ("pair", {"max_target": 3}), ("text", {"max_length": 8, "max_blocks": 1})],
)
def test_tokens_are_counted_of_the_same_text_whatever_the_limits(folder, tmp_path, form, limits):
    recipe = load_recipe(tiny.recipe_table(folder, **changes(folder)))
    corpus = corpus_of(recipe, tmp_path / "run", Silent())
    made = settled(recipe, corpus)
    if form == "text":
        texts = [attrs.evolve(row, form="text", source="", target=row.source + row.target) for row in corpus.held_out]
        corpus = attrs.evolve(corpus, validation=texts, test=[])

    def counted(**tokens):
        its = attrs.evolve(made, tokens=attrs.evolve(made.tokens, **tokens))
        facts = facts_of(its, corpus, ModelSize(parameters=1, vocab_size=KEEP))
        return facts.tokens, facts.whole_tokens

    assert counted(**limits) == counted(**{**limits, "max_blocks": 0, "max_source": 500, "max_target": 500})
