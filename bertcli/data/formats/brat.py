r"""brat's documents: a text in NAME.txt, and the annotations of it in NAME.ann; a record for each of the two together.

Entities are its text-bound annotations (`T1<TAB>PER 0 8<TAB>Tim Cook`), in code points; one of several parts has them
as `fragments`, but for parts that only a line end parts, as brat writes them. The other annotations (relations, events,
attributes, notes) are kept as lines. Each entity has to be the text that its line repeats.

They are written as a tar archive to be unpacked where brat looks. NAME is that of a document which was read as brat's,
else a number. An entity that goes over a line end has a part in each line, for brat has no line end in an annotation.
An error is a file NAME.error. Where shards follow one another, `tar --ignore-zeros` reads all of them.

Try: bertcli predict -t ner --input-format document letters/*.txt --format brat | tar x -C brat/data/letters
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePath
from tarfile import BLOCKSIZE, GNU_FORMAT, TarInfo
from typing import Any

from bertcli.data.formats import BaseFormatter
from bertcli.data.formats.labelling import labelling
from bertcli.data.records import Record, describe, is_error
from bertcli.data.streams import BOM, Source
from bertcli.errors import RecordError, UsageError

LINE = re.compile(r"[^\r\n]+")
BOUND = re.compile(r"(T\S*)\t(\S+) (\d{1,9} \d{1,9}(?:;\d{1,9} \d{1,9})*)(?:\t(.*))?")


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """One record, `text`, `entities`, `annotations` and `brat_document`; without labels where there is no .ann."""
    path = Path(source.name)
    if source.name == "-" or path.suffix not in (".ann", ".txt"):
        raise UsageError(f"{source.name}: brat's documents are files, NAME.txt with NAME.ann; name the latter")
    ann, txt = (Source(str(path.with_suffix(suffix)), source.encoding) for suffix in (".ann", ".txt"))
    record = Record(line=1)
    try:
        if not Path(txt.name).is_file():
            raise RecordError(f"there is no {txt.name} with the text; put it there")
        text = "".join(map(txt.text, txt.lines()))
        if txt.is_utf8 and txt.head(len(BOM)) == BOM:
            text = f"\ufeff{text}"  # which brat counts
        record.fields = {"text": text, "brat_document": str(path.with_suffix(""))}
        if Path(ann.name).is_file():
            entities, others = [], []
            for record.line, line in ann.texts():  # where a line is wrong, its number stays the record's
                if isinstance(line, RecordError):
                    raise line
                if line.startswith("T"):
                    entities.append(_entity(line, text))
                elif line.strip():
                    others.append(line)
            record.line = 1
            record.fields |= {"entities": entities} | ({"annotations": others} if others else {})
        else:
            record.unlabelled = f"there is no {ann.name}"
    except RecordError as error:
        record.fault = str(error)
    yield record


def _entity(line: str, text: str) -> dict[str, Any]:
    match = BOUND.fullmatch(line)
    if match is None:
        raise RecordError("no annotation of brat's; write ID<TAB>TYPE START END<TAB>TEXT")
    name, label, extents, shown = match.groups()
    parts = [(int(start), int(end)) for start, end in (extent.split(" ") for extent in extents.split(";"))]
    written = " ".join(text[start:end] for start, end in parts)
    if shown is not None and " ".join(shown.split()) != " ".join(written.split()):
        raise RecordError(f"the text at {extents} is not the one that {name} repeats")
    start, end = min(start for start, _ in parts), max(end for _, end in parts)
    entity: dict[str, Any] = {"id": name, "start": start, "end": end, "type": label}
    gaps = [text[one[1] : other[0]] for one, other in pairwise(parts)]
    if not all(gap.isspace() and not {"\n", "\r"}.isdisjoint(gap) for gap in gaps):
        entity["fragments"] = [list(part) for part in parts]
    return entity


class Formatter(BaseFormatter):
    """Two files per result."""

    REMEMBERED = ("_count",)
    NEEDS = ({"entities"},)
    NO_TERMINAL = "brat's documents come as a tar archive: | tar x -C DIR, or -o FILE.tar"
    _count = 0

    def add(self, result: Mapping[str, Any], record: Record | None = None) -> bytes:
        """The members of one result; RecordError for one without entities, or with a type that has white space."""
        name = f"{self._count + 1 + (self.first_index() if self.first_index else 0):06}"
        if is_error(result):
            members = {f"{name}.error": describe(result) + "\n"}
        else:
            text, entities, _, fields = labelling(result, self.text_field)
            if entities is None:
                raise RecordError("brat labels spans of a text, not texts; use --format jsonl")
            document = fields.get("brat_document")
            if isinstance(document, str):  # unpacked below the directory in which tar runs, wherever it came from
                name = "/".join(part for part in PurePath(document).parts if part not in ("/", "..")) or name
            lines = []
            for number, entity in enumerate(entities, 1):
                label, whole = entity["type"], (entity["start"], entity["end"])
                if re.search(r"\s", label) or not label:
                    raise RecordError(f"brat's types have no white space: {label!r}; rename it")
                parts = [match.span() for match in LINE.finditer(text, *whole)] or [whole]
                extents = ";".join(f"{start} {end}" for start, end in parts)
                shown = " ".join(text[start:end] for start, end in parts)
                lines.append(f"T{number}\t{label} {extents}\t{shown}\n")
            members = {f"{name}.txt": text, f"{name}.ann": "".join(lines)}
        self._count += 1
        blocks: list[bytes] = []
        for path, content in members.items():
            data = content.encode("utf-8", "backslashreplace")
            header = TarInfo(path)
            header.size = len(data)
            blocks += [header.tobuf(GNU_FORMAT), data, bytes(-len(data) % BLOCKSIZE)]
        return b"".join(blocks)

    def end(self) -> bytes:
        """Two empty blocks."""
        return bytes(2 * BLOCKSIZE)
