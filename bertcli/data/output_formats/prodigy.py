"""Prodigy's tasks, JSON lines: entities as `spans`, which `ner.manual` shows; classes as `accept`, as `textcat.manual`.

An answer and the hash of a task that was answered are not passed on, for this is a new task: Prodigy makes its own.

Try: echo "Tim Cook is in Berlin." | bertcli predict -t ner --format prodigy
"""

from collections.abc import Mapping
from typing import Any

from bertcli.data.labelled import labelling
from bertcli.data.output_formats import BaseFormatter
from bertcli.data.records import is_error, json_text, merged

EXTENSIONS = ()
ANSWERED = ("answer", "_task_hash")


class Formatter(BaseFormatter):
    """A line per result."""

    def record(self, result: Mapping[str, Any]) -> str:
        """The line of one result; RecordError for one without labels."""
        if is_error(result):
            return json_text(result) + "\n"
        text, entities, classes, fields = labelling(result, self.text_field)
        spans = [{"label" if key == "type" else key: value for key, value in item.items()} for item in entities or ()]
        labels = {"accept": classes} if entities is None else {"spans": spans}
        kept = {name: value for name, value in fields.items() if name not in ANSWERED}
        return json_text(merged(kept, {"text": text, **labels})) + "\n"
