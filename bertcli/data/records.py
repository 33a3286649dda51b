"""The record: one item of input, whatever file or pipe it came from."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bertcli.errors import RecordError

Item = TypeVar("Item")


@dataclass(slots=True)
class Record:
    """One input record, or the fault that stands in its place.

    index: 0-based position in the whole input. line: 1-based line of its file where it begins.
    source: the file's name, "-" for stdin. fault: why the record could not be read, else None. step: 1 where each
    token has a line of its own, from the first on.
    """

    index: int
    fields: dict[str, Any] = field(default_factory=dict)
    line: int = 0
    source: str = "-"
    fault: str | None = None
    step: int = 0

    @property
    def place(self) -> str:
        """`file:line`, as compilers write it."""
        return self._place(0)

    def placed(self, error: RecordError) -> list[tuple[str, str]]:
        """Its faults, each with its place."""
        return [(self._place(token), message) for token, message in error.faults]

    def listed(self, error: RecordError) -> list[str]:
        """Its faults, each as `file:line: message`."""
        return [f"{place}: {message}" for place, message in self.placed(error)]

    def _place(self, token: int) -> str:
        return f"{'stdin' if self.source == '-' else self.source}:{self.line + self.step * token}"


def lookup(fields: Mapping[str, Any], name: str, option: str) -> Any:
    """The value of a field; `a.b` reaches into nested objects unless a field has just that name.

    Raises RecordError that lists the fields there are and the option that names another.
    """
    if name in fields:
        return fields[name]
    value: Any = fields
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            there = ", ".join(fields) or "nothing"
            raise RecordError(f"no field '{name}' (the record has: {there}); {option} names another.")
        value = value[part]
    return value


def parsed(lines: Iterator[Item], parse: Callable[[Item], dict[str, Any] | None], first: int = 1) -> Iterator[Record]:
    """A record for every line: the fields that `parse` makes of it, none for None, a fault for its RecordError.

    first: the number of the first line.
    """
    for number, line in enumerate(lines, first):
        try:
            fields = parse(line)
        except RecordError as error:
            yield Record(0, line=number, fault=str(error))
        else:
            if fields is not None:
                yield Record(0, fields, number)
