"""doccano's JSON lines, or an array of them, of its three generations: texts with classes, spans or both.

`label` or `labels` hold classes or [start, end, type]; `entities` hold spans with start_offset beside `cats` and
`relations`; `annotations`, of the first generation, hold one or the other, with the id of each label and its user.
Offsets are code points (doccano#99).

Try: echo '{"text": "Tim Cook", "label": [[0, 8, "PER"]]}' | bertcli evaluate -t ner --input-format doccano
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bertcli.data import json_items
from bertcli.data.labelled import converted
from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError

EXTENSIONS = ()
CLASSES, SPANS = ("cats",), ("entities",)  # names that say what they hold, even where they are empty
EITHER = ("label", "labels", "annotations")


def recognises(fields: Mapping[str, Any]) -> bool:
    """Whether these are a record of doccano's and of nobody else's."""
    lists = {name: value for name in (*EITHER, *SPANS) if isinstance(value := fields.get(name), list) and value}
    return any(
        all(map(_is_triple, labels)) if name in ("label", "labels") else all(map(_is_annotation, labels))
        for name, labels in lists.items()
    )


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with `entities`, and with the classes as a list `label`; with both where an empty list says neither."""
    return converted(json_items.records(source.texts()), lambda record: _fields(record.fields))


def _fields(item: dict[str, Any]) -> dict[str, Any]:
    fields, entities, classes = dict(item), list[dict[str, Any]](), list[Any]()
    names = [name for name in (*EITHER, *SPANS, *CLASSES) if isinstance(item.get(name), list)]
    for name in names:
        for label in fields.pop(name):
            entity = _entity(label)
            if entity:
                entities.append(entity)
            elif isinstance(label, Mapping) and "label" in label:
                classes.append(label["label"])
            elif isinstance(label, str | int):
                classes.append(label)
            else:
                raise RecordError(f"{label!r:.80} in '{name}' is neither a class nor a span of doccano's")
    is_empty = not entities and not classes and any(name in EITHER for name in names)
    if entities or is_empty or not set(names).isdisjoint(SPANS):
        fields["entities"] = entities
    if classes or is_empty or not set(names).isdisjoint(CLASSES):
        fields["label"] = classes
    return fields


def _is_triple(label: Any) -> bool:
    """Whether it is [start, end, type]."""
    return isinstance(label, list) and [type(value) for value in label] == [int, int, str]


def _is_annotation(label: Any) -> bool:
    """Whether it is an object as only doccano writes it."""
    return isinstance(label, Mapping) and ("start_offset" in label or {"label", "user"} <= label.keys())


def _entity(label: Any) -> dict[str, Any] | None:
    if _is_triple(label):
        return dict(zip(("start", "end", "type"), label, strict=True))
    if isinstance(label, Mapping) and {"start_offset", "end_offset", "label"} <= label.keys():
        rest = {name: value for name, value in label.items() if name not in ("start_offset", "end_offset", "label")}
        return {"start": label["start_offset"], "end": label["end_offset"], "type": str(label["label"]), **rest}
    return None
