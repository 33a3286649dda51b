"""The texts of records: reading them, marks in them, and examples with label and prediction for people."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError
from bertcli.tasks.options import OffsetUnit

MOST_MARKS = 30  # accents that may follow a letter, as in Unicode's annex 15 (stream-safe text)
DIGITS = 6  # of a printed number: what fp32 carries


@dataclass(frozen=True, slots=True)
class Mark:
    """A part of a text, in code points: an entity or an answer."""

    start: int
    end: int
    type: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A scored record, for people.

    text: what was read. pair: its second text, or the question. gold, predicted: JSON values. right: None if the task
    has no right and wrong. score: of the prediction, as `predict` prints it. sure: how much the model preferred its
    prediction, or how far a number is off; mistakes are sorted by it. more: further fields that show the mistake.
    gold_marks, predicted_marks: parts of `text`.
    """

    record: Record
    text: str
    gold: Any
    predicted: Any
    right: bool | None = None
    score: float | None = None
    sure: float = 0.0
    pair: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    gold_marks: tuple[Mark, ...] = ()
    predicted_marks: tuple[Mark, ...] = ()

    @property
    def shown(self) -> dict[str, Any]:
        """gold, predicted, score and the further fields."""
        score = {} if self.score is None else {"score": self.score}
        return {"gold": self.gold, "predicted": self.predicted, **score, **self.more}


def excerpt(text: str, most: int = 40) -> str:
    """A text for a message: of one longer than `most` characters the beginning, with … at its end."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def text_of(record: Record, name: str, option: str) -> str:
    """A field that must be text. Raises RecordError."""
    try:
        value = lookup(record.fields, name, option)
    except RecordError as error:
        hint = " -t qa answers its question." if {"question", "context"} <= record.fields.keys() else ""
        raise RecordError(f"{error}{hint}") from None
    if not isinstance(value, str):
        type_name = "null" if value is None else type(value).__name__
        raise RecordError(f"field '{name}' is {type_name}, not text.")
    return value


def fold(text: str) -> str:
    """The text without what most tokenizers drop: case, full width, how an accent is composed."""
    return unicodedata.normalize("NFKC", text).casefold()


def in_offset_unit(text: str, positions: Iterable[int], unit: OffsetUnit) -> dict[int, int]:
    """From each position in code points to that in another unit, in one pass over the text."""
    counted, last, total = {}, 0, 0
    for position in sorted(set(positions)):
        if unit == "codepoint":
            total = position
        elif unit == "utf16":
            total += len(text[last:position].encode("utf-16-le", "surrogatepass")) // 2
        else:
            total += len(text[last:position].encode("utf-8", "surrogatepass"))
        counted[position], last = total, position
    return counted


def entity_results(text: str, marks: Sequence[Mark], unit: OffsetUnit) -> list[dict[str, Any]]:
    """The marks of a text as a result lists them: type, text, start and end in that unit, and any score."""
    units = in_offset_unit(text, [position for mark in marks for position in (mark.start, mark.end)], unit)
    return [
        {"type": mark.type, "text": text[mark.start : mark.end], "start": units[mark.start], "end": units[mark.end]}
        | ({} if mark.score is None else {"score": mark.score})
        for mark in marks
    ]


def grapheme_start(text: str, start: int) -> int:
    """Where the grapheme cluster of text[start] begins; MOST_MARKS code points before it are read."""
    if text[start : start + 1] < "\u0300" or "\u3400" <= text[start] <= "\u9fff":
        return start  # Letters of Europe's west and ideographs belong to nothing before them.
    import regex

    first = max(start - MOST_MARKS, 0)
    return max(int(match.start()) for match in regex.finditer(r"\X", text, pos=first, endpos=start + 1))


def grapheme_end(text: str, start: int, end: int) -> int:
    """The end of the last grapheme cluster (Unicode annex 29) in text[start:end], with accents and joiners after it.

    Only MOST_MARKS code points after `end` are read: a chain of joined emoji, each an entity, would otherwise take time
    that grows with the square of its length.
    """
    if start >= end or end == len(text) or text[end].isascii():
        return end  # No ASCII character belongs to one before it.
    import regex

    ends = (int(match.end()) for match in regex.finditer(r"\X", text, pos=start, endpos=end + MOST_MARKS))
    return next(last for last in ends if last >= end)
