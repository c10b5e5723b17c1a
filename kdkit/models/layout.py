"""How a row goes through an encoder-decoder, and that generation begins as training does.

The encoder reads the source's ids, the decoder writes the target's (see `kdkit.data.tokens`). Before the first of them
the decoder reads one more token: under teacher forcing the one that the model's own shift of the labels puts there, in
generation `decoder_start_token_id`. Some models write that of their configuration; mBART, PLBart and FSMT take the last
label of the row, a language or the end. Of some targets even the first token is no choice of the model's, such as
NLLB's language: generation forces it (`forced_bos_token_id`).
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import attrs

from kdkit.data.tokens import target_ids
from kdkit.errors import UsageError
from kdkit.models.decoding import MODEL_TOKENS, decoder_inputs, model_token, never_written
from kdkit.models.languages import marks_languages
from kdkit.models.loading import config_from, read_config
from kdkit.models.making import empty_model
from kdkit.models.open_model import dtype_of
from kdkit.models.quiet import quiet
from kdkit.models.weights import read_table, weights_digest
from kdkit.system.digests import digest_of
from kdkit.system.wording import first_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdkit.api.interfaces import Tokenizer

PROBES = ("probe", "x = 1")


@attrs.frozen(kw_only=True)
class Layout:
    """The tokens that the decoder of a model begins with.

    Attributes:
        start: The token that it reads before a target's first.
        first: The token that all targets begin with; None where they begin otherwise.
        is_language: Whether one of the two may be the language of the targets.
    """

    start: int
    first: int | None
    is_language: bool

    @classmethod
    def of(cls, module: Any, tokenizer: Tokenizer) -> Layout:
        """How a model is trained on its tokenizer's ids of targets.

        Raises:
            UsageError: The model does not say what its decoder starts from.
        """
        import torch

        rows = target_ids(tokenizer, PROBES)
        bare = tokenizer(text_target=list(PROBES), add_special_tokens=False, verbose=False)["input_ids"]
        is_marked = all(row[:1] != plain[:1] for row, plain in zip(rows, bare, strict=True))
        inputs_BT = decoder_inputs(module, torch.tensor([rows[0]]))
        return cls(
            start=int(inputs_BT[0, 0]),
            first=rows[0][0] if is_marked else None,
            is_language=marks_languages(tokenizer),
        )


def begin_alike(module: Any, tokenizer: Tokenizer, *, ours: bool) -> None:
    """Make a model's generation begin as its training does.

    Args:
        module: The model; its generation configuration is completed.
        tokenizer: Its tokenizer.
        ours: Whether training decides: of models that kdkit makes, or where the recipe says the languages. Otherwise
            the model's folder is asked, and must agree.

    Raises:
        UsageError: The two differ.
    """
    config, generation = module.config, module.generation_config
    if getattr(config, "decoder_start_token_id", None) is None and generation.decoder_start_token_id is not None:
        config.decoder_start_token_id = generation.decoder_start_token_id  # where the model's own shift looks
    layout, said = Layout.of(module, tokenizer), model_token(module, "decoder_start_token_id")
    if said is None or ours:
        generation.decoder_start_token_id = layout.start
    elif said != layout.start:
        raise UsageError(
            f"this {config.model_type} model is trained to begin a text after "
            f"{_token(tokenizer, layout.start)}, but generation would begin it after "
            f"{_token(tokenizer, said)}; set decoder_start_token_id to {layout.start} instead of {said} "
            "(config in the recipe, or the config.json and generation_config.json of the model's "
            f"folder){_or_language(layout)}"
        )
    forced = model_token(module, "forced_bos_token_id")
    if layout.is_language and (ours or forced is None):
        generation.forced_bos_token_id = layout.first
    elif forced not in {None, layout.first}:
        begin = "other tokens" if layout.first is None else _token(tokenizer, layout.first)
        raise UsageError(
            f"this {config.model_type} model is made to begin each text with {_token(tokenizer, forced)} "
            f"(forced_bos_token_id), but its targets begin with {begin}; correct forced_bos_token_id (config "
            f"in the recipe, or the generation_config.json of the model's folder){_or_language(layout)}"
        )


def new_config(table: Mapping[str, Any], tokenizer: Tokenizer) -> Any:
    """A new model's configuration from a recipe's `config` table, whose decoder starts from what it is trained with.

    Raises:
        UsageError: It is not the configuration of an encoder-decoder; or it says another start.
    """
    config = config_from(table, tokenizer)
    module = empty_model(copy.deepcopy(config))
    begin_alike(module, tokenizer, ours="decoder_start_token_id" not in table)
    config.decoder_start_token_id = module.generation_config.decoder_start_token_id
    return config


def check_beginning(config: Any, tokenizer: Tokenizer, *, folder: Path, ours: bool) -> None:
    """Refuse a model's folder whose generation would not begin as its training does; no weights are loaded.

    Args:
        config: Its configuration.
        tokenizer: The model's tokenizer.
        folder: The folder.
        ours: See `begin_alike`.

    Raises:
        UsageError: It would not.
    """
    module = empty_model(copy.deepcopy(config))
    module.generation_config = generation_of(folder)
    begin_alike(module, tokenizer, ours=ours)


def generation_of(folder: Path) -> Any:
    """The generation configuration of a model's folder, without loading the model.

    Raises:
        UsageError: It cannot be read.
    """
    from transformers import GenerationConfig

    own = folder / "generation_config.json"
    # Old folders have it in config.json, where a configuration does not take it from.
    place = {} if own.is_file() else {"config_file_name": "config.json", "_from_model_config": True}
    try:
        with quiet():
            return GenerationConfig.from_pretrained(str(folder), **place)
    except Exception as error:
        raise UsageError(
            f"{folder / 'config.json' if place else own} cannot be read ({first_line(error)}); "
            "correct it, or fetch that folder again"
        ) from error


def logits_digest(folder: Path, module: Any) -> str:
    """SHA-256 of what determines the logits of a folder's model under teacher forcing.

    That of its weights and configuration; where the decoder starts from what only the generation configuration says, of
    that token too; where the weights are not in float32, of their type too.

    Args:
        folder: The folder.
        module: The model, opened from there and begun alike.
    """
    digest, start = weights_digest(folder), generation_of(folder).decoder_start_token_id
    if (dtype := dtype_of(module)) != "float32":
        digest = digest_of([digest, dtype])
    if start != module.generation_config.decoder_start_token_id or start in _configured(
        folder, "decoder_start_token_id"
    ):
        return digest
    return digest_of([digest, start])


def rules_beside(folder: Path) -> dict[str, Any]:
    """Special tokens that the generation configuration of a model's folder states and its config.json does not.

    It goes with the model into whatever is made of it.
    """
    generation = generation_of(folder)
    said = {name: getattr(generation, name, None) for name in MODEL_TOKENS}
    rules = {
        name: value for name, value in said.items() if value is not None and value not in _configured(folder, name)
    }
    unwritten = never_written(generation, generation.pad_token_id)
    return {**rules, **({"bad_words_ids": unwritten} if unwritten is not None else {})}


def _configured(folder: Path, name: str) -> tuple[Any, Any]:
    """A special token as config.json has it and as transformers completes it."""
    return read_table(folder / "config.json").get(name), getattr(read_config(str(folder)), name, None)


def write_like(module: Any, teacher: Any) -> None:
    """Make a student begin and end its texts by its teacher's rules, where its own configuration says nothing.

    Args:
        module: The student.
        teacher: The teacher's generation configuration.
    """
    generation = module.generation_config
    if model_token(module, "forced_bos_token_id") is None:
        generation.forced_bos_token_id = teacher.forced_bos_token_id
    ends = teacher.eos_token_id
    if isinstance(ends, list) and model_token(module, "eos_token_id") in ends:
        generation.eos_token_id = ends
    generation.bad_words_ids = never_written(teacher, model_token(module, "pad_token_id"))


def _token(tokenizer: Tokenizer, token_id: Any) -> str:
    name: Any = cast("Any", tokenizer).convert_ids_to_tokens(token_id)
    return f"{name!r} (id {token_id})"


def _or_language(layout: Layout) -> str:
    return ", or teacher.tgt_lang to the language of the targets" if layout.is_language else ""
