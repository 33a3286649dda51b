r"""CSV as in RFC 4180, but for the line end, which is \n. Also what tsv.py does with rows.

Try: echo "a gripping film" | bertcli predict --format csv
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from bertcli.data.output_formats import BaseFormatter
from bertcli.data.records import describe, is_error, json_text, names_in
from bertcli.errors import BertcliError, RecordError

EXTENSIONS = ()
MAX_HELD = 10_000
_SPECIAL = re.compile(r'[",\r\n]')


class Formatter(BaseFormatter):
    """Results as rows. The first good result fixes the columns; a last column `error` is always there.

    Error results before it are held back until the columns are known. After 10,000 of them the run stops: a table
    cannot begin without its header, and so many failures say that an option is wrong.
    """

    REMEMBERED = ("_columns", "_held")
    NAME = "csv"

    def __init__(self, terminal: TextIO | None = None, optional: Sequence[str] = ()) -> None:
        super().__init__(terminal, optional)
        self._columns: list[str] | None = None
        self._names: set[str] = set()  # of the columns; to look for one of 40,000 in a list takes 400 µs
        self._held: list[str] = []

    def join(self, cells: Sequence[str]) -> str:
        """The line of a row: cells that hold a comma, a quote or a line end are quoted."""
        quoted = ('"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell for cell in cells)
        return ",".join(quoted) + "\n"

    def record(self, result: Mapping[str, Any]) -> str:
        """The row, after the header and the rows held back if it is the first; RecordError if it does not fit."""
        if is_error(result):
            return self._error(describe(result))
        if result.get("error"):
            raise RecordError(f"its field 'error' has the name of a column that {self.NAME} needs; use --format jsonl")
        columns = self._columns
        if columns is None:
            columns = [name for name in dict.fromkeys([*result, *self.optional]) if name != "error"]
        names = self._names or set(columns)
        stranger = next((name for name in result if name not in names and name != "error"), None)
        if stranger is not None:
            raise RecordError(
                f"its field '{stranger}' is no column of this {self.NAME} "
                f"(the first record gave: {names_in(columns)}); use --format jsonl"
            )
        row = self.join([*(_cell(result.get(name)) for name in columns), ""])
        return row if self._columns is not None else self._begin(columns) + row

    def end(self) -> str:
        """What is still held back, under a header of `error` alone."""
        return self._begin([]) if self._held else ""

    def _begin(self, columns: list[str]) -> str:
        self._columns, self._names = columns, set(columns)
        messages, self._held = self._held, []
        header = "" if self.continues else self.join([*columns, "error"])
        return header + "".join(map(self._error, messages))

    def _error(self, message: str) -> str:
        if self._columns is not None:
            return self.join([""] * len(self._columns) + [message])
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
