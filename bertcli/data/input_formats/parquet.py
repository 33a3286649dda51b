"""Parquet: a record per row, read a row group after the other and in each some rows at a time; see arrow.py.

Rows of a row group that is broken are faults, each in its place. `a.b` goes into structs, as into objects of JSON.

Try: python -c 'import pyarrow.parquet as q, pyarrow as p; q.write_table(p.table({"text": ["good"]}), "a.parquet")'
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from bertcli.data.arrow import library, reading
from bertcli.data.formats import compression
from bertcli.data.input_formats.arrow import ROWS, records
from bertcli.data.input_formats.csv import check_names
from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import UsageError

BINARY = True
EXTENSIONS = (".pq", ".parq")
BYTES = 4 << 20  # of rows that are read at once
BUFFER = 1 << 18  # bytes of a column; without a buffer pyarrow reads all of a column's row group


def read(source: Source, columns: Sequence[str] | None, first: int = 0, after: int | None = None) -> Iterator[Record]:
    """The records of the rows from `first`, counted from 0, up to `after`; no other row group is read."""
    with reading(source.name, "Parquet"):
        file = _opened(source.name)
        check_names(file.schema_arrow.names, source.name)
    begin = 0
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        end = begin + group.num_rows
        if end > first and (after is None or begin < after):
            size = max(1, min(ROWS, BYTES * group.num_rows // max(group.total_byte_size, 1)))
            batches = file.iter_batches(size, row_groups=[number], use_threads=False)
            last = end if after is None else min(after, end)
            yield from islice(records(batches, begin, end), max(first - begin, 0), last - begin)
        begin = end


def count(path: str) -> int:
    """How many rows a file has."""
    with reading(path, "Parquet"):
        rows: int = _opened(path).metadata.num_rows
    return rows


def _opened(path: str) -> Any:
    if path == "-":
        raise UsageError("stdin: Parquet is read from its end, and stdin has none; write it to a file and name that.")
    if compression(path):
        raise UsageError(f"{path}: Parquet is compressed inside, so it is read uncompressed; unpack it first.")
    return library().parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)
