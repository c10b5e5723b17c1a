"""What an unknown key may have meant: another toolkit's name, a slip, or an option of another section."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from kdkit.errors import PluginError
from kdkit.plugins.fields import options_of
from kdkit.recipe.sections import SECTIONS, Preamble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.plugins import Plugins

# Of transformers' arguments, of other toolkits, and of papers.
_ALIASES: Mapping[str, Sequence[str]] = {
    "accumulation": ("grad_accum", "gradient_accumulation", "gradient_accumulation_steps", "accumulate_grad_batches"),
    "alpha": ("lambda", "lmbda", "kd_weight", "soft_weight", "distillation_weight"),
    "batch_size": (
        "bs",
        "per_device_train_batch_size",
        "per_device_eval_batch_size",
        "train_batch_size",
        "micro_batch_size",
    ),
    "beams": ("num_beams", "beam_size", "n_beams"),
    "best_by": ("metric_for_best_model", "monitor"),
    "checkpoint_every": ("save_steps", "checkpoint_steps"),
    "divergence": ("kl_type", "loss_type", "objective"),
    "epochs": ("num_train_epochs", "num_epochs", "n_epochs", "max_epochs"),
    "gradient_checkpointing": ("activation_checkpointing",),
    "group_by_length": ("length_grouping",),
    "k": ("top_k", "topk"),
    "learning_rate": ("lr", "eta"),
    "log_every": ("logging_steps", "log_steps", "log_interval"),
    "max_grad_norm": ("clip", "grad_clip", "clip_grad", "clip_grad_norm", "gradient_clip_val"),
    "max_steps": ("steps", "train_steps", "num_steps", "total_steps"),
    "max_length": ("block_size", "max_seq_length", "seq_length", "sequence_length"),
    "max_new_tokens": ("max_length", "max_tokens", "max_gen_length", "generation_max_length"),
    "max_source": ("max_source_length", "max_input_length", "source_max_length"),
    "max_target": ("max_target_length", "max_output_length", "target_max_length"),
    "model": ("model_name", "model_name_or_path", "checkpoint", "pretrained"),
    "overlap": ("stride",),
    "precision": ("dtype", "torch_dtype", "bf16", "fp16", "mixed_precision", "amp"),
    "schedule": ("lr_scheduler", "lr_scheduler_type", "scheduler"),
    "seed": ("random_seed", "random_state"),
    "suites": ("metrics", "suite"),
    "temperature": ("temp", "T", "tau", "kd_temperature"),
    "warmup_ratio": ("warmup", "warmup_steps", "warmup_fraction"),
    "weight_decay": ("wd", "decay"),
}
# Of a generation that draws its texts.
_SAMPLING = {"do_sample", "typical_p", "min_p", "epsilon_cutoff", "eta_cutoff"}
_MEANT = {alias: name for name, aliases in _ALIASES.items() for alias in aliases}


_SECTION_MEANT: Mapping[str, Sequence[str]] = {
    "data": ("dataset", "datasets"),
    "evaluation": ("eval", "metrics"),
    "generation": ("generate", "decoding", "sampling"),
    "loss": ("distillation", "kd"),
    "store": ("cache",),
    "teacher": ("model", "teacher_model"),
    "student": ("student_model",),
    "training": ("train", "trainer", "optimizer", "optim"),
    "tokens": ("tokenizer", "limits"),
    "track": ("logging", "tracker", "tracking"),
}


def _special(key: str, known: Sequence[str]) -> str:
    """What is said of a key that is, or stands for, something of another kind; else empty."""
    if "extends" in known:
        return _section_meant(key)
    if key in SECTIONS:
        return f"; it is a section of a recipe: write [{key}]"
    if key in _SAMPLING and "beams" in known:
        return f"; texts are drawn where temperature is above 0; available: {', '.join(known)}"
    return ""


def _section_meant(key: str) -> str:
    """`; did you mean "training"?` where an unknown key of a recipe is another word for a section; else empty."""
    meant = next((name for name, words in _SECTION_MEANT.items() if key.lower() in words), None)
    meant = meant or next(iter(get_close_matches(key, SECTIONS, n=1, cutoff=0.8)), None)
    return f'; did you mean "{meant}"?' if meant else ""


def suggestion(key: str, known: Sequence[str], options: Mapping[str, Sequence[str]]) -> str:
    """`; did you mean ...?`, or the known names.

    Args:
        key: The key that is not known.
        known: What stands where it was looked for.
        options: Every option of the recipe's sections: its name to the paths that it has.
    """
    if special := _special(key, known):
        return special
    here = _MEANT.get(key)
    if here in known:
        return f'; did you mean "{here}"?'
    paths = paths_of(key, options)
    if not paths:
        near = get_close_matches(key, known, n=1)
        if near:
            return f'; did you mean "{near[0]}"?'
        paths = [path for name in get_close_matches(key, options, n=1, cutoff=0.8) for path in options[name]]
    if paths:
        return "; did you mean " + " or ".join(f'"{path}"' for path in paths) + "?"
    return f"; available: {', '.join(known)}" if known else ", which has no options"


def paths_of(key: str, options: Mapping[str, Sequence[str]]) -> list[str]:
    """Where a recipe has an option of that name, or what another toolkit's name stands for; see `suggestion`."""
    return [*options.get(key, ()), *options.get(_MEANT.get(key, ""), ())]


def all_options(recipe: Mapping[str, Any], plugins: Plugins) -> dict[str, list[str]]:
    """Every option of a recipe's sections by name, with its paths.

    Args:
        recipe: The recipe as tables: which components it names.
        plugins: What components there are.
    """
    found: dict[str, list[str]] = {}
    for section, cls in _classes(recipe, plugins):
        for option in options_of(cls):
            found.setdefault(option.name, []).append(f"{section}.{option.name}" if section else option.name)
    return found


def _classes(recipe: Mapping[str, Any], plugins: Plugins) -> Iterator[tuple[str, type[Any]]]:
    """Each section and the class of its options; a section whose component is wrong is left out."""
    yield "", Preamble
    for name, section in SECTIONS.items():
        if section.options is not None:
            yield name, section.options
        elif section.kind is not None:
            content = recipe.get(name, {})
            component = content.get("name", section.default_name) if isinstance(content, dict) else None
            if component in plugins.names(section.kind):
                try:
                    yield name, plugins.get(section.kind, component).load()
                except PluginError:
                    continue
