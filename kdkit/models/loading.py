"""Opens configurations and tokenizers by name or path, local first, then the hub; a sentence if neither has it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from kdkit.data.tokens import source_ids
from kdkit.errors import MissingInput, UsageError
from kdkit.models.adapter_folders import VOCABULARIES
from kdkit.models.auto import SEQ2SEQ
from kdkit.models.config_fields import (
    check_fields,
    check_sizes,
    check_token_ids,
    check_vocabulary,
    default_fields,
    with_tokens,
)
from kdkit.models.own_code import refuse_kernels, refuse_own_code
from kdkit.models.places import find_folder
from kdkit.models.quiet import quiet
from kdkit.models.tokenizers import PROBE
from kdkit.models.weights import FETCH_AGAIN, read_table
from kdkit.system.wording import first_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.interfaces import Tokenizer
    from kdkit.models.auto import AutoClass

RUST_PANIC = "PanicException"
"""The error of a fault inside the library tokenizers: not an Exception, and a class that nobody can import."""
LACKS_PACKAGE = re.compile(r"requires the (\w+) library|need to install (\w+)", re.IGNORECASE)


def load_tokenizer(name: str, *, pads_with_end: bool = False) -> Tokenizer:
    """The tokenizer of a local folder or a hub model.

    Args:
        name: Where it is.
        pads_with_end: Whether the token that ends texts pads batches where there is no other.

    Raises:
        MissingInput: It is not there.
        UsageError: What is there is not a tokenizer that kdkit can use, or it needs a package that is not installed.
    """
    from transformers import AutoTokenizer

    folder = find_folder(name, weights=False)
    if not any(any(folder.glob(pattern)) for pattern in VOCABULARIES):
        raise MissingInput(f"{name} has no tokenizer: tokenizer.json is missing there")
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
            source_ids(tokenizer, [PROBE])  # what it says of itself may be wrong where only a text shows it
    except ImportError as error:
        said = LACKS_PACKAGE.search(str(error))
        package = next(filter(None, said.groups())).lower() if said is not None else error.name or first_line(error)
        raise UsageError(
            f"the tokenizer of {name} needs the package {package}, which is not installed: pip install {package}"
        ) from error
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != RUST_PANIC:
            raise
        refuse_own_code(folder, "tokenizer_config.json", "config.json")
        raise UsageError(
            f"the tokenizer of {name} cannot be read ({type(error).__name__}: {first_line(error)}); {FETCH_AGAIN}"
        ) from error
    if tokenizer.pad_token_id is None and pads_with_end and tokenizer.eos_token_id is None:
        raise UsageError(
            f"the tokenizer of {name} has no token that ends texts (eos_token) and none that pads (pad_token), so "
            "a model would never learn to stop; set eos_token in its tokenizer_config.json to the one that its model "
            "was trained with"
        )
    if tokenizer.pad_token_id is None and pads_with_end:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise UsageError(
            f"the tokenizer of {name} has no token that pads (pad_token); set one in its tokenizer_config.json, such "
            "as its eos_token"
        )
    return cast("Tokenizer", tokenizer)


def load_config(name: str, auto: AutoClass = SEQ2SEQ) -> Any:
    """The configuration of a local folder or a hub model.

    Raises:
        MissingInput: It is not there.
        UsageError: It is that of another kind of model.
    """
    config = read_config(name)
    auto.check(config, name)
    return config


def read_config(name: str) -> Any:
    """The same of a model of whatever kind."""
    from transformers import AutoConfig

    folder = find_folder(name, weights=False)
    if not (folder / "config.json").is_file():
        raise MissingInput(f"{name} is not a model folder: config.json is missing there")
    refuse_kernels(folder)
    check_sizes(read_table(folder / "config.json"), str(folder / "config.json"))
    try:
        with quiet():
            config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    except Exception as error:
        refuse_own_code(folder, "config.json")
        raise UsageError(f"the configuration of {name} cannot be read ({first_line(error)}); {FETCH_AGAIN}") from error
    for path in (folder / "config.json", folder / "generation_config.json"):
        if path.is_file():
            check_token_ids(read_table(path), config, str(path))
    return config


def config_from(table: Mapping[str, Any], tokenizer: Tokenizer, auto: AutoClass = SEQ2SEQ) -> Any:
    """A model configuration from a recipe's `config` table: `model_type` and that type's own fields.

    Vocabulary size and special token ids come from the tokenizer unless the table gives them.
    """
    from transformers import AutoConfig

    fields = dict(table)
    model_type = fields.pop("model_type", None)
    if not isinstance(model_type, str):
        raise UsageError(f'config.model_type is missing: give a model type of transformers, such as "{auto.example}"')
    known = default_fields(model_type)
    check_sizes(table, "config")
    fields = with_tokens(fields, known, tokenizer)
    try:
        with quiet():
            config = AutoConfig.for_model(model_type, **fields)
    except Exception as error:
        raise UsageError(f"config does not make a {model_type} model: {first_line(error)}") from error
    auto.check(config, "config")
    check_fields(table, known, model_type)
    check_vocabulary(config, tokenizer)
    check_token_ids(table, config, "config")
    return config
