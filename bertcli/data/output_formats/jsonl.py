"""JSON lines: one object a line, every field kept."""

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from bertcli.data.results import json_text

EXTENSIONS = (".ndjson", ".json")


class JsonlFormatter:
    """A line per result."""

    def record(self, result: Mapping[str, Any]) -> str:
        """The result as one line of JSON."""
        return json_text(result) + "\n"

    def end(self) -> str:
        """Nothing closes a stream of JSON lines."""
        return ""


def formatter(terminal: TextIO | None, optional: Sequence[str]) -> JsonlFormatter:
    """See writers.Formatter."""
    return JsonlFormatter()
