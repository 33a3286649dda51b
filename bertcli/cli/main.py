"""The command tree, and where a process begins and errors end: every exit code is decided here.

Commands are found by file name and imported when named. Try: bertcli --help; bertcli predict --help
"""

import io
import os
import signal
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

from bertcli import __version__, registry
from bertcli.cli.terminal import say
from bertcli.errors import BertcliError, Exit

HINTS = {  # for words that people type but that are no commands
    "help": "'bertcli --help' lists the commands, 'bertcli COMMAND --help' the options of one.",
    "train": "'bertcli finetune' trains on labelled data, 'bertcli pretrain' on raw text.",
}
EXIT_CODES = """
Exit codes: 0 ok, 1 the run failed, 2 usage, configuration or unusable model, 3 some records failed,
4 a --fail-under gate was not met, 129, 130 and 143 interrupted.
"""
SCHEDSTAT = Path("/proc/self/schedstat")  # how long a thread waited for a core; zeros where the kernel does not count
OF_TORCH = ("torch", "transformers", "accelerate", "onnx", "safetensors", "sentencex")  # packages of the extra `torch`


class ReaderGone(Exception):
    """The reader of stdout has closed it. This is no OSError, for which click would choose the exit code itself."""


class Completion(ShellComplete):
    """Completion of values after `=`, as `--format=js`: click's answer would stand in the place of all of that word."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """What may stand in the place of a word. args: the words before it."""
        items = super().get_completions(args, incomplete)
        option, sign, _ = incomplete.partition("=")
        for item in items if option.startswith("--") and sign else ():
            item.value = f"{option}={item.value}"
        return items


@add_completion_class
class Bash(Completion, BashComplete):
    """To bash that is three words."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is completed, and that; click skips the sign only where it is the last."""
        words, incomplete = super().get_completion_args()
        return [word for word in words if word != "="], incomplete


@add_completion_class
class Zsh(Completion, ZshComplete):
    """To zsh that is one word, also where it names a file."""

    source_template = ZshComplete.source_template.replace("_path_files -f", "compset -P '--*='; _path_files -f")


@add_completion_class
class Fish(Completion, FishComplete):
    """To fish, too."""

    source_template = FishComplete.source_template.replace(
        "__fish_complete_path $metadata[2];",
        "set -l option (string match -r -- '^--[^=]*=' $metadata[2]);\n"
        '            printf "%%s\\n" "$option"(__fish_complete_path (string replace -- "$option" "" $metadata[2]));',
    )


class Commands(click.Group):
    """The commands under cli/commands/, each imported only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The file names, which need no import."""
        return registry.names("cli/commands")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command of that name. Raises UsageError with a hint for an unknown name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = get_close_matches(args[0].lower(), self.list_commands(ctx), n=1)
            hint = f"Did you mean '{close[0]}'?" if close else "'bertcli --help' lists the commands."
            raise click.UsageError(f"{error.message} {HINTS.get(args[0].lower(), hint)}", error.ctx) from None

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None for an unknown name."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = getattr(registry.load("cli/commands", cmd_name), cmd_name.replace("-", "_"))
        return command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the commands before the options, without importing them.

        The first line of each file, `bertcli NAME: what it does.`, is its text.
        """
        with formatter.section("Commands"):
            folder, rows = registry.PACKAGE / "cli" / "commands", []
            for name in self.list_commands(ctx):
                with (folder / f"{name}.py").open(encoding="utf-8") as file:
                    rows.append((name, file.readline().strip('"\n.').partition(": ")[2]))
            formatter.write_dl(rows)
        click.Command.format_options(self, ctx, formatter)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Read the arguments before the command, and print --help or --version."""
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError as error:
            raise ReaderGone from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGone from error


@click.command(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES, no_args_is_help=True
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, envvar="BERTCLI_DEBUG", help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """BERT-family encoders as a Unix filter: pretrain, finetune, evaluate, export, predict.

    \b
      echo "a gripping film" | bertcli predict
      bertcli pretrain texts/ -o MODEL
      bertcli finetune --train train.tsv --dev dev.tsv -m MODEL -o DIR
      bertcli evaluate dev.tsv -m DIR
    """


def main() -> None:
    """Prepare the process, run the command line, and exit with its code."""
    try:
        is_measured = SCHEDSTAT.read_bytes() != b"0 0 0\n"
    except OSError:
        is_measured = False
    if not is_measured:  # `device.use_threads` cannot see whether others want the cores, so threads that wait sleep
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # A KeyboardInterrupt in an import or in C code becomes another error, or aborts the process (ONNX Runtime). So
    # Ctrl-C ends it as SIGTERM does; code that must finish or remove something handles both (cli/terminal.py).
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # If the parent has closed a standard stream, the next file that is opened would get its number, and C libraries
    # would write their messages into it.
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr; readable with PYTHONIOENCODING=ascii
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code. Errors become one sentence on stderr."""
    debug = "--debug" in arguments or bool(click.BOOL.str_to_bool(os.environ.get("BERTCLI_DEBUG", "")))
    try:
        return int(cli.main(arguments, prog_name="bertcli", standalone_mode=False) or Exit.OK)
    except click.exceptions.Exit as stop:
        return int(stop.exit_code)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        say(shown.getvalue().rstrip("\n"))
        return Exit.USAGE
    except ReaderGone:
        # A filter whose reader has gone ends silently, by SIGPIPE.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
        return 128 + signal.SIGPIPE  # where the signal is blocked
    except Exception as error:
        if debug:
            raise
        code = Exit.FAILED
        if isinstance(error, BertcliError):
            message, code = str(error), error.exit_code
        elif isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in OF_TORCH:
            code = Exit.USAGE
            message = (
                f"this needs {error.name}, which the light installation leaves out: pip install 'bertcli[torch]' "
                "adds what training, export, explain, GPUs and models without ONNX files need."
            )
        elif isinstance(error, OSError) and error.strerror:
            message = f"{error.filename or 'input or output'}: {error.strerror}."
        elif isinstance(error, MemoryError):
            message = "out of memory; a smaller --batch-tokens needs less."
        else:
            message = f"internal error: {type(error).__name__}: {error}. bertcli --debug … shows where."
        say(f"bertcli: {message}")
        return code
