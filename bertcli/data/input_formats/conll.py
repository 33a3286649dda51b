"""CoNLL columns: a token a line, a blank line after each sentence; the tag in the last column, or where it says so.

Columns are parted by tabs where the sentence's first line has one, else by white space. `-DOCSTART-` lines are no
sentences. A line that begins with `#` is a comment where comments can be told from tokens: where it has no tab
although columns are parted by tabs (CoNLL-U and UNER); between spaces `#` is a token as any other.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from bertcli.data.records import Record
from bertcli.data.streams import Line, Source, chomp
from bertcli.errors import RecordError

EXTENSIONS = (".iob", ".iob2", ".bio", ".bioes")
SKIPPED = "-DOCSTART-"
Row = tuple[int, str | RecordError]


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records {"tokens": [...], "tags": [...]}, without tags where lines have one column.

    columns: names of the columns, of which `tokens` and `tags` are taken; else the first and the last, or, where the
    first counts the tokens from 1, the second and the third. A sentence with broken lines is one fault,
    at the first of them.
    """
    for rows in _sentences(source):
        yield _record(rows, columns)


def _sentences(source: Source) -> Iterator[list[Row]]:
    rows: list[Row] = []
    for number, line in enumerate(source.lines(), 1):
        text = _text(source, line)
        if isinstance(text, str) and not text.strip(" \t"):
            if rows:
                yield rows
            rows = []
        elif not (isinstance(text, str) and (_is_comment(text, rows) or text.startswith(SKIPPED))):
            rows.append((number, text))
    if rows:
        yield rows


def _text(source: Source, line: Line) -> str | RecordError:
    try:
        return source.text(chomp(line))
    except RecordError as error:
        return error


def _is_comment(text: str, rows: list[Row]) -> bool:
    """`# text = …`: before a sentence with words and no tab that no tagged token could be."""
    if not text.startswith("#") or "\t" in text:
        return False
    first = rows[0][1] if rows else None
    return "\t" in first if isinstance(first, str) else len(text.split()) > 2


def _record(rows: list[Row], columns: Sequence[str] | None) -> Record:
    """A sentence, or what is wrong with its lines, at the first of them."""
    split = [(number, _cells(text, _has_tabs(rows))) for number, text in rows]
    width = next((len(cells) for _, cells in split if isinstance(cells, list) and cells), 0)
    faults = [(number, fault) for number, cells in split if (fault := _fault(cells, width))]
    if faults:
        more = f" (and line {', '.join(str(number) for number, _ in faults[1:])})" if len(faults) > 1 else ""
        return Record(0, line=faults[0][0], fault=faults[0][1] + more)
    try:
        return Record(0, _fields([cells for _, cells in split if isinstance(cells, list)], columns), rows[0][0])
    except RecordError as error:
        return Record(0, line=rows[0][0], fault=str(error))


def _has_tabs(rows: list[Row]) -> bool:
    return isinstance(rows[0][1], str) and "\t" in rows[0][1]


def _cells(text: str | RecordError, has_tabs: bool) -> list[str] | RecordError:
    if isinstance(text, RecordError):
        return text
    return text.split("\t") if has_tabs else text.split()


def _fault(cells: list[str] | RecordError, width: int) -> str | None:
    if isinstance(cells, RecordError):
        return str(cells)
    if not cells:
        return "a line of white space that is neither blank nor a token"  # U+2028, U+00A0
    return f"{len(cells)} columns where the sentence has {width}" if len(cells) != width else None


def _fields(cells: list[list[str]], columns: Sequence[str] | None) -> dict[str, Any]:
    token, tag = _places(cells, columns)
    fields: dict[str, Any] = {"tokens": [row[token] for row in cells]}
    return fields if tag is None else fields | {"tags": [row[tag] for row in cells]}


def _places(cells: list[list[str]], columns: Sequence[str] | None) -> tuple[int, int | None]:
    """Which columns hold the tokens and the tags."""
    width = len(cells[0])
    if columns is not None:
        if len(columns) != width or "tokens" not in columns:
            raise RecordError(f"{width} columns; --columns names {len(columns)}, of which one must be `tokens`")
        return columns.index("tokens"), columns.index("tags") if "tags" in columns else None
    if width >= 3 and [row[0] for row in cells] == [str(i) for i in range(1, len(cells) + 1)]:
        return 1, 2
    return 0, width - 1 if width > 1 else None
