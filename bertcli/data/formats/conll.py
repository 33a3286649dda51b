r"""CoNLL columns: a token a line, a blank line after each sentence; the tag in the last column, or where it says so.

Columns are parted by tabs where a sentence has one, else by white space. `-DOCSTART-` lines, and those that begin with
`#begin document` or `#end document`, are no sentences, and part those around them. Where the first column counts the
words from 1 or 0 (CoNLL-U, UNER), every `#` line is a comment, and ranges (`4-5`) and empty nodes (`8.1`) are no words.
Where the third does (CoNLL-2012, OntoNotes), the word follows, and the eleventh has names in brackets: `(ORG* * *)`.
Elsewhere `# …` before a sentence is a comment unless it has the form of the sentence's tokens; within one `#` is a
token as any other.

What is written has a token and its tag a line, parted by a tab; an error is a comment in its place.

Try: printf 'Rome B-LOC\n\nsleeps O\n' | bertcli predict --input-format conll --format jsonl -m NER-MODEL
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bertcli.data.formats import BaseFormatter
from bertcli.data.records import Record, describe, is_error
from bertcli.data.streams import LONE_RETURN, Source, Text
from bertcli.errors import RecordError

DOCUMENT = re.compile(r"-DOCSTART-(?:\s|$)|#(?:begin|end) document")
TAG = re.compile(r"O|[BIESLU]-\S+")
ID = re.compile(r"\d+|\d+[-.]\d+")
BRACKET = re.compile(r"\(([^*()]+)")  # how a name begins, with its type
CONLL_U = 10  # columns
PLUS = re.compile(r"# *global\.columns *=(.*)")
NAMES = 10  # the column of names in CoNLL-2012
Lines = list[tuple[int, list[str]]]  # a sentence: the number of each line, and its columns


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records {"tokens": [...], "tags": [...]}, without tags where lines have one column.

    columns: names of the columns, of which `tokens` and `tags` are taken; else the first and the last, or, where the
    first counts the tokens of the file's first sentence, the second and the third, of CoNLL-U's ten the fourth, UPOS,
    and of CoNLL-U Plus, whose first line names the columns, FORM and the last. A sentence with broken lines is one
    fault, at the first of them.
    """
    plus = PLUS.match(source.begin()[0])
    if plus and columns is None and len(names := plus[1].split()) != CONLL_U:
        columns = [{"FORM": "tokens", names[-1]: "tags"}.get(name, name) for name in names]
    counts = None  # whether the first column counts; the first good sentence tells
    usual = 0  # columns
    for sentence in _sentences(source):
        lines = _without_comments(sentence, counts, usual)
        if not lines:
            continue
        table = _table(lines, usual)
        if isinstance(table, Record):
            yield table
            continue
        usual = len(table[0][1])
        if counts is None:
            counts = _counts(table)
        if counts:
            table = [(number, row) for number, row in table if not ID.fullmatch(row[0]) or row[0].isdigit()]
        if not table:
            yield Record(line=lines[0][0], fault="a sentence without a word: only ranges and empty nodes")
            continue
        begin = table[0][0]
        token, tag = 0, usual - 1 if usual > 1 else None
        if usual > 2 and all(not row[-1] and TAG.fullmatch(row[-2]) for _, row in table):
            tag = usual - 2  # A tab at the end of each line begins no column.
        if columns is not None:
            if len(columns) != usual or "tokens" not in columns:
                fault = f"{usual} columns; --columns names {len(columns)}, of which one must be `tokens`"
                yield Record(line=begin, fault=fault)
                continue
            token, tag = columns.index("tokens"), columns.index("tags") if "tags" in columns else None
        elif counts and usual >= 3:
            token, tag = 1, 3 if usual == CONLL_U else 2
        elif usual > NAMES and _counts([(number, row[2:]) for number, row in table]):
            token, tag = 3, NAMES
            for (_, row), name in zip(table, _names([row[NAMES] for _, row in table]), strict=True):
                row[NAMES] = name
        fields = {"tokens": [row[token] for _, row in table]}
        if tag is not None:
            fields["tags"] = [row[tag] for _, row in table]
        yield Record(fields=fields, line=begin, lines=[number for number, _ in table])


def _counts(table: Lines) -> bool:
    """Whether the first column counts the words, from 1 or 0; ranges and empty nodes stand between them."""
    ids = [row[0] for _, row in table]
    words = [name for name in ids if not ID.fullmatch(name) or name.isdigit()]
    first = 0 if words[:1] == ["0"] else 1
    return len(table[0][1]) >= 3 and bool(words) and words == [str(i) for i, _ in enumerate(words, first)]


def _names(cells: list[str]) -> list[str]:
    """The tags, as IOB2, of names in brackets."""
    tags, type_ = [], ""
    for cell in cells:
        begin = BRACKET.match(cell)
        type_ = begin[1] if begin else type_
        tags.append(f"{'B' if begin else 'I'}-{type_}" if type_ else "O")
        type_ = "" if cell.endswith(")") else type_
    return tags


def _sentences(source: Source) -> Iterator[list[Text]]:
    """The lines of each sentence, after the comments before it."""
    lines: list[Text] = []
    for number, text in source.texts():
        if isinstance(text, str) and "\r" in text:  # else the columns of all lines but the first were lost
            text = RecordError(LONE_RETURN)
        if isinstance(text, str) and (not text.strip(" \t") or DOCUMENT.match(text)):
            yield lines
            lines = []
        else:
            lines.append((number, text))
    yield lines


def _without_comments(lines: list[Text], counts: bool | None, usual: int) -> list[Text]:
    """The lines of a sentence. counts: whether the first column of the file does, None where it is not known yet."""
    body = [text for _, text in lines if isinstance(text, str) and not text.startswith("#")]
    has_tabs = any("\t" in text for text in body)
    rows = [_cells(text, has_tabs) for text in body]
    width = len(rows[0]) if rows else usual
    tagged = bool(rows) and all(TAG.fullmatch(row[-1]) for row in rows)
    if counts is None and rows and len(rows[0]) >= 3 and _counts(list(enumerate(rows))):
        marked = [text for _, text in lines if isinstance(text, str) and text.startswith("#")]
        counts = len(rows) > 1 or not any(_is_token(text, True, has_tabs, width, tagged) for text in marked)
    if counts:
        return [(number, text) for number, text in lines if isinstance(text, RecordError) or not text.startswith("#")]
    for i, (_, text) in enumerate(lines):
        if (
            isinstance(text, RecordError)
            or not text.startswith("#")
            or _is_token(text, bool(rows), has_tabs, width, tagged)
        ):
            return lines[i:]
    return []


def _is_token(text: str, has_body: bool, has_tabs: bool, width: int, tagged: bool) -> bool:
    """Whether a `#` line before or in a sentence of such columns is one of its tokens, and no comment.

    It has the columns of one, the first without a space, the last a tag where those of the sentence are tags. A line
    that is broken is better a fault than a comment: `#` or a hashtag alone, or with nothing but a tag.
    """
    cells = _cells(text, has_tabs or (not has_body and "\t" in text))
    is_tag = TAG.fullmatch(cells[-1]) is not None
    if has_tabs and len(cells) == 1:
        return " " not in text
    if len(cells) == width or (not width and is_tag):
        is_of_form = "\t" not in text or has_tabs or not has_body or is_tag
        return " " not in cells[0] and is_of_form and (is_tag or not tagged)
    if has_tabs:
        return " " not in cells[0]
    return not text.startswith("# ") or (len(cells) == 2 and is_tag)


def _cells(text: str, has_tabs: bool) -> list[str]:
    """The columns between tabs, else between spaces; other white space, as U+00A0, may be part of a token."""
    return text.split("\t") if has_tabs else re.split("[ \t]+", text.strip(" \t"))


def _table(lines: list[Text], usual: int) -> Lines | Record:
    """The cells of a sentence, or what is wrong with its lines, at the first of them. Most lines have it right."""
    has_tabs = any(isinstance(text, str) and "\t" in text for _, text in lines)
    rows = [(number, text if isinstance(text, RecordError) else _cells(text, has_tabs)) for number, text in lines]
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
    return [(number, row) for number, row in rows if isinstance(row, list)]


class Formatter(BaseFormatter):
    """Sentences, parted by tabs."""

    NEEDS = ({"tokens", "tags"},)

    def add(self, result: Mapping[str, Any], record: Record | None = None) -> str:
        """The lines of a sentence; RecordError for a result without tags, or a token that holds a tab or a line end."""
        if is_error(result):
            return f"# {' '.join(describe(result).split())}\n\n"
        tokens, tags = result.get("tokens"), result.get("tags")
        if not (isinstance(tokens, list) and isinstance(tags, list)):
            raise RecordError("only results with tokens and tags can be CoNLL; use --format jsonl")
        bad = next((token for token in tokens if not token or any(c in token for c in "\t\n\r")), None)
        if bad is not None:
            raise RecordError(f"the token {bad!r} cannot be in a column; use --format jsonl")
        return "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True)) + "\n"
