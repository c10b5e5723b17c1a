"""The model card of a teacher or a student: what the model is, where it came from, how to open it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdkit.runs.record import versions

if TYPE_CHECKING:
    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Pruning
    from kdkit.recipe import Recipe

RECIPE_FILE = "kdkit_recipe.toml"
CARD_FILE = "README.md"
_FOLDER = "PATH/OF/THIS/FOLDER"


def model_texts(recipe: Recipe, tokenizer: Tokenizer, *, role: str, pruning: Pruning | None = None) -> dict[str, str]:
    """The text files of a model's folder: its card, and the recipe that `kdkit predict` reads."""
    return {CARD_FILE: model_card(recipe, tokenizer, role=role, pruning=pruning), RECIPE_FILE: recipe.to_toml()}


def model_card(recipe: Recipe, tokenizer: Tokenizer, *, role: str, pruning: Pruning | None = None) -> str:
    """A Hugging Face model card in Markdown.

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
    return f"""---
library_name: transformers
pipeline_tag: {kind.pipeline_tag}
tags:
- knowledge-distillation
- kdkit
---

# {recipe.name}: {role}

{recipe.description}

{made} with kdkit, from the recipe below (digest `{recipe.digest[:16]}`).{_origin(pruning)}

```python
{kind.code(_FOLDER, recipe.generation, form, ended=ends_texts(tokenizer))}
```

{_limits(recipe, form)} Its scores are in the
run's `report.md`.

## Recipe

```toml
{recipe.to_toml().strip()}
```

Made with {packages}.
"""


def _origin(pruning: Pruning | None) -> str:
    """What it was made of, as a sentence after others."""
    return "" if pruning is None else f" It began with the teacher's {pruning.in_words()}."


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
    if role == "student" and recipe.loss.needs_teacher:
        return "It was distilled from a teacher's cached logits"
    if role != "teacher":
        return "It was trained on the ground truth alone, as a student without a teacher,"
    return (
        "It was trained on the ground truth, to be a teacher,"
        if recipe.teacher.fine_tune is not None
        else "It is a new model with random weights, made"
    )
