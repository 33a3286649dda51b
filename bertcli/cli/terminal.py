"""Everything about the terminal: messages on stderr, whether stdout is for people, printed results, and signals.

Knows no command. Notes are shown on a terminal or with -v, warnings unless -q. rich is imported only when a terminal
shows something. Try: bertcli predict -v < texts.txt
"""

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from bertcli.data import visible
from bertcli.errors import BertcliError, Interrupted

if TYPE_CHECKING:
    from rich.console import Console

    from bertcli.inference.stream import Stop


@dataclass(frozen=True)
class Messages:
    """Messages of a run on stderr, as -v and -q allow them. Results never pass here."""

    verbose: bool = False
    quiet: bool = False

    @property
    def terminal(self) -> bool:
        """Whether a person is watching stderr and has not asked for silence."""
        return not self.quiet and sys.stderr.isatty()

    @property
    def draws(self) -> bool:
        """Whether that terminal can move its cursor, as a board needs."""
        return self.terminal and not is_dumb()

    def note(self, message: str) -> None:
        """A choice made for the user, with its reason."""
        if self.terminal or (self.verbose and not self.quiet):
            say(message, dim=True)

    def line(self, message: str) -> None:
        """A line of a log: progress where no terminal shows a bar."""
        if not self.quiet:
            say(message)

    def warn(self, message: str) -> None:
        """Something the user should know although the run goes on."""
        if not self.quiet:
            say(f"bertcli: {message}")

    def tell(self, message: str) -> None:
        """Show a message at once on a terminal. Safe in a signal handler, which may have interrupted `print`."""
        if self.terminal:
            with suppress(OSError):
                os.write(sys.stderr.fileno(), f"\r{visible(message, lines=True)}\n".encode())


def say(message: str, dim: bool = False) -> None:
    """Write a message to stderr: without control characters on a terminal, as it is elsewhere.

    That nobody reads stderr any more is no fault of a run: its results go elsewhere.
    """
    if sys.stderr.isatty():
        message = visible(message, lines=True)
        dim = dim and not is_dumb() and not os.environ.get("NO_COLOR")
    try:
        click.echo(click.style(message, dim=True) if dim else message, err=True)
    except OSError:  # The rest in the buffer would fail again when the process ends, and change its exit code.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def is_dumb() -> bool:
    """Whether the terminal obeys no escape sequences."""
    return os.environ.get("TERM", "").lower() in ("", "dumb", "unknown")


def stdout_console() -> "Console":
    """A rich console for results on stdout. Without a reader it raises BrokenPipeError; rich would exit with 1."""
    from rich.console import Console

    if sys.stdout is None:
        raise BertcliError("cannot write to stdout: it is closed")

    class Results(Console):
        def on_broken_pipe(self) -> None:
            raise  # the error, within whose handler rich calls this

    return Results(highlight=False)


def beside_results(messages: Messages) -> Messages:
    """These messages, silent if results may come to the same terminal: on stdout, or through a pipe.

    With -v they are shown beside a pipe, which may well end in a file.
    """
    is_seen = sys.stdout is None or sys.stdout.isatty() or (stat.S_ISFIFO(os.fstat(1).st_mode) and not messages.verbose)
    return replace(messages, quiet=True) if is_seen else messages


def is_for_people(output_format: str | None) -> bool:
    """Whether to print tables, not JSON: with --format rich, or without --format on a terminal."""
    return output_format == "rich" or (output_format is None and sys.stdout is not None and sys.stdout.isatty())


def print_json(rows: Iterable[Mapping[str, Any]]) -> None:
    """A line of JSON on stdout for each row, as it comes."""
    from bertcli.data.writers import open_writer

    with open_writer(None, "jsonl") as writer:
        for row in rows:
            writer.write(row)
            writer.flush()


def print_line(text: str) -> None:
    """Print a line of text on stdout; line ends inside it become escapes."""
    from bertcli.data.sinks import open_sink

    sink = open_sink(None)
    shown = visible(text) if sys.stdout.isatty() else text.replace("\n", "\\n").replace("\r", "\\r")
    sink.write(shown.encode("utf-8", "backslashreplace") + b"\n")


@contextmanager
def handling(handle: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle STOPS by `handle` in the `with`; after it as before. SIGHUP stays ignored under `nohup`."""
    before = {signum: signal.getsignal(signum) for signum in STOPS}
    heeded = [signum for signum in STOPS if signum != signal.SIGHUP or before[signum] != signal.SIG_IGN]
    for signum in heeded:
        signal.signal(signum, handle)
    try:
        yield
    finally:
        for signum in heeded:
            signal.signal(signum, before[signum])


STOPS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def ended_by_signals() -> AbstractContextManager[None]:
    """In the `with`, SIGINT, SIGTERM and SIGHUP raise Interrupted: drafts are removed, and a message says why."""
    return handling(_interrupt)


def _interrupt(signum: int, frame: object) -> None:
    raise Interrupted(signum)


@contextmanager
def heed_signals(say: Callable[[str], None] = lambda message: None, what: str = "") -> Iterator["Stop"]:
    """In the `with`, SIGINT, SIGTERM and SIGHUP request an orderly stop; a second one ends the process at once.

    say: gets a message at the first Ctrl-C, which begins with `what`: what is done then.
    """
    from bertcli.inference.stream import Stop

    stop = Stop()

    def handle(signum: int, frame: object) -> None:
        signal.signal(signum, signal.SIG_DFL)
        stop.request(signum)
        if signum == signal.SIGINT:
            say(f"{what}; Ctrl-C again: at once")

    with handling(handle):
        yield stop
