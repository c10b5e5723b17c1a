"""Folders of models whose vocabulary is trimmed: tokenizer and configurations first, and weights where they are needed.

A folder without weights says in `kdkit_vocabulary.json` which model it is of and which ids stay. When it is opened with
weights, these are made of that model's, by the content of both, in a folder that is a plain model. Both folders are
kept where converted GGUF files are (see `kdkit.models.kept_folders`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import UsageError
from kdkit.models.auto import auto_of
from kdkit.models.kept_folders import content_of, kept
from kdkit.models.own_code import refuse_kernels
from kdkit.models.quiet import quiet
from kdkit.models.vocabulary import renumbering, trimmed_table
from kdkit.models.weights import CONFIGURATIONS, check_weights, nothing_else, read_table, weights_digest
from kdkit.system.files import copy_synced, disk_full, make_folder, sync_tree, write_json
from kdkit.system.folders import delete
from kdkit.system.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch

    from kdkit.api.interfaces import Tokenizer

FILE = "kdkit_vocabulary.json"
CONFIG, RULES = CONFIGURATIONS
SLOW_FILES = ("vocab.json", "merges.txt")
"""The whole vocabulary in the format of tokenizers written in Python, which some classes write too."""
LISTS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")
"""Lists of ids in a generation configuration, from which those without a token any more are left out."""
BY_ID = ("sequence_bias", "forced_decoder_ids", "force_words_ids")
"""What a generation configuration may say of ids in ways that are not known here."""
_FORMAT = 1
"""Of the folders: to be raised when the same ids would give others."""


@attrs.frozen(kw_only=True)
class Trimming:
    """What a vocabulary was trimmed from, and to what.

    Attributes:
        model: The whole model, as a recipe names it.
        tokenizer: The whole tokenizer, likewise.
        kept: The ids that stay, in order.
    """

    model: str
    tokenizer: str
    kept: tuple[int, ...]


def named_ids(folder: Path) -> set[int]:
    """The ids that the configurations of a model's folder name: they stay."""
    from transformers import AutoConfig

    refuse_kernels(folder)
    with quiet():
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    rules = read_table(folder / RULES) if (folder / RULES).is_file() else {}
    return {*_ids_in(config.to_dict()), *_ids_in(rules)}


def trimmed_folder(folder: Path, tokenizer: Tokenizer, trimming: Trimming) -> Path:
    """The folder of a model with some of its ids, without weights; made if it is not there.

    Args:
        folder: That of the whole model.
        tokenizer: The whole tokenizer, a byte-level BPE.
        trimming: Which ids stay.

    Raises:
        UsageError: The generation configuration speaks of ids in a way that is not known here.
    """
    own = Path(getattr(tokenizer, "name_or_path", "") or folder)
    read = [folder / name for name in CONFIGURATIONS if (folder / name).is_file()]
    read += sorted(each for each in own.glob("*") if each.suffix in {".json", ".jinja", ".txt"} and each.is_file())
    files = [[each.name, content_of(each)] for each in read if not each.name.endswith(".index.json")]
    return kept(
        ["vocabulary", _FORMAT, attrs.asdict(trimming), files], lambda made: _write(made, folder, tokenizer, trimming)
    )


def trimming_of(folder: Path) -> Trimming | None:
    """What the vocabulary of a folder that `trimmed_folder` made was trimmed from; None for any other folder."""
    if not (folder / FILE).is_file():
        return None
    table = read_json(folder / FILE)
    return Trimming(model=table["model"], tokenizer=table["tokenizer"], kept=tuple(table["kept"]))


def with_weights(folder: Path, find: Callable[[str], Path]) -> Path:
    """The folder of the plain model that a folder without weights is of; made if it is not there.

    Args:
        folder: What `trimmed_folder` gave.
        find: Finds the folder of the whole model, which has weights, by name.

    Raises:
        MissingInput: The whole model is not there any more.
        UsageError: Its weights are not those of its tokenizer.
    """
    trimming = trimming_of(folder)
    assert trimming is not None, f"{folder} holds a trimmed vocabulary"
    whole = find(trimming.model)
    key = ["vocabulary", _FORMAT, weights_digest(whole), folder.name]
    return kept(key, lambda made: _write_weights(made, folder, whole, trimming))


def _write(made: Path, folder: Path, tokenizer: Tokenizer, trimming: Trimming) -> None:
    from transformers import AutoConfig

    new, saved = renumbering(trimming.kept), tokenizer
    make_folder(made)
    with quiet(), disk_full(made, 0, discards=made):
        saved.save_pretrained(str(made))  # type: ignore[attr-defined]
        delete(made / name for name in SLOW_FILES if (made / name).is_file())
        write_json(made / "tokenizer.json", trimmed_table(tokenizer, trimming.kept))
        options = read_table(made / "tokenizer_config.json")
        if "added_tokens_decoder" in options:
            old = options["added_tokens_decoder"].items()
            options["added_tokens_decoder"] = {str(new[int(each)]): token for each, token in old}
            write_json(made / "tokenizer_config.json", options)
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        _renumber_config(config, new)
        config.save_pretrained(str(made))
        if (folder / RULES).is_file():
            write_json(made / RULES, _renumbered_rules(read_table(folder / RULES), new, str(folder / RULES)))
        write_json(made / FILE, attrs.asdict(trimming))
        sync_tree(made)


def _write_weights(made: Path, folder: Path, whole: Path, trimming: Trimming) -> None:
    import torch
    from transformers import AutoConfig

    check_weights(whole)
    with quiet(), nothing_else(whole) as shown:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        loader = auto_of(config).loader
        model = loader.from_pretrained(str(shown), dtype="auto", trust_remote_code=False)
        with torch.device("meta"):
            trimmed = loader.from_config(config, trust_remote_code=False)
    weights = _rows_of(model.state_dict(), trimmed.state_dict(), trimming.kept, whole)
    with quiet(), disk_full(made, sum(each.nbytes for each in weights.values()), discards=made):
        trimmed.load_state_dict(weights, assign=True)
        trimmed.tie_weights()
        trimmed.config.dtype = model.config.dtype
        trimmed.save_pretrained(str(made))
        for file in sorted(folder.iterdir()):
            if file.name not in {FILE, CONFIG}:
                delete(each for each in (made / file.name,) if each.is_file())
                copy_synced(file, made / file.name)
        sync_tree(made)


def _rows_of(
    whole: Mapping[str, torch.Tensor], trimmed: Mapping[str, torch.Tensor], kept_ids: Sequence[int], folder: Path
) -> dict[str, torch.Tensor]:
    """A model's weights with the rows of these ids, wherever the trimmed model has as many rows as they are."""
    import torch

    ids = torch.tensor(list(kept_ids))
    done: dict[tuple[int, torch.Size], torch.Tensor] = {}
    made = {}
    for name, like in trimmed.items():
        weight = whole[name]
        shared = (weight.data_ptr(), weight.shape)
        if shared not in done:
            rows = weight
            for dim, (there, size) in enumerate(zip(weight.shape, like.shape, strict=True)):
                if there == size:
                    continue
                if size != len(ids) or there <= int(ids.max()):
                    raise UsageError(
                        f"the vocabulary of {folder} cannot be trimmed: its {name} has {there:,} rows where its "
                        f"tokenizer has ids up to {int(ids.max()):,}; use a model and a tokenizer that belong together"
                    )
                rows = rows.index_select(dim, ids)
            done[shared] = rows
        made[name] = done[shared]
    return made


def _renumber_config(config: Any, new: Mapping[int, int]) -> None:
    """Give the ids that a configuration names, and those within it, their new numbers, in place."""
    for name in config.sub_configs:
        within = getattr(config, name, None)
        if within is not None:
            _renumber_config(within, new)
    for key, value in list(vars(config).items()):
        if _is_id(key):
            setattr(config, key, _renumbered(value, new))
    if isinstance(getattr(config, "vocab_size", None), int):
        config.vocab_size = len(new)


def _renumbered_rules(table: Mapping[str, Any], new: Mapping[int, int], place: str) -> dict[str, Any]:
    strange = next((key for key in BY_ID if table.get(key)), None)
    if strange is not None:
        raise UsageError(
            f"{place} has {strange}, whose ids a trimmed vocabulary would have to renumber, which is not supported; "
            "delete it there, or leave vocabulary out"
        )
    made = dict(table)
    for key, value in table.items():
        if _is_id(key):
            made[key] = _renumbered(value, new)
        elif key in LISTS and value:
            # A text of several tokens cannot be written once one of them is gone.
            there = (each for each in value if {*(each if isinstance(each, list) else [each])} <= new.keys())
            made[key] = [_renumbered(each, new) for each in there]
    return made


def _ids_in(table: Any) -> Iterator[int]:
    """The ids that a table, and those within it, name."""
    if not isinstance(table, dict):
        return
    for key, value in table.items():
        yield from _ids_in(value)
        if _is_id(key):
            yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int))


def _is_id(key: object) -> bool:
    return isinstance(key, str) and key.endswith(("_token_id", "_token_ids", "_token_index"))


def _renumbered(value: Any, new: Mapping[int, int]) -> Any:
    """Ids by their new numbers; one without a token any more is None, and left out of a list. Negative ones stay."""
    if isinstance(value, list):
        return [each for each in (_renumbered(each, new) for each in value) if each is not None]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return value
    return new.get(value)
