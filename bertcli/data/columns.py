"""The columns of a table that is written row by row: a schema that grows as it must, so that each value has its place.

A column's type is that of its first values, and becomes wider (an integer a float, a struct one with more fields) where
a later one needs it and nothing is lost. Knows no file.

Try: python -c 'from bertcli.data.columns import Columns as C; c = C({"a": 1}); c.fitted("a", .5); print(c.schema)'
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from bertcli.data.arrow import library, reason
from bertcli.errors import RecordError

SIMPLE = (str, bool, float, int)
LEAST, MOST = -(1 << 63), (1 << 63) - 1
EXACT = 1 << 53  # the largest integer up to which a float has them all
VECTOR = "embedding"  # the one result that is a list of fixed size, and of floats of 32 bits, as models make them


class Columns:
    """schema: pyarrow's, of all that was added.

    results: an example of each result, nothing in it empty: its type, which an empty list or null would leave open.
    """

    def __init__(self, results: Mapping[str, Any]) -> None:
        arrow = library()
        self.results = results
        self.schema = arrow.schema(
            [(name, arrow.array([value]).type) for name, value in results.items() if name != VECTOR]
        )
        self._large: set[str] = set()  # the columns with integers that no float has
        self._simple: dict[str, type] = {}  # the class of a column's values, where that alone says that one fits

    @property
    def state(self) -> list[str]:
        """What a run that goes on must know, the schema first."""
        return [b64encode(self.schema.serialize()).decode(), *sorted(self._large)]

    @state.setter
    def state(self, state: list[str]) -> None:
        self.schema = library().ipc.read_schema(library().py_buffer(b64decode(state[0])))
        self._large = set(state[1:])

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
            least, most = (LEAST, MOST) if name in self._large else (-EXACT, EXACT)
            if type(value) is not int or least <= value <= most:
                return value
        arrow = library()
        known = self.schema.field(name).type if self.schema.get_field_index(name) >= 0 else None
        if value is None and known is not None:
            return None
        try:
            if name == VECTOR and name in self.results:
                type_ = arrow.list_(arrow.float32(), len(value))
            else:
                type_ = arrow.array([value]).type
                if "struct<>" in str(type_):
                    value = _without_empty(value)
                    type_ = arrow.array([value]).type
            joined = self.schema if type_ == known else self._joined(arrow.schema([(name, type_)]))
            if name in self._large and arrow.types.is_floating(joined.field(name).type):
                raise RecordError("it has integers that no float has")
            arrow.array([value], joined.field(name).type)
        except (arrow.ArrowException, OverflowError, RecordError) as error:
            column = f"its field '{name}' does not fit into the column of this table ({reason(error)})"
            raise RecordError(f"{column}; use --format jsonl") from error
        self.schema = joined
        if type(value) is int and abs(value) > EXACT:
            self._large.add(name)
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
