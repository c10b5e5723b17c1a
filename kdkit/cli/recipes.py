"""`kdkit recipes`: lists shipped recipes, shows a recipe with its defaults, and checks recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from kdkit import plugins as plugin_loading
from kdkit import recipe as recipes
from kdkit.cli.groups import Group
from kdkit.cli.output import print_json, print_table, put, say, to_json
from kdkit.errors import RecipeError, UsageError
from kdkit.recipe.compatibility import check_parts
from kdkit.recipe.placing import placing
from kdkit.sweeps.reading import load_any
from kdkit.system.reading import read_text

if TYPE_CHECKING:
    from kdkit.sweeps.trials import Sweep

overrides_option = click.option(
    "-o",
    "--override",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change a value: -o loss.alpha=0.3. Repeatable.",
)


@click.group(cls=Group)
def command() -> None:
    """List, show and check recipes."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(*, as_json: bool) -> None:
    """List the recipes that come with kdkit."""
    rows = []
    for name, path in recipes.shipped_recipes().items():
        document, _ = recipes.read_document(path)
        rows.append({"name": name, "description": str(document.table.get("description", "")), "path": str(path)})
    if as_json:
        print_json(rows)
    else:
        print_table(("name", "description"), [(row["name"], row["description"]) for row in rows])


@command.command("show")
@click.argument("name")
@click.option("--resolved", is_flag=True, help="Follow `extends` and fill in every default.")
@overrides_option
def show_(name: str, overrides: tuple[str, ...], *, resolved: bool) -> None:
    """Print the recipe NAME, a file or the name of a shipped recipe."""
    if resolved:
        put(recipes.load_recipe(name, overrides).to_toml(), nl=False)
    elif overrides:
        raise UsageError("-o shows only in the resolved recipe; add --resolved")
    else:
        put(read_text(recipes.find_recipe(name)), nl=False)


@command.command("validate")
@click.argument("files", nargs=-1, required=True)
@overrides_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def validate(files: tuple[str, ...], overrides: tuple[str, ...], *, as_json: bool) -> int:
    """Check recipes, and every trial of a sweep; reports every problem of each."""
    found = plugin_loading.load()
    verdicts: list[dict[str, Any]] = []
    for file in files:
        try:
            _check_fits(load_any(file, overrides, plugins=found))
            problems: tuple[str, ...] = ()
        except RecipeError as error:
            problems = error.problems
        except UsageError as error:
            problems = (str(error),)
        verdicts.append({"recipe": file, "valid": not problems, "problems": list(problems)})
    if as_json:
        print_json(verdicts)
    else:
        for verdict in verdicts:
            say(f"{verdict['recipe']}: {'valid' if verdict['valid'] else 'wrong'}")
            for problem in verdict["problems"]:
                say(f"error: {problem}", err=True)
    return 0 if all(verdict["valid"] for verdict in verdicts) else UsageError.exit_code


def _check_fits(loaded: recipes.Recipe | Sweep) -> None:
    """Refuse parts that do not fit each other, as far as it shows without models and rows."""
    for each in [loaded] if isinstance(loaded, recipes.Recipe) else [trial.recipe for trial in loaded.trials]:
        with placing(each):
            check_parts(each)


@command.command("schema")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file instead.")
def schema(output: Path | None) -> None:
    """Print the JSON Schema of recipes, for editors."""
    text = to_json(recipes.json_schema(plugin_loading.load()))
    if output is None:
        put(text)
        return
    try:
        output.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from error
