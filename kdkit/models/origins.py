"""Where the weights of a model came from, and under which licence: what it says of itself, here."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from kdkit.api.values import Origin
from kdkit.errors import DamagedData, UsageError
from kdkit.models.adapter_folders import base_of, is_adapter
from kdkit.models.distributions import PREFIX
from kdkit.models.gguf_files import licence_of as licence_of_gguf
from kdkit.system.files import user_path
from kdkit.system.front_matter import FILE, front_matter, licence_in
from kdkit.system.packages import licence_of

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def origin_of(name: str) -> Origin:
    """What is known here of a model that a recipe names; nothing is fetched.

    Args:
        name: As in `teacher.model`: a folder, a GGUF file, `dist:NAME`, or a name of the hub.
    """
    if name.startswith(PREFIX):
        owner = name.removeprefix(PREFIX).partition("/")[0]
        try:
            found = licence_of(metadata.distribution(owner))
        except (metadata.PackageNotFoundError, ValueError):
            found = ""
        return Origin(of=name, licence=found, said_by=f"the metadata of the distribution {owner}" if found else "")
    path = user_path(name)
    if path.is_file():
        try:
            found = licence_of_gguf(path)
        except (DamagedData, UsageError):
            found = ""
        return Origin(of=name, licence=found, said_by="the file itself" if found else "")
    if path.is_dir():
        return _of_folder(path, name)
    return _of_hub(name)


def _of_folder(folder: Path, name: str) -> Origin:
    """Of a local folder: what its README.md says, of adapters alone else what is known of their base."""
    table = front_matter(folder)
    base = table.get("base_model")
    hub = base if isinstance(base, str) and _HUB_NAME.fullmatch(base) else ""
    found = licence_in(table)
    if not found and is_adapter(folder):
        whole = origin_of(base_of(folder))
        return Origin(of=name, licence=whole.licence, said_by=whole.said_by, hub=hub or whole.hub)
    return Origin(of=name, licence=found, said_by=f"its {FILE}" if found else "", hub=hub)


def _of_hub(name: str) -> Origin:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=[FILE], local_files_only=True))
    except Exception:  # noqa: BLE001 - the hub client's errors share no base class; all mean that it is not here
        return Origin(of=name, hub=name)
    found = licence_in(front_matter(folder))
    return Origin(of=name, licence=found, said_by=f"its {FILE} on the hub" if found else "", hub=name)
