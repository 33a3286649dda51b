r"""CSV as in RFC 4180, and TSV without quoting: a header, and a record for each row.

In CSV quoted fields may hold commas, doubled quotes and line breaks; what is written ends its lines with \n alone. In
TSV a line is a row, a tab ends a field, and a quotation mark is a character as any other. A tab or line break inside a
value is written as \t, \r or \n, for people and for cut; a program that needs the value back exactly takes csv or
jsonl.

Try: printf 'id,text\n7,"long, ""good"" film"\n' | bertcli predict --input-format csv --format tsv
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from bertcli.data import streams
from bertcli.data.formats import BaseFormatter
from bertcli.data.records import Header, Record, describe, is_error, json_text, merged, names_in
from bertcli.errors import BertcliError, RecordError, UsageError

MAX_HELD = 10_000  # errors before the first row of results
CARRIAGE_RETURN = "a carriage return outside quotes"
HEADLESS = "or drop the header (`tail -n +2`), if it is one, and name all columns with --columns"
SEP = re.compile(r'"?sep=(.)"?')
_SPECIAL = re.compile(r'[",\r\n]')  # what a cell is quoted for
_ESCAPES = str.maketrans({"\t": "\\t", "\r": "\\r", "\n": "\\n"})
Row = tuple[int, list[str] | RecordError]  # line number, cells; no cells for a blank line


def read_csv(source: streams.Source, columns: Sequence[str] | None, delimiter: str | None = None) -> Iterator[Record]:
    """Records with the columns of the header, or `columns`; all values are text. See `_records`.

    delimiter: else a comma; or, where the first line has none, or another number than columns ask for, the semicolon,
    tab or bar that it has, as European spreadsheets write it. A first line `sep=;` says it to Excel, and to this.
    """
    (first,) = source.begin()
    stated = SEP.fullmatch(first.rstrip("\r\n"))
    if delimiter is None and stated:
        delimiter = stated[1]
    if delimiter is None:
        bare = re.sub('"[^"]*"', "", first)
        counts = {mark: bare.count(mark) for mark in ",;\t|"}
        fitting = (mark for mark, n in counts.items() if n and (columns is None or n == len(columns) - 1))
        delimiter = next(fitting, ",")
    return _records(islice(_rows(source, delimiter), 1 if stated else 0, None), source, columns)


def read_tsv(source: streams.Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with the columns of the header, or `columns`; all values are text. See `_records`."""
    rows = (
        (number, text if isinstance(text, RecordError) else text.split("\t") if text else [])
        for number, text in source.texts()
    )
    quoted = "--input-format csv reads what is in quotation marks"
    return _records(rows, source, columns, "--columns names those of a file without a header", quoted)


def _records(
    rows: Iterator[Row],
    source: streams.Source,
    columns: Sequence[str] | None,
    alone: str = "--delimiter says what parts the columns of CSV",
    quoted: str = "",
) -> Iterator[Record]:
    """A record per row, named by the first row or, where that is data too, by `columns`.

    A row of another length is a fault; it says `alone` in a table of one column, `quoted` where a cell begins with a
    quotation mark. A blank line is skipped, except in a table of one column, where it is an empty
    value. Raises UsageError for a header that cannot be read, or that has an empty or a doubled name.
    """
    names = list(columns) if columns is not None else _header(rows, source.shown)
    source.header = Header(names) if names else None
    for line, cells in rows:
        if isinstance(cells, RecordError):
            yield Record(line=line, fault=str(cells))
        elif not cells and len(names) != 1:
            continue
        elif len(cells or [""]) != len(names):
            hint = alone if len(names) == 1 else quoted if any(cell.startswith('"') for cell in cells) else ""
            fault = f"{len(cells)} fields in a table of {len(names)} columns"
            yield Record(line=line, fault=f"{fault}; {hint}" if hint else fault)
        else:
            yield Record(fields=dict(zip(names, cells or [""], strict=True)), line=line)


def _header(rows: Iterator[Row], shown: str) -> list[str]:
    """The first row that is not blank; an empty file has no columns and no rows."""
    for line, cells in rows:
        where = f"{shown}:{line}: the header"
        if isinstance(cells, RecordError):
            hint = f"; {streams.LONE_RETURN}" if CARRIAGE_RETURN in str(cells) else ""
            raise UsageError(f"{where} cannot be read: {cells}{hint}")
        if cells:
            if any("\r" in cell for cell in cells):
                raise UsageError(f"{where} cannot be read: {streams.LONE_RETURN}")
            # the first may be without a name, as the index that pandas writes
            try:
                check_names([cells[0] or "index", *cells[1:]] if "index" not in cells else cells, where)
            except UsageError as error:
                raise UsageError(f"{error}, {HEADLESS}") from None
            return cells
    return []


def check_names(names: Sequence[str], where: str) -> None:
    """Raise UsageError, which begins with `where`, unless every column has a name of its own."""
    seen = set()
    for number, name in enumerate(names, 1):
        if not name:
            raise UsageError(f"{where}: column {number} has no name; give it one")
        if name in seen:
            raise UsageError(f"{where}: two columns are called '{name}'; rename one")
        seen.add(name)
    if not names:
        raise UsageError(f"{where}: no column is named")


def _rows(source: streams.Source, delimiter: str) -> Iterator[Row]:
    import csv  # takes 1 ms, which TSV and results need not wait for

    csv.field_size_limit(streams.MAX_LINE)  # the default is 128 KiB; _Feed bounds the whole row
    feed = _Feed(source, source.lines())
    # strict: a quote that is never closed is an error, not the rest of the file
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        line, feed.size, feed.fault = feed.number + 1, 0, None  # the last row is forgotten
        try:
            cells = next(reader)
        except StopIteration:
            return
        except RecordError as error:
            yield line, RecordError(f"{error}{_lost(line, feed.number)}")
        except csv.Error as error:
            # for a lone carriage return the csv module has advice for Python programmers
            reason = CARRIAGE_RETURN if "new-line" in str(error) else str(error)
            reason = "a quote is opened and never closed" if feed.ended else reason
            yield line, RecordError(f"not CSV ({reason}){_lost(line, feed.number)}")
        else:
            yield line, feed.fault or cells


def _lost(first: int, last: int) -> str:
    """What a row that cannot be read has taken with it, since a quotation mark joins lines."""
    return f"; lines {first} to {last} are lost with it" if last > first else ""


@dataclass(eq=False)
class _Feed(Iterator[str]):
    """Gives csv.reader its lines and remembers what was wrong with those of the row.

    A line that does not decode is passed on with its bytes escaped, so that quotes still pair up; its row is a fault
    and the other rows are unharmed. After an exception csv.reader begins a new row with the next line.
    number: of the last line. size: of the row, in bytes.
    """

    source: streams.Source
    lines: Iterator[streams.Line]
    number: int = 0
    size: int = 0
    fault: RecordError | None = None
    ended: bool = False

    def __next__(self) -> str:
        line = next(self.lines, None)
        if line is None:
            self.ended = True
            raise StopIteration
        self.number += 1
        if isinstance(line, RecordError):
            raise line
        self.size += len(line)
        if self.size > streams.MAX_LINE:
            raise RecordError(f"a row longer than {streams.MAX_LINE >> 20} MiB (is a quote never closed?)")
        try:
            return self.source.text(line)
        except RecordError as error:
            self.fault = self.fault or error
            return line.decode("utf-8", "surrogateescape")


# -- written


@dataclass(eq=False)
class CsvFormatter(BaseFormatter):
    """Results as rows. The first good result fixes the columns; a last column `error` is always there.

    Error results before it are held back until the columns are known. After 10,000 of them the run stops: a table
    cannot begin without its header, and so many failures say that an option is wrong.
    """

    REMEMBERED = ("_columns", "_held")
    NAME = "csv"
    _columns: dict[str, None] | None = None  # by name: to look for one of 40,000 in a list takes 400 µs
    _held: list[str] = field(default_factory=list)

    def join(self, cells: Sequence[str]) -> str:
        """The line of a row: cells that hold a comma, a quote or a line end are quoted."""
        quoted = ('"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell for cell in cells)
        return ",".join(quoted) + "\n"

    def add(self, result: Mapping[str, Any], record: Record | None = None) -> str:
        """The row, after the header and the rows held back if it is the first; RecordError if it does not fit."""
        if is_error(result):
            return self._error(describe(result))
        columns = self._columns
        if columns is None:
            columns = self._columns_of(self.first or result)
        stranger = next((name for name in result if name not in columns and name != "error"), None)
        if stranger is not None:
            raise RecordError(
                f"its field '{stranger}' is no column of this {self.NAME} "
                f"(the first record gave: {names_in(columns)}); use --format jsonl"
            )
        values = [result.get(name, "") for name in (*columns, "error")]
        row = self.join(["" if one is None else one if isinstance(one, str) else json_text(one) for one in values])
        return row if self._columns is not None else self._begin(columns) + row

    def end(self) -> str:
        """What is still held back, under the header that a result would have had; without any clue `error` alone."""
        if self.input_header and not self.first:
            self.first = merged(dict.fromkeys(self.input_header.names), self.example)
        if self._columns is None and (self._held or self.first is not None):
            return self._begin(self._columns_of(self.first or {}))
        return ""

    def _columns_of(self, first: Mapping[str, Any]) -> dict[str, None]:
        return {name: None for name in [*first, *self.optional] if name != "error"}

    def _begin(self, columns: dict[str, None]) -> str:
        self._columns = columns
        messages, self._held = self._held, []
        header = "" if self.first_index else self.join([*columns, "error"])
        return header + "".join(map(self._error, messages))

    def _error(self, message: str) -> str:
        if self._columns is not None:
            return self.join([""] * len(self._columns) + [message])
        self._held.append(message)
        if len(self._held) == MAX_HELD:
            raise BertcliError(
                f"the first {MAX_HELD} records all failed ({self._held[0]}); use --format jsonl to go on"
            )
        return ""


class TsvFormatter(CsvFormatter):
    """Rows as those of csv, with tabs between cells."""

    NAME = "tsv"

    def join(self, cells: Sequence[str]) -> str:
        """The line of a row."""
        return "\t".join(cell.translate(_ESCAPES) for cell in cells) + "\n"
