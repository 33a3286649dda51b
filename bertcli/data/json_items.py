"""The objects of a JSON file, whether it is JSON lines or one array, with only one of them in memory at a time.

An array may take as many lines as it likes, or one, which a line's bound of 64 MiB then holds for. Knows no fields.

Try: echo '[{"text": "good", "label": ["a"]}]' | bertcli predict --input-format doccano
"""

import re
from collections.abc import Iterator
from itertools import chain, islice

from bertcli.data.input_formats import jsonl
from bertcli.data.records import Record
from bertcli.data.streams import MAX_LINE, Text
from bertcli.errors import RecordError

_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]')  # a string of JSON has no line end, so none goes over a line
BETWEEN = ", \t\r\n"  # what may be between two items


def records(texts: Iterator[Text]) -> Iterator[Record]:
    """Records with the fields of each object; it is an array where the first line begins with a bracket."""
    first = list(islice(texts, 1))
    is_array = any(isinstance(text, str) and text.lstrip().startswith("[") for _, text in first)
    texts = chain(first, texts)
    return jsonl.records(_items(texts) if is_array else texts)


def _items(texts: Iterator[Text]) -> Iterator[Text]:
    """The text of each item of an array, with the line where it begins. Arrays may follow one another, as shards do.

    What is between two items and no object, such as a number, comes as a text too: a fault, and not lost.
    """
    depth = size = 0
    begin, parts = 1, list[str]()
    for number, line in texts:
        if isinstance(line, RecordError) or size > MAX_LINE:
            fault = line if isinstance(line, RecordError) else f"an item longer than {MAX_LINE >> 20} MiB"
            yield begin if depth > 1 else number, RecordError(f"{fault}; the rest of the array is lost")
            return
        start = 0
        for mark in _MARKS.finditer(line):
            if mark[0] in ("[", "{"):
                depth += 1
                if depth <= 2:
                    yield number, line[start : mark.start()].strip(BETWEEN)
                    begin, start = number, mark.end() if depth == 1 else mark.start()
            elif mark[0] in ("]", "}"):
                depth = max(0, depth - 1)
                if depth == 1:
                    yield begin, "".join([*parts, line[start : mark.end()]])
                    parts, size, start = [], 0, mark.end()
                elif depth == 0:
                    yield number, line[start : mark.start()].strip(BETWEEN)
                    start = mark.end()
        if depth > 1:
            parts.append(line[start:] + "\n")
            size += len(line) - start
        else:
            yield number, line[start:].strip(BETWEEN)
    if depth:
        yield begin, RecordError("an array that is never closed; the export is not whole")
