"""Raw text in: files, directories and patterns as one stream of documents, in constant memory.

Knows no task and no tokenizer. What cannot be read is left out, and a RecordError stands in its place.

Try: python -c 'from bertcli.data.documents import expand, read; print(next(read(expand(["texts/"])[0])))'
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bertcli.data import readers
from bertcli.data.formats import by_extension
from bertcli.data.records import lookup
from bertcli.data.streams import Source, check_encoding
from bertcli.errors import RecordError, UsageError

TABLES = ("parquet", "arrow")
RECORDS = ("jsonl", "csv", "tsv", *TABLES)  # formats that part documents themselves; all others are plain text
HEAD = 8 << 10  # bytes in which a binary file is recognised
# Characters. Who takes a document holds all of it, several times over once it is tokenised: a library's dump in one
# file must not fill the memory.
LARGEST = 16 << 20
Per = Literal["blank-line", "file", "line"]
Row = tuple[int, str | RecordError | None]  # line number, its text or fault; None ends a document


@dataclass(slots=True)
class Document:
    """At least one line, none of them blank, without their ends and the white space around them.

    source: the file's name. line: 1-based line of the file where the document begins.
    """

    lines: list[str]
    source: str
    line: int


def expand(names: Sequence[str]) -> list[str]:
    """The files, each once, that names of files, directories (all below) and patterns stand for; see readers.py.

    Raises UsageError for what names no file, cannot be read, or can be read only once, such as stdin or a pipe.
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


def read(
    path: str, *, text_field: str = "text", encoding: str = "utf-8", per: Per = "blank-line"
) -> Iterator[Document | RecordError]:
    """The documents of one file; `per` says what parts those of plain text.

    A record (a line of JSONL, a row of a table) is a document, the lines of its `text_field`. A line or record that
    cannot be read is left out; its RecordError begins with `file:line: ` and comes before the document it was in. A
    binary file is one RecordError. A document of more than 16 Mi characters is cut between lines. Raises UsageError for
    an encoding or a table header that cannot be used.
    """
    check_encoding(encoding)
    source = Source(path, encoding)
    name = by_extension("input", path)
    if name not in TABLES:
        has_nul = b"\0" in source.head(HEAD) and source.is_utf8  # the head first: to open it tells no_text
        fault = "a binary file (NUL bytes); --encoding names an encoding that has them" if has_nul else source.no_text
        if fault:
            yield RecordError(f"{path}:1: {fault}")
            return
    lines: list[str] = []
    begin = size = 0
    for number, text in _records(source, text_field) if name in RECORDS else _lines(source, per):
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


def _lines(source: Source, per: Per) -> Iterator[Row]:
    for number, line in source.texts(keep_ends=True):
        text = line if isinstance(line, RecordError) else line.strip()
        if text:
            yield number, text
        if per == "line" or (per == "blank-line" and not text):
            yield number, None


def _records(source: Source, text_field: str) -> Iterator[Row]:
    for record in readers.read([source.name], encoding=source.encoding):
        try:
            if record.fault:
                raise RecordError(record.fault)
            text = lookup(record.fields, text_field, "--text-field")
            if not isinstance(text, str):
                raise RecordError(f"field '{text_field}' is no text; --text-field names another.")
        except RecordError as error:
            yield record.line, error
        else:
            yield from ((record.line, line.strip()) for line in text.split("\n"))
            yield record.line, None
