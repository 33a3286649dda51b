"""One file per format that can be written; its name is the format's name. It holds

EXTENSIONS = (".tab",)    # that name it besides its own

class Formatter(BaseFormatter): ...
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TextIO

from bertcli.data.records import Record
from bertcli.data.sinks import Rewrite


class BaseFormatter(ABC):
    """Turns results into text, or into bytes, one after the other.

    terminal: stdout where the text goes there, else None. optional: result fields that only some records have.
    """

    # Names of the attributes to which it matters what was written before, as JSON has them: an output that is resumed
    # gets them back.
    REMEMBERED: ClassVar[tuple[str, ...]] = ()
    rewrite: Rewrite | None = None  # makes the file, in the end, of all that was written, where that is not it yet
    HEADER = False  # whether the first bytes depend on all that follows: `record` leaves room, `header` fills it

    def __init__(self, terminal: TextIO | None = None, optional: Sequence[str] = ()) -> None:
        self.terminal = terminal
        self.optional = optional
        self.text_field = "text"  # of the records, for the formats that need to know where the text is
        self.continues = False  # whether another output, with the names of columns, comes before this one
        self.example: Mapping[str, Any] = {}  # a value of each field that a result may have, where that is known

    @property
    def state(self) -> Any:
        """The attributes of REMEMBERED, None without any."""
        return [getattr(self, name) for name in self.REMEMBERED] or None

    @state.setter
    def state(self, state: Any) -> None:
        for name, value in zip(self.REMEMBERED, state, strict=True):
            setattr(self, name, value)

    def add(self, result: Mapping[str, Any], record: Record | None) -> str | bytes:
        """The text of the result of a record; a format that needs only the result has `record` alone."""
        return self.record(result)

    @abstractmethod
    def record(self, result: Mapping[str, Any]) -> str | bytes:
        """The text of one result, its line end included; RecordError if the format cannot hold it."""

    def flush(self) -> bytes:
        """What was held back until now, for a format that writes many results at once."""
        return b""

    def end(self) -> str | bytes:
        """The text that closes the stream."""
        return ""

    def header(self) -> bytes:
        """The first bytes, once all else is written; see HEADER."""
        return b""
