"""JSON lines: one object a line, blank lines skipped.

Faults are all that could not be written again as JSON in UTF-8: NaN and Infinity, numbers that overflow, unpaired
surrogates, nesting beyond Python's recursion limit. Of a key given twice the last value counts, as in every JSON
library.

Try: echo '{"text": "a good film", "id": 7}' | bertcli predict --input-format jsonl
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError

BY_LINE = True
EXTENSIONS = (".ndjson", ".json")
# Only a text that has one of these can hold half of a pair: 0.2 µs to look for it, 7 µs to check each value.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_NAMES = {list: "array", str: "string", bool: "boolean", type(None): "null", int: "number", float: "number"}


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with the fields of each object, numbers and nesting as the json module gives them."""
    for number, text in source.texts():
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
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RecordError(f"not JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise RecordError("not usable JSON (nested too deeply)") from error
    except ValueError as error:  # int() refuses thousands of digits, which take quadratic time
        raise RecordError("not usable JSON (a number with too many digits)") from error
    if not isinstance(value, dict):
        raise RecordError(f"a JSON {_NAMES[type(value)]}, not an object")
    if _SURROGATE.search(text):
        check_surrogates(value)
    return value


def check_surrogates(value: dict[str, Any]) -> None:
    """Raise RecordError for text that no tokenizer takes and no UTF-8 output holds."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise RecordError("not usable JSON (half of a surrogate pair, which no UTF-8 text can hold)") from error


def _refuse(name: str) -> NoReturn:
    raise RecordError(f"not JSON ({name} is not a JSON number; use null)")


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise RecordError(f"not usable JSON (the number {digits[:20]} is too large)")
    return number


# Made once: json.loads makes a decoder for each call that sets an option, which takes 6 of its 9 µs a line.
_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_float)
