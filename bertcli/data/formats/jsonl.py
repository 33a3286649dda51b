"""JSON: one object a line, blank lines skipped; the objects of an array, as labelling tools export them; and SQuAD.

Faults are all that could not be written again as JSON in UTF-8: NaN and Infinity, numbers that overflow, unpaired
surrogates, nesting beyond Python's recursion limit. Of a key given twice the last value counts, as in every JSON
library. Of an array only one item is in memory at a time: it may take as many lines as it likes, or one, which a line's
bound of 64 MiB then holds for. SQuAD's JSON, 1.1 and 2.0, and what has its form (CMRC 2018, SQuADShifts), is one
document, so it is read whole: the 30 MB of the training set take 150 MB of memory.

Try: echo '{"text": "a good film", "id": 7}' | bertcli predict --input-format jsonl
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from typing import Any, NoReturn

from bertcli.data.formats import BaseFormatter
from bertcli.data.records import Literal, Record, json_text
from bertcli.data.streams import LONE_RETURN, MAX_LINE, Source, Text
from bertcli.errors import RecordError, UsageError

# Only a text that has one of these can hold half of a pair: 0.2 µs to look for it, 7 µs to check each value.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
TOO_LONG = "not usable JSON (a number with too many digits)"
HEAD = 1 << 16  # characters in which a document is told from lines, and the first paragraph of SQuAD begins
_NAMES = {list: "array", str: "string", bool: "boolean", type(None): "null"}
_MARKS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]')  # a string of JSON has no line end, so none goes over a line
BETWEEN = ", \t\r\n"  # what may be between two items
_SQUAD = re.compile(r'\s*\{(?>.*?"data"\s*:\s*\[).*?"paragraphs"\s*:\s*\[', re.DOTALL)
QUESTION = ("id", "question", "answers", "is_impossible")


class Formatter(BaseFormatter):
    """A line per result, every field kept."""

    def add(self, result: Mapping[str, Any], record: Record | None = None) -> str:
        """The result as one line of JSON."""
        return json_text(result) + "\n"


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with the fields of each object; numbers whose digits Python would not write again are a Literal."""
    return records(source.texts())


def records(texts: Iterable[Text]) -> Iterator[Record]:
    """A record for each text that holds an object; a fault in the place of any other, nothing for a blank one."""
    for number, text in texts:
        try:
            fields = _object(text)
        except RecordError as error:
            yield Record(line=number, fault=str(error))
        else:
            if fields is not None:
                yield Record(fields=fields, line=number)


def _object(text: str | RecordError) -> dict[str, Any] | None:
    """The object of a line, None for a blank one."""
    if isinstance(text, RecordError):
        raise text
    if not text.strip(" \t\r"):
        return None
    try:
        value = (_EXACT if "-0" in text else DECODER).decode(text)
    except json.JSONDecodeError as error:
        hint = f"; {LONE_RETURN}" if "\r" in text.strip("\r") else ""
        raise RecordError(f"not JSON ({error.msg.removesuffix(' at')} at column {error.colno}){hint}") from error
    except RecursionError as error:
        raise RecordError("not usable JSON (nested too deeply)") from error
    except ValueError as error:  # int() refuses thousands of digits, which take quadratic time
        raise RecordError(TOO_LONG) from error
    if not isinstance(value, dict):
        name = _NAMES.get(type(value), "number")
        raise RecordError(f"a JSON {name}, not an object")
    if _SURROGATE.search(text):
        check_values(value)
    return value


def check_values(value: dict[str, Any]) -> None:
    """Raise RecordError for text that no tokenizer takes and no UTF-8 output holds, and for an error among the values.

    An error stands in the place of a number that LENIENT could not take.
    """

    def refuse(error: RecordError) -> NoReturn:
        raise error

    try:
        json.dumps(value, ensure_ascii=False, default=refuse).encode()
    except UnicodeEncodeError as error:
        raise RecordError("not usable JSON (half of a surrogate pair, which no UTF-8 text can hold)") from error


def _refuse(name: str) -> NoReturn:
    raise RecordError(f"not JSON ({name} is not a JSON number; use null)")


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise RecordError(f"not usable JSON (the number {digits[:20]} is too large)")
    return number if repr(number) == digits else Literal(digits)


def _held(parse: Callable[[str], object]) -> Callable[[str], object]:
    """A number, or the error of one that cannot be used: in a document of many records only its own is at fault."""

    def parsed(digits: str) -> object:
        try:
            return parse(digits)
        except RecordError as error:
            return error
        except ValueError:  # of int(): see _object
            return RecordError(TOO_LONG)

    return parsed


# Made once: json.loads makes a decoder for each call that sets an option, which takes 6 of its 9 µs a line.
DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_float)
LENIENT = json.JSONDecoder(parse_constant=_held(_refuse), parse_float=_held(_float), parse_int=_held(int))
_EXACT = json.JSONDecoder(  # for lines that may have a -0
    parse_constant=_refuse,
    parse_float=_float,
    parse_int=lambda digits: Literal(digits) if digits == "-0" else int(digits),
)


# -- an array of objects


def array_records(texts: Iterator[Text]) -> Iterator[Record]:
    """Records with the fields of each object; it is an array where the first line begins with a bracket."""
    first = list(islice(texts, 1))
    is_array = any(isinstance(text, str) and text.lstrip().startswith("[") for _, text in first)
    texts = chain(first, texts)
    return records(_items(texts) if is_array else texts)


def _items(texts: Iterator[Text]) -> Iterator[Text]:
    """The text of each item of an array, with the line where it begins. Arrays may follow one another, as shards do.

    What is between two items and no object, such as a number, comes as a text too: a fault, and not lost.
    """
    depth = size = 0
    begin, parts = 1, list[str]()
    for number, line in texts:
        if isinstance(line, RecordError) or size > MAX_LINE:
            fault = line if isinstance(line, RecordError) else f"an item longer than {MAX_LINE >> 20} MiB"
            yield begin if depth > 1 else number, RecordError(f"{fault}; the rest of the array is lost")
            return
        start = 0
        for mark in _MARKS.finditer(line):
            if mark[0] in ("[", "{"):
                depth += 1
                if depth <= 2:
                    yield number, line[start : mark.start()].strip(BETWEEN)
                    begin, start = number, mark.end() if depth == 1 else mark.start()
            elif mark[0] in ("]", "}"):
                depth = max(0, depth - 1)
                if depth == 1:
                    yield begin, "".join([*parts, line[start : mark.end()]])
                    parts, size, start = [], 0, mark.end()
                elif depth == 0:
                    yield number, line[start : mark.start()].strip(BETWEEN)
                    start = mark.end()
        if depth > 1:
            parts.append(line[start:] + "\n")
            size += len(line) - start
        else:
            yield number, line[start:].strip(BETWEEN)
    if depth:
        yield begin, RecordError("an array that is never closed; the export is not whole")


# -- one document


def document_fault(source: Source) -> str | None:
    """Where a file turns out to be one JSON document and not lines of it, and why, else None.

    It is one where its first line is an array, or the beginning of an object that no whole object follows. Whatever
    else the first line is, it is a line, and its fault is no more than that of any other.
    """
    first, size = "", 0
    with closing(source.texts()) as lines:
        for number, text in lines:
            if isinstance(text, RecordError) or not text.strip():
                continue
            size += len(text)
            is_array = text.lstrip().startswith("[")  # which may be all of a file in one line, as pandas writes it
            if size > HEAD and not is_array:
                break
            try:
                fields = _object(text)
            except RecordError as error:
                cause = error.__cause__  # of an object that is only begun, it is where the text ends
                is_cut = isinstance(cause, json.JSONDecodeError) and cause.pos >= len(text.rstrip())
                if not first and not is_array and not (is_cut and text.lstrip().startswith("{")):
                    return None
                first = first or f"{number}: {error}"
                if is_array:
                    break
            else:
                if fields is not None and (not first or text.startswith("{")):
                    return None
    return first or None


def is_squad(head: str) -> bool:
    """Whether a file that begins so is one."""
    return _SQUAD.match(head[:HEAD]) is not None


def read_squad(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records {"id", "question", "context", "answers"}, with is_impossible in 2.0. line: the number of the question.

    Raises UsageError for what is not SQuAD's JSON, before the first record.
    """
    try:
        document = LENIENT.decode("".join(map(source.text, source.lines())))
    except (ValueError, RecursionError, RecordError) as error:  # of JSON, of its nesting, of bytes that are no text
        raise UsageError(f"{source.name}: not SQuAD's JSON ({error}).") from error
    questions = []
    for article in _list(source, document, "data"):
        for paragraph in _list(source, article, "paragraphs"):
            questions += [(question, paragraph.get("context")) for question in _list(source, paragraph, "qas")]
    for number, (question, context) in enumerate(questions, 1):
        if not isinstance(question, dict):
            yield Record(line=number, fault="a question that is no JSON object")
            continue
        fields = {name: question[name] for name in QUESTION if name in question} | {"context": context}
        try:
            check_values(fields)
        except RecordError as error:
            yield Record(line=number, fault=str(error))
        else:
            yield Record(fields=fields, line=number)


def _list(source: Source, parent: Any, name: str) -> list[Any]:
    value = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(value, list):
        raise UsageError(f"{source.name}: not SQuAD's JSON (no list '{name}' where one belongs).")
    return value
