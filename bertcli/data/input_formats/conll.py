r"""CoNLL columns: a token a line, a blank line after each sentence; the tag in the last column, or where it says so.

Columns are parted by tabs where a sentence has one, else by white space. `-DOCSTART-` lines are no
sentences, and part those around them. `# …` is a comment where it can be told from a token: without a tab where
columns are parted by tabs (CoNLL-U and UNER); between spaces only with three words or more, and not as many as the
sentence has columns. Comments stand before a sentence; within one `#` is a token as any other.

Try: printf 'Rome B-LOC\n\nsleeps O\n' | bertcli predict --input-format conll --format jsonl -m NER-MODEL
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from bertcli.data.records import Record
from bertcli.data.streams import Source, Text
from bertcli.errors import RecordError

EXTENSIONS = (".iob", ".iob2", ".bio", ".bioes")
DOCUMENT = re.compile(r"-DOCSTART-(?:\s|$)")
TAG = re.compile(r"O|[BIESLU]-\S+")


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records {"tokens": [...], "tags": [...]}, without tags where lines have one column.

    columns: names of the columns, of which `tokens` and `tags` are taken; else the first and the last, or, where the
    first counts the tokens of the file's first sentence from 1, the second and the third. A sentence with broken lines
    is one fault, at the first of them.
    """
    counts = None  # whether the first column counts; the first good sentence tells
    usual = 0  # columns
    for sentence in _sentences(source):
        lines = sentence[_count_comments(sentence) :]
        if not lines:
            continue
        table = _table(lines, usual)
        if isinstance(table, Record):
            yield table
            continue
        usual = len(table[0])
        if counts is None:
            counts = usual >= 3 and [row[0] for row in table] == [str(i) for i in range(1, len(table) + 1)]
        try:
            yield Record(fields=_fields(table, columns, counts), line=lines[0][0], step=1)
        except RecordError as error:
            yield Record(line=lines[0][0], fault=str(error))


def _sentences(source: Source) -> Iterator[list[Text]]:
    """The lines of each sentence, after the comments before it."""
    lines: list[Text] = []
    for number, text in source.texts():
        if isinstance(text, str) and (not text.strip(" \t") or DOCUMENT.match(text)):
            yield lines
            lines = []
        else:
            lines.append((number, text))
    yield lines


def _count_comments(lines: list[Text]) -> int:
    """How many lines are comments before the sentence."""
    others = [text for _, text in lines if isinstance(text, str) and not _may_be_comment(text)]
    has_tabs = any("\t" in text for text in others)
    width = len(_words(others[0])) if others else 0  # columns of the sentence, 0 where it has no other line
    for count, (_, text) in enumerate(lines):
        if isinstance(text, RecordError) or not _may_be_comment(text):
            return count
        words = _words(text)
        is_token = len(words) <= 2 or (len(words) == width if width else TAG.fullmatch(words[-1]))
        if is_token and not has_tabs:
            return count
    return len(lines)


def _may_be_comment(text: str) -> bool:
    return text.startswith("# ") and "\t" not in text


def _words(text: str) -> list[str]:
    """The columns between spaces; other white space, as U+00A0, may be part of a token."""
    return re.split("[ \t]+", text.strip(" \t"))


def _table(lines: list[Text], usual: int) -> list[list[str]] | Record:
    """The cells of a sentence, or what is wrong with its lines, at the first of them. Most lines have it right."""
    has_tabs = any(isinstance(text, str) and "\t" in text for _, text in lines)
    rows = [
        (number, text if isinstance(text, RecordError) else text.split("\t") if has_tabs else _words(text))
        for number, text in lines
    ]
    widths = Counter(len(row) for _, row in rows if isinstance(row, list))
    width = max(widths, key=lambda width: (widths[width], width == usual, width), default=0)
    faults = [
        (number, str(row) if isinstance(row, RecordError) else f"{len(row)} columns where the sentence has {width}")
        for number, row in rows
        if isinstance(row, RecordError) or len(row) != width
    ]
    if faults:
        (line, fault), *others = faults
        more = f" (and line {', '.join(str(number) for number, _ in others)})" if others else ""
        return Record(line=line, fault=fault + more)
    return [row for _, row in rows if isinstance(row, list)]


def _fields(table: list[list[str]], columns: Sequence[str] | None, counts: bool) -> dict[str, Any]:
    """Tokens and tags out of their columns; RecordError where the names given do not fit."""
    width = len(table[0])
    token, tag = 0, width - 1 if width > 1 else None
    if columns is not None:
        if len(columns) != width or "tokens" not in columns:
            raise RecordError(f"{width} columns; --columns names {len(columns)}, of which one must be `tokens`")
        token, tag = columns.index("tokens"), columns.index("tags") if "tags" in columns else None
    elif counts and width >= 3:
        token, tag = 1, 2
    fields = {"tokens": [row[token] for row in table]}
    return fields if tag is None else fields | {"tags": [row[tag] for row in table]}
