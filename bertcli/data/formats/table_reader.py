"""Tables of Parquet and of Arrow's IPC format, also called Feather, as records. pip install 'bertcli[parquet]'.

A record per row; its line is the number of the row. Bytes become base64, UUIDs, numbers that are no JSON ("NaN") and
times text, as protobuf's JSON has them; decimals keep their digits. `a.b` goes into structs, as into objects of JSON.
The batch goes with each record, so that a table written from it has the very values. Where `datasets` has noted the
names of classes (ClassLabel), a record has these, as it has a dictionary's values: a model's numbers may be others.

Arrow is read from a file or, also on stdin, from a stream; a batch is in memory at once where the file is compressed,
else it is only mapped. Parquet is read a row group after the other and in each some rows at a time; rows of a row group
that is broken are faults, each in its place.

Try: python -c 'import pyarrow.feather as f, pyarrow as p; f.write_feather(p.table({"text": ["good"]}), "a.arrow")'
"""

import json
import os
import sys
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from itertools import islice
from typing import Any

from bertcli.data.compression import compression
from bertcli.data.formats.csv import check_names
from bertcli.data.records import Header, Literal, Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError, UsageError

MAGIC = b"ARROW1"
ROWS = 256  # that are values of Python's at once
BYTES = 4 << 20  # of rows that are read at once
BUFFER = 1 << 18  # bytes of a column; without a buffer pyarrow reads all of a column's row group
# What pyarrow's allocator, mimalloc, is told before it is loaded; other allocators do not look at it. Peak of predict
# on 300,000 rows, where JSONL has 107 MB: 214, with ROWS of table_writer.py as they are 172 without the first, 152 with
# both. jemalloc, which not every build has, 165; system 179, and it grows with the rows.
ALLOCATOR = {
    "MIMALLOC_ARENA_EAGER_COMMIT": "0",  # else it asks for huge pages, of which a small buffer fills a whole one
    "MIMALLOC_PURGE_DELAY": "0",  # freed memory goes back at once, not after a second; 0.6 s of CPU in 1,000,000 rows
}
INFINITE = {float("inf"): "Infinity", float("-inf"): "-Infinity"}


def library() -> Any:
    """pyarrow, imported only where a table is read or written: 100 ms. Raises UsageError where it is lacking."""
    for name, value in ALLOCATOR.items():
        os.environ.setdefault(name, value)
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        needs = "Parquet and Arrow need pyarrow, which is not installed"
        raise UsageError(f"{needs}: pip install 'bertcli[parquet]'.") from None
    return pyarrow


def reason(error: BaseException) -> str:
    """What pyarrow says, in one line without its full stop."""
    return str(error).partition("\n")[0].removeprefix("Unable to merge: ").rstrip(".") or type(error).__name__


def read_arrow(
    source: Source, columns: Sequence[str] | None, first: int = 0, after: int | None = None
) -> Iterator[Record]:
    """The records of the rows from `first`, counted from 0, up to `after`."""
    with _reading(source.name, "Arrow"):
        reader, pyarrow = _arrow_file(source.name), library()
        fields = [  # dictionaries of strings where polars has categories of views, of which pyarrow can only cast
            field.with_type(pyarrow.dictionary(field.type.index_type, pyarrow.string(), field.type.ordered))
            if pyarrow.types.is_dictionary(field.type) and pyarrow.types.is_string_view(field.type.value_type)
            else field
            for field in reader.schema
        ]
        schema = pyarrow.schema(fields, reader.schema.metadata)
        source.header = _header(schema, source.name)
    yield from islice(_records(_batches(reader, schema), 0), first, after)


def read_parquet(
    source: Source, columns: Sequence[str] | None, first: int = 0, after: int | None = None
) -> Iterator[Record]:
    """The records of the rows from `first`, counted from 0, up to `after`; no other row group is read."""
    with _reading(source.name, "Parquet"):
        file = _parquet_file(source.name)
        source.header = _header(file.schema_arrow, source.name)
    begin = 0
    for number in range(file.num_row_groups):
        group = file.metadata.row_group(number)
        end = begin + group.num_rows
        if end > first and (after is None or begin < after):
            size = max(1, min(ROWS, BYTES * group.num_rows // max(group.total_byte_size, 1)))
            batches = file.iter_batches(size, row_groups=[number], use_threads=False)
            last = end if after is None else min(after, end)
            yield from islice(_records(batches, begin, end), max(first - begin, 0), last - begin)
        begin = end


def _header(schema: Any, path: str) -> Header:
    """See Source. Raises UsageError where two columns have one name; that of one may be empty, as of CSV's first."""
    check_names([name or " " for name in schema.names], path)
    return Header(schema.names, schema)


def count(path: str, name: str) -> int:
    """How many rows a file has. name: of its format."""
    if name == "arrow":
        with _reading(path, "Arrow"):
            return sum(batch.num_rows for batch in _whole(_arrow_file(path)))
    with _reading(path, "Parquet"):
        rows: int = _parquet_file(path).metadata.num_rows
    return rows


@contextmanager
def _reading(path: str, name: str) -> Iterator[None]:
    """Within it what pyarrow raises for a file that is none of that format, or broken, becomes a UsageError.

    Raises it, too, for an archive.
    """
    if compression(path):
        raise UsageError(f"{path}: {name} may be compressed inside, so it is read uncompressed; unpack it first.")
    try:
        yield
    except (library().ArrowException, OSError) as error:
        where = "stdin" if path == "-" else path
        hint = "a file that was cut has lost its end, which says what is in it; --input-format names another format"
        raise UsageError(f"{where}: cannot be read as {name} ({reason(error)}); {hint}") from error


def _arrow_file(path: str) -> Any:
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


def _whole(reader: Any) -> Iterator[Any]:
    return (reader.get_batch(i) for i in range(reader.num_record_batches)) if hasattr(reader, "get_batch") else reader


def _batches(reader: Any, schema: Any) -> Iterator[Any]:
    """The batches in slices of ROWS, with the types of the schema. Raises ArrowInvalid for one that is broken."""
    for whole in _whole(reader):
        whole.validate()
        for column in whole.columns:
            _validate(column)
        columns = [
            column if column.type == type_ else column.cast(type_)
            for column, type_ in zip(whole.columns, schema.types, strict=True)
        ]
        batch = library().record_batch(columns, schema=schema)
        for start in range(0, batch.num_rows, ROWS):
            yield batch.slice(start, ROWS)


def _validate(column: Any) -> None:
    """Raises ArrowInvalid where lengths and offsets lead out of the memory of a column: to read there ends the process.

    Text that is no UTF-8 is a fault of its row alone; what stands beside it inside the rows is looked at then.
    """
    pyarrow = library()
    try:
        column.validate(full=True)
    except pyarrow.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        inside: list[Any] = []  # the columns that hold the values of a nested one
        if isinstance(column, pyarrow.ExtensionArray):
            inside = [column.storage]
        elif isinstance(column, pyarrow.DictionaryArray):
            inside = [column.dictionary]
        elif isinstance(column, pyarrow.MapArray):
            inside = [column.keys, column.items]
        elif isinstance(column, pyarrow.StructArray | pyarrow.UnionArray):
            inside = [column.field(i) for i in range(column.type.num_fields)]
        elif hasattr(column, "values"):
            inside = [column.values]
        for inner in inside:
            _validate(inner)


def _parquet_file(path: str) -> Any:
    if path == "-":
        raise UsageError("stdin: Parquet is read from its end, and stdin has none; write it to a file and name that.")
    return library().parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)


def _records(batches: Iterator[Any], row: int, after: int | None = None) -> Iterator[Record]:
    """A record for each row of these batches, of which `row` is the first.

    Where they cannot be read on, one fault; or, where it is known after which row they end, a fault for each row.
    """
    try:
        for batch in batches:
            for number, fields in enumerate(_rows(batch)):
                row += 1
                fault = next((str(value) for value in fields.values() if isinstance(value, RecordError)), None)
                yield Record(fields={} if fault else fields, line=row, fault=fault, row=(batch, number))
    except (library().ArrowException, OSError, ValueError) as error:  # the last for a value that Python has not
        lost = "" if after else "; the rest of this input is lost"
        for line in range(row + 1, (after or row + 1) + 1):
            yield Record(line=line, fault=f"cannot be read ({reason(error)}){lost}")


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    """The fields of each row of a RecordBatch; a RecordError is in the place of text that is no UTF-8."""
    names, columns = batch.schema.names, []
    classes: dict[str, list[str]] = {}  # the names of those that a column has numbers of, or lists of them
    with suppress(ValueError, TypeError, AttributeError, LookupError):  # what others than `datasets` have noted
        for name, noted in json.loads(batch.schema.metadata[b"huggingface"])["info"]["features"].items():
            feature = noted[0] if isinstance(noted, list) else noted.get("feature", noted)
            if feature.get("_type") == "ClassLabel":
                classes[name] = feature["names"]
    for column, name in zip(batch.columns, names, strict=True):
        shown = _shown(column.type)
        values = column if shown == column.type else column.cast(shown)
        try:
            columns.append(list(map(_plain, values.to_pylist())))
        except UnicodeDecodeError:  # nothing has checked it yet
            columns.append([_checked(value, name) for value in values])
        if name in classes:
            columns[-1] = [_named(value, classes[name]) for value in columns[-1]]
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _named(value: Any, names: Sequence[str]) -> Any:
    """The name of a class, or of each in a list; None for -1, which `datasets` writes where there is no label."""
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return value if not isinstance(value, int) else names[value] if 0 <= value < len(names) else None


def _checked(value: Any, name: str) -> Any:
    try:
        return _plain(value.as_py())
    except UnicodeDecodeError as error:
        return RecordError(f"field '{name}': invalid UTF-8 at byte {error.start + 1}")


def _shown(type_: Any) -> Any:
    """The type that has the same values as to_pylist() can give them: it has no nanoseconds, and no time as text."""
    pyarrow = library()
    types = pyarrow.types
    if types.is_timestamp(type_) or types.is_time(type_) or types.is_date(type_):
        return pyarrow.string()
    if types.is_duration(type_):
        return pyarrow.int64()
    if types.is_dictionary(type_):
        return _shown(type_.value_type)
    if isinstance(type_, pyarrow.BaseExtensionType):
        return type_ if type_.extension_name == "arrow.uuid" else _shown(type_.storage_type)
    if types.is_struct(type_):
        return pyarrow.struct([field.with_type(_shown(field.type)) for field in type_])
    if types.is_map(type_):
        return pyarrow.map_(_shown(type_.key_type), type_.item_field.with_type(_shown(type_.item_type)))
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        item = type_.value_field.with_type(_shown(type_.value_type))
        return type_ if item == type_.value_field else pyarrow.list_(item)
    return type_


def _plain(value: Any) -> Any:
    """A value of to_pylist() as JSON can hold it."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else INFINITE.get(value, "NaN")
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, Decimal):  # without a scale it is SQL's integer
        return Literal(str(value)) if value.as_tuple().exponent else int(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):  # a tuple is a pair of a map, or an interval
        return [_plain(item) for item in value]
    return str(value)  # a time in a union, or in another type that _shown does not look into
