r"""TSV without quoting. A tab or line break inside a value is written as \t, \r or \n, for people and for cut; a
program that needs the value back exactly takes csv or jsonl.

Try: echo "a gripping film" | bertcli predict --format tsv | cut -f 2
"""

from collections.abc import Sequence

from bertcli.data.output_formats import csv

EXTENSIONS = (".tab",)
_ESCAPES = str.maketrans({"\t": "\\t", "\r": "\\r", "\n": "\\n"})


class Formatter(csv.Formatter):
    """Rows as those of csv, with tabs between cells."""

    NAME = "tsv"

    def join(self, cells: Sequence[str]) -> str:
        """The line of a row."""
        return "\t".join(cell.translate(_ESCAPES) for cell in cells) + "\n"
