r"""TSV without quoting. A tab or line break inside a value is written as \t, \r or \n, for people and for cut; a
program that needs the value back exactly takes csv or jsonl.
"""

from collections.abc import Sequence
from typing import TextIO

from bertcli.data.tables import TableFormatter

EXTENSIONS = (".tab",)
_ESCAPES = str.maketrans({"\t": "\\t", "\r": "\\r", "\n": "\\n"})


def formatter(terminal: TextIO | None, optional: Sequence[str]) -> TableFormatter:
    """See writers.Formatter and tables.TableFormatter."""
    return TableFormatter("tsv", _join, optional)


def _join(cells: Sequence[str]) -> str:
    return "\t".join(cell.translate(_ESCAPES) for cell in cells) + "\n"
