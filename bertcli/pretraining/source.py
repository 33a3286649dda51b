"""Raw text in: files as one stream of documents, in constant memory; and the cache folders for what is made of it.

What cannot be read is left out, and a RecordError stands in its place. A folder's name is a hash of what it was made
from, and one process at a time makes it. Knows no task and no token.

Try: python -c 'from bertcli.pretraining.source import Source; print(next(Source([]).read("README.md")))'
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from bertcli.data import readers, streams
from bertcli.data.formats import by_extension
from bertcli.data.records import lookup
from bertcli.data.sinks import writing
from bertcli.errors import Interrupted, RecordError, UsageError

TABLES = ("parquet", "arrow")
RECORDS = ("jsonl", "csv", "tsv", *TABLES)  # formats that part documents themselves; all others are plain text
HEAD = 8 << 10  # bytes in which a binary file is recognised
# Characters of a document. A document is in memory as a whole, several times over once it is tokenised, so a dump of
# a whole library in one file is cut.
LARGEST = 16 << 20
PAUSE = 0.05  # seconds between two calls of `stop` while another process has a folder
Stop = Callable[[], int | None]  # called from time to time; if it returns a signal number, the work ends
Row = tuple[int, str | RecordError | None]  # line number, its text or fault; None ends a document


@dataclass(slots=True)
class Document:
    """At least one line; lines are stripped, and none is blank.

    source: the file's name. line: the line of the file, from 1, where the document begins.
    """

    lines: list[str]
    source: str
    line: int


@dataclass(frozen=True)
class Source:
    """Raw text. files: as `expand` returns them. document_per: what separates the documents of plain text.

    text_field: the text of a record (a line of JSONL, a row of a table), which is a document. skip_faults: leave faulty
    text out; else the first fault ends the run.
    """

    files: Sequence[str]
    text_field: str = "text"
    encoding: str = "utf-8"
    document_per: Literal["blank-line", "file", "line"] = "blank-line"
    skip_faults: bool = True

    @cached_property
    def identity(self) -> dict[str, str]:
        """What is read, by names that people know: hash and file extension of each file, and the options."""
        content = {
            f"corpus file {i} ({Path(name).name})": sha256(name) + "".join(Path(name.lower()).suffixes[-2:])
            for i, name in enumerate(self.files, 1)
        }
        options = {"text-field": self.text_field, "encoding": self.encoding, "document-per": self.document_per}
        return content | {f"--{name}": value for name, value in options.items()}

    def check(self, item: Document | RecordError) -> None:
        """Raise UsageError for a fault, unless faults are skipped."""
        if isinstance(item, RecordError) and not self.skip_faults:
            raise UsageError(f"{str(item).removesuffix('.')}; --on-error skip leaves such places out.")

    def read(self, path: str) -> Iterator[Document | RecordError]:
        """The documents of one file.

        A line or record that cannot be read is left out; its RecordError begins with `file:line: ` and comes before the
        document it was in. A binary file is one RecordError. A document of more than 16 Mi characters is cut between
        lines. Raises UsageError for an encoding or a table header that cannot be used.
        """
        streams.check_encoding(self.encoding)
        file = streams.Source(path, self.encoding)
        name = by_extension("input", path)
        if name not in TABLES:
            has_nul = b"\0" in file.head(HEAD) and file.is_utf8  # `head` first: opening the file sets no_text.
            fault = "a binary file (NUL bytes); --encoding names an encoding that has them" if has_nul else file.no_text
            if fault:
                yield RecordError(f"{path}:1: {fault}")
                return
        lines: list[str] = []
        begin = size = 0
        for number, text in self._records(path) if name in RECORDS else self._lines(file):
            if isinstance(text, RecordError):
                yield RecordError(f"{path}:{number}: {text}")
                continue
            if lines and (text is None or size + len(text) > LARGEST):
                yield Document(lines, path, begin)
                lines, size = [], 0
            if text:
                begin = begin if lines else number
                lines.append(text)
                size += len(text)
        if lines:
            yield Document(lines, path, begin)

    def _lines(self, file: streams.Source) -> Iterator[Row]:
        for number, line in file.texts(keep_ends=True):
            text = line if isinstance(line, RecordError) else line.strip()
            if text:
                yield number, text
            if self.document_per == "line" or (self.document_per == "blank-line" and not text):
                yield number, None

    def _records(self, path: str) -> Iterator[Row]:
        for record in readers.read([path], encoding=self.encoding):
            try:
                if record.fault:
                    raise RecordError(record.fault)
                text = lookup(record.fields, self.text_field, "--text-field")
                if not isinstance(text, str):
                    raise RecordError(f"field '{self.text_field}' is no text; --text-field names another.")
            except RecordError as error:
                yield record.line, error
            else:
                yield from ((record.line, line.strip()) for line in text.split("\n"))
                yield record.line, None


def expand(names: Sequence[str]) -> list[str]:
    """The files, each once, that names of files, directories and patterns stand for; see readers.py.

    Raises UsageError for a name that matches no file, a file that cannot be read, stdin, and pipes.
    """
    files: dict[str, str] = {}
    for path in names:
        if path == "-":
            raise UsageError(
                "a corpus is read more than once, which stdin cannot be; write it to a file and name that."
            )
        if not readers.matches(path):
            raise UsageError(f"no file matches '{path}'; name files, directories or quoted patterns.")
    for file in readers.expand(names):
        readers.check_path(file)
        if not Path(file).is_file():
            reason = "is a pipe or a device, and a corpus is read more than once"
            raise UsageError(f"{file} {reason}; write it to a file.")
        files.setdefault(os.path.realpath(file), file)
    return list(files.values())


@dataclass
class Texts:
    """The lines of a source, which may be iterated over several times. faults: of the last time, and the first of them.

    If `stop` returns a signal number, the reading ends with Interrupted.
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
    """The name of a cache folder: a hash of the values of `identity`, whatever they are called."""
    return hashlib.sha256(json.dumps([version, *identity.values()]).encode()).hexdigest()[:20]


def sha256(name: str) -> str:
    """The hash of a file's content."""
    with Path(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(folder: Path, stop: Stop) -> Iterator[None]:
    """Lock the folder, which is made if needed; other processes wait. The lock ends with the process in any case.

    Raises Interrupted if `stop` returns a signal number while this process waits.
    """
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
