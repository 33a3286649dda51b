"""Labelling tools: what their formats share, and those of doccano, CLUENER, Prodigy and Label Studio.

All count in code points (doccano#99; Prodigy as spaCy). An entity is {"start", "end", "type"}; one of several parts has
them as "fragments" too.

doccano and Prodigy have JSON lines, or an array of them. doccano has had three generations: `label` or `labels` hold
classes or [start, end, type]; `entities` hold spans with start_offset beside `cats` and `relations`; `annotations`, of
the first, hold one or the other, with the id of each label and its user.

Prodigy has `spans` of a text, its `label`, or what was `accept`ed of some options, and an `answer`. A label that was
rejected is an empty list, so that a model of several labels learns that it does not apply. Spans that were rejected,
and what the annotator ignored, say nothing of what would be right: such records have no label.

Label Studio exports JSON, with a record for each annotation of a task, or JSON_MIN and CSV, a record for each row.
Spans (`labels`) become `entities`, choices a list `label`, or, where several controls have choices, a list by the name
of each. What is of another type (a rectangle, a rating) stays under `results`. A model's predictions are no labels.
Offsets are code points; before 2022 they were UTF-16 (label-studio#1347), which a span's own text tells.

For it one JSON array of tasks is written: each has the record as `data` and the labels as a prediction, to be
corrected. The names are those of Label Studio's templates: <Labels name="label" toName="text"> for entities, <Choices
name="sentiment" toName="text"> for classes, <Text name="text" value="$text">. An error is a task without a text, for
Label Studio refuses a whole file over one that has none. A shard's output is an array of its own.

Try: echo '{"text": "Tim Cook", "label": [[0, 8, "PER"]]}' | bertcli evaluate -t ner --input-format doccano
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from bertcli.data.formats import BaseFormatter
from bertcli.data.formats.csv import read_csv
from bertcli.data.formats.jsonl import DECODER, array_records, check_values
from bertcli.data.records import Record, is_error, json_text, lookup, merged
from bertcli.data.streams import Source
from bertcli.errors import RecordError

LABELS = {"entities", "labels", "label"}
NEEDS = tuple({name} for name in sorted(LABELS))
ENTITY = {"start": int, "end": int, "type": str}
DOCCANO_SPAN = {"start_offset", "end_offset", "label"}
STUDIO_SPAN = {"start": int, "end": int, "labels": list}
CLASSES, SPANS = ("cats",), ("entities",)  # names that say what they hold, even where they are empty
EITHER = ("label", "labels", "annotations")
ANSWERS = ("accept", "reject", "ignore")
ROW = {"annotation_id", "lead_time"}  # columns that nobody else writes together
JSON_CELL = ('[{"', '{"choices"')  # how a cell of the CSV begins that holds spans, or several choices


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
    if name == "entities" and isinstance(value, list) and all(_has_types(item, ENTITY) for item in value):
        if any("text" in entity and text[entity["start"] : entity["end"]] != entity["text"] for entity in value):
            raise RecordError("labelling tools count in code points: leave --offset-unit away")
        return Labelling(text, value, None, fields)
    classes = value if name == "labels" else [] if value in (None, "") else [value]
    if name in ("labels", "label") and isinstance(classes, list) and all(isinstance(label, str) for label in classes):
        return Labelling(text, None, classes, fields)
    raise RecordError("only results with entities or labels are for labelling tools; use --format jsonl")


def _has_types(value: Any, types: Mapping[str, type]) -> bool:
    return isinstance(value, Mapping) and [type(value.get(name)) for name in types] == [*types.values()]


def code_points(text: str) -> list[int]:
    """The index of the code point that each UTF-16 unit of a text is of, and that of its end."""
    return [i for i, char in enumerate(text) for _ in range(1 + (char > "\uffff"))] + [len(text)]


def _converted(
    fields_of: Callable[[Record], dict[str, Any]], source: Source, columns: Sequence[str] | None
) -> Iterator[Record]:
    """The records of a tool with their labels as tasks read them; those that it cannot read are faults."""
    for record in array_records(source.texts()):
        if record.fault is None:
            try:
                record.fields = fields_of(record)
            except RecordError as error:
                record = Record(line=record.line, fault=str(error))
        yield record


def tool_of(fields: Mapping[str, Any], is_row: bool) -> str | None:
    """The format of the tool whose record this is, and nobody else's. is_row: of a table, which Label Studio has."""
    is_task = isinstance(fields.get("data"), Mapping) and not {"annotations", "predictions"}.isdisjoint(fields)
    tool = "label-studio" if is_task or fields.keys() >= ROW else None
    if is_row:
        return tool
    for name in (*EITHER, *SPANS):
        labels = fields.get(name)
        is_its = _is_triple if name in ("label", "labels") else _is_doccano_object
        if isinstance(labels, list) and labels and all(map(is_its, labels)):
            return "doccano"
    if is_cluener(fields):
        return "cluener"
    spans = fields.get("spans")
    has_spans = isinstance(spans, list) and bool(spans) and all(map(_is_prodigy_span, spans))
    is_answered = fields.get("answer") in ANSWERS and not {"spans", "label", "accept"}.isdisjoint(fields)
    if "text" in fields and ("_task_hash" in fields or is_answered or (has_spans and "entities" not in fields)):
        return "prodigy"
    return tool


# -- doccano


def _is_doccano_object(label: Any) -> bool:
    """Whether it is an object as only doccano writes it."""
    return isinstance(label, Mapping) and ("start_offset" in label or {"label", "user"} <= label.keys())


def _of_doccano(record: Record) -> dict[str, Any]:
    """Fields with `entities`, and with the classes as a list `label`; with both where an empty list says neither."""
    fields, entities, classes = dict(record.fields), list[dict[str, Any]](), list[Any]()
    names = [name for name in (*EITHER, *SPANS, *CLASSES) if isinstance(fields.get(name), list)]
    for name in names:
        for number, label in enumerate(fields.pop(name), 1):
            if _is_triple(label):
                entities.append(dict(zip(("start", "end", "type"), label, strict=True)))
            elif isinstance(label, Mapping) and label.keys() >= DOCCANO_SPAN:
                start, end, type_ = label["start_offset"], label["end_offset"], str(label["label"])
                rest = {name: value for name, value in label.items() if name not in DOCCANO_SPAN}
                entities.append({"start": start, "end": end, "type": type_, **rest})
            elif isinstance(label, Mapping) and "label" in label:
                classes.append(label["label"])
            elif isinstance(label, str | int):
                classes.append(label)
            else:
                raise RecordError(f"item {number} of '{name}' is neither a class nor a span of doccano's")
    is_empty = not entities and not classes and any(name in EITHER for name in names)
    labels: dict[str, Any] = {}
    if entities or is_empty or not set(names).isdisjoint(SPANS):
        labels["entities"] = entities
    if classes or is_empty or not set(names).isdisjoint(CLASSES):
        labels["label"] = classes
    return merged(fields, labels)


read_doccano = partial(_converted, _of_doccano)


def _is_triple(label: Any) -> bool:
    """Whether it is [start, end, type]."""
    return isinstance(label, list) and [type(value) for value in label] == [int, int, str]


class DoccanoFormatter(BaseFormatter):
    """What doccano imports as a dataset of the format JSONL; an error is a line without a text, which it reports."""

    NEEDS = NEEDS

    def add(self, result: Mapping[str, Any], record: Record | None = None) -> str:
        """`label` is a list of [start, end, type], or of classes; other fields become doccano's metadata."""
        if is_error(result):
            return json_text(result) + "\n"
        text, entities, classes, fields = labelling(result, self.text_field)
        spans = [[entity["start"], entity["end"], entity["type"]] for entity in entities or ()]
        return json_text(merged(fields, {"text": text, "label": classes if entities is None else spans})) + "\n"


# -- CLUENER, whose layout other Chinese corpora have taken


def is_cluener(fields: Mapping[str, Any]) -> bool:
    """Whether `label` has an object of texts for each type, with a list of spans for each text."""
    label = fields.get("label")
    by_text = list(label.values()) if isinstance(label, Mapping) else []
    return bool(by_text) and all(
        isinstance(texts, Mapping) and all(isinstance(spans, list) for spans in texts.values()) for texts in by_text
    )


def _of_cluener(record: Record) -> dict[str, Any]:
    """Fields with `entities`: in CLUENER the end of a span is the last character, not the one after it."""
    label = record.fields.get("label")
    if label is not None and label != {} and not is_cluener(record.fields):
        raise RecordError("its 'label' is not {type: {text: [[first, last]]}}, as CLUENER has it")
    entities = []
    for type_, texts in (label or {}).items():
        for shown, spans in texts.items():
            for span in spans:
                if not (isinstance(span, list) and [type(value) for value in span] == [int, int]):
                    raise RecordError(f"a span of '{shown}' is not [first, last]")
                entities.append({"start": span[0], "end": span[1] + 1, "type": type_, "text": shown})
    fields = {name: value for name, value in record.fields.items() if name != "label"}
    return fields if label is None else merged(fields, {"entities": entities})


read_cluener = partial(_converted, _of_cluener)


# -- Prodigy


def _of_prodigy(record: Record) -> dict[str, Any]:
    """Fields with `entities` for accepted spans, and a list `label` for an answered label or accepted options."""
    item = record.fields
    answer = item.get("answer", "accept")
    if answer not in ANSWERS:
        raise RecordError(f"its 'answer' is none of Prodigy's: {', '.join(ANSWERS)}")
    is_classified = "label" in item or "accept" in item
    if answer == "ignore" or (answer == "reject" and not is_classified):
        record.unlabelled = "ignored by the annotator" if answer == "ignore" else "rejected by the annotator"
        return item
    fields = {name: value for name, value in item.items() if name != "spans"}
    labels: dict[str, Any] = {}
    spans = item.get("spans") or []
    if answer == "accept" and (spans or not is_classified):
        labels["entities"] = []
        for number, span in enumerate(spans if isinstance(spans, list) else [spans], 1):
            if not _is_prodigy_span(span):
                raise RecordError(f"item {number} of 'spans' is no span of Prodigy's, which has start, end and label")
            rest = {name: value for name, value in span.items() if name not in ("start", "end", "label", "type")}
            labels["entities"].append({"start": span["start"], "end": span["end"], "type": span["label"], **rest})
    if "accept" in item:
        labels["label"] = item["accept"] if answer == "accept" else []
    elif "label" in item and "answer" in item:
        fields["label"] = [item["label"]] if answer == "accept" else []
    return merged(fields, labels)


read_prodigy = partial(_converted, _of_prodigy)


def _is_prodigy_span(span: Any) -> bool:
    return isinstance(span, Mapping) and {"start", "end", "label"} <= span.keys()


class ProdigyFormatter(BaseFormatter):
    """An answer and the hash of an answered task are not passed on: this is a new task, with a hash of its own."""

    NEEDS = NEEDS

    def add(self, result: Mapping[str, Any], record: Record | None = None) -> str:
        """Entities are `spans`, which `ner.manual` shows; classes are `accept`, as of `textcat.manual`."""
        if is_error(result):
            return json_text(result) + "\n"
        text, entities, classes, fields = labelling(result, self.text_field)
        spans = [{"label" if key == "type" else key: value for key, value in item.items()} for item in entities or ()]
        kept = {name: value for name, value in fields.items() if name not in ("answer", "_task_hash")}
        labels = {"accept": classes} if entities is None else {"spans": spans}
        return json_text(merged(kept, {"text": text, **labels})) + "\n"


# -- Label Studio


def read_label_studio(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with the task's data and `id`, and the labels of one annotation; without where there is none."""
    is_json = source.begin()[0].lstrip(" \t\n\r\v\f").startswith(("[", "{"))
    for record in array_records(source.texts()) if is_json else read_csv(source, columns):
        if record.fault is not None:
            yield record
        elif isinstance(record.fields.get("data"), Mapping):
            task, line = record.fields, record.line
            data = task["data"] if "id" in task["data"] or "id" not in task else {"id": task["id"], **task["data"]}
            annotations = _objects(task.get("annotations") or task.get("completions"))
            finished = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
            if not finished:
                why = "skipped by the annotator" if annotations else "not annotated yet"
                yield Record(fields=dict(data), line=line, unlabelled=why)
            for annotation in finished:
                yield Record(fields=merged(data, _of_annotation(_objects(annotation.get("result")), data)), line=line)
        else:
            yield Record(fields=_of_row(record.fields), line=record.line)
    source.header = None  # of CSV: the fields of its records have other names


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _of_annotation(results: Sequence[Mapping[str, Any]], data: Mapping[str, Any]) -> dict[str, Any]:
    """What an annotation says: of an empty one that there is no entity."""
    entities, choices, others = list[Any](), dict[str, list[Any]](), list[Any]()
    for result in results:
        value = result.get("value")
        if isinstance(value, Mapping) and _has_types(value, STUDIO_SPAN):
            entities += _studio_entities(value, data)
        elif isinstance(value, Mapping) and isinstance(value.get("choices"), list) and "start" not in value:
            choices.setdefault(str(result.get("from_name")), []).extend(value["choices"])
        else:
            others.append(result)
    by_name = choices if len(choices) > 1 else dict(zip(["label"], choices.values(), strict=False))
    spans = {"entities": entities} if entities or not results else {}
    return {**spans, **by_name, **({"results": others} if others else {})}


def _of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of JSON_MIN or CSV: the same, but that each control has a column."""
    fields, entities = dict[str, Any](), list[Any]()
    for name, cell in row.items():
        value = cell
        if isinstance(cell, str) and cell.startswith(JSON_CELL):
            with suppress(ValueError, RecursionError, RecordError):  # else the cell is text
                decoded = DECODER.decode(cell)
                check_values({"": decoded})
                value = decoded
        if isinstance(value, list) and value and all(_has_types(item, STUDIO_SPAN) for item in value):
            entities += [entity for span in value for entity in _studio_entities(span, row)]
        else:
            fields[name] = value["choices"] if isinstance(value, Mapping) and "choices" in value else value
    return merged(fields, {"entities": entities}) if entities or not fields.get("label") else fields


def _studio_entities(span: Mapping[str, Any], data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An entity for each label of a span, in code points; with its text where one of the task's has another there."""
    start, end, shown = span["start"], span["end"], span.get("text")
    texts = [text for text in data.values() if isinstance(text, str)]
    if isinstance(shown, str) and not any(text[start:end] == shown for text in texts):
        for units in map(code_points, texts):
            if 0 <= start <= end < len(units) and any(text[units[start] : units[end]] == shown for text in texts):
                start, end = units[start], units[end]
                break
    is_odd = isinstance(shown, str) and any(text[start:end] != shown for text in texts)
    said = {"text": shown} if is_odd else {}
    return [{"start": start, "end": end, "type": label, **said} for label in span["labels"]]


class LabelStudioFormatter(BaseFormatter):
    """A line per task, between the brackets of the array."""

    REMEMBERED = ("_count",)
    NEEDS = NEEDS
    _count = 0

    def add(self, result: Mapping[str, Any], record: Record | None = None) -> str:
        """The task of one result; RecordError for one without labels."""
        if is_error(result):
            task: dict[str, Any] = {"data": {"text": "", **result}}
        else:
            text, entities, classes, fields = labelling(result, self.text_field)
            marks: list[tuple[str, str, dict[str, Any], Mapping[str, Any]]] = []
            for entity in entities or ():
                start, end = entity["start"], entity["end"]
                value = {"start": start, "end": end, "text": text[start:end], "labels": [entity["type"]]}
                marks.append(("label", "labels", value, entity))
            if classes:
                marks.append(("sentiment", "choices", {"choices": classes}, fields))
            regions: list[dict[str, Any]] = [
                {"id": str(number), "from_name": control, "to_name": "text", "type": type_, "value": value}
                | ({"score": scored["score"]} if isinstance(scored.get("score"), float) else {})
                for number, (control, type_, value, scored) in enumerate(marks, 1)
            ]
            scores = [region["score"] for region in regions if "score" in region]
            prediction = {"model_version": "bertcli", **({"score": min(scores)} if scores else {}), "result": regions}
            task = {"data": merged(fields, {"text": text}), "predictions": [prediction]}
        line = json_text(task)
        self._count += 1
        return (",\n" if self._count > 1 else "[\n") + line

    def end(self) -> str:
        """The closing bracket."""
        return "\n]\n" if self._count else "[]\n"
