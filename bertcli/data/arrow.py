"""Arrow's tables as records: the library, and the values of a row as JSON has them. pip install 'bertcli[parquet]'.

Bytes become base64, numbers that are no JSON ("NaN") and times text, as protobuf's JSON has them; decimals keep their
digits. The batch goes with each record, so that a table written from it has the very values. Knows no file.

Try: python -c 'import pyarrow as p; from bertcli.data.arrow import rows; print(*rows(p.record_batch({"a": [b"x"]})))'
"""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from bertcli.data.records import Literal
from bertcli.errors import RecordError, UsageError

INFINITE = {float("inf"): "Infinity", float("-inf"): "-Infinity"}


def library() -> Any:
    """pyarrow, imported only where a table is read or written: 100 ms. Raises UsageError where it is lacking."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        needs = "Parquet and Arrow need pyarrow, which is not installed"
        raise UsageError(f"{needs}: pip install 'bertcli[parquet]'.") from None
    return pyarrow


@contextmanager
def reading(path: str, name: str) -> Iterator[None]:
    """Within it what pyarrow raises for a file that is none of that format, or broken, becomes a UsageError."""
    try:
        yield
    except (library().ArrowException, OSError) as error:
        where = "stdin" if path == "-" else path
        hint = "a file that was cut has lost its end, which says what is in it; --input-format names another format"
        raise UsageError(f"{where}: cannot be read as {name} ({reason(error)}); {hint}") from error


def reason(error: BaseException) -> str:
    """What pyarrow says, in one line without its full stop."""
    return str(error).partition("\n")[0].removeprefix("Unable to merge: ").rstrip(".") or type(error).__name__


def rows(batch: Any) -> Iterator[dict[str, Any]]:
    """The fields of each row of a RecordBatch; a RecordError is in the place of text that is no UTF-8."""
    names = batch.schema.names
    columns = [_values(column, name) for column, name in zip(batch.columns, names, strict=True)]
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _values(column: Any, name: str) -> list[Any]:
    shown = _shown(column.type)
    column = column if shown == column.type else column.cast(shown)
    try:
        return list(map(_plain, column.to_pylist()))
    except UnicodeDecodeError:  # nothing has checked it yet
        return [_checked(value, name) for value in column]


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
        return _shown(type_.storage_type)
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
    if isinstance(value, Decimal):
        return Literal(str(value))
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):  # a tuple is a pair of a map, or an interval
        return [_plain(item) for item in value]
    return str(value)  # a time in a union, or in another type that _shown does not look into
