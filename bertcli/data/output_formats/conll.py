"""CoNLL columns: a token and its tag a line, a blank line after each sentence; an error is a comment in its place.

Try: echo "Ada Lovelace lived in London" | bertcli predict -t ner --format conll
"""

from collections.abc import Mapping
from typing import Any

from bertcli.data.output_formats import BaseFormatter
from bertcli.data.records import describe, is_error
from bertcli.errors import RecordError

EXTENSIONS = (".iob2",)


class Formatter(BaseFormatter):
    """Sentences, parted by tabs."""

    def record(self, result: Mapping[str, Any]) -> str:
        """The lines of a sentence; RecordError for a result without tags, or a token that holds a tab or a line end."""
        if is_error(result):
            return f"# {' '.join(describe(result).split())}\n\n"
        tokens, tags = result.get("tokens"), result.get("tags")
        if not (isinstance(tokens, list) and isinstance(tags, list)):
            raise RecordError("only results with tokens and tags can be CoNLL; use --format jsonl")
        bad = next((token for token in tokens if not token or any(c in token for c in "\t\n\r")), None)
        if bad is not None:
            raise RecordError(f"the token {bad!r} cannot be in a column; use --format jsonl")
        return "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True)) + "\n"
