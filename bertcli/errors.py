"""What can go wrong, each with the exit code it ends in. Knows nothing else of the package.

A message is a sentence that says where the fault is and what to do next; cli/main.py prints it as
`bertcli: MESSAGE` and never a traceback, unless --debug is given.
"""

from collections.abc import Sequence
from enum import IntEnum


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1  # the run failed
    USAGE = 2  # wrong usage or configuration, or a model that cannot be used
    RECORDS = 3  # finished, but some records failed
    GATE = 4  # a quality gate (--fail-under) was not met
    HUNG_UP = 129  # SIGHUP: the terminal or the connection is gone
    INTERRUPTED = 130  # SIGINT
    TERMINATED = 143  # SIGTERM


class BertcliError(Exception):
    """The run failed."""

    exit_code = Exit.FAILED


class UsageError(BertcliError):
    """Options, configuration or training data that cannot be used as they are."""

    exit_code = Exit.USAGE


class ModelError(BertcliError):
    """A model that is missing, incomplete or of a kind that bertcli does not open."""

    exit_code = Exit.USAGE


class RecordError(BertcliError):
    """One bad record: shown in its place, or the end of the run under --on-error fail.

    faults: all that is wrong with it, where there is more to say than the message: the index of a token, and a message.
    """

    def __init__(self, message: str, faults: Sequence[tuple[int, str]] = ()) -> None:
        super().__init__(message)
        self.faults = faults or [(0, message)]


class GateError(BertcliError):
    """A metric stayed under its --fail-under bound."""

    exit_code = Exit.GATE


class Interrupted(BertcliError):
    """A signal asked the run to stop; whatever was finished has been written."""

    def __init__(self, signum: int, outcome: str = "") -> None:
        self.exit_code = Exit(128 + signum)
        name = self.exit_code.name.lower().replace("_", " ")
        super().__init__(f"{name} {outcome}" if outcome else name)
