"""What people see on stderr: choices made, progress and warnings. Results never pass here.

Notes are shown on a terminal or with -v, warnings unless -q. rich is imported only when a terminal shows progress.
"""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console


def stdout_console() -> "Console":
    """A rich console for results on stdout, whose reader may go away: BrokenPipeError then, where rich exits with 1."""
    from rich.console import Console

    class Results(Console):
        def on_broken_pipe(self) -> None:
            raise  # the error, within whose handler rich calls this

    return Results(highlight=False)


@dataclass(frozen=True)
class Voice:
    """How talkative a run is."""

    verbose: bool = False
    quiet: bool = False

    @property
    def terminal(self) -> bool:
        """Whether a person is watching stderr and has not asked for silence."""
        return not self.quiet and sys.stderr.isatty()

    def note(self, message: str) -> None:
        """A choice made for the user, with its reason."""
        if self.verbose or self.terminal:
            click.secho(message, err=True, dim=True)

    def line(self, message: str) -> None:
        """A line of a log: progress where no terminal shows a bar."""
        if not self.quiet:
            click.echo(message, err=True)

    def warn(self, message: str) -> None:
        """Something the user should know although the run goes on."""
        if not self.quiet:
            click.echo(f"bertcli: {message}", err=True)

    def rich(self) -> "Console":
        """A rich console on stderr."""
        from rich.console import Console

        return Console(stderr=True, quiet=self.quiet)
