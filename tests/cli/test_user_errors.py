"""Every way a user can be wrong gives one sentence on standard error, the right exit code, and loses nothing.

A row of the table says what the user does, the exit code, and what the sentence says. The rows go through the real
command line; those that need a finished run copy the one that the module makes once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import attrs
import huggingface_hub
import pytest
import tiny
from small_recipe import SMALL

import kdkit as library
from kdkit import cli
from kdkit.logits.cache.format import read_shard
from kdkit.runs.model_card import RECIPE_FILE

CONFIG = 'config = { model_type = "t5", d_model = 16, d_ff = 16, num_layers = 2, num_heads = 2, d_kv = 8, dropout_rate = 0.0 }'
FROM_TEACHER = "from_teacher = { encoder_layers = [0], decoder_layers = [0] }"
TRAIN_ROWS, VALIDATION_ROWS = 24, 6
# What may stand on standard error beside the error: how far the run came.
PROGRESS = re.compile(
    r"(data|validate|check|teacher|student|labels-only student|(train|validate) (teacher|student|labels-only student)|"
    r"(score )?(student on validation rows|labels-only|untouched|(untuned|trimmed) teacher|teacher before trimming)|"
    r"score (student|teacher)|(teacher|student|student on validation rows|labels-only|untouched) writes|"
    r"time texts|capture|distill|baseline|evaluate|report|predict|stage \d of \d): "
)
# An error, with the lines below it where it is a list of differences.
SENTENCE = re.compile(r"^error: .*(?:\n  .*)*", re.MULTILINE)
RUN = ["run", "r.toml"]


class User:
    """A user in a folder of their own."""

    def __init__(self, folder, finished, monkeypatch):
        self.folder, self.finished, self.monkeypatch = folder, finished, monkeypatch
        self.others = []  # processes that end with the test
        write_inputs(folder)

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def change(self, old, new, name="r.toml"):
        """Replace a piece of a file, which has it once."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, old
        path.write_text(text.replace(old, new), encoding="utf-8")

    def copy_model(self, name, role="teacher", **config):
        """A plain model folder, its configuration changed."""
        shutil.copytree(self.finished / "runs" / "r" / role, self.folder / name)
        path = self.folder / name / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **config}), encoding="utf-8")
        return self.folder / name

    def copy_run(self):
        """The finished run and the store beside it, as if they had been made here."""
        shutil.copytree(self.finished / "runs", self.folder / "runs")
        record = self.folder / "runs" / "r" / "run.json"
        text = record.read_text(encoding="utf-8")
        record.write_text(text.replace(str(self.finished), str(self.folder)), encoding="utf-8")
        return self.folder / "runs" / "r"

    def shard(self):
        """The one shard of the store's logits."""
        (shard,) = (self.folder / "runs" / "cache" / "logits").glob("*/shard-*.safetensors")
        return shard


def write_inputs(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "r.toml").write_text(SMALL, encoding="utf-8")
    for name, start, count in (("train", 0, TRAIN_ROWS), ("valid", 3, VALIDATION_ROWS)):
        rows = [
            {"text": f"max of {i} and {i * 7 % 10}", "answer": f"== {max(i, i * 7 % 10)}"}
            for i in range(start, start + count)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def kdkit(capsys, arguments):
    """Exit code, standard output and standard error of a command, in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    shown = capsys.readouterr()
    return left.value.code, shown.out, shown.err


@attrs.frozen
class Way:
    """One way to be wrong.

    Attributes:
        what: What the user does.
        code: The exit code.
        sentence: A regular expression for each sentence on standard error, in order.
        arguments: Of the command line.
        prepare: What is done to the user's folder before.
        out: A regular expression for standard output.
        remedy: What the sentence says to delete; patterns. The same command must then succeed.
        repaired: Whether it says to repair a cache instead.
        again: The command to succeed then, where it is not the same.
        kept: What that must not make anew; patterns.
    """

    what: str
    code: int
    sentence: str | tuple[str, ...]
    arguments: list[str] = attrs.field(factory=lambda: RUN)
    prepare: object = None
    out: str = ""
    remedy: tuple[str, ...] = ()
    repaired: bool = False
    again: list[str] | None = None
    kept: tuple[str, ...] = ()

    @property
    def sentences(self):
        return (self.sentence,) if isinstance(self.sentence, str) else self.sentence


def changed(old, new, name="r.toml"):
    return lambda user: user.change(old, new, name)


def written(name, content):
    def write(user):
        user.write(name, content)

    return write


def over(*overrides):
    return [*RUN, *(part for override in overrides for part in ("-o", override))]


def another_tokenizer(user):
    """A student whose tokenizer has two tokens in each other's place."""
    folder = user.copy_model("other")
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    by_id = {number: token for token, number in vocabulary.items()}
    vocabulary[by_id[7]], vocabulary[by_id[8]] = 8, 7
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    user.change(FROM_TEACHER, 'model = "other"')


def teacher_model(make=None, name="model"):
    """The recipe's teacher is a model folder `model`, made by this."""

    def prepare(user):
        user.change(CONFIG, f'model = "{name}"')
        if make is not None:
            make(user)

    return prepare


def model_without(pattern):
    def make(user):
        for path in user.copy_model("model").glob(pattern):
            path.unlink()

    return teacher_model(make)


def recorded(user):
    user.copy_model("model")
    user.change(
        '[teacher]\nname = "hf-seq2seq"\nvocab_size = 280\n' + CONFIG,
        '[teacher]\nname = "recorded"\ntokenizer = "model"',
    )


def recorded_without_logits(user):
    recorded(user)
    user.change(FROM_TEACHER, CONFIG)


def small_disk(user):
    usage = shutil.disk_usage
    user.monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(path)._replace(free=1000))


def one_gpu(user):
    import torch

    user.monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    user.monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def no_gpu(user):
    import torch

    user.monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def no_plugins(user):
    user.monkeypatch.setenv("KDKIT_DISABLE_PLUGINS", "all")
    user.change("[data]", 'requires = ["kdkit-assertions"]\n[data]')


def store_is_a_file(user):
    user.monkeypatch.setenv("KDKIT_STORE", str(user.write("store", "x")))


def broken_link(name):
    return lambda user: (user.folder / name).symlink_to("nowhere")


def store_is_a_broken_link(user):
    broken_link("store")(user)
    user.monkeypatch.setenv("KDKIT_STORE", str(user.folder / "store"))


def in_run(*steps):
    """In a copy of the finished run: files are deleted or changed."""

    def prepare(user):
        folder = user.copy_run()
        for step in steps:
            step(user, folder)

    return prepare


def without(*names):
    def step(user, folder):
        for name in names:
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return step


def cut(name, keep=0.5):
    """The file ends early."""

    def step(user, folder):
        (path,) = folder.parent.glob(f"r/{name}") if ".." not in name else folder.parent.glob(name.removeprefix("../"))
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * keep)])

    return step


def flip_in_shard(user, folder):
    """A bit in the shard's first record is another."""
    raw = bytearray(user.shard().read_bytes())
    raw[read_shard(user.shard()).payload_start + 5] ^= 1
    user.shard().write_bytes(raw)


def flip_all_of_shard(user, folder):
    """A bit in every byte of the shard's records is another."""
    raw = bytearray(user.shard().read_bytes())
    shard = read_shard(user.shard())
    for place in range(shard.payload_start, shard.payload_start + int(shard.offsets_M[-1])):
        raw[place] ^= 1
    user.shard().write_bytes(raw)


def cut_shard(user, folder):
    raw = user.shard().read_bytes()
    user.shard().write_bytes(raw[: len(raw) // 2])


def hold(user):
    """Another process works in the run folder."""
    folder = user.copy_run()
    code = "import filelock, sys; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "held\n"
    user.others.append(other)


# What goes with a student that is trained anew: all that was said and scored after it.
STUDENT = (
    "student", "evaluation.json", "rows.npz",
    *(f"predictions/{name}.jsonl" for name in ("student", "labels-only", "untouched", "constant", "nearest")),
)  # fmt: skip
PREDICT = ["predict", "runs/r", "--input", "valid.jsonl"]
# fmt: off
# One row a line, as far as that goes.
WAYS = [
    # The recipe as a file.
    Way("names a recipe that is not there", 2, r'there is no recipe "rr\.toml": .*did you mean "r\.toml"\?', ["run", "rr.toml"]),
    Way("names a recipe that is nowhere near", 2, r'there is no recipe "zebra": it is neither a file nor the name of a shipped recipe.*', ["run", "zebra"]),
    Way("names a folder", 2, r'"\." is a folder, not a recipe; give the file in it', ["run", "."]),
    Way("names a file that is no text", 2, r"r\.toml:1:1: is not UTF-8 text", prepare=written("r.toml", b"\xff\xfe\x00")),
    Way(
        "names an empty recipe", 2, (r"r\.toml:1:1: data: is missing: a recipe needs \[data\] with a name, one of: .*jsonl.*", r"r\.toml:1:1: teacher: is missing: .*", r"r\.toml:1:1: student: is missing: .*"), prepare=written("r.toml", "")
    ),
    Way("breaks TOML", 2, r"r\.toml:26:9: is not valid TOML: .*", prepare=changed("alpha = 0.5", "alpha = = 0.5")),
    Way("leaves a bracket open", 2, r"r\.toml:1:6: is not valid TOML: .*", prepare=changed("[data]", "[data")),
    Way("gives a key twice", 2, r"r\.toml:\d+:\d+: is not valid TOML: cannot overwrite a value", prepare=changed("alpha = 0.5", "alpha = 0.5\nalpha = 0.5")),
    Way("extends what is not there", 2, r'r\.toml:1:1: extends: there is no recipe "base\.toml".*', prepare=changed("[data]", 'extends = "base.toml"\n[data]')),
    Way("extends itself", 2, r'r\.toml:1:1: extends: "r\.toml" extends this recipe too, which makes a circle; remove one `extends`', prepare=changed("[data]", 'extends = "r.toml"\n[data]')),
    # Its keys and values.
    Way("misspells a key", 2, r'r\.toml:26:1: loss\.alhpa: is not an option of loss "kd"; did you mean "alpha"\?', prepare=changed("alpha =", "alhpa =")),
    Way("misspells a section", 2, r'r\.toml:29:2: trainig: is not a key or section of a recipe; did you mean "training"\?', prepare=changed("[training]", "[trainig]")),
    Way("writes a number as text", 2, r'r\.toml:\d+:\d+: training\.batch_size: must be a whole number, is "32"', prepare=changed("batch_size = 8\nlearning", 'batch_size = "32"\nlearning')),
    Way("writes true for a number", 2, r"r\.toml:\d+:\d+: training\.epochs: must be a whole number, is true", prepare=changed("epochs = 1", "epochs = true")),
    Way("writes 3.5 for a whole number", 2, r"r\.toml:\d+:\d+: training\.epochs: must be a whole number, is 3\.5", prepare=changed("epochs = 1", "epochs = 3.5")),
    Way("writes a value for a section", 2, r"-o tokens=32: tokens: must be a table, is 32", over("tokens=32")),
    Way("writes a list for a text", 2, r'r\.toml:5:1: data\.source: must be text, is \["text"\]', prepare=changed('source = "text"', 'source = ["text"]')),
    Way("writes a number into a list of texts", 2, r"r\.toml:3:10: data\.train\[0\]: must be text, is 3", prepare=changed('train = "train.jsonl"', "train = [3]")),
    Way("asks for alpha 2", 2, r"r\.toml:26:1: loss\.alpha: must be at most 1, is 2", prepare=changed("alpha = 0.5", "alpha = 2")),
    Way("asks for temperature 0", 2, r"r\.toml:27:1: loss\.temperature: must be greater than 0, is 0", prepare=changed("temperature = 2.0", "temperature = 0")),
    Way("asks for an infinite temperature", 2, r"r\.toml:27:1: loss\.temperature: must be a finite number, is inf", prepare=changed("temperature = 2.0", "temperature = inf")),
    Way("asks for a negative batch", 2, r"r\.toml:\d+:1: training\.batch_size: must be at least 1, is -8", prepare=changed("batch_size = 8\nlearning", "batch_size = -8\nlearning")),
    Way("names no data set that is", 2, r'r\.toml:2:1: data\.name: unknown data set "jsnol"; did you mean "jsonl"\?', prepare=changed('name = "jsonl"', 'name = "jsnol"')),
    Way("names no teacher that is", 2, r'-o teacher\.name=hf-seqseq: teacher\.name: unknown teacher "hf-seqseq"; did you mean "hf-seq2seq"\?', over("teacher.name=hf-seqseq")),
    Way("names no student that is", 2, r'-o student\.name=bert: student\.name: unknown student "bert"; available: .*hf-seq2seq', over("student.name=bert")),
    Way("names no codec that is", 2, r'r\.toml:22:1: codec\.name: unknown codec "u8-lz5"; did you mean "u8-lz4"\?', prepare=changed('"u8-lz4"', '"u8-lz5"')),
    Way("names no loss that is", 2, r'r\.toml:25:1: loss\.name: unknown loss "kdd"; did you mean "kd"\?', prepare=changed('"kd"', '"kdd"')),
    Way("names no metric that is", 2, r'r\.toml:\d+:\d+: evaluation\.suites\[0\](\.name)?: unknown metric suite "txet"; did you mean "text"\?', prepare=changed('suites = ["text"]', 'suites = ["txet"]')),
    Way("leaves out what is required", 2, r"r\.toml:1:2: data\.train: is missing: File of training rows; .*", prepare=changed('train = "train.jsonl"\n', "")),
    Way(
        "is wrong in two places",
        2,
        (r"r\.toml:26:1: loss\.alpha: must be at most 1, is 3", r"r\.toml:\d+:1: training\.epochs: must be at least 1, is 0"),
        prepare=lambda user: (user.change("alpha = 0.5", "alpha = 3"), user.change("epochs = 1", "epochs = 0")),
    ),
    Way("gives model and config", 2, r"r\.toml:\d+:\d+: teacher: give exactly one of `model` and `config`", prepare=changed(CONFIG, CONFIG + '\nmodel = "m"')),
    Way("gives neither model nor config", 2, r"r\.toml:\d+:\d+: teacher: give exactly one of `model` and `config`", prepare=changed(CONFIG, "")),
    Way("gives a student no start", 2, r"r\.toml:\d+:\d+: student: give exactly one of `model`, `config` and `from_teacher`", prepare=changed(FROM_TEACHER, "")),
    Way("names an unknown device", 2, r'r\.toml:1:1: device: must be "auto", "cpu", "cuda", "cuda:N" or "mps", is "gpu"', prepare=changed("[data]", 'device = "gpu"\n[data]')),
    # What picks the best epoch.
    Way(
        "picks the best by a suite that is not asked for",
        2,
        r'r\.toml:\d+:1: training\.best_by: must be one of loss, hard, soft, text\.exact_match, text\.f1, text\.similarity, is "assertions\.f1"; the suites are listed in \[evaluation\]',
        prepare=changed('best_by = "loss"', 'best_by = "assertions.f1"'),
    ),
    Way("picks the best by a metric that the suite lacks", 2, r'r\.toml:\d+:\d+: training\.best_by = "text\.f2": .*text\.f1.*', prepare=changed('best_by = "loss"', 'best_by = "text.f2"')),
    # Overrides.
    Way("overrides without a value", 2, r"-o loss\.alpha: must have the form section\.key=value", over("loss.alpha")),
    Way("overrides an unknown key", 2, r'-o loss\.alpa=1: loss\.alpa: is not an option of loss "kd"; did you mean "alpha"\?', over("loss.alpa=1")),
    Way("overrides an unknown section", 2, r'-o los\.alpha=1: los: is not a key or section of a recipe; did you mean "loss"\?', over("los.alpha=1")),
    Way("overrides with the wrong type", 2, r'-o training\.epochs=many: training\.epochs: must be a whole number, is "many"', over("training.epochs=many")),
    Way("overrides an option of another component", 2, r'-o data\.path=x: data\.path: is not an option of data set "jsonl"; available: .*train, .*', over("data.path=x")),
    # Plugins.
    Way("requires a plugin that is not installed", 2, r"r\.toml:1:\d+: requires\[0\]: needs plugin kdkit-nowhere, which is not installed: pip install kdkit-nowhere", prepare=changed("[data]", 'requires = ["kdkit-nowhere"]\n[data]')),
    Way("requires a newer kdkit", 2, r"r\.toml:1:\d+: requires\[0\]: needs kdkit>=99, but version \S+ is installed: install a kdkit in that range", prepare=changed("[data]", 'requires = ["kdkit>=99"]\n[data]')),
    Way("requires a plugin that is disabled", 2, r"r\.toml:1:\d+: requires\[0\]: needs plugin kdkit-assertions, which (KDKIT_DISABLE_PLUGINS disables|is not installed: .*)", prepare=no_plugins),
    Way("requires what is no name", 2, r'r\.toml:1:\d+: requires\[0\]: must be the name of a distribution, as in .*, is "a b"', prepare=changed("[data]", 'requires = ["a b"]\n[data]')),
    # Data.
    Way("names data that are not there", 2, r"-o data\.train=tarin\.jsonl: there is no file tarin\.jsonl \(did you mean train\.jsonl\?\); give train the path of a file with rows", over("data.train=tarin.jsonl")),
    Way("names a folder as data", 2, r"-o data\.train=data: data is a folder; train takes a file; name one of that folder, or several by a pattern such as data/\*", over("data.train=data"), written("data/x", "")),
    Way("has an empty training file", 2, r"r\.toml:\d+:\d+: train\.jsonl has no usable training row: it is empty", prepare=written("train.jsonl", "")),
    Way("has an empty validation file", 2, r"r\.toml:\d+:\d+: valid\.jsonl has no usable validation row: it is empty", prepare=written("valid.jsonl", "\n\n")),
    Way("has a broken line", 2, r"train\.jsonl:2:\d+: this line is not a JSON object: .*skip_broken.*", prepare=written("train.jsonl", '{"text": "a", "answer": "b"}\n{"text": "a", \n')),
    Way("has a line that is no object", 2, r"train\.jsonl:1:1: this line is not a JSON object: it is a list; .*", prepare=written("train.jsonl", "[1]\n")),
    Way("has text that is no UTF-8", 2, r"train\.jsonl:1:11: this line is not a JSON object: it is not UTF-8; .*", prepare=written("train.jsonl", b'{"text": "\xff"}\n')),
    Way("names a field that no row has", 2, r'-o data\.source=txt: source names the field "txt", which no row of train\.jsonl has \(did you mean "text"\?\); its fields are answer, text', over("data.source=txt")),
    Way(
        "has rows of which none is usable",
        2,
        r"r\.toml:\d+:\d+: train\.jsonl has no usable training row: 2 dropped because it has no target \(train\.jsonl:1, train\.jsonl:2\)",
        prepare=written("train.jsonl", '{"text": "a", "answer": ""}\n{"text": "a", "answer": null}\n'),
    ),
    Way("writes a template that is wrong", 2, r"r\.toml:5:1: data\.source: the template '.*' is wrong: .*", prepare=changed('source = "text"', 'source = "{text"')),
    Way("has ids twice", 2, r'train\.jsonl:2 has the id "1", and so does train\.jsonl:1; ids must be unique .*', over("data.id=n"), written("train.jsonl", '{"n": 1, "text": "a", "answer": "b"}\n' * 2)),
    Way("has a gzip file that is cut", 4, r"train\.jsonl:1: the compressed data end early or are damaged here \(.*\); fetch the file again", prepare=written("train.jsonl", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03abc")),
    Way("asks for a batch larger than the data", 2, rf"{TRAIN_ROWS} training rows do not fill one batch of 100; lower training\.batch_size or set training\.drop_last = false", over("training.batch_size=100", "training.drop_last=true")),
    # Models and tokenizers.
    Way("names a model folder that is not there", 2, r"r\.toml:\d+:\d+: teacher: there is no model folder \./model; give the path of one, or the name of a model of the hub", prepare=teacher_model(name="./model")),
    Way("names a folder that is no model", 2, r"r\.toml:\d+:\d+: teacher: the tokenizer of model cannot be read \(.*\); download that folder again or, .*", prepare=teacher_model(written("model/tokenizer.json", "{}"))),
    Way("names an empty folder as a model", 2, r"r\.toml:\d+:\d+: teacher: model has no tokenizer: tokenizer\.json is missing there", prepare=teacher_model(written("model/readme", ""))),
    Way("names a file as a model", 2, r"r\.toml:\d+:\d+: teacher: model is a file; give the folder of a model, or a GGUF file", prepare=teacher_model(written("model", ""))),
    Way("names a model without a tokenizer", 2, r"r\.toml:\d+:\d+: teacher: model has no tokenizer: tokenizer\.json is missing there.*", prepare=model_without("tokenizer*")),
    Way("names a model without weights", 2, r"\S*model has no weights: neither model\.safetensors nor .*", prepare=model_without("*.safetensors")),
    Way(
        "names a model whose configuration is damaged",
        4,
        r"\S*model/config\.json is not JSON \(.*\); download that folder again or, .*",
        prepare=teacher_model(lambda user: (user.copy_model("model"), user.write("model/config.json", "{"))),
    ),
    Way(
        "names a model whose tokenizer is damaged", 2, r"r\.toml:\d+:\d+: teacher: the tokenizer of model cannot be read \(.*\); download that folder again or, .*", prepare=teacher_model(lambda user: (user.copy_model("model"), user.write("model/tokenizer.json", "{")))
    ),
    Way("names a model whose weights are damaged", 4, r"the weights of \S*model are damaged \(.*\); .*", prepare=teacher_model(lambda user: (user.copy_model("model"), user.write("model/model.safetensors", b"\x00" * 40)))),
    Way(
        "takes a decoder-only model as teacher",
        2,
        r'r\.toml:\d+:\d+: teacher: model is a gpt2 model, not an encoder-decoder; use one such as "t5", or set name = "hf-causal"',
        prepare=teacher_model(lambda user: (user.copy_model("model"), user.write("model/config.json", '{"model_type": "gpt2"}'))),
    ),
    Way("takes a decoder-only configuration", 2, r'r\.toml:\d+:\d+: teacher: config is a gpt2 model, not an encoder-decoder; use one such as "t5", or set name = "hf-causal"', prepare=changed(CONFIG, 'config = { model_type = "gpt2" }')),
    Way("misspells a field of the configuration", 2, r'r\.toml:\d+:\d+: teacher: config has fields that a t5 model does not have: d_modle; did you mean "d_model" for "d_modle"\?', prepare=changed("d_model", "d_modle")),
    Way("names an unknown model type", 2, r'r\.toml:\d+:\d+: teacher: config\.model_type "t6" .*', prepare=changed('model_type = "t5"', 'model_type = "t6"')),
    Way("names no model type", 2, r"r\.toml:\d+:\d+: teacher: config\.model_type is missing: .*", prepare=changed('model_type = "t5", ', "")),
    Way("gives a field of the configuration a wrong type", 2, r"r\.toml:\d+:\d+: teacher: config .*", prepare=changed("d_model = 16", 'd_model = "big"')),
    Way("gives fewer ids than the tokenizer has", 2, r"r\.toml:\d+:\d+: teacher: config\.vocab_size is 10, but the tokenizer has \d+ tokens.*", prepare=changed('model_type = "t5", ', 'model_type = "t5", vocab_size = 10, ')),
    Way("takes a teacher with fewer ids than its tokenizer", 2, r"the teacher's vocabulary has 10 entries, but its tokenizer has \d+ tokens; .*", prepare=teacher_model(lambda user: user.copy_model("model", vocab_size=10))),
    Way(
        "takes a student with fewer ids than its tokenizer",
        2,
        r"the student's vocabulary has 10 entries, but its tokenizer has \d+ tokens; .*",
        prepare=lambda user: (user.copy_model("model", vocab_size=10), user.change(CONFIG, 'model = "teacher"'), user.copy_model("teacher"), user.change(FROM_TEACHER, 'model = "model"')),
    ),
    Way("takes a student of another tokenizer", 2, r"teacher and student have different tokenizers: id 7 is .* to the teacher \(\d+ tokens\) and .* to the student \(\d+ tokens\); .*", prepare=another_tokenizer),
    Way("takes a layer that the teacher lacks", 2, r"r\.toml:\d+:\d+: student: from_teacher\.encoder_layers names layer 5, but the teacher's encoder has layers 0 to 1", prepare=changed("encoder_layers = [0]", "encoder_layers = [0, 5]")),
    Way("takes no layer", 2, r"r\.toml:\d+:\d+: student\.from_teacher\.encoder_layers: must name at least one layer", prepare=changed("encoder_layers = [0]", "encoder_layers = []")),
    Way("takes layers of recorded logits", 2, r"r\.toml:\d+:\d+: student: from_teacher needs a teacher that is a model, and this one is recorded logits; give model or config", prepare=recorded),
    Way("records no logits", 2, r'teacher "recorded" needs a data set whose rows came with logits, such as assertion-zip, but .*', prepare=recorded_without_logits),
    Way(
        "trains until nothing is finite",
        1,
        r"step \d+ of the student's training: the .* is not finite .*; lower the learning rate of this training.*",
        over("training.learning_rate=1e30", "training.max_grad_norm=0", "training.epochs=3", "training.warmup_ratio=0"),
    ),
    Way("asks for a width of 0", 2, r"r\.toml:\d+:\d+: teacher: config makes a t5 model whose \S+ is empty; set every width in it above 0", prepare=changed("d_model = 16", "d_model = 0")),
    Way("asks for a negative width", 2, r"r\.toml:\d+:\d+: teacher: config does not make a t5 model: .*", prepare=changed("d_model = 16", "d_model = -1")),
    Way("asks for texts of no token", 2, r"r\.toml:\d+:1: generation\.max_new_tokens: must be at least 1, is 0", prepare=changed("max_new_tokens = 7", "max_new_tokens = 0")),
    Way("picks the best by the soft loss where there is none", 2, r'-o training\.best_by=soft: training\.best_by = "soft", but this training has no soft loss, since it reads no teacher; set "loss" or a metric', over("loss.alpha=0", "training.best_by=soft")),
    # Machines.
    Way("asks for a GPU where there is none", 2, r'-o device=cuda: device = "cuda", but torch finds no such device here; use device = "auto" or "cpu"', over("device=cuda"), no_gpu),
    Way("asks for a second GPU where there is one", 2, r'-o device=cuda:1: device = "cuda:1", but torch finds 1 here, counted from 0; choose one of them', over("device=cuda:1"), one_gpu),
    Way("has too small a disk", 2, r"the run may write [\d.]+ [KM]B below \S+, but only [\d.]+ (bytes|KB) are free there; choose a smaller codec, .*", prepare=small_disk),
    Way("has a file where the store should be", 2, r"\S*store is a file; name another folder with store\.dir or KDKIT_STORE", prepare=store_is_a_file),
    Way("names a file as the store", 2, r"\S*train\.jsonl is a file; name another folder with store\.dir or KDKIT_STORE", over("store.dir=train.jsonl")),
    Way("has a broken link where the store should be", 2, r"\S*store is a link to nowhere, which does not exist; make that folder, or name another with store\.dir or KDKIT_STORE", prepare=store_is_a_broken_link),
    Way("writes the store's URL with one slash", 2, r"file:/x looks like a URL, but store\.dir or KDKIT_STORE takes a folder; .*", over("store.dir=file:/x")),
    Way("keeps the store with a user who is not here", 2, r"~kdkit-nobody/x cannot be a path: that user has no home folder", over("store.dir=~kdkit-nobody/x")),
    Way("has data with a user who is not here", 2, r"-o data\.train=~kdkit-nobody/x: ~kdkit-nobody/x cannot be a path: .*", over("data.train=~kdkit-nobody/x")),
    Way("has a zero byte in a path", 2, r"r\.toml:\d+:\d+: 'a\\x00b' cannot be a path: it holds a zero byte", prepare=changed('"train.jsonl"', '"a\\u0000b"')),
    Way("names a run as no folder may be called", 1, r"runs/a+: File name too long; correct that and run again", over(f"name={'a' * 300}")),
    # Run folders.
    Way("names a file as the run folder", 2, r"r\.toml is a file; name another folder with --run-dir", [*RUN, "--run-dir", "r.toml"]),
    Way("names a broken link as the run folder", 2, r"link is a link to nowhere, which does not exist; .* --run-dir", [*RUN, "--run-dir", "link"], broken_link("link")),
    Way("names a URL as the run folder", 2, r"s3:/bucket/x looks like a URL, but --run-dir takes a folder; .*", [*RUN, "--run-dir", "s3://bucket/x"]),
    Way("brings a cache to a URL with one slash", 2, r"file:/x is a URL, but this command needs a folder; .*", ["cache", "merge", "file:/x", "part"]),
    Way("names a run folder below a file", 2, r"r\.toml is a file; name another folder with --run-dir", [*RUN, "--run-dir", "r.toml/x"]),
    Way("names a folder of other things", 2, r"\. is not empty and is not a run folder; name another folder with --run-dir", [*RUN, "--run-dir", "."]),
    Way("plans in a folder of other things", 2, r"\. is not empty and is not a run folder; name another folder with --run-dir", ["plan", "r.toml", "--run-dir", "."]),
    Way(
        "changes the recipe of a run",
        2,
        r"runs/r holds a run of another recipe; use another --run-dir, or --fresh to delete that run\. They differ in:\n  loss\.alpha: 0\.5 there, 0\.3 in this recipe\n  training\.epochs: 1 there, 2 in this recipe",
        over("loss.alpha=0.3", "training.epochs=2"),
        in_run(),
    ),
    Way("plans another recipe for a run", 2, r"runs/r holds a run of another recipe; .*They differ in:\n  loss\.alpha: 0\.5 there, 0\.3 in this recipe", ["plan", "r.toml", "-o", "loss.alpha=0.3"], in_run()),
    Way("works in a folder twice", 2, r"another kdkit process works in runs/r; wait for it or use another --run-dir", prepare=hold),
    # Damage, and what the sentence says to do about it.
    Way("goes on with a damaged run.json", 4, r"runs/r/run\.json is damaged \(.*\); run with --fresh to start from scratch", prepare=in_run(cut("run.json")), again=[*RUN, "--fresh"]),
    Way("goes on with a run.json that is something else", 4, r"runs/r/run\.json is damaged \(it holds a list\); run with --fresh to start from scratch", prepare=in_run(lambda user, folder: user.write("runs/r/run.json", "[]"))),
    Way(
        "goes on with a run.json that lacks its stages", 4, r"runs/r/run\.json is damaged \(.*\); run with --fresh to start from scratch", prepare=in_run(lambda user, folder: user.change('"stages": {', '"stages": [{}], "x": {', "runs/r/run.json"))
    ),
    Way(
        "changes the recipe of a run whose recipe is damaged",
        2,
        r"runs/r holds a run of another recipe, and its recipe\.toml is damaged \(.*\); .*",
        over("loss.alpha=0.3"),
        in_run(lambda user, folder: user.write("runs/r/recipe.toml", "[data")),
    ),
    Way(
        "goes on with damaged rows",
        4,
        r"runs/r/data/train\.jsonl is damaged \(.*\); delete runs/r/data and run again to read the data again",
        prepare=in_run(without("evaluation.json", "predictions/student.jsonl"), lambda user, folder: user.write("runs/r/data/train.jsonl", '{"id": \n')),
        remedy=("runs/r/data",),
        kept=("runs/r/student/*/*", "runs/r/predictions/teacher.jsonl"),
    ),
    Way(
        "goes on with rows that are cut",
        4,
        r"runs/r/data has changed since this run wrote it; delete it and run again to read the data again",
        prepare=in_run(without("evaluation.json", "predictions/student.jsonl"), cut("data/train.jsonl")),
        remedy=("runs/r/data",),
        kept=("runs/r/student/*/*", "runs/r/predictions/teacher.jsonl"),
    ),
    Way(
        "goes on with other data than before",
        2,
        r"the data set has changed since runs/r was made; run with --fresh to start from scratch",
        prepare=in_run(without("data"), lambda user, folder: user.change("max of 3 and 1", "max of 3 and 2", "valid.jsonl")),
        again=[*RUN, "--fresh"],
    ),
    Way(
        "goes on with a damaged evaluation",
        4,
        r"runs/r/evaluation\.json is damaged \(.*\); delete it and run the recipe again",
        prepare=in_run(cut("evaluation.json")),
        remedy=("runs/r/evaluation.json",),
        kept=("runs/r/student/*/*", "runs/r/predictions/teacher.jsonl"),
    ),
    Way(
        "goes on with damaged predictions",
        4,
        r"runs/r/predictions/teacher\.jsonl:1 is not a prediction \(.*\); delete the file and run again",
        prepare=in_run(without("evaluation.json", "predictions/student.jsonl"), lambda user, folder: user.write("runs/r/predictions/teacher.jsonl", "{}\n")),
        remedy=("runs/r/predictions/teacher.jsonl",),
        kept=("runs/r/student/*/*",),
    ),
    Way(
        "goes on with a damaged student",
        4,
        r"the weights of runs/r/student/best are damaged \(.*\); download that folder again or, if a run made it, delete it and run again",
        prepare=in_run(without("evaluation.json"), cut("student/best/model.safetensors")),
        remedy=("runs/r/student/best",),
        kept=("runs/r/teacher/*", "runs/r/predictions/teacher.jsonl"),
    ),
    Way(
        "goes on with a damaged teacher",
        4,
        r"the weights of runs/r/teacher are damaged \(.*\); download that folder again or, if a run made it, delete it and run again",
        prepare=in_run(without("evaluation.json", "predictions"), cut("teacher/model.safetensors")),
        remedy=("runs/r/teacher",),
    ),
    Way(
        "shares a damaged teacher",
        4,
        r"the stored teacher \S*/cache/teachers/\w+ is damaged \(its model\.safetensors has changed since it was stored\); "
        "delete that folder and run again to make the teacher again",
        prepare=in_run(lambda user, folder: shutil.rmtree(folder), cut("../cache/teachers/*/model.safetensors")),
        remedy=("runs/cache/teachers/*",),
    ),
    Way(
        "distils again with a damaged record",
        4,
        r"\S*/shard-00000\.safetensors: record 0 is damaged: .*; run `kdkit cache repair .*`, .*, then run the recipe again, .*",
        prepare=in_run(without(*STUDENT), flip_in_shard),
        repaired=True,
        kept=("runs/r/teacher/*", "runs/r/predictions/teacher.jsonl"),
    ),
    Way(
        "distils again with a shard that is cut",
        4,
        r"\S*/shard-00000\.safetensors: .*; run `kdkit cache repair .*`, .*, then run the recipe again, .*",
        prepare=in_run(without(*STUDENT), cut_shard),
        repaired=True,
        kept=("runs/r/teacher/*", "runs/r/predictions/teacher.jsonl"),
    ),
    Way(
        "scores again with a damaged record",
        4,
        r"\S*/shard-00000\.safetensors: record \d+ is damaged: .*; run `kdkit cache repair .*`, .*, then run the recipe again, .*",
        prepare=in_run(without("evaluation.json", "predictions/student.jsonl"), flip_all_of_shard),
        repaired=True,
        kept=("runs/r/student/*/*", "runs/r/predictions/teacher.jsonl"),
    ),
    Way(
        "distils again with a damaged manifest",
        4,
        r"\S*/manifest\.json is damaged: .*; run `kdkit cache repair .*`, .*",
        prepare=in_run(without(*STUDENT), cut("../cache/logits/*/manifest.json")),
        repaired=True,
        kept=("runs/cache/logits/*/shard-*",),
    ),
    # The other verbs.
    Way("misspells a verb", 2, r"No such command 'runn'\. Did you mean 'run'\? \(see kdkit --help\)", ["runn", "r.toml"]),
    Way("misspells an option", 2, r"No such option '--run-dri'\..*Did you mean.*--run-dir.*", [*RUN, "--run-dri", "x"]),
    Way("names no recipe", 2, r"Missing argument 'RECIPE'\. .*", ["run"]),
    Way("validates a wrong recipe", 2, r"r\.toml:26:1: loss\.alpha: .*", ["recipes", "validate", "r.toml"], changed("alpha = 0.5", "alpha = 2"), out=r"r\.toml: wrong\n"),
    Way("shows a component that is not", 2, r'.*"u8-lz5".*did you mean "u8-lz4"\?', ["plugins", "show", "u8-lz5"]),
    Way("shows a recipe that is not", 2, r'there is no recipe "nowhere".*', ["recipes", "show", "nowhere"]),
    Way("predicts with no student", 2, r"nowhere is not a student made by kdkit: .*", ["predict", "nowhere", "--input", "valid.jsonl"]),
    Way("predicts with a run that has no student yet", 2, r"runs/r is not a student made by kdkit: .*", PREDICT, in_run(without("student"))),
    Way("predicts without an input", 2, r"Missing option '--input'\. .*", ["predict", "runs/r"], in_run()),
    Way("predicts on a file that is not there", 2, r"there is no file nowhere\.jsonl; give --input the path of a file with rows", ["predict", "runs/r", "--input", "nowhere.jsonl"], in_run()),
    Way("predicts on a row that cannot be used", 2, r"valid\.jsonl:2: the row cannot be used because it lacks the field text, which data\.source names; fill it, .*", PREDICT, in_run(lambda user, folder: user.write("valid.jsonl", '{"text": "a"}\n{"txt": "a"}\n'))),
    Way("predicts on a broken line", 2, r"valid\.jsonl:1:\d+: this line is not a JSON object: .*", PREDICT, in_run(lambda user, folder: user.write("valid.jsonl", "{\n"))),
    Way("predicts on nothing", 2, r"valid\.jsonl has no rows; give --input a file with .*", PREDICT, in_run(lambda user, folder: user.write("valid.jsonl", ""))),
    Way("predicts with an option that is not used", 2, r"-o training\.epochs=2: training\.epochs: is not used here; from a student's recipe only data, tokens, student, generation, device are used", [*PREDICT, "-o", "training.epochs=2"], in_run()),
    Way("predicts into a folder that is not there", 2, r"nowhere/out\.jsonl cannot be written: .*", [*PREDICT, "--output", "nowhere/out.jsonl"], in_run()),
    Way("predicts with a damaged student", 4, r"the weights of runs/r/student/best are damaged \(.*\); .*", PREDICT, in_run(cut("student/best/model.safetensors"))),
    Way("reports on no run", 2, r"\. is not a run folder: .*", ["report", "."]),
    Way("reports on a folder that is not there", 2, r"nowhere is not a run folder: .*", ["report", "nowhere"]),
    Way("reports on a damaged run", 4, r"runs/r/evaluation\.json .*", ["report", "runs/r"], in_run(cut("evaluation.json"))),
    Way("asks about no cache", 2, r"there is no logit cache in \. or below it; give .*", ["cache", "info", "."]),
    Way("verifies no cache", 2, r"there is no logit cache in nowhere or below it; give .*", ["cache", "verify", "nowhere"]),
    Way("verifies a damaged cache", 4, r"1 fault in runs; run `kdkit cache repair` on runs/cache/logits/\w+: .*", ["cache", "verify", "runs"], in_run(flip_in_shard), out=r"shard-00000\.safetensors record \d+: .*\n|.*record \d+: .*\n"),
]
# fmt: on


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run of the recipe, by a process of its own; and what that said on standard error."""
    folder = tmp_path_factory.mktemp("finished")
    write_inputs(folder)
    code, out, err = tiny.command(*RUN, folder=folder, KDKIT_STORE="")
    assert code == 0, err
    return SimpleNamespace(folder=folder, stdout=out, stderr=err)


@pytest.fixture
def user(tmp_path, finished, monkeypatch):
    folder = tmp_path / "u"
    made = User(folder, finished.folder, monkeypatch)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("KDKIT_STORE", raising=False)
    monkeypatch.delenv("KDKIT_DEBUG", raising=False)
    yield made
    for other in made.others:
        other.communicate(timeout=10)


def test_a_run_says_nothing_but_its_progress(finished):
    assert [line for line in finished.stderr.splitlines() if not PROGRESS.match(line)] == []
    assert "student: epoch 1: " in finished.stderr


def test_recorded_texts_are_enough_for_a_loss_without_logits(user, capsys):
    recorded_without_logits(user)
    code, _, err = kdkit(capsys, over("loss.alpha=0.0", "training.best_by=loss", "data.prediction=answer"))
    assert (code, SENTENCE.findall(err)) == (0, []), err
    assert (user.folder / "runs" / "r" / "report.md").exists()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.what)
def test_a_user_who(way, user, capsys):
    if way.prepare is not None:
        way.prepare(user)
    before = digests(user.folder)
    code, out, err = kdkit(capsys, way.arguments)
    check_sentences(way, code, out, err)
    after = digests(user.folder)
    assert {name: digest for name, digest in before.items() if after.get(name) != digest} == {}
    if way.remedy or way.repaired or way.again:
        kept = digests(user.folder, way.kept)
        if way.repaired:
            kdkit(capsys, ["cache", "repair", re.search(r"`kdkit cache repair (\S+)`", err)[1]])
        for path in [path for pattern in way.remedy for path in user.folder.glob(pattern)]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        code, _, err = kdkit(capsys, way.again or way.arguments)
        assert (code, SENTENCE.findall(err)) == (0, []), err
        assert bool(kept) == bool(way.kept)
        assert digests(user.folder, way.kept) == kept


def test_a_broken_link_in_the_way_is_called_one(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("nowhere")
    with pytest.raises(FileExistsError) as raised:
        link.mkdir(exist_ok=True)
    assert (
        cli._sentence(raised.value)
        == f"{link} is a link to nowhere, which does not exist; create that, or delete the link"
    )


def check_sentences(way, code, out, err):
    shown = f"exit code {code}\n{out}\n{err}"
    errors = [error.removeprefix("error: ") for error in SENTENCE.findall(err)]
    assert code == way.code, shown
    assert "Traceback" not in err
    assert len(errors) == len(way.sentences), shown
    for sentence, error in zip(way.sentences, errors, strict=True):
        assert re.fullmatch(sentence, error), shown
    assert [line for line in SENTENCE.sub("", err).splitlines() if line and not PROGRESS.match(line)] == [], shown
    assert re.fullmatch(way.out, out), shown


def digests(folder, patterns=("**/*",)):
    """What is in the files of a folder, but for those that say how far a run came."""
    found = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if path.name not in {".lock", "metrics.jsonl", "recipe.toml", "report.html", "report.md", "run.json"}
    }


def test_a_student_writes_without_the_plugins_of_its_codec_and_suites(user, capsys):
    user.copy_run()
    recipe = user.folder / "runs" / "r" / "student" / "best" / RECIPE_FILE
    text = recipe.read_text(encoding="utf-8")
    for there, gone in (
        ('name = "u8-lz4"', 'name = "of-a-plugin"'),
        ('{ name = "text" }', '{ name = "of-a-plugin" }'),
        ("requires = []", 'requires = ["kdkit-gone"]'),
    ):
        assert text.count(there) == 1
        text = text.replace(there, gone)
    recipe.write_text(text, encoding="utf-8")
    code, out, err = kdkit(capsys, PREDICT)
    assert (code, SENTENCE.findall(err), len(out.splitlines())) == (0, [], VALIDATION_ROWS)
    lines = [json.loads(line) for line in out.splitlines()]
    rows = [json.loads(line) for line in (user.folder / "valid.jsonl").read_text(encoding="utf-8").splitlines()]
    found = library.predict("runs/r", rows)
    assert [each.text for each in found] == [line["prediction"] for line in lines]
    assert [each.id for each in found] == [str(number) for number in range(VALIDATION_ROWS)]
    recipe.write_text(text.replace('name = "jsonl"', 'name = "of-a-plugin"'), encoding="utf-8")
    assert [each.text for each in library.predict("runs/r", [row["text"] for row in rows])] == [
        each.text for each in found
    ]
    assert all(each.is_cut for each in library.predict("runs/r", ["max of 3 and 4"], max_new_tokens=1, device="cpu"))
    for options, sentence in (
        ({"beems": 2}, r'beems=2: generation\.beems: is not an option of \[generation\]; did you mean "beams"\?'),
        ({"num_beams": 2}, r'num_beams=2: generation\.num_beams: is not an option .*; did you mean "beams"\?'),
        ({"beams": 0}, r"beams=0: generation\.beams: must be at least 1, is 0"),
        ({"device": "gpu"}, r"device='gpu': device: must be \"auto\", .*, is \"gpu\""),
    ):
        with pytest.raises(library.errors.RecipeError, match=f"^{sentence}$"):
            library.predict("runs/r", ["a"], **options)


# As Python starts after `<&- >&- 2>&-` in a shell.
WITHOUT_STREAMS = """
import os, sys
from kdkit.cli import main
for number in range(3):
    os.close(number)
sys.stdin = sys.stdout = sys.stderr = None
main(["report", "runs/r"])
"""


def test_a_process_without_standard_streams_does_its_work(user):
    in_run()(user)
    page = user.folder / "runs" / "r" / "report.html"
    page.unlink(missing_ok=True)
    assert tiny.code(WITHOUT_STREAMS)[0] == 0
    assert page.is_file()


def test_plain_rows_that_are_called_gz_are_read_all_the_same(user, capsys):
    (user.folder / "train.jsonl").rename(user.folder / "train.jsonl.gz")
    code, out, err = kdkit(capsys, ["plan", "r.toml", "-o", "data.train=train.jsonl.gz"])
    assert (code, err) == (0, f"data: {TRAIN_ROWS + VALIDATION_ROWS} rows, 0:00\n")
    assert f"{TRAIN_ROWS} train" in out


def process(user, *arguments, **environment):
    """The same command by a Python of its own, as a user's shell starts it."""
    ended = subprocess.run(
        [sys.executable, "-m", "kdkit", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        cwd=user.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_a_user_who_is_off_line_and_names_a_model_of_the_hub(user, capsys):
    user.change(CONFIG, 'model = "kdkit-nobody/no-such-model"')
    sentence = r'r\.toml:\d+:\d+: teacher: model "kdkit-nobody/no-such-model" is not a local folder, and the hub did not provide it \(.*\); give .*'
    way = Way("", 2, sentence)
    hub = {"HF_HUB_OFFLINE": True, "HF_HUB_CACHE": str(user.folder / "hub")}  # HF_HUB_OFFLINE=1, HF_HOME=hub
    for name, value in hub.items():
        user.monkeypatch.setattr(huggingface_hub.constants, name, value)
    check_sentences(way, *kdkit(capsys, RUN))


def test_a_process_ends_with_the_sentence_and_the_code(user):
    user.change("alpha = 0.5", "alpha = 2")
    assert process(user, *RUN) == (2, "", "error: r.toml:26:1: loss.alpha: must be at most 1, is 2\n")


def test_libraries_keep_silent_in_the_noisiest_run(user):
    """Texts beyond what the tokenizer is declared for, beams, fine-tuning, metrics at each epoch's end."""
    folder = user.copy_model("model")
    options = folder / "tokenizer_config.json"
    options.write_text(
        json.dumps({**json.loads(options.read_text(encoding="utf-8")), "model_max_length": 4}), encoding="utf-8"
    )
    code, out, err = tiny.command(
        *over(
            "teacher.tokenizer=model",
            'teacher.fine_tune={epochs=1, batch_size=8, best_by="text.f1"}',
            "training.best_by=text.f1",
            "generation.beams=2",
            "tokens.max_source=6",
        ),
        folder=user.folder,
    )
    assert code == 0, err
    assert "student: epoch 1: " in err
    assert [line for line in err.splitlines() if not PROGRESS.match(line)] == []
    assert "report: " in out
