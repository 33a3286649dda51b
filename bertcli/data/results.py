"""Results: flat dicts of the input's fields and what was found, or an error in the place of a record."""

import json
from collections.abc import Mapping
from typing import Any

from bertcli.errors import RecordError

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def error_result(index: int, line: int, message: str, *, kind: str = "RecordError", file: str = "") -> dict[str, Any]:
    """The result that stands in the place of a record that failed; `file` where there are several inputs."""
    place = {"file": file} if file else {}
    return {"index": index, **place, "line": line, "error": {"type": kind, "message": message}}


def is_error(result: Mapping[str, Any]) -> bool:
    """Whether this is an error result, and not a record that has a field called `error`."""
    error, others = result.get("error"), result.keys() - {"file"}
    return others == {"index", "line", "error"} and isinstance(error, Mapping) and "message" in error


def describe(result: Mapping[str, Any]) -> str:
    """An error result as people read it: `data.csv:3: message`."""
    file, line = result.get("file"), result.get("line")
    return f"{f'{file}:{line}' if file else f'line {line}'}: {result['error']['message']}"


def json_text(value: Any) -> str:
    """Compact to read, exact to parse. Raises RecordError for what JSON cannot hold: NaN, infinity, deep nesting."""
    try:
        return _ENCODER.encode(value)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"its result is not JSON ({error})") from error
