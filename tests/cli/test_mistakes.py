"""Mistakes that people make, each answered by one sentence with its place and its cure, without loading torch.

The rows of the table run one after the other in one process, each in a folder of its own with the files below; what is
slow, or needs a finished run, is in `test_user_errors.py`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
from small_recipe import RECIPE

SWEEP = f"""\
{RECIPE}
[sweep]
seeds = [1, 2]

[sweep.grid]
"loss.alpha" = [0.1, 0.5]
"""
ROWS = "".join(json.dumps({"text": f"max of {i} and 3", "answer": f"== {max(i, 3)}"}) + "\n" for i in range(24))
TABLE = "text,answer\n" + "".join(f"max of {i},{i}\n" for i in range(24))
CHATS = json.dumps({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]}) + "\n"
FILES = {
    "r.toml": RECIPE, "s.toml": SWEEP, "train.jsonl": ROWS, "valid.jsonl": ROWS, "rows.csv": TABLE,
    "chats.jsonl": CHATS * 24,
}  # fmt: skip
RUN, PLAN = ("run", "r.toml"), ("plan", "r.toml")
MANY = Path(__file__).parent.parent / "helpers" / "many_commands.py"


@attrs.frozen
class Mistake:
    """What somebody does, and what the answer is.

    Attributes:
        what: What they do.
        arguments: Of the command line.
        sentence: A regular expression for the whole of standard error, or for each of its sentences in order.
        change: A piece of a recipe and what stands there instead: of `r.toml`, or of `s.toml` if that is planned.
        files: More files, by name; None for a folder.
        environment: Variables.
        code: The exit code.
    """

    what: str
    arguments: tuple[str, ...]
    sentence: str | tuple[str, ...]
    change: tuple[str, str] | None = None
    files: dict[str, str | bytes | None] = attrs.field(factory=dict)
    environment: dict[str, str] = attrs.field(factory=dict)
    code: int = 2

    def write(self, folder: Path) -> None:
        files = {**FILES, **self.files}
        if self.change is not None:
            name = "s.toml" if "s.toml" in self.arguments else "r.toml"
            assert files[name].count(self.change[0]) == 1, self.change
            files[name] = files[name].replace(*self.change)
        for name, content in files.items():
            place = folder / name
            (place if content is None else place.parent).mkdir(parents=True, exist_ok=True)
            if content is not None:
                place.write_bytes(content if isinstance(content, bytes) else content.encode())


def table(options: str, content: str) -> dict[str, str]:
    """The recipe with a table of values as its rows."""
    data = f'name = "table"\ntrain = "t.csv"\nsource = "text"\ntarget = "answer"\n{options}'
    return {"r.toml": RECIPE.replace(RECIPE[len("[data]\n") : RECIPE.index("\n[teacher]")], data), "t.csv": content}


# fmt: off
MISTAKES = [
    # Verbs and their options.
    Mistake("trains", ("train", "r.toml"), r"No such command 'train'\. Did you mean 'run'\? \(see kdkit --help\)"),
    Mistake("scores", ("eval", "runs/r"), r"No such command 'eval'\. Did you mean 'evaluate'\? .*"),
    Mistake("leaves out the verb", ("r.toml",), r"No such command 'r\.toml'\. Did you mean 'run r\.toml'\? .*"),
    Mistake("asks for a verb that nobody has", ("qwertz",), r"No such command 'qwertz'\. The commands are init, recipes, explain, .*"),
    Mistake("asks for help as a verb", ("help",), r"No such command 'help'\. Did you mean '--help'\? .*"),
    Mistake("runs two recipes", (*RUN, "s.toml"), r"Got unexpected extra argument \(s\.toml\)\. It takes RECIPE\. \(see kdkit run --help\)"),
    Mistake("overrides without -o", (*RUN, "loss.alpha=0.3"), r"Got unexpected extra argument \(loss\.alpha=0\.3\)\. Did you mean '-o loss\.alpha=0\.3'\? .*"),
    Mistake("overrides by an option of its own", (*RUN, "--lr", "3"), r"No such option '--lr'\. Did you mean '-o training\.learning_rate=VALUE'\? .*"),
    Mistake("limits to 3 rows", (*RUN, "--limit", "3"), r"Invalid value for '--limit': must be a whole number, at least 10, is 3\. .*"),
    Mistake("limits to ten rows", (*RUN, "--limit", "ten"), r"Invalid value for '--limit': must be a whole number, at least 10, is ten\. .*"),
    Mistake("asks for jobs without a sweep", (*RUN, "--jobs", "2"), r"--jobs is for sweeps, and r\.toml has no \[sweep\]; leave it out"),
    Mistake("counts parts from 1", ("run", "s.toml", "--part", "2/2"), r'"2/2" is not a part of a sweep: of 2 the last is 1/2'),
    Mistake("gives half a part", ("capture", "r.toml", "--part", "1"), r'"1" is not a part of a capture; write i/n, such as 0/3 for the first of three'),
    Mistake("misspells a command of a group", ("cache", "inf", "x"), r"No such command 'inf'\. Did you mean 'info'\? \(see kdkit cache --help\)"),
    Mistake("asks a group for what it has not", ("recipes", "delete"), r"No such command 'delete'\. The commands are list, schema, .*"),
    Mistake("forgets the value of -o", (*RUN, "-o"), r"Option '-o' requires an argument: KEY=VALUE\..*"),
    # Which recipe.
    Mistake("misspells the file", ("run", "r.tml"), r'there is no recipe "r\.tml": .*; did you mean "r\.toml"\?'),
    Mistake("writes the file in capitals", ("run", "R.toml"), r'there is no recipe "R\.toml": .*; did you mean "r\.toml"\?'),
    Mistake("leaves out the suffix", ("run", "r"), r'there is no recipe "r": .*; did you mean "r\.toml"\?'),
    Mistake("misspells a shipped recipe", ("run", "quickstat"), r'there is no recipe "quickstat": .*; did you mean "quickstart"\?'),
    Mistake("runs a run folder", ("run", "runs/r"), r'"runs/r" is a folder, not a recipe; give the file in it: runs/r/recipe\.toml', files={"runs/r/recipe.toml": ""}),
    Mistake("runs the rows", ("run", "rows.csv"), r"rows\.csv:1:1: is not a recipe, which is a TOML file; `kdkit init rows\.csv` writes one for a file of rows"),
    Mistake("runs a URL", ("run", "https://example.org/r.toml"), r'"https://example\.org/r\.toml" is a URL, not a recipe; download it and give the file'),
    # TOML.
    Mistake("writes True", RUN, r"r\.toml:17:9: is not valid TOML: invalid value; write true", ("alpha = 0.5", "alpha = True")),
    Mistake("writes None", RUN, r"r\.toml:17:9: is not valid TOML: invalid value; leave the key out where it has no value", ("alpha = 0.5", "alpha = None")),
    Mistake("forgets the quotes", RUN, r'r\.toml:23:11: is not valid TOML: invalid value; text stands in quotes: "loss"', ('best_by = "loss"', "best_by = loss")) ,
    Mistake("writes YAML", RUN, r"r\.toml:17:6: is not valid TOML: expected '=' after a key in a key/value pair; write key = value", ("alpha = 0.5", "alpha: 0.5")),
    Mistake("opens a quote", RUN, r"r\.toml:9:1: is not valid TOML: what begins here is not closed: .*", ('[teacher]\nname = "hf-seq2seq"', "[teacher]\nname = '''hf-seq2seq")),
    Mistake("opens a list", RUN, r"r\.toml:26:1: is not valid TOML: what begins here is not closed: .*", ('suites = ["text"]', 'suites = ["text"')),
    # Sections and keys.
    Mistake("calls a section train", RUN, r'r\.toml:20:2: train: is not a key or section of a recipe; did you mean "training"\?', ("[training]", "[train]")),
    Mistake("calls a section losses", RUN, r'r\.toml:16:2: losses: is not a key or section of a recipe; did you mean "loss"\?', ("[loss]", "[losses]")),
    Mistake("calls a section dataset", RUN, (r"r\.toml:1:1: data: is missing: a recipe needs \[data\] with a name, one of: .*", r'r\.toml:1:2: dataset: is not a key or section of a recipe; did you mean "data"\?'), ("[data]", "[dataset]")),
    Mistake("names a codec as a key", RUN, r"r\.toml:15:1: student\.codec: is not an option of student \"hf-seq2seq\"; it is a section of a recipe: write \[codec\]", ("\n[loss]", 'codec = "u8-lz4"\n\n[loss]')),
    Mistake("writes a component for a section", (*RUN, "-o", "loss=kd"), r'-o loss=kd: loss: must be a table, is "kd"; write loss\.name = "kd"'),
    Mistake("uses transformers' name", RUN, r'r\.toml:22:1: training\.lr: is not an option of \[training\]; did you mean "learning_rate"\?', ("learning_rate", "lr")),
    Mistake("writes the paper's T", RUN, r'r\.toml:18:1: loss\.T: is not an option of loss "kd"; did you mean "temperature"\?', ("temperature", "T")),
    Mistake("overrides without a section", (*RUN, "-o", "alpha=0.3"), r'-o alpha=0\.3: alpha: is not a key or section of a recipe; did you mean "loss\.alpha"\?'),
    Mistake("overrides with a colon", (*RUN, "-o", "loss.alpha:0.3"), r"-o loss\.alpha:0\.3: must have the form section\.key=value"),
    Mistake("asks to sample", RUN, r"r\.toml:29:1: generation\.do_sample: is not an option of \[generation\]; texts are drawn where temperature is above 0; .*", ('suites = ["text"]\n', 'suites = ["text"]\n\n[generation]\ndo_sample = true\n')),
    # Types and ranges.
    Mistake("writes a decimal comma", (*RUN, "-o", "loss.alpha=0,3"), r'-o loss\.alpha=0,3: loss\.alpha: must be a number, is "0,3"'),
    Mistake("trains for no epoch", RUN, r"r\.toml:21:1: training\.epochs: must be at least 1, is 0", ("epochs = 1", "epochs = 0")),
    Mistake("trains at rate 0", RUN, r"r\.toml:22:1: training\.learning_rate: must be greater than 0, is 0", ("1e-3", "0")),
    Mistake("writes several values", RUN, r"r\.toml:17:1: loss\.alpha: must be a number, is \[0\.1, 0\.5\]", ("alpha = 0.5", "alpha = [0.1, 0.5]")),
    Mistake("writes one suite without a list", RUN, r'r\.toml:26:1: evaluation\.suites: must be a list, is "text"', ('["text"]', '"text"')),
    Mistake("names a divergence with an underscore", (*RUN, "-o", "loss.divergence=reverse_kl"), r'-o loss\.divergence=reverse_kl: loss\.divergence: must be .*, is "reverse_kl"; did you mean "reverse-kl"\?'),
    Mistake("draws with beams", (*RUN, "-o", "generation.beams=4", "-o", "generation.temperature=0.7"), r"-o generation\.\w+=[\d.]+: generation: temperature is 0\.7 and beams is 4, but a text is either drawn or searched for; set beams to 1, or leave temperature out"),
    Mistake("picks by a metric without its suite", RUN, r'r\.toml:23:1: training\.best_by: must be one of .*, is "f1"; did you mean "text\.f1"\?', ('"loss"', '"f1"')),
    Mistake("picks by a metric in capitals", RUN, r'r\.toml:23:1: training\.best_by: is "text\.F1"; did you mean "text\.f1"\?', ('"loss"', '"text.F1"')),
    Mistake("asks for a device that there is not", (*RUN, "-o", "device=gpu"), r'-o device=gpu: device: must be "auto", "cpu", "cuda", "cuda:N" or "mps", is "gpu"'),
    # Components and how they fit.
    Mistake("names a data set by a file's kind", RUN, r'r\.toml:2:1: data\.name: unknown data set "csv"; did you mean "table"\?', ('"jsonl"', '"csv"')),
    Mistake("names a teacher by its model", RUN, r'r\.toml:9:1: teacher\.name: unknown teacher "t5"; did you mean "hf-seq2seq"\?', ('[teacher]\nname = "hf-seq2seq"', '[teacher]\nname = "t5"')),
    Mistake("names no metric suite that is", RUN, r'r\.toml:26:11: evaluation\.suites\[0\]\.name: unknown metric suite "bleu"; available: .*text', ('["text"]', '["bleu"]')),
    Mistake("keeps k logits for one temperature", ("recipes", "validate", "r.toml", "-o", "codec.name=topk"), r"r\.toml:18:1: loss\.temperature is 2, but the codec keeps logits for temperature 1 only; set .*"),
    Mistake("asks for all of the teacher's layers", RUN, r"r\.toml:14:1: student\.from_teacher: must be a table, is true", ("{ encoder_layers = [0], decoder_layers = [0] }", "true")),
    Mistake("asks for layers by one name", RUN, r'r\.toml:14:18: student\.from_teacher\.layers: is not an option of \[student\.from_teacher\]; did you mean "encoder_layers"\?', ("encoder_layers = [0], decoder_layers", "layers")),
    Mistake("gives source without target", RUN, r"r\.toml:1:2: data: source is given, and target is not; give both", ('target = "answer"\n', "")),
    Mistake("copies", RUN, r'r\.toml:1:2: data: source and target are both "text", so a model would copy; correct one of them', ('target = "answer"', 'target = "text"')),
    Mistake("gives validation twice", RUN, r"r\.toml:1:2: data: validation and validation_share are both given; remove one of them", ('source = "text"', 'source = "text"\nvalidation_share = 0.1')),
    Mistake("gives a share in per cent", RUN, r"r\.toml:4:1: data\.validation_share: must be less than 1, is 10", ('validation = "valid.jsonl"', "validation_share = 10")),
    Mistake("needs a plugin that is not here", RUN, r"r\.toml:1:\d+: requires\[0\]: .*kdkit-nobody.*", ("[data]", 'requires = ["kdkit-nobody"]\n[data]')),
    # Data.
    Mistake("misspells the file of rows", PLAN, r"r\.toml:3:1: there is no file trian\.jsonl \(did you mean train\.jsonl\?\); give train the path of a file with rows", ('"train.jsonl"', '"trian.jsonl"')),
    Mistake("names a pattern that fits nothing", PLAN, r"r\.toml:3:1: no file matches \*\.parquet; give train a pattern that some files match", ('"train.jsonl"', '"*.parquet"')),
    Mistake("names a file twice", PLAN, r"r\.toml:3:1: train names train\.jsonl twice; name it once", ('"train.jsonl"', '["train.jsonl", "train.jsonl"]')),
    # Sweeps.
    Mistake("misspells an axis", ("plan", "s.toml"), r's\.toml:32:\d+: loss\.alhpa: is not an option of loss "kd"; did you mean "alpha"\?', ('"loss.alpha" =', '"loss.alhpa" =')),
    Mistake("varies out of range", ("plan", "s.toml"), r"s\.toml:32:\d+: loss\.alpha: must be at most 1, is 2", ("[0.1, 0.5]", "[0.1, 2]")),
    Mistake("varies one value", ("plan", "s.toml"), r"s\.toml:32:1: sweep\.grid\.loss\.alpha: must be a list of values, is 0\.1", ("[0.1, 0.5]", "0.1")),
    Mistake("counts its seeds", ("plan", "s.toml"), r"s\.toml:29:1: sweep\.seeds: must be a list of whole numbers, is 2", ("[1, 2]", "2")),
    Mistake("calls the grid otherwise", ("plan", "s.toml"), r's\.toml:31:8: sweep\.grids: is not a key of \[sweep\]; did you mean "grid"\?', ("[sweep.grid]", "[sweep.grids]")),
    Mistake("captures a sweep", ("capture", "s.toml"), r"s\.toml:28:2: sweep: this recipe is a sweep of many trials, and a single run is needed here; use .*"),
    # A first recipe.
    Mistake("begins with a file that is not there", ("init", "row.csv"), r"row\.csv is not there \(did you mean rows\.csv\?\); give a file of rows or a folder"),
    Mistake("begins with a column that is not there", ("init", "rows.csv", "--source", "txt", "--target", "answer"), r"rows\.csv has no column txt; did you mean \"text\"\?; it has 'text', 'answer'"),
    Mistake("begins with one column for both", ("init", "rows.csv", "--source", "text", "--target", "text"), r'source and target are both "text", so a model would copy; correct one of them'),
    Mistake("begins with three rows", ("init", "t.csv"), r"t\.csv has 3 rows, and a first recipe needs at least 10: some train, and some are held out", files={"t.csv": "text,answer\na,b\nc,d\ne,f\n"}),
    Mistake("begins with plain text", ("init", "t.txt"), r't\.txt is plain text; give the folder with all texts, or write them as JSON lines, one text a line, such as \{"text": "Once upon a time"\}', files={"t.txt": "Once upon a time\nthere was a text.\n"}),
    Mistake("begins with a spreadsheet", ("init", "x.xlsx"), r"x\.xlsx is a ZIP archive, .*", files={"x.xlsx": b"PK\x03\x04" + bytes(60)}),
    Mistake("begins in a folder that is not there", ("init", "rows.csv", "--output", "no/r.toml"), r"no/r\.toml cannot be written: there is no folder no; make it first, or give another --output"),
    Mistake("begins twice", ("init", "rows.csv", "--output", "r.toml"), r"r\.toml is there already; give another --output, or write over it with --force"),
    Mistake("begins with chats and no teacher", ("init", "chats.jsonl", "--messages", "turns"), r"chats\.jsonl has no column turns; it has 'messages'"),
    # Folders of runs, students and caches.
    Mistake("predicts with a recipe", ("predict", "r.toml", "--input", "train.jsonl"), r"r\.toml is not a student made by kdkit: it is a file; give a finished run folder, or runs/NAME/student/best"),
    Mistake("predicts with a run that is not finished", ("predict", "runs/r", "--input", "train.jsonl"), r"runs/r is not a student made by kdkit: it is a run whose student is not finished \(it has no student/best\); .*", files={"runs/r/run.json": "{}"}),
    Mistake("predicts with a sweep", ("predict", "runs/s", "--input", "train.jsonl"), r"runs/s is not a student made by kdkit: it is a sweep, whose students are in its trials \(runs/s/trials\); .*", files={"runs/s/sweep.json": "{}"}),
    Mistake("reports on all runs", ("report", "runs"), r"runs is not a run folder: .*; give the folder that `kdkit run` wrote \(runs/NAME by default\)", files={"runs": None}),
    Mistake("writes one report elsewhere", ("report", "runs/r", "--output", "x.html"), r"--output x\.html is only for comparing several runs; the report of one run goes into its folder"),
    Mistake("looks for a cache that is not there", ("cache", "info", "nowhere"), r"there is no logit cache in nowhere or below it; give .*"),
    Mistake("converts to a codec that is not", ("cache", "convert", "a", "b", "--codec", "u9"), r'--codec u9: unknown codec "u9"; available: .*u8-lz4'),
    Mistake("misspells an option of a codec", ("cache", "convert", "a", "b", "--codec", "u8-lz4:clp=3"), r'--codec u8-lz4:clp=3: clp: is not an option of codec "u8-lz4"; did you mean "clip"\?'),
    Mistake("fetches from a folder", ("cache", "fetch", "nowhere"), r"nowhere is not a URL; give one that begins with a scheme such as s3:// or file://"),
    # Plugins, options, machines.
    Mistake("shows a component that is not", ("plugins", "show", "u8-lz5"), r'there is no component "u8-lz5"; did you mean "u8-lz4"\?'),
    Mistake("lists one kind", ("plugins", "list", "codecs"), r"Got unexpected extra argument \(codecs\)\. It takes no argument\. .*"),
    Mistake("asks about a section with a slip", ("explain", "losss"), r'there is no option "losss"; did you mean "loss"\?'),
    Mistake("asks about an option with a slip", ("explain", "loss.alhpa"), r'there is no option "loss\.alhpa"; did you mean "loss\.alpha"\?'),
    Mistake("asks about an option of a wrong recipe", ("explain", "loss.alpha", "r.toml"), r"r\.toml:17:1: loss\.alpha: must be at most 1, is 5", ("alpha = 0.5", "alpha = 5")),
    Mistake("examines a recipe that is not", ("doctor", "rr.toml"), r'there is no recipe "rr\.toml": .*; did you mean "r\.toml"\?'),
    Mistake("measures nothing", ("codec", "bench"), r"give exactly one of --logits FILE, --cache FOLDER, --recipe RECIPE and --model NAME .*"),
    Mistake("disables every plugin", RUN, r'r\.toml:26:11: evaluation\.suites\[0\]\.name: unknown metric suite "assertions"; .*KDKIT_DISABLE_PLUGINS disables .*', ('["text"]', '["assertions"]'), environment={"KDKIT_DISABLE_PLUGINS": "all"}),
]
# fmt: on


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each mistake is answered with, all of them by one process."""
    top = tmp_path_factory.mktemp("mistakes")
    commands = []
    for number, mistake in enumerate(MISTAKES):
        folder = top / str(number)
        mistake.write(folder)
        commands.append({"arguments": mistake.arguments, "folder": str(folder), "environment": mistake.environment})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KDKIT_")}
    done = subprocess.run(
        [sys.executable, str(MANY)],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        env={**environment, "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=True,
    )
    return dict(zip((mistake.what for mistake in MISTAKES), json.loads(done.stdout), strict=True))


def test_there_are_many_and_each_once():
    assert len({mistake.what for mistake in MISTAKES}) == len(MISTAKES) >= 60


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_somebody_who(mistake, answers):
    answer = answers[mistake.what]
    sentences = (mistake.sentence,) if isinstance(mistake.sentence, str) else mistake.sentence
    said = [line for line in answer["err"].splitlines() if line]
    assert answer["code"] == mistake.code, answer
    assert len(said) == len(sentences), answer["err"]
    for line, sentence in zip(said, sentences, strict=True):
        assert re.fullmatch(f"error: (?:{sentence})", line), line
    assert not {"torch", "transformers"} & set(answer["heavy"]), f"it loads {answer['heavy']}"
