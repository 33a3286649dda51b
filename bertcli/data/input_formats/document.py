"""A file as one record, whatever its lines: {"text": all of it}."""

from collections.abc import Iterator, Sequence

from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError

WHOLE = True  # a file is one piece
EXTENSIONS = ()


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """One record; line ends stay as they are. A line that cannot be read is the fault of the whole."""
    parts = []
    for number, line in enumerate(source.lines(), 1):
        try:
            parts.append(source.text(line))
        except RecordError as error:
            yield Record(0, line=number, fault=str(error))
            return
    yield Record(0, {"text": "".join(parts)}, 1)
