"""The raw text of a run, whoever reads it, and the folders in which what is made of it is kept between runs.

A folder is named by the content that it was made from and made by one process at a time. Knows no file format and no
token. Try: python -c "from bertcli.pretraining.source import key; print(key(1, {'corpus file 1': 'its sha256'}))"
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from bertcli.data.sinks import writing
from bertcli.errors import Interrupted, RecordError, UsageError

if TYPE_CHECKING:
    from bertcli.data.documents import Document

PAUSE = 0.05  # seconds between two looks at whether to stop, while another process has a folder
Stop = Callable[[], int | None]  # asked from time to time; a signal number that it returns ends the work


@dataclass(frozen=True)
class Source:
    """Raw text. files: in order. read: the documents of one of them, with the faults met between them.

    options: those that `read` was made with, by name. skip_faults: leave text with a fault out, else the first one ends
    the run.
    """

    files: Sequence[str]
    read: Callable[[str], Iterable["Document | RecordError"]]
    options: Mapping[str, str | None]
    skip_faults: bool

    @cached_property
    def identity(self) -> dict[str, str]:
        """What is read, by names that people know; files by their content and what their names say of its format."""
        content = {
            f"corpus file {i} ({Path(name).name})": sha256(name) + "".join(Path(name.lower()).suffixes[-2:])
            for i, name in enumerate(self.files, 1)
        }
        return content | {f"--{name.replace('_', '-')}": str(value) for name, value in self.options.items()}

    def check(self, item: "Document | RecordError") -> None:
        """Raise UsageError for a fault, unless faults are skipped."""
        if isinstance(item, RecordError) and not self.skip_faults:
            raise UsageError(f"{str(item).removesuffix('.')}; --on-error skip leaves such places out.")


@dataclass
class Texts:
    """The lines of a source, as often as they are gone through. faults: met the last time, and the first of them.

    stop: a signal number that it returns ends the reading with Interrupted.
    """

    source: Source
    stop: Stop
    faults: int = 0
    first_fault: str = ""

    def __iter__(self) -> Iterator[str]:
        self.faults = 0
        for name in self.source.files:
            for item in self.source.read(name):
                if signum := self.stop():
                    raise Interrupted(signum)
                self.source.check(item)
                if isinstance(item, RecordError):
                    self.faults += 1
                    self.first_fault = self.first_fault or str(item)
                else:
                    yield from item.lines


def key(version: int, identity: Mapping[str, object]) -> str:
    """A folder's name, for the content; the names by which people know its parts do not matter."""
    return hashlib.sha256(json.dumps([version, *identity.values()]).encode()).hexdigest()[:20]


def sha256(name: str) -> str:
    """Of a file's content."""
    with Path(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(folder: Path, stop: Stop) -> Iterator[None]:
    """Hold the folder, made if need be; another process that wants it waits. The system lets go of it when the process
    ends, however it ends.

    Raises Interrupted when `stop` returns a signal number meanwhile.
    """  # fmt: skip
    with writing(folder, "--cache names another folder"):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=PAUSE)
        except Timeout:
            if signum := stop():
                raise Interrupted(signum) from None
    try:
        yield
    finally:
        lock.release()
