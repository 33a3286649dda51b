r"""CSV as in RFC 4180: quoted fields may hold commas, doubled quotes and line breaks. Also what tsv.py does with rows.

Try: printf 'id,text\n7,"long, ""good"" film"\n' | bertcli predict --input-format csv
"""

import re
from collections.abc import Iterator, Sequence

from bertcli.data import streams
from bertcli.data.records import Record
from bertcli.errors import RecordError, UsageError

EXTENSIONS = ()
CARRIAGE_RETURN = "a carriage return outside quotes"
LINE_END = "a carriage return alone ends no line: `tr '\\r' '\\n'` makes it one"
NAMELESS = "give it one, or drop the header (`tail -n +2`) and name all columns with --columns"
Row = tuple[int, list[str] | RecordError]  # line number, cells; no cells for a blank line


def read(source: streams.Source, columns: Sequence[str] | None, delimiter: str | None = None) -> Iterator[Record]:
    """Records with the columns of the header, or `columns`; all values are text. See `records`.

    delimiter: else a comma; or, where the first line has none, the semicolon, tab or bar that it has, as European
    spreadsheets write it.
    """
    return records(_rows(source, delimiter or _delimiter(source, columns)), source.name, columns)


def _delimiter(source: streams.Source, columns: Sequence[str] | None) -> str:
    (first,) = source.begin() or [b""]
    bare = re.sub(rb'"[^"]*"', b"", first) if isinstance(first, bytes) else b","
    if b"," in bare:
        return ","
    counts = {mark: bare.count(mark.encode()) for mark in ";\t|"}
    return next((mark for mark, n in counts.items() if n and (columns is None or n == len(columns) - 1)), ",")


def records(rows: Iterator[Row], source: str, columns: Sequence[str] | None) -> Iterator[Record]:
    """A record per row, named by the first row or, where that is data too, by `columns`.

    A row of another length is a fault. A blank line is skipped, except in a table of one column, where it is an empty
    value. Raises UsageError for a header that cannot be read, or that has an empty
    or a doubled name.
    """
    names = list(columns) if columns is not None else _header(rows, source)
    for line, cells in rows:
        if isinstance(cells, RecordError):
            yield Record(line=line, fault=str(cells))
        elif not cells and len(names) != 1:
            continue
        elif len(cells or [""]) != len(names):
            hint = "; --delimiter says what parts the columns of CSV" if len(names) == 1 else ""
            yield Record(line=line, fault=f"{len(cells)} fields in a table of {len(names)} columns{hint}")
        else:
            yield Record(fields=dict(zip(names, cells or [""], strict=True)), line=line)


def _header(rows: Iterator[Row], source: str) -> list[str]:
    """The first row that is not blank; an empty file has no columns and no rows."""
    for line, cells in rows:
        where = f"{'stdin' if source == '-' else source}:{line}: the header"
        if isinstance(cells, RecordError):
            hint = f"; {LINE_END}" if CARRIAGE_RETURN in str(cells) else ""
            raise UsageError(f"{where} cannot be read: {cells}{hint}")
        if cells:
            if any("\r" in cell for cell in cells):
                raise UsageError(f"{where} cannot be read: {LINE_END}")
            # the first may be without a name, as the index that pandas writes
            check_names([cells[0] or "index", *cells[1:]] if "index" not in cells else cells, where)
            return cells
    return []


def check_names(names: Sequence[str], where: str) -> None:
    """Raise UsageError, which begins with `where`, unless every column has a name of its own."""
    seen = set()
    for number, name in enumerate(names, 1):
        if not name:
            raise UsageError(f"{where}: column {number} has no name; {NAMELESS}")
        if name in seen:
            raise UsageError(f"{where}: two columns are called '{name}'; rename one")
        seen.add(name)
    if not names:
        raise UsageError(f"{where}: no column is named")


def _rows(source: streams.Source, delimiter: str) -> Iterator[Row]:
    import csv  # here, for this file is imported for its EXTENSIONS and by tsv.py too

    csv.field_size_limit(streams.MAX_LINE)  # the default is 128 KiB; _Feed bounds the whole row
    feed = _Feed(source)
    reader = csv.reader(
        feed, delimiter=delimiter, strict=True
    )  # strict: a quote that is never closed is an error, not the rest of the file
    while True:
        line = feed.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except RecordError as error:
            yield line, error
        except csv.Error as error:
            # for a lone carriage return the csv module has advice for Python programmers
            reason = CARRIAGE_RETURN if "new-line" in str(error) else str(error)
            reason = "a quote is opened and never closed" if feed.ended else reason
            yield line, RecordError(f"not CSV ({reason})")
        else:
            yield line, feed.fault or cells


class _Feed:
    """Gives csv.reader its lines and remembers what was wrong with those of the row.

    A line that does not decode is passed on with its bytes escaped, so that quotes still pair up; its row is a fault
    and the other rows are unharmed. After an exception csv.reader begins a new row with the next line.
    """

    def __init__(self, source: streams.Source) -> None:
        self._source = source
        self._lines = source.lines()
        self._number = 0
        self._size = 0
        self.fault: RecordError | None = None
        self.ended = False

    def begin_row(self) -> int:
        """Forget the last row; returns the number of the line where the next one begins."""
        self.fault = None
        self._size = 0
        return self._number + 1

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.ended = True
            raise StopIteration
        self._number += 1
        if isinstance(line, RecordError):
            raise line
        self._size += len(line)
        if self._size > streams.MAX_LINE:
            raise RecordError(f"a row longer than {streams.MAX_LINE >> 20} MiB (is a quote never closed?)")
        try:
            return self._source.text(line)
        except RecordError as error:
            self.fault = self.fault or error
            return line.decode("utf-8", "surrogateescape")
