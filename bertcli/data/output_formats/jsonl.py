"""JSON lines: one object a line, every field kept.

Try: echo "a gripping film" | bertcli predict --format jsonl
"""

from collections.abc import Mapping
from typing import Any

from bertcli.data.output_formats import BaseFormatter
from bertcli.data.records import json_text

EXTENSIONS = (".ndjson", ".json")


class Formatter(BaseFormatter):
    """A line per result."""

    def record(self, result: Mapping[str, Any]) -> str:
        """The result as one line of JSON."""
        return json_text(result) + "\n"
