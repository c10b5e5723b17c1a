"""Finds the folder of a model: at a path, in a GGUF file, in an installed distribution, or on the hub."""

from __future__ import annotations

from pathlib import Path

from kdkit.errors import MissingInput
from kdkit.models.adapter_folders import added_to_base, is_adapter
from kdkit.models.distributions import PREFIX, place_of
from kdkit.models.gguf_files import SUFFIX, converted
from kdkit.models.trimmed_folders import trimming_of, with_weights
from kdkit.models.weights import weight_files
from kdkit.system.files import user_path
from kdkit.system.front_matter import FILE as CARD
from kdkit.system.reading import check_regular_files
from kdkit.system.wording import first_line

# The last three are vocabularies of slow tokenizers.
TOKENIZER_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.spm", "*.tokenizer", "*.codes"]


def find_folder(name: str, *, weights: bool) -> Path:
    """The folder of a model: a local one as it is, or what a GGUF file is converted to, or a snapshot of a hub model.

    Of a folder with adapters alone, that of the model which they and their base are together; of one with a trimmed
    vocabulary, that which has the weights too.

    Args:
        name: The path of a folder or of a GGUF file; or `dist:NAME/PATH` for one that an installed distribution holds;
            or the hub's `owner/name`.
        weights: Whether weights are needed, or configuration and tokenizer only.

    Raises:
        MissingInput: There is no such folder, and the hub does not give it (or we are off-line).
        UsageError: A GGUF file cannot be converted, or adapters cannot be added to their base.
    """
    folder = _folder_of(name, weights=weights)
    if is_adapter(folder):
        folder = _folder_of(name, weights=True)
        return added_to_base(folder, lambda base: find_folder(base, weights=True), TOKENIZER_FILES)
    if weights and trimming_of(folder) is not None:
        return with_weights(folder, lambda whole: find_folder(whole, weights=True))
    return folder


def name_for_others(name: str) -> str:
    """What programs in other folders find a model by: the hub's name, else the path of its folder."""
    if name.startswith(PREFIX) or user_path(name).exists():
        return str(find_folder(name, weights=True).resolve())
    return name


def _folder_of(name: str, *, weights: bool) -> Path:
    path = place_of(name) if name.startswith(PREFIX) else user_path(name)
    if path.is_dir():
        check_regular_files(path)
        return path
    if path.is_file():
        if path.suffix.lower() == SUFFIX:
            return converted(path)
        raise MissingInput(f"{name} is a file; give the folder of a model, or a GGUF file")
    if path.suffix.lower() == SUFFIX or name.startswith(PREFIX):
        raise MissingInput(f"there is no file {path}; give the path of one that exists")
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise MissingInput(f"there is no model folder {name}; give the path of one, or the name of a model of the hub")
    folder = _fetch(name, [*TOKENIZER_FILES, CARD])  # the card says under which licence the weights are
    if weights:
        folder = _fetch(name, [*TOKENIZER_FILES, "*.safetensors"])
        try:
            weight_files(folder)
        except MissingInput:
            folder = _fetch(name, [*TOKENIZER_FILES, "*.bin"])
    return folder


def _fetch(name: str, patterns: list[str]) -> Path:
    """The files of a hub model that match, in a folder of the hub's own cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except Exception as error:  # the hub client's errors share no base class; all mean that the model is not available
        raise MissingInput(
            f'model "{name}" is not a local folder, and the hub did not provide it ({type(error).__name__}: '
            f"{first_line(error)[:200]}); give the path of a downloaded folder instead"
        ) from error
