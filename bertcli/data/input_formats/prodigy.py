"""Prodigy's JSON lines: `spans` of a text, its `label`, or what was `accept`ed of some options, and an `answer`.

A label that was rejected is an empty list, so that a model of several labels learns that it does not apply. Spans that
were rejected, and what the annotator ignored, say nothing of what would be right: such records have no label.
Offsets are code points, as spaCy's.

Try: echo '{"text": "good", "label": "POSITIVE", "answer": "accept"}' | bertcli check --input-format prodigy
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bertcli.data import json_items
from bertcli.data.labelled import converted
from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError

EXTENSIONS = ()
ANSWERS = ("accept", "reject", "ignore")


def recognises(fields: Mapping[str, Any]) -> bool:
    """Whether these are a record of Prodigy's and of nobody else's."""
    spans = fields.get("spans")
    has_spans = isinstance(spans, list) and bool(spans) and all(map(_is_span, spans)) and "entities" not in fields
    is_answered = fields.get("answer") in ANSWERS and not {"spans", "label", "accept"}.isdisjoint(fields)
    return "text" in fields and ("_task_hash" in fields or is_answered or has_spans)


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records with `entities` for accepted spans, and a list `label` for an answered label or accepted options."""
    return converted(json_items.records(source.texts()), _fields)


def _fields(record: Record) -> dict[str, Any]:
    item = record.fields
    answer = item.get("answer", "accept")
    if answer not in ANSWERS:
        raise RecordError(f"the answer {answer!r:.80} is none of Prodigy's: {', '.join(ANSWERS)}")
    is_classified = "label" in item or "accept" in item
    if answer == "ignore" or (answer == "reject" and not is_classified):
        record.unlabelled = "ignored by the annotator" if answer == "ignore" else "rejected by the annotator"
        return item
    fields = {name: value for name, value in item.items() if name != "spans"}
    spans = item.get("spans") or []
    if answer == "accept" and (spans or not is_classified):
        fields["entities"] = [_entity(span) for span in (spans if isinstance(spans, list) else [spans])]
    if "accept" in item or ("label" in item and "answer" in item):
        fields["label"] = item.get("accept", [item.get("label")]) if answer == "accept" else []
    return fields


def _is_span(span: Any) -> bool:
    return isinstance(span, Mapping) and {"start", "end", "label"} <= span.keys()


def _entity(span: Any) -> dict[str, Any]:
    if not _is_span(span):
        raise RecordError(f"{span!r:.80} in 'spans' is no span of Prodigy's, which has start, end and label")
    rest = {name: value for name, value in span.items() if name not in ("start", "end", "label", "type")}
    return {"start": span["start"], "end": span["end"], "type": span["label"], **rest}
