"""What tasks do with texts: read one from a record, count positions in other units, end where a character ends."""

from collections.abc import Iterable, Sequence
from typing import Any

from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError
from bertcli.tasks.options import OffsetUnit
from bertcli.tasks.scored import Mark


def text_of(record: Record, name: str, option: str) -> str:
    """A field that must be text. Raises RecordError."""
    value = lookup(record.fields, name, option)
    if not isinstance(value, str):
        raise RecordError(f"field '{name}' is {type(value).__name__}, not text.")
    return value


def in_unit(text: str, positions: Iterable[int], unit: OffsetUnit) -> dict[int, int]:
    """Positions counted in code points, each in another unit; one pass over the text, however many there are."""
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
    """The marks of a text as a result lists them: type, text, start and end in that unit, and score, if it has one."""
    units = in_unit(text, [position for mark in marks for position in (mark.start, mark.end)], unit)
    return [
        {"type": mark.type, "text": text[mark.start : mark.end], "start": units[mark.start], "end": units[mark.end]}
        | ({} if mark.score is None else {"score": mark.score})
        for mark in marks
    ]


def whole(text: str, start: int, end: int) -> int:
    """The end of the last character that a person sees in text[start:end]: accents and joiners after it belong to it.

    Characters as Unicode's annex 29 parts them: vowel signs, marks, variation selectors, flags of two letters.
    """
    if start >= end or end == len(text) or text[end].isascii():
        return end  # No ASCII character belongs to one before it.
    import regex

    ends = (int(match.end()) for match in regex.finditer(r"\X", text, pos=start))
    return next(last for last in ends if last >= end)
