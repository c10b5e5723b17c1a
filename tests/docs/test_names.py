"""What the documentation names exists, and what exists is documented."""

from __future__ import annotations

import re

import click
import pytest
from pages import (
    DISTRIBUTIONS,
    FENCE,
    PAGES,
    ROOT,
    WRITTEN,
    attribute,
    components,
    each,
    fences,
    in_backticks,
    name_of,
    option_paths,
    read,
    registry,
    run_files,
)

from kdkit import plugins as plugin_loading
from kdkit.cli import VERBS, Verb
from kdkit.errors import Interrupted, KdkitError
from kdkit.evaluation.baselines import NAMES as BASELINES
from kdkit.pipeline.stages import STAGES
from kdkit.plugins.fields import options_of
from kdkit.plugins.registry import INTERFACES
from kdkit.recipe import SECTIONS
from kdkit.recipe.sections import SWEEP, Preamble
from kdkit.runs.stage import STAGE_NAMES

PARTLY = 3  # what a sweep ends with, some of whose trials failed

# Hosts that the pages may link to.
HOSTS = {"doi.org", "github.com", "keepachangelog.com", "semver.org"}


def command_lines(page):
    """What the page says of the command line: `kdkit ...`, in backticks and in fences."""
    in_fences = [line.strip() for code in fences(page, "sh", "text") for line in code.splitlines()]
    return [text for text in [*in_backticks(page), *in_fences] if text.startswith("kdkit ")]


def command_of(words):
    """The command that a line calls, and the words after its name."""
    assert words[0] in VERBS, f"there is no kdkit {words[0]}"
    command = Verb(name=words[0]).load()
    rest = words[1:]
    if isinstance(command, click.Group):
        assert rest, "a verb of the group is missing"
        assert rest[0] in command.commands, f"there is no kdkit {' '.join(words[:2])}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


@pytest.mark.parametrize(("page", "lines"), each(command_lines))
def test_every_command_line_calls_a_command_with_options_that_it_has(page, lines):
    for line in lines:
        words = re.findall(r"'[^']*'|\S+", line.removeprefix("kdkit "))
        if words[0] in {"VERB", "--help"}:
            continue
        command, rest = command_of(words)
        known = {"--help", *(spelling for parameter in command.params for spelling in parameter.opts)}
        unknown = [word for word in rest if word.startswith("-") and word not in known]
        assert not unknown, f"`{line}` of {name_of(page)}: no option {unknown}"


def test_every_command_is_documented():
    text = " ".join(line for page in WRITTEN for line in command_lines(page))
    for verb in VERBS:
        command = Verb(name=verb).load()
        for name in [f"{verb} {sub}" for sub in command.commands] if isinstance(command, click.Group) else [verb]:
            assert f"kdkit {name} " in f"{text} ", f"kdkit {name} is not documented"


def named_options(page):
    """What looks like `section.key`, alone or with `=value` as an override."""
    text = FENCE.sub(lambda match: match.group() if match["language"] == "sh" else "", read(page))
    pattern = rf"(?<![\w./:-])(?:{'|'.join(SECTIONS)})\.[a-z_]+(?:\.[a-z_]+)*(?![\w.]*[/(:])"
    files = {f"{name}.{ending}" for name in SECTIONS for ending in ("py", "json", "jsonl", "md", "toml", "html")}
    return sorted(set(re.findall(pattern, text)) - files)


@pytest.mark.parametrize(("page", "options"), each(named_options))
def test_every_option_that_is_named_exists(page, options):
    assert not [option for option in options if option not in option_paths()]


@pytest.mark.parametrize(("page", "tokens"), each(in_backticks))
def test_sections_hooks_and_variables_that_are_named_exist(page, tokens):
    sources = "".join(read(path) for folder in ("kdkit", "plugins") for path in (ROOT / folder).rglob("*.py"))
    for token in tokens:
        if section := re.fullmatch(r"\[([a-z]+)\]", token):
            assert section[1] in {*SECTIONS, SWEEP}, f"there is no section {token}"
        if token.startswith("register_"):
            assert token in {f"register_{kind}" for kind in plugin_loading.KINDS}, f"there is no hook {token}"
        if re.fullmatch(r"[A-Z]+(_[A-Z]+)+", token) and token != "RUN_DIR":
            assert f'"{token}"' in sources, f"nothing reads {token}"
        if re.fullmatch(r"kdkit(_assertions)?(\.\w+)+", token) and not token.endswith((".toml", ".md")):
            attribute(token)


def test_every_hook_is_documented():
    said = in_backticks(ROOT / "docs" / "plugins.md")
    assert {f"register_{kind}" for kind in plugin_loading.KINDS} <= set(said)
    named = {cls.__name__ for interfaces in INTERFACES.values() for cls in interfaces}
    assert {f"kdkit.api.{name}" for name in named} <= set(said)


def test_the_conformance_kit_is_documented():
    import kdkit.testing

    said = in_backticks(ROOT / "docs" / "plugins.md")
    assert {f"kdkit.testing.{name}" for name in kdkit.testing.__all__} <= set(said)


def kebab_names(page):
    return sorted({token for token in in_backticks(page) if re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", token)})


@pytest.mark.parametrize(("page", "names"), each(kebab_names))
def test_names_with_hyphens_are_components_choices_or_distributions(page, names):
    known = {name for kind in plugin_loading.KINDS for name in components(kind)} | set(DISTRIBUTIONS) | set(BASELINES)
    for kind in plugin_loading.KINDS:
        for component in components(kind):
            options = options_of(registry().get(kind, component).load())
            known |= {choice for option in options for choice in option.choices}
    stray = [name for name in names if name not in known and name != "my-codec"]
    # The cache format has names of its own, which its tests hold in place.
    assert not stray or page.name == "cache-format.md"


def test_components_has_a_heading_for_each_component_and_no_other():
    text = read(ROOT / "docs" / "components.md")
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    headings = {part: re.findall(r"^### `(.+)`$", body, re.MULTILINE) for part, body in zip(parts[::2], parts[1::2], strict=True)}  # fmt: skip
    titles = {
        "datasets": "Data sets", "teachers": "Teachers", "students": "Students",
        "codecs": "Codecs", "losses": "Losses", "metrics": "Metric suites",
        "references": "References", "searches": "Searches", "trackers": "Trackers",
    }  # fmt: skip
    assert {kind: sorted(headings[title]) for kind, title in titles.items()} == {
        kind: sorted(components(kind)) for kind in plugin_loading.KINDS
    }


def test_every_key_before_the_sections_is_in_the_recipes_page():
    row = next(line for line in read(ROOT / "docs" / "recipes.md").splitlines() if line.startswith("| (before"))
    said = set(re.findall(r"`(\w+)`", row))
    assert said == {"name", "extends", *(option.name for option in options_of(Preamble))}


def test_every_section_is_in_the_recipes_page():
    said = re.findall(r"^\| `\[(\w+)\]` \|", read(ROOT / "docs" / "recipes.md"), re.MULTILINE)
    assert said == list(SECTIONS)


def test_the_exit_codes_are_those_of_the_errors():
    def classes(cls):
        return {cls}.union(*(classes(sub) for sub in cls.__subclasses__()))

    section = read(ROOT / "docs" / "recipes.md").split("## Exit codes")[1]
    said = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    own = {cls.exit_code for cls in classes(KdkitError) if cls.__module__ == KdkitError.__module__}
    assert said == {0, PARTLY, Interrupted("x", signal_exit_code=143).signal_exit_code, *own}


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them."""
    seen = {}
    for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", read(page)), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
        yield f"{slug}-{seen[slug]}" if seen[slug] else slug


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", read(page)))


@pytest.mark.parametrize(("page", "targets"), each(links))
def test_every_link_leads_somewhere(page, targets):
    for target in targets:
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name_of(page)} links to {target}"
        assert not anchor or anchor in set(anchors(there)), f"{name_of(page)} links to {target}"


def paths(page):
    """Tokens that look like files of the project or of a run folder."""
    is_path = re.compile(r"[\w.-]+(?:/[\w.-]+)*(?:/|\.(?:py|md|toml|json|jsonl|html|txt))")
    return [token for token in in_backticks(page) if is_path.fullmatch(token) and not token.startswith(".")]


@pytest.mark.parametrize(("page", "tokens"), each(paths))
def test_every_file_that_is_named_exists(page, tokens):
    # Made by a run, by an author of a plugin or by a user.
    folders = {
        "data/",
        "student/",
        "logits/DIGEST/",
        "rows/DIGEST/",
        "teachers/DIGEST/",
        "tokenizers/DIGEST/",
        "baselines/DIGEST/",
        "texts/DIGEST.jsonl",
        "importance/DIGEST.json",
        "times/DIGEST.json",
        "answers/DIGEST.bin",
        "models/",
        "models/DIGEST/",
        "predictions/",
        "written/",
    }
    sweep = {"sweep.json", "sweep.toml", "results.json", "trials/ID/", "data/KEY/", "search/"}
    compared = {"comparison.html", "comparison.md"}
    made = {
        *run_files(),
        *folders,
        *sweep,
        *compared,
        "kdkit_recipe.toml",
        "config.json",
        "tokenizer_config.json",
        "generation_config.json",
        "adapter_config.json",
        "tokenizer.json",
        "README.md",
        "manifest.json",
        "pyproject.toml",
    }
    for token in tokens:
        assert token in made or any((base / token).exists() for base in (ROOT, page.parent)), (
            f"{name_of(page)} names {token}, which is not there"
        )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_page_names_a_place_of_one_machine_or_an_unexpected_host(page):
    text = read(page)
    assert not re.findall(r"(?<![\w./<-])/(?:home|root|tmp|work|usr|opt|Users|var)\b\S*", text)
    assert not re.findall(r"\b[A-Z]:\\", text)
    hosts = {host.lower() for host in re.findall(r"https?://([^/\s)>\"]+)", text)}
    assert hosts <= HOSTS
    assert not re.findall(r"--(?:extra-)?index-url|--find-links", text)


@pytest.mark.parametrize("page", ["recipes.md", "scaling.md"])
def test_the_tables_of_stages_have_every_stage_once(page):
    table = read(ROOT / "docs" / page).split("\n| stage |")[1].split("\n\n")[0]
    named = [name.strip(" `") for row in table.splitlines()[2:] for name in row.split("|")[1].split(",")]
    names = list(STAGE_NAMES)
    assert (named if page == "recipes.md" else sorted(named, key=names.index)) == names


def test_the_table_of_processes_says_which_stages_all_of_them_do():
    table = read(ROOT / "docs" / "scaling.md").split("\n| stage |")[1].split("\n\n")[0]
    (lead_alone,) = [row.split("|")[1] for row in table.splitlines()[2:] if "the others wait" in row]
    assert {name.strip() for name in lead_alone.split(",")} == {each.name for each in STAGES if not each.together}


def test_nobody_is_told_to_fetch_kdkit_from_an_index():
    """Its name there is somebody else's."""
    files = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "kdkit").rglob("*.py"), *ROOT.glob("*.md")]
    told = [file for file in files if re.search(r"pip install\W+kdkit\b(?!-)", file.read_text(encoding="utf-8"))]
    assert not told
