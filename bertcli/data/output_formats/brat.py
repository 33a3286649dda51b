r"""brat's documents, NAME.txt and NAME.ann of each record, as a tar archive to be unpacked where brat looks.

NAME is that of a document which was read as brat's, else a number. An entity that goes over a line end has a part in
each line, for brat has no line end in an annotation. An error is a file NAME.error. Where shards follow one another,
`tar --ignore-zeros` reads all of them.

Try: bertcli predict -t ner --input-format document letters/*.txt --format brat | tar x -C brat/data/letters
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from tarfile import BLOCKSIZE, GNU_FORMAT, TarInfo
from typing import Any, TextIO

from bertcli.data.labelled import labelling
from bertcli.data.output_formats import BaseFormatter
from bertcli.data.records import describe, is_error
from bertcli.errors import RecordError, UsageError

EXTENSIONS = (".tar",)
LINE = re.compile(r"[^\r\n]+")


class Formatter(BaseFormatter):
    """Two files per result."""

    REMEMBERED = ("_count",)

    def __init__(self, terminal: TextIO | None = None, optional: Sequence[str] = ()) -> None:
        if terminal is not None and terminal.isatty():
            raise UsageError("brat's documents come as a tar archive: | tar x -C DIR, or -o FILE.tar")
        super().__init__(terminal, optional)
        self._count = 0

    def record(self, result: Mapping[str, Any]) -> bytes:
        """The members of one result; RecordError for one without entities, or with a type that has white space."""
        name = f"{self._count + 1:06}"
        if is_error(result):
            members = {f"{name}.error": describe(result) + "\n"}
        else:
            text, entities, _, fields = labelling(result, self.text_field)
            if entities is None:
                raise RecordError("brat labels spans of a text, not texts; use --format jsonl")
            name = _path(fields.get("brat_document")) or name
            lines = [_line(number, entity, text) for number, entity in enumerate(entities, 1)]
            members = {f"{name}.txt": text, f"{name}.ann": "".join(lines)}
        self._count += 1
        return b"".join(_member(path, content) for path, content in members.items())

    def end(self) -> bytes:
        """Two empty blocks."""
        return bytes(2 * BLOCKSIZE)


def _path(document: Any) -> str | None:
    """Where a document is unpacked: below the directory in which tar runs, wherever it came from."""
    if not isinstance(document, str):
        return None
    return "/".join(part for part in PurePath(document).parts if part not in ("/", "..")) or None


def _line(number: int, entity: Mapping[str, Any], text: str) -> str:
    if re.search(r"\s", entity["type"]) or not entity["type"]:
        raise RecordError(f"brat's types have no white space: {entity['type']!r}; rename it")
    whole = entity["start"], entity["end"]
    parts = [match.span() for match in LINE.finditer(text, *whole)] or [whole]
    extents = ";".join(f"{start} {end}" for start, end in parts)
    return f"T{number}\t{entity['type']} {extents}\t{' '.join(text[start:end] for start, end in parts)}\n"


def _member(path: str, content: str) -> bytes:
    data = content.encode("utf-8", "backslashreplace")
    header = TarInfo(path)
    header.size = len(data)
    return header.tobuf(GNU_FORMAT) + data + bytes(-len(data) % BLOCKSIZE)
