"""SQuAD's JSON, 1.1 and 2.0, and what has its form (CMRC 2018, SQuADShifts): a record per question.

The file is one JSON document, so it is read whole: the 30 MB of SQuAD's training set take 150 MB of memory.

Try: bertcli predict dev-v1.1.json -m MODEL
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from bertcli.data.input_formats.jsonl import LENIENT, check_values
from bertcli.data.records import Record
from bertcli.data.streams import Source
from bertcli.errors import RecordError, UsageError

WHOLE = True
EXTENSIONS = ()
HEAD = 1 << 16  # characters in which the first paragraph begins
_BEGINS = re.compile(r'\s*\{.*?"data"\s*:\s*\[.*?"paragraphs"\s*:\s*\[', re.DOTALL)
_FIELDS = ("id", "question", "answers", "is_impossible")


def is_squad(source: Source) -> bool:
    """Whether a file begins as one."""
    head = ""
    for line in source.lines():
        head += line.decode("utf-8", "replace") if isinstance(line, bytes) else ""
        if len(head) >= HEAD:
            break
    return _BEGINS.match(head[:HEAD]) is not None


def read(source: Source, columns: Sequence[str] | None) -> Iterator[Record]:
    """Records {"id", "question", "context", "answers"}, with is_impossible in 2.0. line: the number of the question.

    Raises UsageError for what is not SQuAD's JSON, before the first record.
    """
    try:
        document = LENIENT.decode("".join(map(source.text, source.lines())))
    except (ValueError, RecursionError, RecordError) as error:  # of JSON, of its nesting, of bytes that are no text
        raise UsageError(f"{source.name}: not SQuAD's JSON ({error}).") from error
    questions = []
    for article in _list(source, document, "data"):
        for paragraph in _list(source, article, "paragraphs"):
            questions += [(question, paragraph.get("context")) for question in _list(source, paragraph, "qas")]
    for number, (question, context) in enumerate(questions, 1):
        if not isinstance(question, dict):
            yield Record(line=number, fault="a question that is no JSON object")
            continue
        fields = {name: question[name] for name in _FIELDS if name in question} | {"context": context}
        try:
            check_values(fields)
        except RecordError as error:
            yield Record(line=number, fault=str(error))
        else:
            yield Record(fields=fields, line=number)


def _list(source: Source, parent: Any, name: str) -> list[Any]:
    value = parent.get(name) if isinstance(parent, dict) else None
    if not isinstance(value, list):
        raise UsageError(f"{source.name}: not SQuAD's JSON (no list '{name}' where one belongs).")
    return value
