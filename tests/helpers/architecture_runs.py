"""What works with a type of encoder-decoder, tried with tiny models: runs, texts, and the models that they leave."""

from __future__ import annotations

import functools
import json
import re
import warnings
from typing import TYPE_CHECKING, Any

import language_kit
import tiny
from architectures import hard_losses, table

from kdkit.errors import Interrupted, KdkitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WORKS = "works"
SAME = 1e-5
"""By how much of itself kdkit's hard loss may differ from the model's own: another order of sums."""

FIELDS: dict[str, dict[str, Any]] = {"prophetnet": {"disable_ngram_loss": True}}
"""What a type is tried with beside its sizes, so that its own loss is of the target tokens alone."""


def byte_level(kind: str, **options: Any) -> Callable[[Path], Any]:
    """A tokenizer of BART's kin."""

    def make(_folder: Path) -> Any:
        import transformers
        from tokenizers.pre_tokenizers import ByteLevel

        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        vocabulary = {token: i for i, token in enumerate([*special, *sorted(ByteLevel.alphabet())])}
        return getattr(transformers, kind)(vocab=vocabulary, merges=[], **options)

    return make


def unigram(kind: str, special: tuple[str, ...], **options: Any) -> Callable[[Path], Any]:
    """A tokenizer of T5's kin."""

    def make(_folder: Path) -> Any:
        import transformers

        vocabulary = [(token, 0.0) for token in special] + [(each, -2.0) for each in language_kit.CHARACTERS]
        return getattr(transformers, kind)(vocab=vocabulary, **options)

    return make


def merged(kind: str, special: tuple[str, ...], **options: Any) -> Callable[[Path], Any]:
    """A tokenizer of byte pairs with spaces written as one of them."""

    def make(_folder: Path) -> Any:
        import transformers

        vocabulary = {token: i for i, token in enumerate([*special, *language_kit.CHARACTERS])}
        return getattr(transformers, kind)(vocab=vocabulary, merges=[], **options)

    return make


def bert(_folder: Path) -> Any:
    """Words in pieces."""
    from transformers import BertTokenizer

    tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *(a + b for b in language_kit.CHARACTERS for a in ("", "##")),
    ]
    return BertTokenizer(vocab={token: i for i, token in enumerate(tokens)})


def of_language_kit(name: str, **languages: str) -> Callable[[Path], Any]:
    """One that the tests of languages have."""
    return lambda _folder: getattr(language_kit, name)(**languages)


T5 = unigram("T5Tokenizer", ("<pad>", "</s>", "<unk>"), extra_ids=2)
PEGASUS = unigram("PegasusTokenizer", ("<pad>", "</s>", "<unk>", "<mask_2>"))
SEAMLESS = merged("SeamlessM4TTokenizer", ("<pad>", "<unk>", "<s>", "</s>", "__eng__", "__fra__"))
GEMMA = merged("GemmaTokenizer", ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"), add_eos_token=True)
OWN: dict[str, Callable[[Path], Any]] = {
    "bart": byte_level("RobertaTokenizer"),
    "bigbird_pegasus": PEGASUS,
    "blenderbot": byte_level("BlenderbotTokenizer", add_eos_token=True),
    "blenderbot-small": language_kit.blenderbot_small,
    "encoder-decoder": bert,
    "fsmt": language_kit.fsmt,
    "led": byte_level("LEDTokenizer"),
    "longt5": T5,
    "m2m_100": language_kit.m2m_100,
    "marian": language_kit.marian,
    "mbart": of_language_kit("mbart", src_lang="en_XX", tgt_lang="de_DE"),
    "mt5": T5,
    "mvp": byte_level("MvpTokenizer"),
    "nllb-moe": of_language_kit("nllb", src_lang="eng_Latn", tgt_lang="deu_Latn"),
    "pegasus": PEGASUS,
    "pegasus_x": PEGASUS,
    "plbart": language_kit.plbart,
    "prophetnet": language_kit.prophetnet,
    "seamless_m4t": SEAMLESS,
    "seamless_m4t_v2": SEAMLESS,
    "switch_transformers": T5,
    "t5": T5,
    "t5gemma": GEMMA,
    "t5gemma2": GEMMA,
    "umt5": T5,
}
"""The tokenizers that folders of a type hold."""


def tried(model_type: str, folder: Path) -> dict[str, str]:
    """What was tried with a type, and that it works, or what was said instead."""
    return {name: said(step, folder) for name, step in _steps(model_type, folder)}


def _steps(model_type: str, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    config = table(model_type, **FIELDS.get(model_type, {}))
    new = {"teacher__config": config, "student": {"name": "hf-seq2seq", "config": config}}
    kept = {"name": "hf-seq2seq", "from_teacher": {"encoder_layers": [0], "decoder_layers": [1]}}
    yield "config", lambda: _run(folder, "config", **new)
    yield "subspace", lambda: _run(folder, "subspace", **new, codec={"name": "subspace"})
    yield "from_teacher", lambda: _run(folder, "from_teacher", **{**new, "student": kept})
    yield "folder", lambda: _run(folder, "folder", **_folders(model_type, folder))
    yield "predict", lambda: _predicted(folder)
    yield "reopened", lambda: _reopened(folder)
    yield "hard_loss", lambda: _same_hard_loss(folder)


def _run(folder: Path, name: str, **changes: Any) -> None:
    fewer = {"training__epochs": 1, "generation": {"beams": 1, "max_new_tokens": 8, "batch_size": 3}}
    tiny.run_here(folder, name, train=16, validation=3, store={"dir": str(folder / "store")}, **fewer, **changes)


def _folders(model_type: str, folder: Path) -> dict[str, Any]:
    """Teacher and student that are folders with a tokenizer of the type's own."""
    import torch

    from kdkit import models
    from kdkit.data.tokens import target_ids
    from kdkit.models.decoding import decoder_inputs

    parts = folder / "parts"
    parts.mkdir()
    tokenizer = OWN[model_type](parts)
    tokenizer.save_pretrained(folder / "tokenizer")
    tokenizer = models.load_tokenizer(str(folder / "tokenizer"))
    config = models.config_from(table(model_type, **FIELDS.get(model_type, {})), tokenizer)
    target = torch.tensor([target_ids(tokenizer, ["== 3"])[0]])
    for seed, role in enumerate(("teacher", "student")):
        module = models.new_model(config, seed=seed)
        # As such folders say: PLBart and mBART begin with the language that their targets end with.
        start = int(decoder_inputs(module, target)[0, 0])
        module.config.decoder_start_token_id = module.generation_config.decoder_start_token_id = start
        models.Seq2SeqModel(module=module, tokenizer=tokenizer).save(folder / role, texts={})
    return {
        "teacher": {"name": "hf-seq2seq", "model": str(folder / "teacher")},
        "student": {"name": "hf-seq2seq", "model": str(folder / "student")},
    }


def students(folder: Path) -> list[Path]:
    """Those of runs that ended."""
    found = sorted(folder.glob("runs/*/student/best"))
    if not found:
        raise AssertionError("no run ended")
    return found


def _predicted(folder: Path) -> None:
    for student in students(folder):
        texts_of(folder, student)


def texts_of(folder: Path, student: Path) -> list[str]:
    """What `kdkit predict` writes; a row at a time, since a mixture of experts may give a row's tokens less room."""
    from click.testing import CliRunner

    from kdkit.cli.predict import command

    options = ["--input", str(folder / "validation.jsonl"), "-o", "generation.batch_size=1"]
    done = CliRunner().invoke(command, [str(student), *options], catch_exceptions=False)
    return [json.loads(line)["prediction"] for line in done.stdout.splitlines()]


def _reopened(folder: Path) -> None:
    """Plain transformers writes of the saved students what kdkit writes."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    for student in students(folder):
        model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(student), AutoTokenizer.from_pretrained(student)
        rows = [json.loads(line)["text"] for line in (folder / "validation.jsonl").read_text().splitlines()]
        made = []
        for text in rows:
            ids = tokenizer(text, return_tensors="pt").input_ids
            made.append(tokenizer.decode(model.generate(ids)[0], skip_special_tokens=True))
        assert made == texts_of(folder, student), f"{student.parts[-3]}: plain transformers writes other texts"


def _same_hard_loss(folder: Path) -> None:
    """The loss that teachers and students report of labels is the one that kdkit trains them on."""
    from kdkit import models

    for saved in [*students(folder), *folder.glob("runs/*/teacher"), *folder.glob("teacher")]:
        module = models.load_model(str(saved)).eval()
        own, ours = hard_losses(models.Seq2SeqModel(module=module, tokenizer=models.load_tokenizer(str(saved))))
        assert abs(own - ours) <= SAME * own, f"{saved.relative_to(folder)}: its own is {own:.6f}, kdkit's {ours:.6f}"


def said(step: Callable[[], object], folder: Path) -> str:
    """That a step works, or what was said instead."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step()
    except Interrupted:
        raise
    except KdkitError as error:
        text = re.sub(rf"{re.escape(str(folder))}/?", "", str(error).splitlines()[0])
        return re.sub(r"\b[0-9a-f]{32}\b", "DIGEST", text)
    except Exception as error:  # noqa: BLE001 - the table says it, and that it is not a sentence of kdkit's
        text = re.sub(rf"{re.escape(str(folder))}/?", "", f"{error}")
        return f"{type(error).__name__}: {(text.splitlines() or [''])[0][:300]}"
    return WORKS


def types() -> list[str]:
    """The encoder-decoders that transformers opens as such and that read text."""
    return sorted(_names() - not_for_text().keys())


@functools.cache
def not_for_text() -> dict[str, str]:
    """The other types that transformers lists among them, and why they are not tried."""
    from transformers import AutoConfig

    reasons = {}
    for name in sorted(_names()):
        config = AutoConfig.for_model(name)
        if not config.is_encoder_decoder:
            reads = "reads sound and writes with a decoder alone" if _hears(config) else "has no encoder for text"
            reasons[name] = f"{reads}; not an encoder-decoder of text"
    return reasons


def _hears(config: Any) -> bool:
    parts = {*config.sub_configs, *(getattr(config, name).model_type for name in config.sub_configs)}
    return any(word in part for part in parts for word in ("audio", "speech", "acoustic"))


def _names() -> set[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

    return set(MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
