"""What goes through the program: a Record in, a result out, and the error that may stand in the place of either.

A result is a flat dict of the record's fields and of what the task says of them. Knows no format, file, task or model.

Try: echo '{"a": {"b": "good"}}' | bertcli predict --input-format jsonl --text-field a.b
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bertcli.errors import RecordError

# Made once: json.dumps makes an encoder for each call that sets an option, which takes 2 of its 6 µs a result.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_MARK = "\udcf0"  # around a number that is written as it came; half of a pair, which no text of a record can hold
_MARKED = re.compile(f'"{_MARK}(.*?){_MARK}"')
OBJECT = 32  # characters that a value weighs besides its text
FEW = 16  # values of a record that weigh nothing, so that usual records fill a chunk as their texts do
SOMETIMES = frozenset({"windows", "truncated", "unknown", "error"})  # names that only some results have
SHOWN = 20  # fields that a message lists


class Literal(float):
    """A number whose digits say more, or otherwise, than Python would write: 0.1000000000000000055, 1.50, 1E5, -0.

    literal: as it stood in the input, and as `json_text` writes it again.
    """

    __slots__ = ("literal",)
    literal: str
    any_exists = False  # whether there was one in this process: only then does json_text look for them

    def __new__(cls, literal: str) -> "Literal":
        """Of its digits."""
        number = super().__new__(cls, literal)
        number.literal = literal
        Literal.any_exists = True
        return number

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]
        """What pickle makes it of."""
        return (self.literal,)

    def __repr__(self) -> str:
        return self.literal


@dataclass(slots=True)
class Record:
    """One input record, or the fault that stands in its place.

    index: 0-based position in the whole input. line: 1-based line of its file where it begins. source: the file's
    name, "-" for stdin. fault: why the record could not be read, else None. lines: those of its tokens, where each has
    one of its own. row: the batch of an Arrow table that it is from, and its position in that. unlabelled: why it has
    no label, where a labelling tool says so.
    """

    index: int = 0
    fields: dict[str, Any] = field(default_factory=dict)
    line: int = 0
    source: str = "-"
    fault: str | None = None
    lines: Sequence[int] = ()
    row: tuple[Any, int] | None = None
    unlabelled: str | None = None

    @property
    def location(self) -> str:
        """`file:line`, as compilers write it."""
        return self._location(0)

    def located(self, error: RecordError) -> list[tuple[str, str]]:
        """The faults that an error tells of this record, each with its location."""
        return [(self._location(token), message) for token, message in error.faults]

    def listed(self, error: RecordError) -> list[str]:
        """The same, each as `file:line: message`."""
        return [f"{location}: {message}" for location, message in self.located(error)]

    def _location(self, token: int) -> str:
        line = self.lines[token] if token < len(self.lines) else self.line
        return f"{'stdin' if self.source == '-' else self.source}:{line}"


class Header(NamedTuple):
    """The columns of a table that is read. schema: pyarrow's, where they have types; else all are text."""

    names: Sequence[str]
    schema: Any = None


def lookup(fields: Mapping[str, Any], name: str, option: str) -> Any:
    """The value of a field; `a.b` reaches into nested objects unless a field has just that name.

    Raises RecordError that lists the fields there are and the option that names another.
    """
    if name in fields:
        return fields[name]
    value: Any = fields
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            there = names_in(fields) or "nothing"
            is_line = list(fields) == ["text"] and "\t" in str(fields["text"])
            hint = " --input-format tsv or conll reads the columns between tabs." if is_line else ""
            raise RecordError(f"no field '{name}' (the record has: {there}); {option} names another.{hint}")
        value = value[part]
    return value


def names_in(fields: Iterable[str]) -> str:
    """The names of fields, as a message lists them: not all, where there are many."""
    names = list(fields)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")


def weight(fields: Mapping[str, Any]) -> int:
    """About how much of the memory the fields of a record take, in characters of text, however deep they are nested."""
    total, count = 0, 0
    rest: list[Iterable[Any]] = [fields.values()]
    while rest:
        for value in rest.pop():
            count += 1
            if isinstance(value, str):
                total += len(value)
            elif isinstance(value, dict):
                rest += [value, value.values()]
            elif isinstance(value, list):
                rest.append(value)
    return total + OBJECT * max(0, count - FEW)


def merged(fields: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record and, after them, its results; a field that has the name of a result is `input_NAME`.

    Where the record has that too, it is `input_input_NAME`, as in a chain of models: nothing is lost. Names that only
    some results have count in all, so that all have the same fields.
    """
    if fields.keys().isdisjoint(results) and fields.keys().isdisjoint(SOMETIMES):
        return {**fields, **results}
    taken = {*fields, *results, *SOMETIMES}
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        free = name
        while free in taken and (free != name or name in results or name in SOMETIMES):
            free = f"input_{free}"
        taken.add(free)
        kept[free] = value
    return {**kept, **results}


def error_result(index: int, line: int, message: str, *, file: str = "") -> dict[str, Any]:
    """The result that stands in the place of a record that failed; `file` where there are several inputs."""
    location = {"file": file} if file else {}
    return {"index": index, **location, "line": line, "error": {"type": "RecordError", "message": message}}


def is_error(result: Mapping[str, Any]) -> bool:
    """Whether this is an error result, and not a record that has a field called `error`."""
    error = result.get("error")
    return isinstance(error, Mapping) and "message" in error and result.keys() - {"file"} == {"index", "line", "error"}


def describe(result: Mapping[str, Any]) -> str:
    """An error result as people read it: `data.csv:3: message`."""
    file, line = result.get("file"), result.get("line")
    return f"{f'{file}:{line}' if file else f'line {line}'}: {result['error']['message']}"


def json_text(value: Any) -> str:
    """Compact to read, exact to parse. Raises RecordError for what JSON cannot hold: NaN, infinity, deep nesting."""
    try:
        if not Literal.any_exists:
            return _ENCODER.encode(value)
        text = _ENCODER.encode(_marked(value))
        return _MARKED.sub(r"\1", text) if _MARK in text else text
    except (ValueError, RecursionError) as error:
        raise RecordError(f"its result is not JSON ({error})") from error


def _marked(value: Any) -> Any:
    """The value with each Literal as text between marks: the json module writes any float in digits of its own.

    Without calling itself, which would end sooner than the json module does in what is nested deeply.
    """
    whole: list[Any] = [value]
    rest: list[tuple[Any, Any]] = [(whole, 0)]
    while rest:
        owner, key = rest.pop()
        item = owner[key]
        if isinstance(item, Literal):
            owner[key] = f"{_MARK}{item.literal}{_MARK}"
        elif isinstance(item, Mapping):
            owner[key] = copy = dict(item)
            rest += [(copy, name) for name, part in item.items() if isinstance(part, _HOLDERS)]
        elif isinstance(item, list | tuple):
            owner[key] = parts = list(item)
            rest += [(parts, i) for i, part in enumerate(item) if isinstance(part, _HOLDERS)]
    return whole[0]


_HOLDERS = (Literal, dict, list, tuple)
