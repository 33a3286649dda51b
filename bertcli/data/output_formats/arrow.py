"""Arrow's IPC files, also called Feather: the columns of the input, those of the results, and `error`.

A row that comes from a table keeps the values and types that it had there, also where it failed. Of other input the
types are those of its values: integers and floats of 64 bits; {} is null. A value that its column cannot hold is an
error in its place. Also what parquet.py does with rows.

Such a file says at its end what is in it, so it cannot grow. While a run lasts, FILE.part has a stream for each window;
in the end they are written anew, in groups of rows on which no window and no kill has an influence.

Try: echo "a gripping film" | bertcli predict -o labelled.arrow
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from bertcli.data.arrow import library, reason
from bertcli.data.columns import Columns
from bertcli.data.output_formats import BaseFormatter
from bertcli.data.records import Record, describe, is_error, merged, weight
from bertcli.errors import BertcliError, RecordError, UsageError

EXTENSIONS = (".feather", ".ipc")
ROWS = 1 << 16  # of a group
SIZE = 8  # bytes of a length
WEIGHT = 1 << 27  # of a group whose rows are large: characters, about


class Row(NamedTuple):
    """A result that waits: the row of a table that it extends, how its columns are called here, and other values."""

    group: int
    batch: Any
    position: int
    names: list[str]
    values: Mapping[str, Any]
    error: str | None


class Formatter(BaseFormatter):
    """Holds rows until a flush."""

    REMEMBERED = ("_group", "_rows", "_weight", "_results", "_schema")
    ONE_DICTIONARY = True  # whether all groups share the dictionary of a column

    def __init__(self, terminal: TextIO | None = None, optional: Sequence[str] = ()) -> None:
        self._name = name = type(self).__module__.rpartition(".")[2]
        if terminal is not None:
            raise UsageError(f"{name} says at its end what is in it, so it is written to a file: -o labelled.{name}")
        super().__init__(terminal, optional)
        self._arrow = library()
        self._group = self._rows = self._weight = 0
        self._results: list[str] = []  # what the last good row has besides its columns
        self._held: list[Row] = []
        self._batch: Any = None  # that of the last row
        self._share = 0  # bytes of it that are a row's, about
        self._last: Any = None  # its schema, and how its columns are called here

    @cached_property
    def columns(self) -> Columns:
        """Those so far."""
        return Columns(self.example)

    @property
    def _schema(self) -> list[str]:
        return self.columns.state

    @_schema.setter
    def _schema(self, state: list[str]) -> None:
        self.columns.state = state

    def record(self, result: Mapping[str, Any]) -> bytes:
        """Nothing yet; RecordError for a value that its column cannot hold."""
        return self.add(result, None)

    def add(self, result: Mapping[str, Any], record: Record | None) -> bytes:
        """The same; a row of a table is not made anew but goes along."""
        # a file's name may be no UTF-8
        error = describe(result).encode("utf-8", "backslashreplace").decode() if is_error(result) else None
        batch, position = (record and record.row) or (None, 0)
        names = self._taken(batch, None if error else result)
        values = {} if error else {name: self.columns.fitted(name, result[name]) for name in [*result][len(names) :]}
        self._held.append(Row(self._group, batch if names else None, position, names, values, error))
        self._rows += 1
        self._weight += weight(values) + (0 if batch is None else self._share)
        if self._rows >= ROWS or self._weight >= WEIGHT:
            self._group, self._rows, self._weight = self._group + 1, 0, 0
        return b""

    def _taken(self, batch: Any, result: Mapping[str, Any] | None) -> list[str]:
        """How the columns of a batch are called here, once there is a place for them; none where there is no batch.

        A failure has no result to tell; its row is left out where there is no place.
        """
        if batch is None:
            return []
        if batch is not self._batch:
            self._batch, self._share = batch, batch.nbytes // batch.num_rows
        width = batch.num_columns
        if result is not None:
            self._results = [*result][width:]
        names = [*(result or merged(dict.fromkeys(batch.schema.names), dict.fromkeys(self._results or self.example)))][
            :width
        ]
        if self._last != (batch.schema, names):
            fields = [field.with_name(name) for field, name in zip(batch.schema, names, strict=True)]
            try:
                self.require(self._arrow.schema(fields))
                self.columns.add(self._arrow.schema(fields, batch.schema.metadata))
            except RecordError:
                if result is not None:
                    raise
                return []
            self._last = batch.schema, names
        return names

    def flush(self) -> bytes:
        """The rows that waited, as streams."""
        rows, self._held = self._held, []
        alike = groupby(rows, lambda row: (row.group, id(row.batch), row.names))
        with _joining():
            return b"".join(self._stream(list(part)) for _, part in alike)

    def end(self) -> bytes:
        """The rest, and a stream without rows whose schema is that of all, followed by how long it is."""
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
                    last = table.slice(0, 0)
                    writer.write_table(table)

    def require(self, schema: Any) -> None:
        """Raise UsageError for a type that cannot be written."""
        try:
            with self.open(self._arrow.BufferOutputStream(), schema) as writer:
                writer.write_table(schema.empty_table())
        except self._arrow.ArrowException as error:
            message = f"{self._name} cannot hold a column of the input ({reason(error)}); -o FILE.jsonl can"
            raise UsageError(message) from error

    def open(self, out: Any, schema: Any) -> Any:
        """What writes tables of that schema."""
        options = self._arrow.ipc.IpcWriteOptions(compression="lz4", emit_dictionary_deltas=True)
        return self._arrow.ipc.new_file(out, schema, options=options)

    def _stream(self, rows: list[Row]) -> bytes:
        """Rows that are alike."""
        columns: dict[str, Any] = {}
        first = rows[0]
        if first.batch is not None:
            positions = [row.position for row in rows]
            is_slice = positions[-1] - positions[0] == len(rows) - 1
            batch = first.batch.slice(positions[0], len(rows)) if is_slice else first.batch.take(positions)
            columns = {name: _compact(column) for name, column in zip(first.names, batch.columns, strict=True)}
        for name in dict.fromkeys(name for row in rows for name in row.values):
            values = [row.values.get(name) for row in rows]
            columns[name] = self._arrow.array(values, self.columns.schema.field(name).type)
        columns["error"] = self._arrow.array([row.error for row in rows], self._arrow.string())
        return self._bytes(self._arrow.table(columns, metadata={"group": str(first.group)}))

    def _bytes(self, table: Any) -> bytes:
        sink = self._arrow.BufferOutputStream()
        with self._arrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data: bytes = sink.getvalue().to_pybytes()
        return data


def _batches(file: Any, end: int) -> Iterator[tuple[bytes, Any]]:
    """The batches of all streams before `end`, each with its group."""
    while file.tell() < end:
        with library().ipc.open_stream(file) as reader:
            for batch in reader:
                yield reader.schema.metadata[b"group"], batch


def _cast(batch: Any, schema: Any) -> Any:
    """The batch with the columns of the schema."""
    arrow, columns = library(), []
    for field in schema:
        column = batch[field.name] if field.name in batch.schema.names else arrow.nulls(len(batch), field.type)
        columns.append(column if column.type == field.type else column.cast(field.type))
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
