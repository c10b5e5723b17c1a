"""What can be told of a machine, an installation and a recipe's models before anything runs: `kdkit doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import attrs

from kdkit.api.values import Corpus
from kdkit.errors import KdkitError
from kdkit.models import check_same_tokenizer, end_ids, stops_of
from kdkit.recipe.inputs import check_inputs
from kdkit.store.location import store_of
from kdkit.system.devices import pick, threads
from kdkit.system.files import size_text
from kdkit.system.folders import existing, free_bytes
from kdkit.system.locks import Lock
from kdkit.system.packages import version_of
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.api.interfaces import Tokenizer
    from kdkit.plugins import Plugins
    from kdkit.recipe import Recipe

    State = Literal["good", "note", "wrong"]

SHOWN = ("torch", "transformers", "tokenizers", "accelerate", "numpy", "lz4", "zstandard", "pluggy")
LITTLE = 5 * 10**9
"""Free bytes below which a disk is mentioned: a model and the logits of some thousand rows take as much."""
PATIENCE = 3.0
"""Seconds that the hub has to answer."""


@attrs.frozen
class Finding:
    """Something about the machine or the recipe.

    Attributes:
        topic: What it is about, in a word or two.
        says: What was found; where something is wrong, also what to do.
        state: "note" is worth knowing, and "wrong" will stop a run, or make another one of it.
    """

    topic: str
    says: str
    state: State = "good"


def of_machine(plugins: Plugins, runs: Path, store: str = "") -> Iterator[Finding]:
    """Versions, devices, disk, locks, the hub, plugins.

    Args:
        plugins: What was loaded.
        runs: Where run folders would go: its disk is looked at.
        store: The store as a recipe names it; "" where none does.
    """
    yield from _versions()
    yield from _devices()
    yield from _disks(runs, store)
    yield _hub()
    yield from _plugins(plugins)


def of_recipe(recipe: Recipe) -> Iterator[Finding]:
    """Whether the parts of a recipe fit and are there; its device; the tokens of its teacher and student."""
    try:
        check_inputs(recipe)
        yield Finding("device", f'device = "{recipe.device}" is {pick(recipe.device)} here')
        if getattr(recipe.teacher, "is_self_contained", False):
            yield Finding("teacher", "its tokenizer is trained on the rows, which `kdkit plan` does")
            return
        teacher = recipe.teacher.load_tokenizer(Corpus(train=(), validation=()))
        student = recipe.student.load_tokenizer(teacher)
        config = recipe.teacher.model_config(teacher)
        yield Finding("teacher", _tokens(teacher, config))
        yield Finding("student", _tokens(student, recipe.student.model_config(student, config)))
        check_same_tokenizer(teacher, student)
        yield Finding("tokens", "teacher and student have the same")
    except KdkitError as error:
        yield Finding("recipe", str(error), "wrong")


def _tokens(tokenizer: Tokenizer, config: Any | None) -> str:
    """How many tokens there are, which are special, which of them end texts."""
    whole: Any = tokenizer
    by_id = dict(sorted((id_, token) for token, id_ in whole.get_added_vocab().items()))
    ends = end_ids(config, tokenizer) if config is not None else stops_of(tokenizer)
    named = {role: getattr(whole, f"{role}_token_id", None) for role in ("bos", "eos", "pad", "unk")}
    roles = ", ".join(
        f"{role} {whole.convert_ids_to_tokens(id_)} ({id_})" if id_ is not None else f"no {role}"
        for role, id_ in named.items()
    )
    stops = ", ".join(f"{by_id.get(id_) or whole.convert_ids_to_tokens(id_)} ({id_})" for id_ in sorted(ends))
    template = "; a chat template" if getattr(whole, "chat_template", None) else ""
    return f"{len(whole):,} tokens, {len(by_id):,} of them added; {roles}; texts end at {stops or 'none'}{template}"


def _versions() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    installed = {name: version_of(name) for name in SHOWN}
    shown = ", ".join(f"{name} {version or 'missing'}" for name, version in installed.items())
    system = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Finding("versions", f"kdkit {version_of('kdkit')}, {system}; {shown}")
    missing: dict[str, list[str]] = {}
    for text in importlib.metadata.requires("kdkit") or ():
        needed = Requirement(text)
        extras = needed.marker is not None and "extra" in str(needed.marker)
        if needed.marker is not None and not extras and not needed.marker.evaluate():
            continue
        version = version_of(needed.name)
        if version is None and extras:
            extra = str(needed.marker).partition('extra == "')[2].partition('"')[0]
            missing.setdefault(extra, []).append(needed.name)
        elif version is None:
            yield Finding("versions", f"{needed.name} is not installed, and kdkit needs it; install {needed}", "wrong")
        elif not needed.specifier.contains(version, prereleases=True):
            yield Finding(
                "versions", f"{needed.name} {version} is installed, and kdkit needs {needed}; install that", "wrong"
            )
    if missing:
        listed = "; ".join(f"{extra}: {', '.join(names)}" for extra, names in sorted(missing.items()))
        yield Finding("extras", f"not installed, and needed only for what they bring: {listed}")


def _devices() -> Iterator[Finding]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    asked = os.environ.get("OMP_NUM_THREADS")
    how = f"OMP_NUM_THREADS = {asked}" if asked else "OMP_NUM_THREADS is not set"
    yield Finding(
        "processor",
        f"{plural(threads(), 'thread')} on {plural(cores or 1, 'core')} ({how}); another number of threads changes the "
        "last bits of results",
    )
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        yield Finding("GPU", f"{names}; torch for CUDA {torch.version.cuda}")
    elif torch.backends.mps.is_available():
        yield Finding("GPU", "Apple's, by mps")
    elif shutil.which("nvidia-smi") is not None:
        why = "is a build for processors" if torch.version.cuda is None else f"for CUDA {torch.version.cuda} finds none"
        yield Finding(
            "GPU", f"there is a driver for GPUs, but torch {why}: install a torch that fits the driver", "wrong"
        )
    else:
        yield Finding("GPU", "none that torch finds: models run on the processor")


def _disks(runs: Path, store: str) -> Iterator[Finding]:
    folders = {"runs": runs, "store": store_of(store, runs / "any")}
    try:
        from huggingface_hub.constants import HF_HUB_CACHE

        folders["models"] = Path(HF_HUB_CACHE)
    except ImportError:  # told as missing
        pass
    for name, folder in folders.items():
        place = existing(folder)
        free = free_bytes(folder)
        says = f"{folder.absolute()}, {size_text(free)} free"
        if not os.access(place, os.W_OK):
            yield Finding(name, f"{says}; {place} cannot be written: choose another folder", "wrong")
        elif name == "models":
            yield Finding(name, says, "note" if free < LITTLE else "good")
        else:
            yield from _written(name, place, says, "note" if free < LITTLE else "good")


def _written(name: str, place: Path, says: str, state: State) -> Iterator[Finding]:
    """Whether a folder can be locked, tried with a file that is deleted again."""
    try:
        with tempfile.TemporaryDirectory(prefix=".kdkit-doctor-", dir=place) as folder:
            lock = Lock(Path(folder) / "lock")
            lock.acquire(1.0)
            has_marks = lock.has_marks
            lock.release()
    except OSError as error:
        yield Finding(
            name, f"{says}; no file can be made in {place} ({error.strerror}): choose another folder", "wrong"
        )
        return
    if has_marks:
        says += "; its file system has no locks, so a file beside each says who holds it"
        state = "note"
    yield Finding(name, says, state)


def _hub() -> Finding:
    from huggingface_hub import constants, get_token

    token = "with a token" if get_token() else "without a token, so gated models are out of reach"
    if constants.is_offline_mode():
        return Finding("hub", "off (HF_HUB_OFFLINE): only models in folders and in the hub's cache are found", "note")
    address = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), timeout=PATIENCE):
            return Finding("hub", f"reachable, {token}")
    except OSError as error:
        why = error.strerror or str(error)
        return Finding("hub", f"not reachable ({why}): only models in folders and in the hub's cache are found", "note")


def _plugins(plugins: Plugins) -> Iterator[Finding]:
    listed = ", ".join(f"{name} {version}" for name, version in plugins.loaded.items())
    yield Finding("plugins", f"{plural(len(plugins.all), 'component')} of {listed}")
    for failure in plugins.failures:
        yield Finding("plugins", f"{failure.plugin} failed to load: {failure.cause}", "wrong")
    for choice in plugins.choices():
        yield Finding("plugins", choice, "note")
    if plugins.disabled:
        from kdkit.plugins import DISABLE

        yield Finding("plugins", f"{DISABLE} disables {', '.join(plugins.disabled)}", "note")
