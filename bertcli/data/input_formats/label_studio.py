"""Label Studio's exports: JSON, with a record for each annotation of a task; JSON_MIN and CSV, a record for each row.

Spans (`labels`) become `entities`, choices a list `label`, or, where several controls have choices, a list by the name
of each. What is of another type (a rectangle, a rating) stays under `results`. A model's predictions are no labels.
Offsets are code points; before 2022 they were UTF-16 (label-studio#1347), which a span's own text tells.

Try: bertcli check export.json --input-format label-studio
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from bertcli.data import json_items
from bertcli.data.input_formats import csv
from bertcli.data.input_formats.jsonl import DECODER, check_values
from bertcli.data.labelled import code_points
from bertcli.data.records import Record, merged
from bertcli.data.streams import Source
from bertcli.errors import RecordError

EXTENSIONS = ()
ROW = {"annotation_id", "lead_time"}  # columns that nobody else writes together
JSON_CELL = ('[{"', '{"choices"')  # how a cell of the CSV begins that holds spans, or several choices


def recognises(fields: Mapping[str, Any]) -> bool:
    """Whether these are a task or a row of Label Studio's and of nobody else's."""
    is_task = isinstance(fields.get("data"), Mapping) and not {"annotations", "predictions"}.isdisjoint(fields)
    return is_task or fields.keys() >= ROW


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with the task's data and `id`, and the labels of one annotation; without where there is none."""
    (first,) = source.begin() or [b""]
    is_json = isinstance(first, bytes) and first.lstrip()[:1] in (b"[", b"{")
    for record in json_items.records(source.texts()) if is_json else csv.read(source, columns):
        if record.fault is not None:
            yield record
        elif isinstance(record.fields.get("data"), Mapping):
            yield from _annotations(record.fields, record.line)
        else:
            yield Record(fields=_row(record.fields), line=record.line)


def _annotations(task: Mapping[str, Any], line: int) -> Iterator[Record]:
    """A record for each annotation that was not cancelled, or one without labels."""
    data = task["data"] if "id" in task["data"] or "id" not in task else {"id": task["id"], **task["data"]}
    annotations = _objects(task.get("annotations") or task.get("completions"))
    finished = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    if not finished:
        why = "skipped by the annotator" if annotations else "not annotated yet"
        yield Record(fields=dict(data), line=line, unlabelled=why)
    for annotation in finished:
        yield Record(fields=merged(data, _labels(_objects(annotation.get("result")), data)), line=line)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _labels(results: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any]:
    """What an annotation says: of an empty one that there is no entity."""
    entities, choices, others = list[Any](), dict[str, list[Any]](), list[Any]()
    for result in results:
        value = result.get("value")
        if isinstance(value, Mapping) and _is_span(value):
            entities += _entities(value, data)
        elif isinstance(value, Mapping) and isinstance(value.get("choices"), list) and "start" not in value:
            choices.setdefault(str(result.get("from_name")), []).extend(value["choices"])
        else:
            others.append(result)
    by_name = choices if len(choices) > 1 else dict(zip(["label"], choices.values(), strict=False))
    spans = {"entities": entities} if entities or not results else {}
    return {**spans, **by_name, **({"results": others} if others else {})}


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of JSON_MIN or CSV: the same, but that each control has a column."""
    fields, entities = dict[str, Any](), list[Any]()
    for name, cell in row.items():
        value = _parsed(cell)
        if isinstance(value, list) and value and all(map(_is_span, value)):
            entities += [entity for span in value for entity in _entities(span, row)]
        else:
            fields[name] = value["choices"] if isinstance(value, Mapping) and "choices" in value else value
    if entities or not fields.get("label"):
        fields["entities"] = entities
    return fields


def _parsed(cell: Any) -> Any:
    if isinstance(cell, str) and cell.startswith(JSON_CELL):
        with suppress(ValueError, RecursionError, RecordError):  # else the cell is text
            value = DECODER.decode(cell)
            check_values({"": value})
            return value
    return cell


def _is_span(value: Any) -> bool:
    types = {"start": int, "end": int, "labels": list}
    return isinstance(value, Mapping) and [type(value.get(name)) for name in types] == [*types.values()]


def _entities(span: Mapping[str, Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An entity for each label of a span, in code points."""
    start, end, shown = span["start"], span["end"], span.get("text")
    texts = [text for text in data.values() if isinstance(text, str)]
    if isinstance(shown, str) and not any(text[start:end] == shown for text in texts):
        for units in map(code_points, texts):
            if 0 <= start <= end < len(units) and any(text[units[start] : units[end]] == shown for text in texts):
                start, end = units[start], units[end]
                break
    return [{"start": start, "end": end, "type": label} for label in span["labels"]]
