"""A split as fine-tuning would read it: the records that the task accepts, and the faults of the others.

Every verdict on a record is the task's own, so that what passes here is what fine-tuning takes.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from bertcli.checking.findings import Findings
from bertcli.data.records import Record
from bertcli.errors import RecordError, UsageError
from bertcli.tasks.base import BaseTask, Encoded
from bertcli.tokenizer import Features, Long, Tokenizer, Window, encode_each

CHUNK = 4096  # records encoded at once
ENDLESS = sys.maxsize // 2  # tokens in a window, so that nothing is cut


@dataclass(slots=True)
class Example:
    """A record that the task accepts. texts: what is read of it. gold: its target; None until the labels are known.

    record: with the fields of its label only. pieces: of the longer where there are two texts to be encoded apart,
    special ones included; unknown: those that the tokenizer does not know. Both 0 where no model is named.
    """

    record: Record
    texts: tuple[str, ...]
    pieces: int
    unknown: int
    gold: Any = None


@dataclass
class Split:
    """One split. read: how many records, good or not. sources: their files, each with its number of records."""

    name: str
    examples: list[Example] = field(default_factory=list)
    read: int = 0
    sources: dict[str, int] = field(default_factory=dict)

    @property
    def files(self) -> str:
        """Its files, for what concerns all of it."""
        return ", ".join("stdin" if source == "-" else source for source in self.sources) or self.name

    @property
    def records(self) -> list[Record]:
        """Those accepted."""
        return [example.record for example in self.examples]


class NoTokenizer(Tokenizer):
    """Stands in where no model is named: takes every text, and finds no piece in it."""

    def __init__(self) -> None:
        self.max_length = ENDLESS

    @property
    def mask(self) -> tuple[str, int]:
        """BERT's."""
        return "[MASK]", 0

    @property
    def unknown(self) -> int | None:
        """None: nothing is looked up."""
        return None

    def encode(self, texts: Sequence[Any], long: Long = "window") -> list[Features | RecordError]:
        """One empty window each."""
        return [Features([Window([])]) for _ in texts]

    def encode_words(self, sentences: Sequence[Sequence[str]], long: Long = "window") -> list[Features | RecordError]:
        """One empty window each."""
        return self.encode(sentences)

    def encode_contexts(self, pairs: Sequence[tuple[str, str]], long: Long = "window") -> list[Features | RecordError]:
        """One empty window each."""
        return self.encode(pairs)

    def encode_marked(self, texts: Sequence[str], mark: int, long: Long = "window") -> list[Features | RecordError]:
        """One empty window each."""
        return self.encode(texts)


def read(name: str, records: Iterable[Record], task: BaseTask, findings: Findings) -> Split:
    """Read a split to its end. task: with a tokenizer that cuts nothing."""
    split = Split(name)
    readable = _readable(name, records, findings)
    while chunk := list(islice(readable, CHUNK)):
        for record, encoded in zip(chunk, encode_each(task.encode, chunk), strict=True):
            split.read += 1
            split.sources[record.source] = split.sources.get(record.source, 0) + 1
            if example := _accepted(record, encoded, task, findings):
                split.examples.append(example)
    return split


def _readable(name: str, records: Iterable[Record], findings: Findings) -> Iterator[Record]:
    """The records up to what makes the rest of a file unusable, such as a header without names."""
    try:
        yield from records
    except UsageError as error:
        file, colon, message = str(error).partition(": ")
        findings.add("unreadable", file if colon else name, message if colon else str(error))


def _accepted(record: Record, encoded: Encoded, task: BaseTask, findings: Findings) -> Example | None:
    """As tasks/examples.py accepts a record."""
    code = "unreadable"
    try:
        if record.fault is not None:
            raise RecordError(record.fault)
        code = "bad-text"
        if isinstance(encoded, RecordError):
            raise encoded
        texts = tuple(task.texts(record).values())
        code = "bad-label"
        kept = Record(record.index, task.kept(record), record.line, record.source, step=record.step)
        doubts = list(task.token_doubts(record, encoded))
    except RecordError as error:
        findings.add_all(code, record, error)
        return None
    for doubt, message in doubts:
        findings.add(doubt, record.location, message)
    pieces = [window.ids for window in encoded.windows]
    unknown = task.tokenizer.unknown
    count = 0 if unknown is None else sum(ids.count(unknown) for ids in pieces)
    return Example(kept, texts, max(map(len, pieces)), count)
