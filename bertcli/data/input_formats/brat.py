"""brat's documents: a text in NAME.txt, and the annotations of it in NAME.ann; a record for each of the two together.

Entities are its text-bound annotations (`T1<TAB>PER 0 8<TAB>Tim Cook`), in code points; one of several parts has them
as `fragments`, but for parts that only a line end parts, as brat writes them. The other annotations (relations, events,
attributes, notes) are kept as lines. Each entity has to be the text that its line repeats.

Try: bertcli check -t ner corpus/*.ann
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError, UsageError

WHOLE = True
EXTENSIONS = (".ann",)
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
        record.fields = {"text": text, "brat_document": str(path.with_suffix(""))}
        if Path(ann.name).is_file():
            record.fields |= _annotations(ann, text, record)
        else:
            record.unlabelled = f"there is no {ann.name}"
    except RecordError as error:
        record.fault = str(error)
    yield record


def _annotations(source: Source, text: str, record: Record) -> dict[str, Any]:
    """What an .ann says. Raises RecordError, with the record at the line that is wrong."""
    entities, others = [], []
    for record.line, line in source.texts():
        if isinstance(line, RecordError):
            raise line
        if line.startswith("T"):
            entities.append(_entity(line, text))
        elif line.strip():
            others.append(line)
    record.line = 1
    return {"entities": entities} | ({"annotations": others} if others else {})


def _entity(line: str, text: str) -> dict[str, Any]:
    match = BOUND.fullmatch(line)
    if match is None:
        raise RecordError(f"no annotation of brat's: {line!r:.80}; write ID<TAB>TYPE START END<TAB>TEXT")
    name, label, extents, shown = match.groups()
    parts = [(int(start), int(end)) for start, end in (extent.split(" ") for extent in extents.split(";"))]
    written = " ".join(text[start:end] for start, end in parts)
    if shown is not None and " ".join(shown.split()) != " ".join(written.split()):
        raise RecordError(f"{name} is {shown!r:.60}, but at {extents} of the text is {written!r:.60}")
    start, end = min(start for start, _ in parts), max(end for _, end in parts)
    entity: dict[str, Any] = {"id": name, "start": start, "end": end, "type": label}
    gaps = [text[one[1] : other[0]] for one, other in pairwise(parts)]
    if not all(gap.isspace() and not {"\n", "\r"}.isdisjoint(gap) for gap in gaps):
        entity["fragments"] = [list(part) for part in parts]
    return entity
