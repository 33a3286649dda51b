"""What can be wrong with data, by stable names; and a split, read as fine-tuning would, with what is wrong in it.

Every verdict on a record is the task's own, so that what passes here is what fine-tuning takes. Knows no format.
Try: bertcli check train.jsonl --json
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bertcli.data.records import Record
from bertcli.errors import RecordError, UsageError
from bertcli.tasks.base import BaseTask, Encoded

Severity = Literal["error", "warning"]
# What each code says: what is wrong, and what to do about it, in the order in which they are shown.
ERRORS: Mapping[str, str] = {  # what no model can be trained on
    "unreadable": "no record of the file's format; mend or delete it, or name the format",
    "bad-text": "the text is missing or is no text; mend it, or name its field with --text-field",
    "bad-label": "the label is missing or is none; mend it, or name its field with --label-field",
    "unknown-label": "a dev label that train lacks; mend it, or add training records of it",
    "nothing-to-learn": "no model can be trained or scored on this; add records",
}  # fmt: skip
WARNINGS: Mapping[str, str] = {  # what a person should look at
    "leak": "a dev text that is in train too; take it out of one, or dev scores are too good",
    "near-leak": "a dev text that is nearly in train; look at both, and take one out",
    "leaked-context": "a dev question asked of a training context; part the splits by context",
    "conflicting-label": "a text that has another label elsewhere; decide for one of them",
    "duplicate": "a text that came before in its split; keep one",
    "near-duplicate": "nearly a text that came before in its split; look at both",
    "mixed-labels": "a label of another kind than most, so that all are taken for classes; mend it, or say --problem",
    "number-labels": "whole numbers, which are taken for classes; --problem regression takes them as numbers",
    "label-typo": "a label much like a more frequent one; rename it if it is a typo",
    "rare-label": "a label with too few training records to be learnt; add some, or merge it",
    "imbalance": "labels of very different frequency; --class-weights balanced evens them",
    "label-not-in-dev": "a label of train that dev never has, so no score tells of it; add some",
    "empty-text": "there is nothing to read; delete the record",
    "long-text": "more tokens than the model takes; --long window reads the rest of it too",
    "unknown-pieces": "a fifth of the text or more is unknown to the tokenizer; replace it, or take another model",
    "misplaced-entity": "an entity that begins or ends inside a word and teaches nothing; mend it",
    "overlapping-entity": "an entity that overlaps another and teaches nothing; keep one of them",
    "discontinuous-entity":
        "an entity of several parts, which no tags can show and which teaches nothing; label one of them",
    "tag-scheme": "a tag that breaks the scheme of the other sentences; mend it",
    "misplaced-answer": "an answer that is not at its answer_start, but elsewhere; mend the offset",
    "lost-answer": "an answer that its context does not have, which teaches nothing; mend its text",
    "answer-border": "an answer that begins or ends inside a token: the model gives the whole one",
}  # fmt: skip


@dataclass
class Findings:
    """All faults found so far, by kind, each kind in the order of the data: where, and what is wrong there."""

    places: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, code: str, where: str, message: str) -> None:
        """Note a fault. code: one of ERRORS or WARNINGS; where: `file:line`, or the files of a split."""
        self.places.setdefault(code, []).append((where, message))

    def add_all(self, code: str, record: Record, error: RecordError) -> None:
        """Note every fault of a record in its place."""
        for where, message in record.located(error):
            self.add(code, where, message)

    def count(self, severity: Severity) -> int:
        """How many faults of that severity there are."""
        codes = ERRORS if severity == "error" else WARNINGS
        return sum(len(places) for code, places in self.places.items() if code in codes)

    def listed(self) -> list[dict[str, Any]]:
        """Code, severity, message, count and places of each kind that was found."""
        return [
            {
                "code": code,
                "severity": "error" if code in ERRORS else "warning",
                "message": meaning,
                "count": len(self.places[code]),
                "places": [{"place": where, "message": message} for where, message in self.places[code]],
            }
            for code, meaning in {**ERRORS, **WARNINGS}.items()
            if code in self.places
        ]


# A split, and its records that the task accepts.


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
    sources: Counter[str] = field(default_factory=Counter)

    @property
    def files(self) -> str:
        """Its files, for what concerns all of it."""
        return ", ".join("stdin" if source == "-" else source for source in self.sources) or self.name

    @property
    def records(self) -> list[Record]:
        """Those accepted."""
        return [example.record for example in self.examples]


def read(name: str, records: Iterable[Record], task: BaseTask, findings: Findings) -> Split:
    """Read a split to its end. task: with a tokenizer that cuts nothing."""
    split = Split(name)
    for record, encoded in task.encoded(_readable(name, records, findings)):
        split.read += 1
        split.sources[record.source] += 1
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
    """As the examples of tasks/training.py accept a record."""
    code = "unreadable"
    try:
        if record.fault is not None:
            raise RecordError(record.fault)
        code = "bad-text"
        if isinstance(encoded, RecordError):
            raise encoded
        texts = tuple(task.texts(record).values())
        code = "bad-label"
        kept = Record(record.index, task.kept(record), record.line, record.source, lines=record.lines)
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
