"""CSV as in RFC 4180: quoted fields may hold commas, doubled quotes and line breaks."""

from collections.abc import Iterator, Sequence

from bertcli.data import streams
from bertcli.data.records import Record
from bertcli.data.tables import Row, records
from bertcli.errors import RecordError

EXTENSIONS = ()


def read(source: streams.Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with the columns of the header, or `columns`; all values are text. See tables.records."""
    return records(_rows(source), source.name, columns)


def _rows(source: streams.Source) -> Iterator[Row]:
    import csv

    csv.field_size_limit(streams.MAX_LINE)  # the default is 128 KiB; _Feed bounds the whole row
    feed = _Feed(source)
    reader = csv.reader(feed, strict=True)  # strict: a quote that is never closed is an error, not the rest of the file
    while True:
        line = feed.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except RecordError as error:
            yield line, error
        except csv.Error as error:
            yield line, RecordError(f"not CSV ({_reason(error, feed)})")
        else:
            yield line, feed.fault or cells


def _reason(error: Exception, feed: "_Feed") -> str:
    if feed.ended:
        return "a quote is opened and never closed"
    # the csv module advises Python programmers here
    return "a carriage return outside quotes" if "new-line" in str(error) else str(error)


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
