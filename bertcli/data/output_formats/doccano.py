"""doccano's JSON lines: `label` is a list of [start, end, type], or of classes; other fields become doccano's metadata.

What doccano imports, as a dataset of the format JSONL; an error is a line without a text, which it reports.

Try: echo "Tim Cook is in Berlin." | bertcli predict -t ner --format doccano
"""

from collections.abc import Mapping
from typing import Any

from bertcli.data.labelled import labelling
from bertcli.data.output_formats import BaseFormatter
from bertcli.data.records import is_error, json_text, merged

EXTENSIONS = ()


class Formatter(BaseFormatter):
    """A line per result."""

    def record(self, result: Mapping[str, Any]) -> str:
        """The line of one result; RecordError for one without labels."""
        if is_error(result):
            return json_text(result) + "\n"
        text, entities, classes, fields = labelling(result, self.text_field)
        spans = [[entity["start"], entity["end"], entity["type"]] for entity in entities or ()]
        return json_text(merged(fields, {"text": text, "label": classes if entities is None else spans})) + "\n"
