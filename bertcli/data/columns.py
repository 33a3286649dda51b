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
        self._simple: dict[str, type] = {}  # the class of a column's values, where that alone says that one fits

    @property
    def state(self) -> str:
        """The schema as text."""
        return b64encode(self.schema.serialize()).decode()

    @state.setter
    def state(self, state: str) -> None:
        self.schema = library().ipc.read_schema(library().py_buffer(b64decode(state)))

    def add(self, schema: Any) -> None:
        """Take in the columns of another table. Raises RecordError where one has a type that cannot be joined."""
        try:
            self._join(schema)
        except library().ArrowException as error:
            raise RecordError(f"it does not fit into one table with those before ({reason(error)})") from error

    def fitted(self, name: str, value: Any) -> Any:
        """The value as its column holds it, which is made or widened for it. Raises RecordError where none can."""
        if type(value) is self._simple.get(name) and (type(value) is not int or LEAST <= value <= MOST):
            return value
        arrow = library()
        try:
            if name == VECTOR and name in self.results:
                type_ = arrow.list_(arrow.float32(), len(value))
            else:
                type_ = arrow.array([value]).type
                if "struct<>" in str(type_):
                    value = _without_empty(value)
                    type_ = arrow.array([value]).type
            self._join(arrow.schema([(name, type_)]))
            arrow.array([value], self.schema.field(name).type)
        except (arrow.ArrowException, OverflowError) as error:
            column = f"its field '{name}' does not fit into the column of this table ({reason(error)})"
            raise RecordError(f"{column}; use --format jsonl") from error
        if type_ == self.schema.field(name).type and type(value) in SIMPLE:
            self._simple[name] = type(value)
        else:
            self._simple.pop(name, None)
        return value

    def _join(self, schema: Any) -> None:
        joined = library().unify_schemas([self.schema, schema], promote_options="permissive")
        self.schema = joined.with_metadata(self.schema.metadata or schema.metadata)

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


def _without_empty(value: Any) -> Any:
    """The value with null for each {}, which no file of columns can hold."""
    if isinstance(value, dict):
        return {name: _without_empty(item) for name, item in value.items()} or None
    return [_without_empty(item) for item in value] if isinstance(value, list) else value
