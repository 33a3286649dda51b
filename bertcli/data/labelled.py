"""What the formats of labelling tools share: counting in code points, and what of a result is its labels.

Knows no tool. An entity is {"start", "end", "type"}, in code points; one of several parts has them as "fragments" too.
Try: echo "Tim Cook is in Berlin." | bertcli predict -t ner --format doccano
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError

LABELS = {"entities", "labels", "label"}
ENTITY = {"start": int, "end": int, "type": str}


class Labelling(NamedTuple):
    """A text and its labels, spans or classes: one of the two is None. fields: all else that the result has."""

    text: str
    entities: list[dict[str, Any]] | None
    classes: list[str] | None
    fields: dict[str, Any]


def labelling(result: Mapping[str, Any], text_field: str) -> Labelling:
    """What a tool is to be told. Raises RecordError for a result without labels, or with offsets of another unit."""
    text = lookup(result, text_field, "--text-field")
    if not isinstance(text, str):
        raise RecordError(f"field '{text_field}' is no text; use --format jsonl")
    # The last one is the task's: a result has what the task found after the record's own fields.
    name = next((name for name in reversed(list(result)) if name in LABELS), None)
    value = result[name] if name else None
    fields = {key: value for key, value in result.items() if key not in (name, text_field)}
    if name == "entities" and isinstance(value, list) and all(map(_is_entity, value)):
        if any("text" in entity and text[entity["start"] : entity["end"]] != entity["text"] for entity in value):
            raise RecordError("labelling tools count in code points: leave --offset-unit away")
        return Labelling(text, value, None, fields)
    classes = value if name == "labels" else [] if value in (None, "") else [value]
    if name in ("labels", "label") and isinstance(classes, list) and all(isinstance(label, str) for label in classes):
        return Labelling(text, None, classes, fields)
    raise RecordError("only results with entities or labels are for labelling tools; use --format jsonl")


def _is_entity(entity: Any) -> bool:
    return isinstance(entity, Mapping) and [type(entity.get(name)) for name in ENTITY] == [*ENTITY.values()]


def converted(records: Iterator[Record], fields_of: Callable[[Record], dict[str, Any]]) -> Iterator[Record]:
    """The records of a tool with their labels as tasks read them; those that it cannot read are faults."""
    for record in records:
        if record.fault is None:
            try:
                record.fields = fields_of(record)
            except RecordError as error:
                record = Record(line=record.line, fault=str(error))
        yield record


def code_points(text: str) -> list[int]:
    """The index of the code point that each UTF-16 unit of a text is of, and that of its end."""
    return [i for i, char in enumerate(text) for _ in range(1 + (char > "\uffff"))] + [len(text)]
