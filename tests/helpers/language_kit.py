"""Tiny tokenizers of translation models, made without the network: their languages, vocabularies and marks are real."""

from __future__ import annotations

import json
from pathlib import Path

import tiny

CHARACTERS = "▁abcdefghijklmnopqrstuvwxyz0123456789="
TINY = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
}  # fmt: skip
"""Fields of a configuration that BART and its kin share."""


def nllb(**languages):
    """Targets are marked at their beginning: `deu_Latn ... </s>`."""
    from transformers import NllbTokenizer

    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *CHARACTERS])}
    codes = ["eng_Latn", "deu_Latn", "fra_Latn"]
    return NllbTokenizer(vocab=vocabulary, merges=[], extra_special_tokens=codes, **languages)


def mbart(**languages):
    """Targets are marked at their end: `... </s> de_DE`."""
    from transformers import MBartTokenizer

    vocabulary = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")] + [(each, -2.0) for each in CHARACTERS]
    return MBartTokenizer(vocab=vocabulary, **languages)


def saved(tokenizer, folder: Path) -> str:
    """The tokenizer's folder, beside what transformers needs to know the tokenizer by."""
    tokenizer.save_pretrained(folder)
    return str(folder)


# --- slow tokenizers, which are Python; some need packages that kdkit does not


def byt5(_folder: Path):
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer()


def prophetnet(folder: Path):
    """Words; a separator ends texts, and there is no end token."""
    from transformers import ProphetNetTokenizer

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[X_SEP]"]
    (folder / "words.txt").write_text("\n".join([*special, "max", "of", "and", "x", "=", *"0123456789"]) + "\n")
    return ProphetNetTokenizer(str(folder / "words.txt"))


def blenderbot_small(folder: Path):
    """Ends no text by itself."""
    from transformers import BlenderbotSmallTokenizer

    tokens = ["__start__", "__end__", "__unk__", "__null__"]
    tokens += [letter + more for letter in "maxofnd=0123456789" for more in ("@@", "")]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n\n")
    return BlenderbotSmallTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def fsmt(folder: Path):
    """Needs sacremoses. Sources and targets have vocabularies of their own; a separator ends texts."""
    from transformers import FSMTTokenizer

    for side, letters in (("src", "maxofnd=0123456789"), ("tgt", "=0123456789")):
        tokens = ["<s>", "<pad>", "</s>", "<unk>", *(each + end for each in letters for end in ("", "</w>"))]
        (folder / f"{side}.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    files = {
        name: str(folder / file) for name, file in (("src_vocab_file", "src.json"), ("tgt_vocab_file", "tgt.json"))
    }
    return FSMTTokenizer(langs=["en", "de"], **files, merges_file=str(folder / "merges.txt"))


def marian(folder: Path, *, separate: bool = True):
    """Needs sentencepiece. Targets have a vocabulary of their own, or the sources' too."""
    from transformers.models.marian.tokenization_marian import MarianTokenizer

    sources, targets = ([text[side] for text in tiny.pairs(200)] for side in (0, 1))
    models = [_sentencepiece(folder / name, texts) for name, texts in (("source", sources), ("target", targets))]
    vocabularies = [_pieces(model, ["</s>", "<unk>", "<pad>"]) for model in models]
    if not separate:
        joined = {piece: i for i, piece in enumerate(dict.fromkeys([*vocabularies[0], *vocabularies[1]]))}
        vocabularies = [joined, joined]
    files = [folder / "vocab.json", folder / "target_vocab.json"]
    for file, vocabulary in zip(files, vocabularies, strict=True):
        file.write_text(json.dumps(vocabulary))
    return MarianTokenizer(
        source_spm=models[0], target_spm=models[1], vocab=str(files[0]), target_vocab_file=str(files[1]),
        separate_vocabs=separate, source_lang="en", target_lang="de",
    )  # fmt: skip


def marian_shared(folder: Path):
    return marian(folder, separate=False)


def m2m_100(folder: Path):
    """Needs sentencepiece. Marks languages; their ids are beyond those that it counts."""
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES, M2M100Tokenizer

    model = _sentencepiece(folder / "both", [text for pair in tiny.pairs(200) for text in pair])
    (folder / "vocab.json").write_text(json.dumps(_pieces(model, ["<s>", "<pad>", "</s>", "<unk>"])))
    return M2M100Tokenizer(
        str(folder / "vocab.json"), model, src_lang="en", tgt_lang="de",
        additional_special_tokens=[f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]],  # as its folders say
    )  # fmt: skip


def plbart(folder: Path):
    """Needs sentencepiece. Marks languages at the end."""
    from transformers.models.plbart.tokenization_plbart import PLBartTokenizer

    model = _sentencepiece(folder / "both", [text for pair in tiny.pairs(200) for text in pair])
    return PLBartTokenizer(model, src_lang="python", tgt_lang="en_XX")


SLOW = {
    "byt5": (byt5, "t5", None),
    "prophetnet": (prophetnet, "prophetnet", None),
    "blenderbot-small": (blenderbot_small, "blenderbot-small", None),
    "fsmt": (fsmt, "fsmt", "sacremoses"),
    "marian": (marian, "marian", "sentencepiece"),
    "marian, one vocabulary": (marian_shared, "marian", "sentencepiece"),
    "m2m_100": (m2m_100, "m2m_100", "sentencepiece"),
    "plbart": (plbart, "plbart", "sentencepiece"),
}
"""What makes a slow tokenizer in a folder, the type of model that has it, and the package that it needs."""


def _sentencepiece(path: Path, texts: list[str]) -> str:
    import sentencepiece

    path.with_suffix(".txt").write_text("\n".join(texts))
    sentencepiece.SentencePieceTrainer.train(
        input=str(path.with_suffix(".txt")), model_prefix=str(path), vocab_size=60, hard_vocab_limit=False,
        minloglevel=2,
    )  # fmt: skip
    return f"{path}.model"


def _pieces(model: str, special: list[str]) -> dict[str, int]:
    import sentencepiece

    known = sentencepiece.SentencePieceProcessor(model_file=model)
    pieces = [known.id_to_piece(i) for i in range(known.get_piece_size())]
    return {piece: i for i, piece in enumerate(dict.fromkeys([*special, *pieces]))}
