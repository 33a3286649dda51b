"""Parquet: the columns of the input, those of the results, and `error`; see arrow.py.

Try: echo "a gripping film" | bertcli predict -o labelled.parquet
"""

from typing import Any

from bertcli.data.output_formats import arrow

EXTENSIONS = (".pq", ".parq")


class Formatter(arrow.Formatter):
    """A row group for each group."""

    ONE_DICTIONARY = False

    def open(self, out: Any, schema: Any) -> Any:
        """What writes tables of that schema."""
        return self._arrow.parquet.ParquetWriter(out, schema)
