"""TSV without quoting: a line is a row, a tab ends a field, and a quotation mark is a character as any other."""

from collections.abc import Iterator, Sequence

from bertcli.data.records import Record
from bertcli.data.streams import Source, chomp
from bertcli.data.tables import Row, records
from bertcli.errors import RecordError

EXTENSIONS = (".tab",)


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with the columns of the header, or `columns`; all values are text. See tables.records."""
    return records(_rows(source), source.name, columns)


def _rows(source: Source) -> Iterator[Row]:
    for number, line in enumerate(source.lines(), 1):
        try:
            text = source.text(chomp(line))
        except RecordError as error:
            yield number, error
        else:
            yield number, text.split("\t") if text else []
