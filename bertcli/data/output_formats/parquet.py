"""Parquet: the columns of the input, those of the results, and `error`; see arrow.py.

Try: echo "a gripping film" | bertcli predict -o labelled.parquet
"""

from typing import Any

from bertcli.data.arrow import reason
from bertcli.data.output_formats import arrow
from bertcli.errors import UsageError

EXTENSIONS = (".pq", ".parq")


class Formatter(arrow.Formatter):
    """A row group for each group."""

    ONE_DICTIONARY = False

    def require(self, schema: Any) -> None:
        """Raise UsageError for a type that the format does not have."""
        try:
            self.open(self._arrow.BufferOutputStream(), schema).close()
        except self._arrow.ArrowException as error:
            raise UsageError(
                f"Parquet cannot hold a column of the input ({reason(error)}); -o FILE.arrow can"
            ) from error

    def open(self, out: Any, schema: Any) -> Any:
        """What writes tables of that schema."""
        return self._arrow.parquet.ParquetWriter(out, schema)
