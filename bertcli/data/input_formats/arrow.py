"""Arrow's IPC format, also called Feather: a record per row, from a file or, also on stdin, from a stream.

A batch of the file is in memory at once, where it is compressed; the other is only mapped. Also what parquet.py does
with rows. The line of a record is the number of its row.

Try: python -c 'import pyarrow.feather as f, pyarrow as p; f.write_feather(p.table({"text": ["good"]}), "a.arrow")'
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from bertcli.data.arrow import library, reading, reason, rows
from bertcli.data.input_formats.csv import check_names
from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError, UsageError

BINARY = True
EXTENSIONS = (".feather", ".arrows", ".ipc")
MAGIC = b"ARROW1"
ROWS = 256  # that are values of Python's at once


def read(source: Source, columns: Sequence[str] | None, first: int = 0, after: int | None = None) -> Iterator[Record]:
    """The records of the rows from `first`, counted from 0, up to `after`."""
    with reading(source.name, "Arrow"):
        reader = _opened(source.name)
        check_names(reader.schema.names, source.name)
    yield from islice(records(_batches(reader), 0), first, after)


def count(path: str) -> int:
    """How many rows a file has."""
    with reading(path, "Arrow"):
        return sum(batch.num_rows for batch in _batches(_opened(path)))


def records(batches: Iterator[Any], row: int, after: int | None = None) -> Iterator[Record]:
    """A record for each row of these batches, of which `row` is the first.

    Where they cannot be read on, one fault; or, where it is known after which row they end, a fault for each row.
    """
    try:
        for batch in batches:
            for number, fields in enumerate(rows(batch)):
                row += 1
                fault = next((str(value) for value in fields.values() if isinstance(value, RecordError)), None)
                yield Record(fields={} if fault else fields, line=row, fault=fault, row=(batch, number))
    except (library().ArrowException, OSError, ValueError) as error:  # the last for a value that Python has not
        lost = "" if after else "; the rest of this input is lost"
        for line in range(row + 1, (after or row + 1) + 1):
            yield Record(line=line, fault=f"cannot be read ({reason(error)}){lost}")


def _opened(path: str) -> Any:
    """A reader of the file or the stream. The first bytes tell which of them it is."""
    ipc = library().ipc
    if path == "-":
        stream = open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115 - as long as the process lives
        if stream.peek(len(MAGIC)).startswith(MAGIC):
            raise UsageError("stdin: an Arrow file is read from its end, and stdin has none; name the file.")
        return ipc.open_stream(stream)
    file = library().memory_map(path)
    begin = file.read(len(MAGIC))
    file.seek(0)
    return ipc.open_file(file) if begin == MAGIC else ipc.open_stream(file)


def _batches(reader: Any) -> Iterator[Any]:
    """The batches in slices of ROWS."""
    whole = (reader.get_batch(i) for i in range(reader.num_record_batches)) if hasattr(reader, "get_batch") else reader
    for batch in whole:
        for start in range(0, batch.num_rows, ROWS):
            yield batch.slice(start, ROWS)
