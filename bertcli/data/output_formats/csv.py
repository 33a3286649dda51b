r"""CSV as in RFC 4180, but for the line end, which is \n."""

import re
from collections.abc import Sequence
from typing import TextIO

from bertcli.data.tables import TableFormatter

EXTENSIONS = ()
_SPECIAL = re.compile(r'[",\r\n]')


def formatter(terminal: TextIO | None, optional: Sequence[str]) -> TableFormatter:
    """See writers.Formatter and tables.TableFormatter."""
    return TableFormatter("csv", _join, optional)


def _join(cells: Sequence[str]) -> str:
    return ",".join(_quoted(cell) for cell in cells) + "\n"


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell
