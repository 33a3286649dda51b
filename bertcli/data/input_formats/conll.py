"""CoNLL columns: a token a line, a blank line after each sentence; the tag in the last column, or where it says so.

Columns are parted by tabs where a sentence has one, else by white space. `-DOCSTART-` lines are no
sentences, and part those around them. `# …` is a comment where it can be told from a token: without a tab where
columns are parted by tabs (CoNLL-U and UNER); between spaces only with three words or more, and not as many as the
sentence has columns. Comments stand before a sentence; within one `#` is a token as any other.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from bertcli.data.records import Record
from bertcli.data.streams import Line, Source, chomp
from bertcli.errors import RecordError

EXTENSIONS = (".iob", ".iob2", ".bio", ".bioes")
DOCUMENT = re.compile(r"-DOCSTART-(?:\s|$)")
TAG = re.compile(r"O|[BIESLU]-\S+")
Row = tuple[int, str | RecordError]


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records {"tokens": [...], "tags": [...]}, without tags where lines have one column.

    columns: names of the columns, of which `tokens` and `tags` are taken; else the first and the last, or, where the
    first counts the tokens of the file's first sentence from 1, the second and the third. A sentence with broken lines
    is one fault, at the first of them.
    """
    counts = None  # whether the first column counts; the first good sentence tells
    usual = 0  # columns
    for rows in _sentences(source):
        cells, fault = _table(rows, usual)
        if fault:
            yield fault
            continue
        usual = len(cells[0])
        counts = _counts(cells) if counts is None else counts
        try:
            yield Record(0, _fields(cells, columns, counts), rows[0][0], step=1)
        except RecordError as error:
            yield Record(0, line=rows[0][0], fault=str(error))


def _sentences(source: Source) -> Iterator[list[Row]]:
    """The lines of each sentence without its comments."""
    rows: list[Row] = []
    for number, line in enumerate(source.lines(), 1):
        text = _text(source, line)
        if isinstance(text, str) and (not text.strip(" \t") or DOCUMENT.match(text)):
            yield from _without_comments(rows)
            rows = []
        else:
            rows.append((number, text))
    yield from _without_comments(rows)


def _text(source: Source, line: Line) -> str | RecordError:
    try:
        return source.text(chomp(line))
    except RecordError as error:
        return error


def _without_comments(rows: list[Row]) -> Iterator[list[Row]]:
    """The sentence, if anything of it is left."""
    others = [text for _, text in rows if isinstance(text, str) and not _may_be_comment(text)]
    has_tabs = any("\t" in text for text in others)
    width = len(_words(others[0])) if others else 0
    begin = 0
    while begin < len(rows) and _is_comment(rows[begin][1], width, has_tabs):
        begin += 1
    if begin < len(rows):
        yield rows[begin:]


def _may_be_comment(text: str | RecordError) -> bool:
    return isinstance(text, str) and text.startswith("# ") and "\t" not in text


def _is_comment(text: str | RecordError, width: int, has_tabs: bool) -> bool:
    """Whether a line before a sentence is no token. width: columns of the sentence, 0 where it has no other line."""
    if not (isinstance(text, str) and _may_be_comment(text)):
        return False
    words = _words(text)
    return has_tabs or (len(words) > 2 and (len(words) != width if width else TAG.fullmatch(words[-1]) is None))


def _words(text: str) -> list[str]:
    """The columns between spaces; other white space, as U+00A0, may be part of a token."""
    return re.split("[ \t]+", text.strip(" \t"))


def _table(rows: list[Row], usual: int) -> tuple[list[list[str]], Record | None]:
    """The cells of a sentence, or what is wrong with its lines, at the first of them. Most lines have it right."""
    has_tabs = any(isinstance(text, str) and "\t" in text for _, text in rows)
    split = [(number, _cells(text, has_tabs)) for number, text in rows]
    widths = Counter(len(cells) for _, cells in split if isinstance(cells, list))
    width = max(widths, key=lambda width: (widths[width], width == usual, width), default=0)
    faults = [(number, fault) for number, cells in split if (fault := _fault(cells, width))]
    if faults:
        more = f" (and line {', '.join(str(number) for number, _ in faults[1:])})" if len(faults) > 1 else ""
        return [], Record(0, line=faults[0][0], fault=faults[0][1] + more)
    return [cells for _, cells in split if isinstance(cells, list)], None


def _cells(text: str | RecordError, has_tabs: bool) -> list[str] | RecordError:
    if isinstance(text, RecordError):
        return text
    return text.split("\t") if has_tabs else _words(text)


def _fault(cells: list[str] | RecordError, width: int) -> str | None:
    if isinstance(cells, RecordError):
        return str(cells)
    return f"{len(cells)} columns where the sentence has {width}" if len(cells) != width else None


def _counts(cells: list[list[str]]) -> bool:
    return len(cells[0]) >= 3 and [row[0] for row in cells] == [str(i) for i in range(1, len(cells) + 1)]


def _fields(cells: list[list[str]], columns: Sequence[str] | None, counts: bool) -> dict[str, Any]:
    token, tag = _places(len(cells[0]), columns, counts)
    fields: dict[str, Any] = {"tokens": [row[token] for row in cells]}
    return fields if tag is None else fields | {"tags": [row[tag] for row in cells]}


def _places(width: int, columns: Sequence[str] | None, counts: bool) -> tuple[int, int | None]:
    """Which columns hold the tokens and the tags."""
    if columns is not None:
        if len(columns) != width or "tokens" not in columns:
            raise RecordError(f"{width} columns; --columns names {len(columns)}, of which one must be `tokens`")
        return columns.index("tokens"), columns.index("tags") if "tags" in columns else None
    if counts and width >= 3:
        return 1, 2
    return 0, width - 1 if width > 1 else None
