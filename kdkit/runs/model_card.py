"""The model card of a teacher or a student: what the model is, where it came from, how to open it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kdkit.api.interfaces import AttributedSource, LimitedTeacher
from kdkit.api.values import Origin
from kdkit.runs.record import versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from huggingface_hub import EvalResult

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Pruning
    from kdkit.recipe import Recipe

RECIPE_FILE = "kdkit_recipe.toml"
CARD_FILE = "README.md"
UNKNOWN = "unknown"
"""What the hub calls a licence that nobody has stated."""
_FOLDER = "PATH/OF/THIS/FOLDER"
_SCORES = re.compile(r"(?<=^## Scores\n\n).*?(?=^## )", re.DOTALL | re.MULTILINE)


def model_texts(recipe: Recipe, tokenizer: Tokenizer, *, role: str, pruning: Pruning | None = None) -> dict[str, str]:
    """The text files of a model's folder: its card, and the recipe that `kdkit predict` reads."""
    return {CARD_FILE: model_card(recipe, tokenizer, role=role, pruning=pruning), RECIPE_FILE: recipe.to_toml()}


def model_card(recipe: Recipe, tokenizer: Tokenizer, *, role: str, pruning: Pruning | None = None) -> str:
    """A Hugging Face model card in Markdown, of a model that has not been scored.

    Args:
        recipe: The recipe that made the model.
        tokenizer: The model's tokenizer.
        role: "student", "teacher", or "labels-only": a student without a teacher.
        pruning: The parts of the teacher that a student is made of, where a measure chose them.
    """
    from kdkit.models.tokenizers import ends_texts  # with torch, which those who only name the card do without

    kind, made = (recipe.teacher if role == "teacher" else recipe.student).model_kind, _made(recipe, role)
    assert kind is not None, "a teacher that is not a model has no folder"
    packages = ", ".join(f"{name} {version}" for name, version in versions().items() if name != "platform")
    form = getattr(recipe.data, "form", "pair")
    base, teacher, data = _weights(recipe, role), _teacher(recipe, role), _data(recipe)
    scores = "These weights have not been scored." if role == "student" else "The report of the run has its scores."
    return f"""---
{_table(recipe, kind.pipeline_tag, role, base, data)}
---

# {recipe.name}: {role}

{recipe.description}

{made} with kdkit, from the recipe below (digest `{recipe.digest[:16]}`).{_origin(pruning)}

```python
{kind.code(_FOLDER, recipe.generation, form, ended=ends_texts(tokenizer))}
```

{_read(recipe, form)}{_limits(recipe, form)}

## Scores

{scores}

## Origins and licences

{_origins(base, teacher, data)}

## Recipe

```toml
{recipe.to_toml().strip()}
```

Made with {packages}.
"""


def with_scores(card: str, section: str, results: Sequence[EvalResult], *, name: str) -> str:
    """A card that says how its model scored.

    Args:
        card: The card; one of an earlier kdkit, which has no place for scores, stays as it is.
        section: The scores in Markdown.
        results: The same for the hub.
        name: What the model is called.
    """
    from huggingface_hub import ModelCard

    if not _SCORES.search(card):
        return card
    made: Any = ModelCard(_SCORES.sub(lambda _: f"{section}\n\n", card, count=1), ignore_metadata_errors=True)
    made.data.model_name, made.data.eval_results = name, list(results)
    return str(made)


def _table(recipe: Recipe, pipeline_tag: str, role: str, base: Origin | None, data: Sequence[Origin]) -> str:
    """What the hub reads of a card."""
    from huggingface_hub import ModelCardData

    lora = getattr(recipe.student, "lora", None)
    relation = "adapter" if role != "teacher" and lora is not None and not lora.merge else "finetune"
    licence, licence_name = _licence(base.licence if base is not None else "")
    table = ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline_tag,
        tags=["knowledge-distillation", "kdkit"],
        base_model=base.hub or None if base is not None else None,
        base_model_relation=relation if base is not None and base.hub else None,
        datasets=[each.hub for each in data if each.hub] or None,
        license=licence,
        license_name=licence_name,
    )
    return str(table.to_yaml()).strip()


def _licence(found: str) -> tuple[str, str | None]:
    """A licence as the hub has it: one of its identifiers; or "other", and its name."""
    if not found:
        return UNKNOWN, None
    identifier = found.lower()
    return (identifier, None) if re.fullmatch(r"[a-z0-9.+-]+", identifier) else ("other", found)


def _base(recipe: Recipe, role: str) -> str:
    """The model whose weights the teacher or the student of a recipe began with, as the recipe names it; else empty."""
    teacher = getattr(recipe.teacher, "model", None) or ""
    if role == "teacher":
        return teacher
    own = getattr(recipe.student, "model", None)
    return own or (teacher if getattr(recipe.student, "from_teacher", None) is not None else "")


def _weights(recipe: Recipe, role: str) -> Origin | None:
    """The model that the weights began with; None where they were random."""
    from kdkit.models.origins import origin_of

    name = _base(recipe, role)
    return origin_of(name) if name else None


def _teacher(recipe: Recipe, role: str) -> Origin | None:
    """The model that a student's teacher began with, where the student began with another, or with none."""
    if role == "student" and isinstance(recipe.teacher, LimitedTeacher):
        return Origin(of=recipe.teacher.whose)
    found = _weights(recipe, "teacher") if role == "student" else None
    return None if found == _weights(recipe, role) else found


def _data(recipe: Recipe) -> list[Origin]:
    if isinstance(recipe.data, AttributedSource):
        return list(recipe.data.origins())
    return [Origin(of=f"the data set {recipe.names['data']}")]


def _origins(base: Origin | None, teacher: Origin | None, data: Sequence[Origin]) -> str:
    """What the model was made of, as a table, and what is not known of it."""
    made_of = [("weights", base), ("teacher", teacher), *(("data", each) for each in data)]
    rows = [(what, each) for what, each in made_of if each is not None]
    cells = [(what, _cell(each.of), _cell(each.licence) or UNKNOWN, _cell(each.said_by)) for what, each in rows]
    table = "\n".join(f"| {' | '.join(each)} |" for each in cells)
    began = "The weights began as random numbers.\n\n" if base is None else ""
    is_known = all(each.licence for _, each in rows)
    advice = "" if is_known else "\n\nFind out the unknown licences before you publish this model."
    return f"{began}| made of | name | licence | said by |\n|---|---|---|---|\n{table}{advice}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _origin(pruning: Pruning | None) -> str:
    """What it was made of, as a sentence after others."""
    return "" if pruning is None else f" It began with the teacher's {pruning.in_words()}."


def _read(recipe: Recipe, form: str) -> str:
    """The template that made the sources, of which whoever opens the model without kdkit makes them too."""
    template = getattr(recipe.data, "source", None)
    if form != "pair" or not isinstance(template, str) or "{" not in template:
        return ""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+|$", template)))  # longer than any in the template
    return f"A source is made of the columns of a row by this template:\n\n{fence}text\n{template}\n{fence}\n\n"


def _limits(recipe: Recipe, form: str) -> str:
    """How long what it was trained on may be."""
    tokens = recipe.tokens
    if form == "text":
        return f"It was trained on texts, in blocks of {tokens.max_length} tokens."
    read, written = ("Prompts", "answers") if form == "chat" else ("Sources", "targets")
    return f"{read} are cut to {tokens.max_source} tokens and {written} to {tokens.max_target}."


def code_of(card: str, *, folder: str) -> str:
    """The Python of a model card, for a model in this folder; empty where the card has none."""
    found = re.search(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    return found[1].strip().replace(_FOLDER, folder) if found else ""


def _made(recipe: Recipe, role: str) -> str:
    """How the model came to be, as the start of a sentence that ends with "with kdkit"."""
    if role != "teacher" and recipe.writing is not None:
        logits = " and its cached logits" if role == "student" and recipe.loss.needs_teacher else ""
        return f"It was distilled from texts that a teacher wrote{logits}"
    if role == "student" and recipe.loss.needs_teacher and isinstance(recipe.teacher, LimitedTeacher):
        return f"It was distilled from {recipe.teacher.whose}"
    if role == "student" and recipe.loss.needs_teacher:
        return "It was distilled from a teacher's cached logits"
    if role != "teacher":
        return "It was trained on the ground truth alone, as a student without a teacher,"
    return (
        "It was trained on the ground truth, to be a teacher,"
        if recipe.teacher.fine_tune is not None
        else "It is a new model with random weights, made"
    )
