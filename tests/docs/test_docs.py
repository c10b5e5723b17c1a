"""The documentation says what is so: its code runs, its recipes are valid, what it quotes is current."""

from __future__ import annotations

import json
import re
import tomllib

import numpy as np
import pytest
import tomli_w
from pages import (
    DISTRIBUTIONS,
    ROOT,
    STAND_INS,
    WRITTEN,
    each,
    fences,
    in_backticks,
    name_of,
    quotes,
    read,
    registry,
    run_files,
    script,
)

import kdkit
from kdkit.recipe import shipped_recipes
from kdkit.sweeps.reading import load_any


def run_blocks(page):
    """Run the page's Python blocks from top to bottom, as one script."""
    blocks = fences(page, "python")
    assert blocks
    names = {"__name__": "documentation"}
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{name_of(page)}, block {number}", "exec"), names)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, id=name_of(page)) for page in WRITTEN if fences(page, "python") and page.name != "library.md"],
)
def test_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_blocks(page)


@pytest.fixture(scope="module")
def library_folder(tmp_path_factory):
    """Where the code of docs/library.md has run; it makes a whole run."""
    folder = tmp_path_factory.mktemp("library")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("KDKIT_STORE", raising=False)
        run_blocks(ROOT / "docs" / "library.md")
    return folder


@pytest.mark.slow
def test_the_table_of_the_run_folder_is_what_a_run_leaves(library_folder):
    run = library_folder / "runs" / "largest"
    listed = run_files()
    not_here = {
        "data/test.jsonl",
        "predictions/student-validation.jsonl",
        ".reserve",
        "predictions/targets.jsonl",
        "written/train.jsonl",
        "evaluations/NAME/",
    }  # no test rows, the run is over and was not scored again, and its targets are the data's
    missing = [name for name in listed if not (run / name).exists() and name not in not_here]
    assert not missing, "listed, but not there"
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    unlisted = {name for name in left if not any(name == known or name.startswith(f"{known.rstrip('/')}/") for known in listed)}  # fmt: skip
    assert not unlisted


@pytest.mark.slow
def test_the_store_is_laid_out_as_said(library_folder):
    store = library_folder / "runs" / "cache"
    said = {token.partition("/DIGEST")[0] for token in in_backticks(ROOT / "docs" / "recipes.md") if "/DIGEST" in token}
    made = {"answers", "baselines", "logits", "teachers", "texts", "times", "tokenizers"}
    assert said == made | {"rows", "models", "importance"}
    assert {path.name for path in store.iterdir()} == made  # its data are too small to be kept as columns


def keys_of(value):
    """Every key of a JSON value that is not the name of a model, a package or a plugin."""
    if isinstance(value, list):
        yield from (key for part in value for key in keys_of(part))
    for key, held in value.items() if isinstance(value, dict) else ():
        yield key
        if key not in {"versions", "plugins"}:
            by_name = isinstance(held, dict) and key in {"calibration", "costs", "baselines"}
            yield from keys_of(list(held.values()) if by_name else held)


@pytest.mark.slow
def test_a_page_names_every_key_of_the_files_of_a_run(library_folder):
    run, named = library_folder / "runs" / "largest", set(in_backticks(ROOT / "docs" / "run-files.md"))
    lines = [json.loads(line) for line in read(run / "metrics.jsonl").splitlines()]
    texts = [json.loads(line) for path in (run / "predictions").glob("*.jsonl") for line in read(path).splitlines()]
    found = {key for file in ("run.json", "evaluation.json") for key in keys_of(json.loads(read(run / file)))}
    found |= {key if "." not in key else "SUITE.METRIC" for key in keys_of([*lines, *texts])}
    with np.load(run / "rows.npz", allow_pickle=False) as arrays:
        for array in arrays.files:
            _, *score = array.split("|")
            found |= {f"|{score[3]}"} if len(score) > 3 else set() if score else {array}
    assert found <= {name.replace("\\|", "|") for name in named}, sorted(found - named)


def recipe_blocks(page):
    return fences(page, "toml")


@pytest.mark.parametrize(("page", "blocks"), each(recipe_blocks))
def test_a_recipe_or_a_part_of_one_on_a_page_is_valid(page, blocks, tmp_path):
    for block in blocks:
        table = tomllib.loads(block)
        if "extends" not in table:
            table = STAND_INS | table
        path = tmp_path / "recipe.toml"
        path.write_text(tomli_w.dumps(table))
        load_any(path, plugins=registry())


def test_a_page_explains_every_section_of_the_quickstart_once():
    recipe = quotes.sections(read(ROOT / "recipes" / "quickstart.toml"))
    page = read(ROOT / "docs" / "quickstart.md")
    named = re.findall(r"<!-- sections recipes/quickstart\.toml: ([\w ]+) -->", page)
    assert sorted(" ".join(named).split()) == sorted(recipe)


def test_the_readme_shows_how_the_quickstart_ends():
    shown = read(ROOT / "README.md").split("<!-- quickstart -->")[1].split("<!-- /quickstart -->")[0]
    advice = "paste the end of `make quickstart` there"
    assert re.search(r"^report: +runs/quickstart/report\.html$", shown, re.MULTILINE), advice
    assert re.search(r"^ +(student +only +teacher|teacher +student +only)", shown, re.MULTILINE), advice


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_quotes_of_files_are_current(page):
    assert quotes.filled(read(page)) == read(page), "run: python docs/make_quotes.py"


def quoted_lines(page):
    return re.findall(r"^<!-- lines of (\S+) -->\n```\w*\n(.*?)^```$", read(page), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("page", "parts"), each(quoted_lines))
def test_quoted_lines_stand_in_their_file(page, parts):
    for path, lines in parts:
        assert lines in read(ROOT / path), f"{name_of(page)} quotes {path} wrongly"


def test_the_options_page_is_current():
    assert read(ROOT / "docs" / "options.md") == script("make_options").render(), "run: python docs/make_options.py"


def test_why_has_a_line_for_every_dependency_and_says_whose_it_is():
    table = read(ROOT / "docs" / "why.md").split("<!-- dependencies -->")[1].split("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[3:] if line]
    said = {dependency: of.split(", ") for dependency, of, _ in rows}
    wanted = {}
    for distribution in sorted(DISTRIBUTIONS):
        for requirement in DISTRIBUTIONS[distribution]["dependencies"]:
            name = re.match(r"[\w-]+", requirement)[0]
            if name not in DISTRIBUTIONS:
                wanted.setdefault(name, []).append(distribution)
    assert said == wanted
    assert list(said) == sorted(said)
    assert all(reason for _, _, reason in rows)


def test_why_has_a_line_for_every_tool_of_the_site_and_each_is_pinned():
    table = read(ROOT / "docs" / "why.md").split("<!-- docs tools -->")[1].split("<!-- end -->")[0]
    wanted = re.findall(r"^([\w-]+)$", read(ROOT / "requirements-docs.txt"), re.MULTILINE)
    assert re.findall(r"^\| ([\w-]+) \| \w", table, re.MULTILINE)[1:] == wanted
    assert set(wanted) <= set(re.findall(r"^([\w-]+)==", read(ROOT / "constraints.txt"), re.MULTILINE))


def test_the_changelog_has_the_current_version():
    assert re.search(rf"^## \[{re.escape(kdkit.__version__)}\]", read(ROOT / "CHANGELOG.md"), re.MULTILINE)


def test_the_licence_is_whole():
    text = read(ROOT / "LICENSE")
    assert "END OF TERMS AND CONDITIONS" in text
    assert all(f"   {clause}. " in text for clause in range(1, 10))
    assert all(table["license"] == "Apache-2.0" for table in DISTRIBUTIONS.values())


def test_every_shipped_recipe_is_on_a_page():
    text = "".join(read(page) for page in WRITTEN)
    assert all(f"{name}.toml" in text for name in shipped_recipes())


RESULTS = ROOT / "docs" / "results"


def test_the_recipes_of_the_results_are_valid_and_listed():
    recipes = sorted((RESULTS / "recipes").glob("*.toml"))
    page = read(RESULTS / "README.md")
    for path in recipes:
        assert load_any(path).name
        assert path.name in page or any(f'extends = "{path.name}"' in read(other) for other in recipes)


def test_every_interval_in_the_results_is_one_of_a_report_beside_them():
    """As `.185 (.171 to .200)`; reports say `-.003 (-.011 to +.007, within noise)` and `(+.026, +.012 to +.041)` too."""
    number = r"[+\u2212-]?\d*\.\d+"
    told = re.findall(rf"({number})\s+\(({number}) to\s+({number})[,)]", read(RESULTS / "README.md"))
    shown = {
        found
        for report in RESULTS.glob("*/report.md")
        for form in (rf"({number}) \(({number}) to ({number})[,)]", rf"\(({number}), ({number}) to ({number})[,)]")
        for found in re.findall(form, read(report))
    }
    assert len(told) > 20
    assert set(told) <= shown


def test_the_changelog_says_nothing_twice():
    said = [line[:40] for line in read(ROOT / "CHANGELOG.md").split("\n") if line.startswith("- ")]
    assert [line for line in said if said.count(line) > 1] == []
