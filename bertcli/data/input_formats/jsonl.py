"""JSON lines: one object a line, blank lines skipped.

Faults are all that could not be written again as JSON in UTF-8: NaN and Infinity, numbers that overflow, unpaired
surrogates, nesting beyond Python's recursion limit. Of a key given twice the last value counts, as in every JSON
library.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from bertcli.data.records import Record, parsed
from bertcli.data.streams import Line, Source, chomp
from bertcli.errors import RecordError

BY_LINE = True  # reading may begin at any line
EXTENSIONS = (".ndjson", ".json")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_KINDS = {list: "array", str: "string", bool: "boolean", type(None): "null", int: "number", float: "number"}


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with the fields of each object, numbers and nesting as the json module gives them."""

    def parse(line: Line) -> dict[str, Any] | None:
        line = chomp(line)
        if isinstance(line, bytes) and not line.strip(b" \t\r"):
            return None
        return _object(source.text(line))

    return parsed(source.lines(), parse, source.first_line)


def _object(text: str) -> dict[str, Any]:
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise RecordError(f"not JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise RecordError("not usable JSON (nested too deeply)") from error
    except ValueError as error:  # int() refuses thousands of digits, which take quadratic time
        raise RecordError("not usable JSON (a number with too many digits)") from error
    if not isinstance(value, dict):
        raise RecordError(f"a JSON {_KINDS[type(value)]}, not an object")
    if _SURROGATE.search(text):
        check_surrogates(value)
    return value


def check_surrogates(value: dict[str, Any]) -> None:
    """Raise RecordError for text that no tokenizer takes and no UTF-8 output holds."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise RecordError("not usable JSON (half of a surrogate pair, which no UTF-8 text can hold)") from error


def _constant(name: str) -> NoReturn:
    raise RecordError(f"not JSON ({name} is not a JSON number; use null)")


def _float(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise RecordError(f"not usable JSON (the number {digits[:20]} is too large)")
    return number


_DECODER = json.JSONDecoder(parse_constant=_constant, parse_float=_float)
