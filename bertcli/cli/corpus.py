"""The raw text that the options of pretrain and tokenizer train name."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from bertcli.data.documents import expand, read

if TYPE_CHECKING:
    from bertcli.pretraining.source import Source


def source(given: Mapping[str, Any]) -> "Source":
    """Files, how they are read, and what happens at a fault. Raises UsageError for what names no file."""
    from bertcli.pretraining.source import Source

    options = {name: given[name] for name in ("text_field", "encoding", "document_per")}
    documents = partial(read, text_field=given["text_field"], encoding=given["encoding"], per=given["document_per"])
    return Source(expand(given["corpus"]), documents, options, given["on_error"] == "skip")
