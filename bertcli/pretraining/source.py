"""The raw text of a run, whoever reads it: documents, their faults, and what tells one text from another."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from bertcli.errors import Interrupted, RecordError, UsageError
from bertcli.pretraining import cached

Stop = Callable[[], int | None]


class Document(Protocol):
    """What data/documents.py reads."""

    lines: list[str]


@dataclass(frozen=True)
class Source:
    """Raw text. files: in order. read: the documents of one of them, with the faults met between them.

    options: those that `read` was made with, by name. skip_faults: leave text with a fault out, else the first one ends
    the run.
    """

    files: Sequence[str]
    read: Callable[[str], Iterable[Document | RecordError]]
    options: Mapping[str, Any]
    skip_faults: bool

    @cached_property
    def identity(self) -> dict[str, str]:
        """What is read, by names that people know; files by their content and what their names say of its format."""
        files = {f"corpus file {i} ({Path(name).name})": _content(name) for i, name in enumerate(self.files, 1)}
        return files | {f"--{name.replace('_', '-')}": str(value) for name, value in self.options.items()}

    def demand(self, item: Document | RecordError) -> None:
        """Raise UsageError for a fault, unless faults are skipped."""
        if isinstance(item, RecordError) and not self.skip_faults:
            raise UsageError(f"{item}; --on-error skip leaves such places out.")


def _content(name: str) -> str:
    return cached.sha256(name) + "".join(Path(name.lower()).suffixes[-2:])


class Texts:
    """The lines of a source, as often as they are gone through. faults: met the last time, and the first of them.

    stop: a signal number that it returns ends the reading with Interrupted.
    """

    def __init__(self, source: Source, stop: Stop) -> None:
        self.source, self.stop = source, stop
        self.faults, self.first_fault = 0, ""

    def __iter__(self) -> Iterator[str]:
        self.faults = 0
        for name in self.source.files:
            for item in self.source.read(name):
                if signum := self.stop():
                    raise Interrupted(signum)
                self.source.demand(item)
                if isinstance(item, RecordError):
                    self.faults += 1
                    self.first_fault = self.first_fault or str(item)
                else:
                    yield from item.lines
