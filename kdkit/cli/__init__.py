"""The command line: `kdkit VERB`. One file a verb, imported when the verb is used; errors become one sentence.

Standard output carries the result, standard error everything else. A verb's module has an attribute `command`; it
returns nothing, or its exit code where that is not 0 (3: done in part). Of several processes that a launcher has
started, one says what concerns all; what concerns another comes with its name.
"""

from __future__ import annotations

import importlib
import io
import os
import re
import sys
import traceback
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

import rich_click as click

from kdkit.cli.output import say
from kdkit.errors import Elsewhere, KdkitError, RecipeError, UsageError
from kdkit.system.files import FULL_DISK
from kdkit.system.launcher import Started, started
from kdkit.system.signals import ignore_signals, keep_signals
from kdkit.system.team import exit_code_of

if TYPE_CHECKING:
    from collections.abc import Sequence

DEBUG = "KDKIT_DEBUG"
# By what they are for, verbs and the line that `kdkit --help` shows for each. The module of a verb is kdkit.cli.VERB.
VERB_GROUPS = {
    "Make a recipe": {
        "init": "Write a first recipe for a file of rows.",
        "recipes": "List, show and check recipes.",
        "explain": "Explain an option of recipes, and say where one sets it.",
    },
    "Run it": {
        "plan": "Show what a run would do, compute and write, and how long it takes.",
        "run": "Run a recipe: data, teacher, logits, student, evaluation, report.",
        "capture": "Capture a part of a recipe's logits, alongside other processes.",
    },
    "Use the result": {
        "report": "Write a run's report again, or compare runs.",
        "predict": "Generate text with a distilled student.",
        "evaluate": "Score a finished run's student again, on other rows or metrics.",
    },
    "Look closer": {
        "layers": "Rank the layers of a teacher, and show which a student would keep.",
        "codec": "Compare codecs on real logits.",
        "cache": "Inspect captured logits; verify, merge, repair and convert them.",
        "plugins": "List plugins; show a component's options; begin a plugin.",
        "doctor": "Look at this machine and installation, and at a recipe's models.",
    },
}
VERBS = {verb: line for verbs in VERB_GROUPS.values() for verb, line in verbs.items()}
MEANT = {
    "run": ("train", "distill", "distil", "fit", "start", "resume", "continue"),
    "predict": ("generate", "infer", "inference", "test"),
    "report": ("compare", "results"),
    "evaluate": ("eval", "score", "rescore"),
    "recipes validate": ("validate", "check", "lint"),
    "recipes list": ("list", "ls"),
    "recipes show": ("show", "cat"),
    "init": ("new", "create", "setup"),
    "codec bench": ("bench", "benchmark"),
    "doctor": ("env", "info", "status"),
    "--version": ("version",),
    "--help": ("help",),
}
"""Words that other programs have for verbs."""
TOGETHER = {"run"}
"""The verbs that several processes run together."""


class Verb(click.RichCommand):
    """A verb as the help lists it: by name, without importing its module."""

    def load(self) -> click.Command:
        """The verb itself."""
        return cast(click.Command, importlib.import_module(f"kdkit.cli.{self.name}").command)


class LazyGroup(click.RichGroup):
    """Commands; only the one that is used is imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """The verbs, in the order in which a newcomer needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """The entry of a verb in the help."""
        return Verb(name=cmd_name, short_help=VERBS[cmd_name]) if cmd_name in VERBS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb to run, imported now."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"No such command '{args[0]}'. {_verb_meant(args[0])}")
        name, command, rest = super().resolve_command(ctx, args)
        if name not in TOGETHER and started().size > 1:
            ctx.fail(
                f"kdkit {name} needs one process, but a launcher started {started().size}; under a launcher "
                f"use only kdkit {' and kdkit '.join(sorted(TOGETHER))}"
            )
        return name, command.load() if isinstance(command, Verb) else command, rest


def _verb_meant(word: str) -> str:
    """What a word that is not a verb may have meant, else the verbs."""
    near = next((verb for verb, words in MEANT.items() if word in words), None)
    if near is None and (Path(word).is_file() or word.endswith(".toml")):
        near = f"run {word}"
    near = near or next(iter(get_close_matches(word, VERBS, n=1)), None)
    return f"Did you mean '{near}'?" if near else f"The commands are {', '.join(VERBS)}."


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.rich_config(
    help_config={
        "command_groups": {"kdkit": [{"name": name, "commands": list(verbs)} for name, verbs in VERB_GROUPS.items()]}
    }
)
@click.version_option(package_name="kdkit", prog_name="kdkit")
def group() -> None:
    """Distil a language model into a smaller one, as a recipe says."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code.

    Args:
        arguments: Those after the program's name; by default the process's own.
    """
    own = Started()
    _open_standard_streams()
    _write_any_character()
    try:
        own = started()
        if own.size > 1:
            keep_signals()
        code = _run(arguments, own)
        sys.stdout.flush()
    except UsageError as error:
        code = _fail(error, [str(error)], error.exit_code, own)
    except OSError as error:
        # The reader has gone (`kdkit ... | head`), or the disk that the output goes to is full.
        if not isinstance(error, BrokenPipeError):
            if error.errno not in FULL_DISK:
                raise
            _fail(error, [f"the output cannot be written: {error.strerror}; free some space and run again"], 1, own)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would complain when it flushes at exit
        code = 1
    if own.size > 1:
        ignore_signals()
    sys.exit(code)


def _open_standard_streams() -> None:
    """Point the standard streams at nothing if a process was started without them: `>&-`, some daemons.

    Else files would be opened under their numbers, and get what libraries write to them.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def _write_any_character() -> None:
    """Write characters that the output's encoding lacks as escapes: latin-1 lacks the minus sign.

    Else a run of hours would end in a traceback instead of its table.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _run(arguments: Sequence[str] | None, own: Started) -> int:  # noqa: PLR0911 - an ending each
    try:
        result = group.main(arguments, prog_name="kdkit", standalone_mode=False)
    except click.ClickException as error:
        # All processes have the same command line.
        return _fail(error, [_wrong_usage(error)] if own.leads else [], error.exit_code, own)
    except SystemExit as ended:  # of a group whose help was asked for: `main` has yet to see whether it was written
        return ended.code if isinstance(ended.code, int) else 0
    except click.Abort as error:
        return _fail(error, ["interrupted"], 130, own)
    except RecipeError as error:
        return _fail(error, error.problems, error.exit_code, own)
    except Elsewhere as error:
        return _fail(error, [], error.signal_exit_code, own)
    except (KdkitError, OSError) as error:
        return _fail(error, [_sentence(error)], exit_code_of(error), own)
    return result if isinstance(result, int) else 0


def _wrong_usage(error: click.ClickException) -> str:
    context: click.Context | None = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context is not None else ""
    if isinstance(error, click.NoSuchOption):
        return f"{_no_option(error)}{hint}"
    return f"{_in_words(error)}{hint}"


def _in_words(error: click.ClickException) -> str:
    """What click says, but for what it says in symbols, and with what may be meant by a surplus argument."""
    message, kind = error.format_message(), getattr(getattr(error, "param", None), "type", None)
    number = re.search(r": '?(.+?)'? is not (?:in the range|a valid integer)", message)
    if isinstance(kind, click.IntRange) and number and kind.min is not None:
        return f"{message[: number.start()]}: must be a whole number, at least {kind.min}, is {number[1]}."
    if message.endswith("requires an argument."):
        return f"{message.removesuffix('.')}: KEY=VALUE." if message.startswith("Option '-o'") else message
    surplus = re.search(r"Got unexpected extra arguments? \((\S+?)[ )]", message)
    context: click.Context | None = getattr(error, "ctx", None)
    if surplus and context is not None:
        takes = " and ".join(each.make_metavar(context) for each in context.command.params if _is_argument(each))
        meant = f" Did you mean '-o {surplus[1]}'?" if "=" in surplus[1] else f" It takes {takes or 'no argument'}."
        return f"{message}.{meant}"
    return message


def _is_argument(param: click.Parameter) -> bool:
    return param.param_type_name == "argument"


def _no_option(error: click.NoSuchOption) -> str:
    """What the verb lacks, and what may be meant: an option of the verb, or one of the recipe."""
    from kdkit import plugins
    from kdkit.recipe.suggestions import all_options, paths_of

    context, name = error.ctx, error.option_name
    # Click finds --help near --steps.
    meant = get_close_matches(name, error.possibilities or (), n=1, cutoff=0.8)
    takes_recipe = context is not None and any(each.name == "overrides" for each in context.command.params)
    if not meant and takes_recipe:
        paths = paths_of(name.lstrip("-").replace("-", "_"), all_options({}, plugins.load()))
        meant = [f"-o {path}=VALUE" for path in paths]
    guess = f" Did you mean {' or '.join(repr(each) for each in meant)}?" if meant else ""
    return f"{error.message}{guess}"


def _sentence(error: KdkitError | OSError) -> str:
    if isinstance(error, KdkitError):
        return str(error)
    if error.filename is None:  # `main` knows those that concern the output
        raise error
    path = Path(os.fsdecode(error.filename))
    if isinstance(error, FileExistsError) and path.is_symlink() and not path.exists():
        return f"{path} is a link to {path.readlink()}, which does not exist; create that, or delete the link"
    return f"{error.filename}: {error.strerror}; correct that and run again"


def _fail(error: BaseException, sentences: Sequence[str], code: int, own: Started) -> int:
    if os.environ.get(DEBUG, "0") not in {"", "0"}:
        traceback.print_exception(error)
    for sentence in sentences:
        say(f"error: {'' if own.leads else f'{own.name}: '}{sentence}", err=True)
    return code
