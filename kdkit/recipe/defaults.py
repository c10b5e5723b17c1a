"""Defaults that follow from another section, and those that earlier formats of recipes had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.recipe.stored import FORMAT

if TYPE_CHECKING:
    from collections.abc import Mapping

NEW, PART, WHOLE = 1e-3, 2e-4, 5e-5
"""Learning rates of a new model, of adapters and of a model of some layers, and of a whole trained model."""

_LENGTH = "max_new_tokens"
_FORMER: Mapping[str, Mapping[str, Any]] = {
    "training": {
        "batch_size": 2,
        "learning_rate": WHOLE,
        "group_by_length": False,
        "drop_last": True,
        "log_every": 50,
    },
    "generation": {"beams": 4, "batch_size": 4},
}
"""What formats before 3 took for options left out: values of the thesis that kdkit grew from. Of three more options
it depends on others; see `_training`, `_texts` and `_former_student`."""


def filled(section: str, content: Mapping[str, Any], table: Mapping[str, Any], format_: int = FORMAT) -> dict[str, Any]:
    """A section with the defaults that are not those of its options.

    Args:
        section: Its name.
        content: What the recipe has in it.
        table: The recipe.
        format_: The format that the recipe is written in.
    """
    if section == "generation":
        return {**_texts(table, format_), **content}
    if section == "training":
        return {**_training("student", _section(table, "student"), table, format_), **content}
    if section == "student" and format_ < FORMAT:
        return _former_student(content)
    if section != "teacher":
        return dict(content)
    inner: dict[str, Any] = {}
    if isinstance(writing := content.get("write_targets"), dict):
        inner["write_targets"] = {**_texts(table, format_), **writing}
    if isinstance(tuning := content.get("fine_tune"), dict):
        model = {**content, "lora": tuning.get("lora")}
        inner["fine_tune"] = {**_training("teacher", model, table, format_), **tuning}
    return {**content, **inner}


def changed(path: str) -> bool:
    """Whether an option, given by its path, had another default in an earlier format."""
    section, _, name = path.rpartition(".")
    if section in ("training", "teacher.fine_tune"):
        return name in _FORMER["training"] or name == "best_by"
    if path == "student.from_teacher.by":
        return True
    return section in ("generation", "teacher.write_targets") and (name in _FORMER["generation"] or name == _LENGTH)


def former_batch_size(format_: int) -> int | None:
    """The batch of a training that says none, in a recipe of an earlier format; None in one of today's."""
    return None if format_ >= FORMAT else int(_FORMER["training"]["batch_size"])


def _former_student(content: Mapping[str, Any]) -> dict[str, Any]:
    match content:
        case {"from_teacher": {"keep": _} as chosen}:
            return {**content, "from_teacher": {"by": "loss", **chosen}}
    return dict(content)


def _training(role: str, model: Mapping[str, Any], table: Mapping[str, Any], format_: int) -> dict[str, Any]:
    if format_ < FORMAT:
        has_suites = _section(table, "evaluation").get("suites") != []
        return {**_FORMER["training"], "best_by": "text.f1" if has_suites else "hard"}
    return {"learning_rate": _learning_rate(role, model, table)}


def _learning_rate(role: str, model: Mapping[str, Any], table: Mapping[str, Any]) -> float:
    """That of a model by what it begins as: see `kdkit.api.training.Training`."""
    if role == "student" and model.get("from_teacher") is not None:
        is_new = _section(table, "teacher").get("config") is not None
        return NEW if is_new else PART
    if model.get("config") is not None:
        return NEW
    return PART if model.get("lora") is not None else WHOLE


def _texts(table: Mapping[str, Any], format_: int) -> dict[str, Any]:
    """How texts are generated: they are as long as targets."""
    longest = _section(table, "tokens").get("max_target")
    length = {_LENGTH: longest} if type(longest) is int and longest >= 1 else {}
    return length if format_ >= FORMAT else {_LENGTH: 511, **_FORMER["generation"], **length}


def _section(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    content = table.get(name)
    return content if isinstance(content, dict) else {}
