"""Labelled records, encoded once into flat arrays, and batches of tensors cut from them.

Knows tasks by their protocol only. 1M short texts take about 100 MB here, as lists of Python integers 20 times that.
"""

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from bertcli.arrays import Array, Flags, Indices
from bertcli.data.records import Record
from bertcli.errors import RecordError, UsageError
from bertcli.features import Features, Window
from bertcli.tasks.base import BaseTask, Encoded
from bertcli.tokenizer import encode_each

CHUNK = 4096  # records encoded at once
SHOWN = 1000  # faults listed before the rest is only counted
SAME = 3  # of those that say the same


class Faults:
    """What is wrong with the training data, collected so that a user can mend all of it at once."""

    def __init__(self) -> None:
        self.first: list[str] = []
        self.count = 0
        self.messages: Counter[str] = Counter()

    def add(self, record: Record, error: RecordError) -> None:
        """Note the faults of a record."""
        for location, message in record.located(error):
            self.count += 1
            self.messages[message] += 1
            if len(self.first) < SHOWN:
                self.first.append(f"{location}: {message}")

    def require_none(self, good: int) -> None:
        """Raise UsageError with the first faults, if there are any. good: how many records have none.

        What is said of every record is one mistake, most likely of an option such as --label-field, and shown thrice.
        """
        if self.count:
            is_one = good == 0 and len(self.messages) == 1
            first = self.first[:SAME] if is_one else self.first
            left = self.count - len(first)
            more = [f"and {left:,} more{' of the same' if is_one else ''}."] if left else []
            what = "fault" if self.count == 1 else "faults"
            raise UsageError("\n".join([f"the data has {self.count:,} {what}:", *first, *more]))


class Examples:
    """N records as W windows (W = N unless long texts are windowed).

    ids: (tokens,) int32, window after window. type_ids: (tokens,) int8, or None for single texts.
    words: (tokens,) int32, the word that a token begins or -1; None where labels are not of words.
    spans: (tokens, 2) int32, where a token begins and ends in its context; None where labels are not of a context.
    offsets: (W+1,) where each window begins in them. owner: (W,) index of a window's record.
    records: N, each with its label only; those after the first `labelled` ones have none. truncated: records that lost
    tokens. sources, unlabelled: the files that records with and without a label came from, and how many.
    """

    def __init__(
        self, task: BaseTask, records: Iterable[Record], faults: Faults, unlabelled: Iterable[Record] = ()
    ) -> None:
        self._ids, self._types, self._words, self._spans = array("i"), array("b"), array("i"), array("i")
        self._lengths, self._owner = array("q"), array("q")
        self._second = array("q")
        self.records: list[Record] = []
        self.truncated = 0
        self.sources, self.unlabelled = Counter[str](), Counter[str]()
        for record, encoded in _encoded(task, records):
            self._add(record, encoded, task.kept, self.sources, faults)
        self.labelled = len(self.records)
        for record, encoded in _encoded(task, unlabelled):
            self._add(record, encoded, lambda record: {}, self.unlabelled, faults)
        self.ids = np.asarray(self._ids, np.int32)
        self.type_ids = np.asarray(self._types, np.int8) if self._types else None
        self.words = np.asarray(self._words, np.int32) if self._words else None
        self.spans = np.asarray(self._spans, np.int32).reshape(-1, 2) if self._spans else None
        self.lengths = np.asarray(self._lengths, np.int64)
        self.owner = np.asarray(self._owner, np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)])

    def _add(
        self, record: Record, encoded: Encoded, kept: Callable[[Record], Any], sources: Counter[str], faults: Faults
    ) -> None:
        sources[record.source] += 1
        try:
            if record.fault is not None:
                raise RecordError(record.fault)
            if isinstance(encoded, RecordError):
                raise encoded
            fields = kept(record)
        except RecordError as error:
            return faults.add(record, error)
        for window in encoded.windows:
            self._add_window(window)
        if encoded.second is not None:
            self._second.append(encoded.second)
        self.truncated += encoded.truncated
        # What is left is what the label is read from, and the place for messages.
        return self.records.append(Record(record.index, fields, record.line, record.source, lines=record.lines))

    def _add_window(self, window: Window) -> None:
        self._ids.extend(window.ids)
        if window.type_ids is not None:
            self._types.extend(window.type_ids)
        if window.words is not None:
            self._words.extend(window.words)
        if window.offsets is not None:
            self._spans.extend(chain.from_iterable(window.offsets))
        self._lengths.append(len(window.ids))
        self._owner.append(len(self.records))

    def __len__(self) -> int:
        return len(self.records)

    def targets(self, task: BaseTask, faults: Faults) -> list[Any]:
        """The task's target of each labelled record; faults are collected, and their targets are None."""
        return [_target(task, record, faults) for record in self.records[: self.labelled]]

    def arrays(self, windows: Indices, pad: int) -> dict[str, Array]:
        """input_ids and, where there are any, token_type_ids, (B, T) int64; attention_mask only if lengths differ."""
        positions, mask = self.positions(windows)
        result = {"input_ids": np.where(mask, self.ids[positions], pad).astype(np.int64)}
        if self.type_ids is not None:
            result["token_type_ids"] = np.where(mask, self.type_ids[positions], 0).astype(np.int64)
        # Without a mask, attention runs on the kernels for dense batches; nearly all training batches are.
        return result if mask.all() else result | {"attention_mask": mask.astype(np.int64)}

    def positions(self, windows: Indices) -> tuple[Indices, Flags]:
        """Where the windows' tokens are in the flat arrays, and which of these (B, T) positions are tokens at all."""
        lengths = self.lengths[windows]
        columns = np.arange(lengths.max())
        mask = columns < lengths[:, None]
        return np.where(mask, self.offsets[windows][:, None] + columns, 0), mask

    def features(self) -> Iterator[tuple[Features, range]]:
        """Each record as its task's `combine` wants it, and which windows are its own."""
        ends = np.searchsorted(self.owner, np.arange(len(self)), side="right")
        start = 0
        for row, end in enumerate(ends.tolist()):
            windows = range(start, end)
            second = self._second[row] if self._second else None
            yield Features([self._bare(i) for i in windows], second=second), windows
            start = end

    def tokens_of(self, window: int) -> slice:
        """Where a window's tokens are in the flat arrays."""
        return slice(self.offsets[window], self.offsets[window + 1])

    def _bare(self, window: int) -> Window:
        tokens = self.tokens_of(window)
        words = None if self.words is None else self.words[tokens].tolist()
        spans = None if self.spans is None else self.spans[tokens].tolist()
        return Window(self.ids[tokens].tolist(), words=words, offsets=spans)

    def sha256(self, targets: Sequence[Any]) -> str:
        """A hash of what the model is trained on: tokens, their segments and the targets."""
        digest = hashlib.sha256(repr(list(targets)).encode())
        for values in (self.ids, self.lengths, self.owner, self.type_ids):
            digest.update(b"" if values is None else values.tobytes())
        return digest.hexdigest()


def provenance(sources: Mapping[str, int]) -> dict[str, Any]:
    """Where records came from: name, count and, for a file, sha256."""
    return {source: {"records": count, **file_hash(source)} for source, count in sources.items()}


def _encoded(task: BaseTask, records: Iterable[Record]) -> Iterator[tuple[Record, Encoded]]:
    iterator = iter(records)
    while chunk := list(islice(iterator, CHUNK)):
        yield from zip(chunk, encode_each(task.encode, chunk), strict=True)


def _target(task: BaseTask, record: Record, faults: Faults) -> Any:
    try:
        return task.label(record)
    except RecordError as error:
        return faults.add(record, error)


def file_hash(source: str) -> dict[str, str]:
    """Its sha256 by that name; nothing for stdin and what else is no file."""
    if not Path(source).is_file():
        return {}
    with Path(source).open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
