"""Label Studio's tasks, one JSON array: each has the record as `data` and the labels as a prediction, to be corrected.

The names are those of Label Studio's templates: <Labels name="label" toName="text"> for entities, <Choices
name="sentiment" toName="text"> for classes, <Text name="text" value="$text">. An error is a task without a text, for
Label Studio refuses a whole file over one that has none. A shard's output is an array of its own.

Try: echo "Tim Cook is in Berlin." | bertcli predict -t ner --format label-studio
"""

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from bertcli.data.labelled import labelling
from bertcli.data.output_formats import BaseFormatter
from bertcli.data.records import is_error, json_text, merged

EXTENSIONS = ()


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
            regions = [_region("label", "labels", _span(entity, text), entity) for entity in entities]
        regions = [{"id": str(number), **region} for number, region in enumerate(regions, 1)]
        scores = [region["score"] for region in regions if "score" in region]
        prediction = {"model_version": "bertcli", **({"score": min(scores)} if scores else {}), "result": regions}
        return {"data": merged(fields, {"text": text}), "predictions": [prediction]}


def _region(control: str, label_type: str, value: Mapping[str, Any], scored: Mapping[str, Any]) -> dict[str, Any]:
    score = {"score": scored["score"]} if isinstance(scored.get("score"), float) else {}
    return {"from_name": control, "to_name": "text", "type": label_type, "value": value, **score}


def _span(entity: Mapping[str, Any], text: str) -> dict[str, Any]:
    start, end = entity["start"], entity["end"]
    return {"start": start, "end": end, "text": text[start:end], "labels": [entity["type"]]}
