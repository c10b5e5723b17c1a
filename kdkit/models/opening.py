"""Opens a model with its weights: in the type and on the device that are asked for, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import KdkitError, UsageError
from kdkit.models.auto import SEQ2SEQ
from kdkit.models.loading import load_config
from kdkit.models.making import looked_at
from kdkit.models.places import find_folder
from kdkit.models.quiet import quiet
from kdkit.models.weights import check_enough, check_weights, nothing_else
from kdkit.system.wording import first_line, plural

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from kdkit.models.auto import AutoClass


@attrs.frozen(kw_only=True)
class Spread:
    """How a model is divided over the devices of a machine.

    Attributes:
        device_map: One of transformers' ways: "auto", "balanced", "balanced_low_0" or "sequential".
        max_memory: The most that a device may take ("20GiB"), by its number or "cpu"; all of it by default.
    """

    device_map: str
    max_memory: Mapping[str, Any] | None = None

    def arguments(self) -> dict[str, Any]:
        """What transformers receives."""
        numbered = {int(key) if key.isdigit() else key: most for key, most in (self.max_memory or {}).items()}
        return {"device_map": self.device_map, "max_memory": numbered or None}


def load_model(
    name: str,
    auto: AutoClass = SEQ2SEQ,
    *,
    dtype: str = "float32",
    device: str = "cpu",
    spread: Spread | None = None,
) -> Any:
    """A model with its weights.

    Each weight is read in the type that is asked for, straight onto the device: a model of eight billion parameters in
    bfloat16 takes 16 GB there, and no 32 GB of the machine's memory first.

    Args:
        name: A path, or the hub's `owner/name`.
        auto: The class that opens it.
        dtype: The type of its weights: "float32", "bfloat16", "float16", or "auto" for the one that they are stored in.
        device: "cpu", "cuda", ...
        spread: How it is divided over several devices instead of that one.

    Raises:
        MissingInput: It is not there.
        UsageError: What is there is a model of another kind.
        DamagedData: Its weight files are cut or are something else.
    """
    import torch

    config = load_config(name, auto)
    folder = find_folder(name, weights=True)
    check_weights(folder)
    try:
        check_enough(folder, looked_at(config).num_parameters())
        with quiet(), nothing_else(folder) as shown:
            model, found = auto.loader.from_pretrained(
                str(shown),
                dtype="auto" if dtype == "auto" else getattr(torch, dtype),
                **(spread.arguments() if spread is not None else {"device_map": {"": device}}),
                output_loading_info=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # they are refused below: transformers names them only in a log
            )
        model.name_or_path = model.config._name_or_path = str(folder)  # noqa: SLF001 - which transformers saves
    except KdkitError:
        raise
    except Exception as error:
        raise UsageError(f"{name} cannot be opened as {auto.kind}: {first_line(error)}") from error
    _check_no_disk(name, getattr(model, "hf_device_map", {}))
    _check_complete(name, model.config.model_type, missing=found["missing_keys"], misshapen=found["mismatched_keys"])
    return model


def _check_no_disk(name: str, places: Mapping[str, Any]) -> None:
    """Refuse a model that does not fit: transformers would read the rest from the disk for every batch."""
    left = [part for part, place in places.items() if place == "disk"]
    if left:
        raise UsageError(
            f"{name} does not fit on the devices: there is no room for {plural(len(left), 'part')} of it, such as "
            f"{left[0]}; raise max_memory, or set a smaller dtype"
        )


def _check_complete(
    name: str, model_type: str, *, missing: Collection[str], misshapen: Collection[tuple[str, Any, Any]]
) -> None:
    """Refuse a model whose weight files lack weights of its configuration, or hold them in another shape."""
    if misshapen:
        weight, stored, expected = min(misshapen)
        raise UsageError(
            f"{name} has {plural(len(misshapen), 'weight')} of another shape than its config.json says, such as "
            f"{weight}: {tuple(stored)} in the file, {tuple(expected)} by config.json; "
            "use the config.json that was saved with these weights"
        )
    if missing:
        raise UsageError(
            f"{name} lacks {len(missing)} of the weights that its config.json requires, such as "
            f"{min(missing)}; it is not a complete {model_type} model"
        )
