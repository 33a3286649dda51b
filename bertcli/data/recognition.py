"""Which labelling tool wrote a file, told by its first records. Knows tools by their formats' `recognises` only.

A tool is named where a record is its own and no one else's, so that other data is read as its name says.
Try: echo '{"text": "Tim", "label": [[0, 3, "PER"]]}' | bertcli predict -t ner
"""

import re
from itertools import islice, takewhile
from pathlib import Path

from bertcli.data import json_items
from bertcli.data.formats import extension, load
from bertcli.data.streams import Source

TOOLS = ("doccano", "prodigy", "label-studio")  # formats of JSON objects
HEAD = 1 << 20  # bytes of a file that tell; of what can be read only once it is the first line
WEBANNO_2 = re.compile(r"\s*# [\w.]+ \| ")  # how its versions 1 and 2 begin, which are no table
FIRST = 100  # records that are looked at


def tool_of(source: Source, name: str) -> str | None:
    """The format of the tool that wrote what would otherwise be read as the format `name`."""
    if name not in ("jsonl", "csv", "tsv", "lines") or (name == "lines" and extension(source.name)):
        return None
    if Path(source.name).is_file() and source.is_utf8:
        head = source.head(HEAD).decode("utf-8", "replace").removeprefix("\ufeff")
    else:
        head = "".join(line.decode("utf-8", "replace") for line in source.begin() if isinstance(line, bytes))
    if head.startswith("#FORMAT=WebAnno") or (name == "tsv" and WEBANNO_2.match(head)):
        return "webanno"
    if name == "csv":
        header = head.partition("\n")[0].replace('"', "").strip().split(",")
        return "label-studio" if load("input", "label-studio").recognises(dict.fromkeys(header)) else None
    records = islice(json_items.records(enumerate(head.split("\n"), 1)), FIRST)
    whole = takewhile(lambda record: record.fault is None, records)  # the last one may be cut
    return next((tool for record in whole for tool in TOOLS if load("input", tool).recognises(record.fields)), None)
