r"""TSV without quoting: a line is a row, a tab ends a field, and a quotation mark is a character as any other.

Try: printf 'text\tid\na "good" film\t7\n' | bertcli predict --input-format tsv
"""

from collections.abc import Iterator, Sequence

from bertcli.data.input_formats.csv import records
from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError

EXTENSIONS = (".tab",)


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with the columns of the header, or `columns`; all values are text. See csv.records."""
    rows = (
        (number, text if isinstance(text, RecordError) else text.split("\t") if text else [])
        for number, text in source.texts()
    )
    return records(rows, source.name, columns)
