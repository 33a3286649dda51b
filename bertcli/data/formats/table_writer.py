"""Parquet and Arrow's IPC files: the columns of the input, those of the results, and `error`.

A row that comes from a table keeps the values and types that it had there, also where it failed. Of other input a
column's type is that of its first values: integers and floats of 64 bits; {} is null. It becomes wider (an integer a
float, a struct one with more fields) where a later value needs it and nothing is lost; a value that its column cannot
hold is an error in its place.

Such a file says at its end what is in it, so it cannot grow. While a run lasts, FILE.part has a stream for each chunk
of records; in the end they are written anew, in groups of rows on which no chunk and no kill has an influence.

Try: echo "a gripping film" | bertcli predict -o labelled.parquet
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from bertcli.data.formats import BaseFormatter
from bertcli.data.formats.table_reader import library, reason
from bertcli.data.records import Record, describe, is_error, merged, weight
from bertcli.errors import BertcliError, RecordError, UsageError

# Of a group, which is in memory twice while it is written, besides its pages: 10 MB with 100 characters a row. 1 << 16
# rows take 23 MB, which is more than the run before, in a file that is 2 % smaller.
ROWS = 1 << 14
SIZE = 8  # bytes of a length
WEIGHT = 1 << 23  # of a group whose rows are large: characters, about. 2,000 a row take 21 MB; 1 << 24: 34, 1 << 27: 71
SIMPLE = (str, bool, float, int)
LEAST, MOST = -(1 << 63), (1 << 63) - 1
EXACT = 1 << 53  # the largest integer up to which a float has them all
VECTOR = "embedding"  # the one result that is a list of fixed size, and of floats of 32 bits, as models make them


class Row(NamedTuple):
    """A result that waits: the row of a table that it extends, how its columns are called here, and other values."""

    group: int
    batch: Any
    position: int
    names: list[str]
    values: Mapping[str, Any]
    error: str | None


@dataclass(eq=False)
class ArrowFormatter(BaseFormatter):
    """Holds rows until a flush."""

    REMEMBERED = ("_group", "_rows", "_weight", "_results", "_schema")
    NAME = "arrow"
    NO_STDOUT = "arrow says at its end what is in it, so it is written to a file: -o labelled.arrow"
    ONE_DICTIONARY = True  # whether all groups share the dictionary of a column
    _arrow: Any = field(default_factory=library)
    _group: int = 0
    _rows: int = 0
    _weight: int = 0
    _results: list[str] = field(default_factory=list)  # what the last good row has besides its columns
    _held: list[Row] = field(default_factory=list)
    _batch: Any = None  # that of the last row
    _share: int = 0  # bytes of it that are a row's, about
    _last: Any = None  # its schema, and how its columns are called here

    @cached_property
    def columns(self) -> "Columns":
        """Those so far."""
        return Columns(self.example)

    @property
    def _schema(self) -> list[str]:
        """What a run that goes on must know of the columns, the schema first."""
        return [b64encode(self.columns.schema.serialize()).decode(), *sorted(self.columns.large)]

    @_schema.setter
    def _schema(self, state: list[str]) -> None:
        self.columns.schema = self._arrow.ipc.read_schema(self._arrow.py_buffer(b64decode(state[0])))
        self.columns.large = set(state[1:])

    def add(self, result: Mapping[str, Any], record: Record | None = None) -> bytes:
        """Nothing yet; RecordError for a value that its column cannot hold. A row of a table goes along as it is."""
        # a file's name may be no UTF-8
        error = describe(result).encode("utf-8", "backslashreplace").decode() if is_error(result) else None
        batch, position = (record and record.row) or (None, 0)
        names: list[str] = []
        if batch is not None:
            names = self._taken(batch.schema, None if error else result)
            if batch is not self._batch:
                self._batch, self._share = batch, batch.nbytes // batch.num_rows
        values = {} if error else {name: self.columns.fitted(name, result[name]) for name in [*result][len(names) :]}
        self._held.append(Row(self._group, batch if names else None, position, names, values, error))
        self._rows += 1
        self._weight += weight(values) + (0 if batch is None else self._share)
        if self._rows >= ROWS or self._weight >= WEIGHT:
            self._group, self._rows, self._weight = self._group + 1, 0, 0
        return b""

    def _taken(self, schema: Any, result: Mapping[str, Any] | None) -> list[str]:
        """How the columns of a table are called here, once there is a place for them.

        A failure has no result to tell; its row is left out where there is no place. Raises UsageError for a type that
        cannot be written.
        """
        width = len(schema)
        if result is not None:
            self._results = [*result][width:]
        extended = result or merged(dict.fromkeys(schema.names), dict.fromkeys(self._results or self.example))
        names = [*extended][:width]
        if self._last != (schema, names):
            fields = [field.with_name(name) for field, name in zip(schema, names, strict=True)]
            try:
                with self.open(self._arrow.BufferOutputStream(), self._arrow.schema(fields)) as writer:
                    writer.write_table(self._arrow.schema(fields).empty_table())
                metadata = dict(schema.metadata or {})
                if names != schema.names:  # pandas would take a result for the index, or the type, of that name
                    metadata.pop(b"pandas", None)
                self.columns.add(self._arrow.schema(fields, metadata))
            except RecordError:
                if result is not None:
                    raise
                return []
            except (self._arrow.ArrowException, OSError) as error:  # the latter for a decimal of negative scale
                message = f"{self.NAME} cannot hold a column of the input ({reason(error)}); -o FILE.jsonl can"
                raise UsageError(message) from error
            self._last = schema, names
        return names

    def flush(self) -> bytes:
        """The rows that waited, as streams."""
        held, self._held = self._held, []
        streams: list[bytes] = []
        with _joining():
            for _, alike in groupby(held, lambda row: (row.group, id(row.batch), row.names)):
                rows, columns = list(alike), dict[str, Any]()
                first = rows[0]
                if first.batch is not None:
                    positions = [row.position for row in rows]
                    is_slice = positions[-1] - positions[0] == len(rows) - 1
                    if is_slice:
                        batch = first.batch.slice(positions[0], len(rows))
                    else:  # `take` knows no views and no runs
                        batch = self._arrow.concat_batches([first.batch.slice(position, 1) for position in positions])
                    columns = {name: _compact(column) for name, column in zip(first.names, batch.columns, strict=True)}
                for name in dict.fromkeys(name for row in rows for name in row.values):
                    values = [row.values.get(name) for row in rows]
                    columns[name] = self._arrow.array(values, self.columns.schema.field(name).type)
                columns["error"] = self._arrow.array([row.error for row in rows], self._arrow.string())
                streams.append(self._bytes(self._arrow.table(columns, metadata={"group": str(first.group)})))
        return b"".join(streams)

    def end(self) -> bytes:
        """The rest, and a stream without rows whose schema is that of all, followed by how long it is."""
        if header := self.input_header:
            text = self._arrow.string()
            self._taken(header.schema or self._arrow.schema([(name, text) for name in header.names]), None)
        rest, last = self.flush(), self._bytes(self.columns.complete().empty_table())
        return rest + last + len(last).to_bytes(SIZE, "little")

    def rewrite(self, part: Path, draft: Path) -> None:
        """Read the schema from the last stream, then all rows."""
        with _joining(), self._arrow.OSFile(str(part)) as file:
            file.seek(file.size() - SIZE)
            end = file.size() - SIZE - int.from_bytes(file.read(SIZE), "little")
            file.seek(end)
            schema = self._arrow.ipc.open_stream(file).schema
            last = schema.empty_table()
            file.seek(0)
            with draft.open("wb") as out, self.open(out, schema) as writer:
                for _, group in groupby(_batches(file, end), lambda pair: pair[0]):
                    table = self._arrow.Table.from_batches([_cast(batch, schema) for _, batch in group])
                    columns = [_compact(column) for column in table.combine_chunks().columns]
                    table = self._arrow.table(columns, schema=schema)
                    if self.ONE_DICTIONARY:  # then what is new comes after what all groups before have
                        table = self._arrow.concat_tables([last, table])
                    table = table.unify_dictionaries().combine_chunks()
                    writer.write_table(table)
                    last = table.slice(0, 0) if self.ONE_DICTIONARY else None
                    del columns, table  # before there is another: 6 MB with 2,000 characters a row

    def open(self, out: Any, schema: Any) -> Any:
        """What writes tables of that schema."""
        options = self._arrow.ipc.IpcWriteOptions(compression="lz4", emit_dictionary_deltas=True)
        return self._arrow.ipc.new_file(out, schema, options=options)

    def _bytes(self, table: Any) -> bytes:
        sink = self._arrow.BufferOutputStream()
        with self._arrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data: bytes = sink.getvalue().to_pybytes()
        return data


class ParquetFormatter(ArrowFormatter):
    """A row group for each group."""

    NAME = "parquet"
    NO_STDOUT = "parquet says at its end what is in it, so it is written to a file: -o labelled.parquet"
    ONE_DICTIONARY = False

    def open(self, out: Any, schema: Any) -> Any:
        """What writes tables of that schema."""
        return self._arrow.parquet.ParquetWriter(out, schema)


def _batches(file: Any, end: int) -> Iterator[tuple[bytes, Any]]:
    """The batches of all streams before `end`, each with its group."""
    while file.tell() < end:
        with library().ipc.open_stream(file) as reader:
            for batch in reader:
                yield reader.schema.metadata[b"group"], batch


def _cast(batch: Any, schema: Any) -> Any:
    """The batch with the columns of the schema."""
    arrow, columns = library(), []
    for name, type_ in zip(schema.names, schema.types, strict=True):
        column = batch[name] if name in batch.schema.names else arrow.nulls(len(batch), type_)
        columns.append(column if column.type == type_ else column.cast(type_))
    return arrow.record_batch(columns, schema=schema)


@contextmanager
def _joining() -> Iterator[None]:
    """Within it nothing fails that Columns has looked at: of what is nested it has not seen the digits."""
    try:
        yield
    except library().ArrowInvalid as error:
        raise BertcliError(f"values do not fit into one column ({reason(error)}); use --format jsonl") from error


def _compact(column: Any) -> Any:
    """A column of some rows, its dictionary in the order in which they use it, without what only others use.

    So the dictionary of a whole table is not in each stream, nor does a file show which rows were together in one. One
    whose order means something stays.
    """
    type_ = column.type
    if not library().types.is_dictionary(type_) or type_.ordered:
        return column
    return column.cast(type_.value_type).dictionary_encode().cast(type_)


class Columns:
    """A schema that grows as it must, so that each value has its place. schema: pyarrow's, of all that was added.

    results: an example of each result, nothing in it empty: its type, which an empty list or null would leave open.
    """

    def __init__(self, results: Mapping[str, Any]) -> None:
        arrow = library()
        self.results = results
        self.schema = arrow.schema(
            [(name, arrow.array([value]).type) for name, value in results.items() if name != VECTOR]
        )
        self.large: set[str] = set()  # the columns with integers that no float has
        self._simple: dict[str, type] = {}  # the class of a column's values, where that alone says that one fits

    def add(self, schema: Any) -> None:
        """Take in the columns of another table. Raises RecordError where one has a type that cannot be joined."""
        try:
            joined = self._joined(schema)
            for name, type_ in zip(schema.names, schema.types, strict=True):
                for other in (type_, self.schema.field(name).type if name in self.schema.names else type_):
                    if _loses(other, joined.field(name).type):
                        raise RecordError(f"{name}: {other} would lose digits as {joined.field(name).type}")
        except (library().ArrowException, RecordError) as error:
            raise RecordError(f"it does not fit into one table with those before ({reason(error)})") from error
        self.schema = joined

    def fitted(self, name: str, value: Any) -> Any:
        """The value as its column holds it, which is made or widened for it. Raises RecordError where none can."""
        if type(value) is self._simple.get(name):
            least, most = (LEAST, MOST) if name in self.large else (-EXACT, EXACT)
            if type(value) is not int or least <= value <= most:
                return value
        arrow = library()
        known = self.schema.field(name).type if self.schema.get_field_index(name) >= 0 else None
        if value is None and known is not None:
            return None
        try:
            if name == VECTOR and name in self.results:
                # No list of fixed size: with a null in it, pyarrow before 26 cannot read it (apache/arrow#35692).
                type_ = arrow.list_(arrow.float32())
            else:
                type_ = arrow.array([value]).type
                if "struct<>" in str(type_):
                    value = _without_empty(value)
                    type_ = arrow.array([value]).type
            joined = self.schema if type_ == known else self._joined(arrow.schema([(name, type_)]))
            if name in self.large and arrow.types.is_floating(joined.field(name).type):
                raise RecordError("it has integers that no float has")
            arrow.array([value], joined.field(name).type)
        except (arrow.ArrowException, OverflowError, RecordError) as error:
            column = f"its field '{name}' does not fit into the column of this table ({reason(error)})"
            raise RecordError(f"{column}; use --format jsonl") from error
        self.schema = joined
        if type(value) is int and abs(value) > EXACT:
            self.large.add(name)
        if type_ == self.schema.field(name).type and type(value) in SIMPLE:
            self._simple[name] = type(value)
        else:
            self._simple.pop(name, None)
        return value

    def _joined(self, schema: Any) -> Any:
        joined = library().unify_schemas([self.schema, schema], promote_options="permissive")
        return joined.with_metadata(self.schema.metadata or schema.metadata)

    def complete(self) -> Any:
        """The schema with what no row had: the columns of the input, those of the results and the error."""
        arrow = library()
        missing = {VECTOR: arrow.list_(arrow.float32()), "error": arrow.string()}
        last = [*self.results, "error"]
        fields = {field.name: field.with_nullable(True) for field in self.schema}
        order = [*(name for name in fields if name not in last), *last]
        return arrow.schema(
            [fields.get(name) or arrow.field(name, missing[name]) for name in order], self.schema.metadata
        )


def _loses(type_: Any, joined: Any) -> bool:
    """Whether some values of a type are no values of that which pyarrow joins it to with another."""
    types = library().types
    if types.is_floating(joined) and not types.is_floating(type_) and not types.is_null(type_):
        return not types.is_integer(type_) or bool(type_.bit_width > joined.bit_width // 2)
    return bool(types.is_uint64(type_) and type_ != joined)


def _without_empty(value: Any) -> Any:
    """The value with null for each {}, which no file of columns can hold."""
    if isinstance(value, dict):
        return {name: _without_empty(item) for name, item in value.items()} or None
    return [_without_empty(item) for item in value] if isinstance(value, list) else value
