"""Label Studio's exports: JSON, with a record for each annotation of a task; JSON_MIN and CSV, a record for each row.

Spans (`labels`) become `entities`, choices a list `label`, or, where several controls have choices, a list by the name
of each. What is of another type (a rectangle, a rating) stays under `results`. A model's predictions are no labels.
Offsets are code points; before 2022 they were UTF-16 (label-studio#1347), which a span's own text tells.

What is written is one JSON array of tasks: each has the record as `data` and the labels as a prediction, to be
corrected. The names are those of Label Studio's templates: <Labels name="label" toName="text"> for entities, <Choices
name="sentiment" toName="text"> for classes, <Text name="text" value="$text">. An error is a task without a text, for
Label Studio refuses a whole file over one that has none. A shard's output is an array of its own.

Try: bertcli check export.json --input-format label-studio
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

from bertcli.data.formats import BaseFormatter
from bertcli.data.formats.csv import read_csv
from bertcli.data.formats.jsonl import DECODER, array_records, check_values
from bertcli.data.formats.labelling import code_points, labelling
from bertcli.data.records import Record, is_error, json_text, merged
from bertcli.data.streams import Source
from bertcli.errors import RecordError

ROW = {"annotation_id", "lead_time"}  # columns that nobody else writes together
JSON_CELL = ('[{"', '{"choices"')  # how a cell of the CSV begins that holds spans, or several choices


def is_label_studio(fields: Mapping[str, Any]) -> bool:
    """Whether these are a task or a row of Label Studio's and of nobody else's."""
    is_task = isinstance(fields.get("data"), Mapping) and not {"annotations", "predictions"}.isdisjoint(fields)
    return is_task or fields.keys() >= ROW


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with the task's data and `id`, and the labels of one annotation; without where there is none."""
    (first,) = source.begin() or [b""]
    is_json = isinstance(first, bytes) and first.lstrip()[:1] in (b"[", b"{")
    for record in array_records(source.texts()) if is_json else read_csv(source, columns):
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


class Formatter(BaseFormatter):
    """A line per task, between the brackets of the array."""

    REMEMBERED = ("_count",)

    def __init__(self, terminal: TextIO | None = None, optional: Sequence[str] = ()) -> None:
        super().__init__(terminal, optional)
        self._count = 0

    def record(self, result: Mapping[str, Any]) -> str:
        """The task of one result; RecordError for one without labels."""
        text = json_text({"data": {"text": "", **result}} if is_error(result) else self._task(result))
        self._count += 1
        return (",\n" if self._count > 1 else "[\n") + text

    def end(self) -> str:
        """The closing bracket."""
        return "\n]\n" if self._count else "[]\n"

    def _task(self, result: Mapping[str, Any]) -> dict[str, Any]:
        text, entities, classes, fields = labelling(result, self.text_field)
        if entities is None:
            regions = [_region("sentiment", "choices", {"choices": classes}, fields)] if classes else []
        else:
            regions = [_region("label", "labels", _region_value(entity, text), entity) for entity in entities]
        regions = [{"id": str(number), **region} for number, region in enumerate(regions, 1)]
        scores = [region["score"] for region in regions if "score" in region]
        prediction = {"model_version": "bertcli", **({"score": min(scores)} if scores else {}), "result": regions}
        return {"data": merged(fields, {"text": text}), "predictions": [prediction]}


def _region(control: str, label_type: str, value: Mapping[str, Any], scored: Mapping[str, Any]) -> dict[str, Any]:
    score = {"score": scored["score"]} if isinstance(scored.get("score"), float) else {}
    return {"from_name": control, "to_name": "text", "type": label_type, "value": value, **score}


def _region_value(entity: Mapping[str, Any], text: str) -> dict[str, Any]:
    start, end = entity["start"], entity["end"]
    return {"start": start, "end": end, "text": text[start:end], "labels": [entity["type"]]}
