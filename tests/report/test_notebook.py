"""What a notebook, a prompt and rich show of a recipe, a run and a sweep, and one score of a report."""

from __future__ import annotations

import io
import re
from html import unescape

import attrs
import pytest
import tiny
from rich.console import Console
from run_folders import write_run_folder
from sweep_folders import write_sweep_folder

from kdkit.errors import UsageError
from kdkit.evaluation.record import read_report
from kdkit.pipeline.sweep import SweepEnd
from kdkit.recipe import load_recipe
from kdkit.report import sweep
from kdkit.report.closing.outcome import RunReport
from kdkit.report.closing.run import closing_text
from kdkit.sweeps.reading import load_sweep


def text_of(html: str) -> str:
    return unescape(re.sub("<[^>]*>", "", html))


def printed(value) -> list[str]:
    console = Console(width=80, file=io.StringIO())
    console.print(value)
    return lines_of(console.file.getvalue())


def lines_of(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_a_notebook_shows_a_report_as_a_terminal_does(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=60)
    report = RunReport.of(read_report(folder))
    assert repr(report) == (
        f"<Report of {folder}: {len(report.scores)} scores of {', '.join(dict.fromkeys(s.model for s in report.scores))}>"
    )
    html = report._repr_html_()
    assert lines_of(text_of(html)) == lines_of(closing_text(folder))
    assert html.startswith("<pre")
    assert "<script" not in html
    assert "".join(printed(report)) == "".join(lines_of(closing_text(folder))), "long lines go on in the next one"
    (folder / "evaluation.json").write_text("{")
    assert report._repr_html_() is None, "then the line alone is shown"
    assert "".join("".join(printed(report)).split()) == "".join(repr(report).split())


def test_a_recipe_is_a_line_and_in_a_notebook_a_table_with_every_option(tmp_path):
    hostile = "<script>alert(1)</script>"
    recipe = load_recipe(tiny.recipe_table(tmp_path, description=hostile))
    assert repr(recipe) == ("<Recipe tiny: data jsonl, teacher hf-seq2seq, student hf-seq2seq, codec u8-lz4, loss kd>")
    html = recipe._repr_html_()
    assert hostile not in html
    assert hostile in text_of(html)
    assert re.search("<th [^>]*>loss</th><td [^>]*>kd</td>", html)
    assert lines_of(recipe.to_toml())[-1] in text_of(html)
    shown = printed(recipe)
    assert shown[:2] == ["tiny (recipe)", hostile]
    assert "loss     kd" in shown
    assert load_recipe(tiny.recipe_table(tmp_path, description=hostile)) == recipe, "a line is not what equals"


def test_a_sweep_and_its_end_are_a_line(tmp_path):
    table = tiny.recipe_table(tmp_path) | {"name": "s", "sweep": {"grid": {"loss.alpha": [0.0, 0.5]}, "seeds": [1, 2]}}
    assert repr(load_sweep(table)) == "<Sweep s: 4 trials over loss.alpha, 2 seeds>"
    folder = write_sweep_folder(tmp_path / "sw", [{"loss.alpha": 0.0}, {"loss.alpha": 0.5}], seeds=(1,), rows=20)
    end = SweepEnd(report=sweep.assemble(folder), done=2, failed=0)
    verdict = end.report.document.verdict.sentence
    assert repr(end) == f"<Sweep {folder}: 2 done, 0 failed; {verdict}>"
    assert verdict in " ".join(text_of(end._repr_html_()).split())
    assert verdict in " ".join(" ".join(printed(end)).split())


def test_one_score_of_a_report_is_asked_for_by_name(tmp_path):
    report = read_report(write_run_folder(tmp_path / "run", rows=60))
    found = report.score("student", "text.f1")
    assert (found.model, found.suite, found.metric, found.against) == ("student", "text", "f1", "truth")
    assert str(found) == f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
    assert attrs.evolve(report, headline="text.f1").score("student") == found
    assert report.score("student", "text.f1", against="teacher").against == "teacher"
    (soft,) = {score.against for score in report.scores if score.name == "loss.soft"}
    assert report.score("student", "loss.soft").against == soft
    for asked, sentence in (
        ({"model": "studnet"}, r'run has no scores of a model "studnet"; did you mean "student"\?'),
        ({"model": "student", "metric": "f1"}, r'the student has no score "f1"; did you mean "text\.f1"\?'),
        ({"model": "student", "metric": "text.f2"}, r'the student has no score "text\.f2"; did you mean "text\.f1"\?'),
        ({"model": "student", "metric": "bleu"}, r'the student has no score "bleu"; available: .*text\.f1.*'),
        (
            {"model": "student", "metric": "text.f1", "against": "truht"},
            r'the student was not scored against "truht"; did you mean "truth"\?',
        ),
    ):
        with pytest.raises(UsageError, match=f"{sentence}$"):
            report.score(**asked)
    with pytest.raises(UsageError, match="has no headline metric; name a metric, such as"):
        report.score("student")
