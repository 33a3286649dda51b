"""Rows and columns, for csv and tsv: the header gives the names, on the way in and on the way out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bertcli.data.records import Record
from bertcli.data.results import describe, is_error, json_text
from bertcli.errors import BertcliError, RecordError, UsageError

Row = tuple[int, list[str] | RecordError]  # line number, cells; no cells for a blank line
MAX_HELD = 10_000


def records(rows: Iterator[Row], source: str, columns: Sequence[str] | None) -> Iterator[Record]:
    """A record per row, named by the first row or, where that is data too, by `columns`.

    A row of another length is a fault. A blank line is skipped, except in a table of one column, where it is an empty
    value. Raises UsageError for a header that cannot be read, or that has an empty or a doubled name.
    """
    names = list(columns) if columns is not None else _header(rows, source)
    for line, cells in rows:
        if isinstance(cells, RecordError):
            yield Record(0, line=line, fault=str(cells))
        elif not cells and len(names) != 1:
            continue
        elif len(cells or [""]) != len(names):
            yield Record(0, line=line, fault=f"{len(cells)} fields in a table of {len(names)} columns")
        else:
            yield Record(0, dict(zip(names, cells or [""], strict=True)), line)


def check_names(names: Sequence[str], place: str) -> None:
    """Raise UsageError unless every column has a name of its own."""
    for number, name in enumerate(names, 1):
        if not name:
            raise UsageError(f"{place}: column {number} has no name; give it one")
        if name in names[: number - 1]:
            raise UsageError(f"{place}: two columns are called '{name}'; rename one")
    if not names:
        raise UsageError(f"{place}: no column is named")


def _header(rows: Iterator[Row], source: str) -> list[str]:
    """The first row that is not blank; an empty file has no columns and no rows."""
    for line, cells in rows:
        place = f"{'stdin' if source == '-' else source}:{line}: the header"
        if isinstance(cells, RecordError):
            raise UsageError(f"{place} cannot be read: {cells}")
        if cells:
            check_names(cells, place)
            return cells
    return []


class TableFormatter:
    """Results as rows. The first good result fixes the columns; a last column `error` is always there.

    Error results before it are held back until the columns are known. After 10,000 of them the run stops: a table
    cannot begin without its header, and so many failures say that an option is wrong.
    """

    def __init__(self, name: str, join: Callable[[Sequence[str]], str], optional: Sequence[str]) -> None:
        self._name = name
        self._join = join  # the cells of a row, none quoted yet -> its line
        self._optional = optional
        self.continues = False  # whether another output, with its header, comes before this one
        self._columns: list[str] | None = None
        self._held: list[str] = []

    @property
    def state(self) -> Any:
        """See writers.Stateful."""
        return [self._columns, self._held]

    @state.setter
    def state(self, state: Any) -> None:
        self._columns, self._held = state

    def record(self, result: Mapping[str, Any]) -> str:
        """The row, after the header and the rows held back if it is the first; RecordError if it does not fit."""
        if is_error(result):
            return self._error(describe(result))
        if result.get("error"):
            raise RecordError(f"its field 'error' has the name of a column that {self._name} needs; use --format jsonl")
        if self._columns is None:
            row = self._row(result, self._known(result))
            return self._begin(self._known(result)) + row
        return self._row(result, self._columns)

    def end(self) -> str:
        """What is still held back, under a header of `error` alone."""
        return self._begin([]) if self._held else ""

    def _known(self, result: Mapping[str, Any]) -> list[str]:
        return [name for name in dict.fromkeys([*result, *self._optional]) if name != "error"]

    def _begin(self, columns: list[str]) -> str:
        self._columns = columns
        held, self._held = self._held, []
        header = "" if self.continues else self._join([*columns, "error"])
        return header + "".join(self._error(message) for message in held)

    def _row(self, result: Mapping[str, Any], columns: list[str]) -> str:
        strangers = [name for name in result if name not in columns and name != "error"]
        if strangers:
            raise RecordError(
                f"its field '{strangers[0]}' is no column of this {self._name} "
                f"(the first record gave: {', '.join(columns)}); use --format jsonl"
            )
        return self._join([*(_cell(result.get(name)) for name in columns), ""])

    def _error(self, message: str) -> str:
        if self._columns is not None:
            return self._join([""] * len(self._columns) + [message])
        self._held.append(message)
        if len(self._held) == MAX_HELD:
            raise BertcliError(
                f"the first {MAX_HELD} records all failed ({self._held[0]}); use --format jsonl to go on"
            )
        return ""


def _cell(value: Any) -> str:
    """Text as it is, nothing for None, JSON for all else."""
    if isinstance(value, str):
        return value
    return "" if value is None else json_text(value)
