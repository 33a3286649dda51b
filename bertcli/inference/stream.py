"""The stream: records in, one outcome out for each, in order, before the input ends, in constant memory.

A record is read, joins a chunk, is tokenised, batched, run, and finished. The methods of `_Stream` stand in this order;
its `run` is the loop that calls them. There are three kinds of threads: a reader reads records, the caller's thread
tokenises and finishes chunks, and the threads of the pool run batches (as many as the backend has streams). So while
one chunk computes, the next is read and tokenised. Windows that fill no batch wait for the next chunk, or run as soon
as a thread of the pool is idle. Knows no task, format or command.
Try: (echo good; sleep 3; echo bad) | bertcli predict
"""

import threading
import unicodedata
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from types import MappingProxyType
from typing import Any

import numpy as np

from bertcli.arrays import Features
from bertcli.backends import BaseBackend
from bertcli.data.records import Record, merged, weight
from bertcli.errors import Interrupted, RecordError
from bertcli.inference import CHARACTERS, Batching
from bertcli.inference.batching import Cutter, Padding, Row, Slot, collate, distinct
from bertcli.tasks.base import BaseTask

FIRST_CHUNK = 64  # records; few, so that the first results come soon
CHUNK_SECONDS = 10.0  # what a later chunk should take; its number of records follows from the speed of the last one
IN_FLIGHT = 2  # chunks: one computes while the next is tokenised
SCRIPT_SAMPLE = 200  # characters of a text that decide its script
SCRIPTS_NAMED = 3  # in the warning
LANGUAGES = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}
NO_SCRIPT = "signs"  # what a text without letters has: emoji, numbers

Finished = tuple[Record, dict[str, Any] | None, str | None]  # a record with its result, or with the error in its place


@dataclass(slots=True)
class Outcome:
    """What became of a record: a raw prediction for `task.decode`, or the error that takes its place.

    tokens: of all its windows. unknown: the share of pieces that the model does not know. layers: how many computed it,
    None without an early exit.
    """

    record: Record
    prediction: Any = None
    error: str | None = None
    windows: int = 1
    truncated: bool = False
    tokens: int = 0
    unknown: float = 0.0
    layers: int | None = None


@dataclass(eq=False)
class Stop:
    """A request to stop, which a signal handler may make: `SimpleQueue.put` is safe there."""

    signum: int | None = None
    events: SimpleQueue[Any] = field(default_factory=SimpleQueue)

    def request(self, signum: int) -> None:
        """Handle a signal: ask the stream to end, and wake it."""
        self.signum = signum
        self.events.put(None)


def stream(
    task: BaseTask,
    backend: BaseBackend,
    records: Iterable[Record],
    settings: Batching | None = None,
    stop: Stop | None = None,
) -> Iterator[list[Outcome]]:
    """Yield the outcomes of each chunk of records as soon as it and all chunks before it are done.

    Raises Interrupted after a stop request, once what was finished has been yielded, and whatever `records` raises.
    """
    work = _Stream(task, backend, settings or Batching(), stop or Stop())
    try:
        # A read that blocks must hold up neither results nor signals, hence a thread of its own.
        threading.Thread(target=work.read, args=(records,), daemon=True, name="bertcli-reader").start()
        yield from work.run()
    finally:  # end the reader, and drop the batches that have not begun
        with work.room:
            work.closed = True
            work.room.notify()
        work.pool.shutdown(wait=True, cancel_futures=True)


@dataclass(slots=True, eq=False)
class _Chunk:
    """Records in flight. A slot is a window of a record. Equal windows are run once, for all their slots.

    features: of the records that could be encoded, by their position. representative: for each slot the one that is run
    in its place. to_run: the number of slots that are run; each of them ends in `outputs` or in `faults`.
    """

    outcomes: list[Outcome]
    features: dict[int, Features]
    representative: dict[Slot, Slot]
    to_run: int
    began: float
    outputs: dict[Slot, Any] = field(default_factory=dict)
    faults: dict[Slot, str] = field(default_factory=dict)


_Group = list[Row[tuple[_Chunk, Slot]]]  # the windows of a batch, each with where its outputs go


class _Stream:
    """The state of one run. An event, the future of a finished batch or None, wakes the caller's thread."""

    def __init__(self, task: BaseTask, backend: BaseBackend, settings: Batching, stop: Stop) -> None:
        self.task, self.backend, self.settings, self.stop = task, backend, settings, stop
        self.events = stop.events
        # The reader and the caller's thread share these. A record waits beside its number of characters. `room` guards
        # how many more records and characters the reader may take, so that memory stays constant.
        self.waiting: deque[tuple[Record, int]] = deque()
        self.room = threading.Condition()
        self.most_records = settings.chunk_records or backend.chunk_records
        self.most_characters = settings.characters or CHARACTERS * self.most_records
        self.free_records, self.free_characters = 2 * self.most_records, 2 * self.most_characters
        self.closed = False
        self.ended = False  # whether the input has ended, by itself or by `failure`
        self.failure: BaseException | None = None
        # The caller's thread alone uses these.
        self.next_size = min(FIRST_CHUNK, self.most_records)  # records of the next chunk
        self.waiting_since: float | None = None  # when the wait for the next chunk to fill began
        self.finished_at = 0.0  # when the last chunk was finished
        self.chunks: deque[_Chunk] = deque()  # those in flight
        self.padding = Padding(backend.multiple, task.tokenizer.max_length, task.tokenizer.pad)
        tokens = settings.batch_tokens or backend.batch_tokens
        self.cutter: Cutter[tuple[_Chunk, Slot]] = Cutter(tokens, self.padding)
        self.pool = ThreadPoolExecutor(backend.streams, "bertcli-stream")
        self.running = 0  # batches in the pool that are not finished

    def run(self) -> Iterator[list[Outcome]]:
        """The event loop. Each turn finishes what it can, then takes the first branch that applies."""
        while True:
            while self.chunks and len(self.chunks[0].outputs) + len(self.chunks[0].faults) == self.chunks[0].to_run:
                yield self._finish(self.chunks.popleft())
            if self.stop.signum is not None:
                raise Interrupted(self.stop.signum)
            if self.cutter.held and self.running < self.backend.streams:
                self._start(self.cutter.rest())
            elif self.waiting and len(self.chunks) < IN_FLIGHT and self._time_left() <= 0:
                self._submit()
            elif self.ended and not self.waiting and not self.chunks:
                break
            else:  # wait for the next event, but only until the waiting records become a chunk
                timeout = None
                if self.waiting and len(self.chunks) < IN_FLIGHT:
                    timeout = min(max(0.0, self._time_left()), threading.TIMEOUT_MAX)
                with suppress(Empty):
                    if (event := self.events.get(timeout=timeout)) is not None:
                        self.running -= 1
                        event.result()
        if self.failure:
            raise self.failure

    def read(self, records: Iterable[Record]) -> None:
        """Read the records, on the reader's thread, never further ahead than there is room."""
        try:
            for record in records:
                characters = weight(record.fields)
                with self.room:
                    self.room.wait_for(lambda: self.closed or (self.free_records > 0 and self.free_characters > 0))
                    self.free_records -= 1
                    self.free_characters -= characters
                if self.closed:
                    return
                self.waiting.append((record, characters))
                if len(self.waiting) in (1, self.next_size) or self.free_characters <= self.most_characters:
                    self.events.put(None)
        except BaseException as error:  # The caller's thread raises it after the results of what was read.
            self.failure = error
        self.ended = True
        self.events.put(None)

    def _time_left(self) -> float:
        """Seconds until the waiting records become a chunk; 0 if they fill one or the input has ended."""
        is_full = len(self.waiting) >= self.next_size or self.free_characters <= self.most_characters
        if is_full or self.ended:
            return 0.0
        if self.waiting_since is None:
            self.waiting_since = monotonic()
        return self.waiting_since + self.settings.max_wait_ms / 1000 - monotonic()

    def _submit(self) -> None:
        """Take a chunk of the waiting records, tokenise it, and hand its batches to the pool."""
        records: list[Record] = []
        taken = 0
        while self.waiting and len(records) < self.next_size and taken < self.most_characters:
            record, characters = self.waiting.popleft()
            records.append(record)
            taken += characters
        self.waiting_since = None
        with self.room:
            self.free_records += len(records)
            self.free_characters += taken
            self.room.notify()

        began = monotonic()
        outcomes = [Outcome(record, error=record.fault) for record in records]
        good = [(i, outcome) for i, outcome in enumerate(outcomes) if outcome.error is None]
        features: dict[int, Features] = {}
        for (i, outcome), encoded in zip(good, self.task.encode([outcome.record for _, outcome in good]), strict=True):
            if isinstance(encoded, RecordError):
                outcome.error = str(encoded)
                continue
            features[i] = encoded
            is_pair_of_one = encoded.second is not None and len(encoded.windows) == 2
            outcome.windows = 1 if is_pair_of_one else len(encoded.windows)
            outcome.truncated = encoded.truncated
            outcome.tokens = sum(len(window.ids) for window in encoded.windows)
            outcome.unknown = self.task.tokenizer.unknown_share(encoded.windows)

        windows, representative = distinct(features.items())
        chunk = _Chunk(outcomes, features, representative, len(windows), began)
        self.chunks.append(chunk)
        self._start(self.cutter.add(((chunk, slot), window) for slot, window in windows))

    def _start(self, groups: list[_Group]) -> None:
        for group in groups:
            self.running += 1
            self.pool.submit(self._run, group).add_done_callback(self.events.put)

    def _run(self, group: _Group) -> None:
        """Run a batch, on a thread of the pool. One that fails is halved until the faulty record is alone."""
        try:
            batch = collate([window for _, window in group], self.padding)
            outputs = self.task.reduce(batch, self.backend.run(batch))
            # To a task NaN would mean a missing word or answer. -inf is valid: it rules a class out.
            are_numbers = [np.all((array < np.inf).reshape(len(group), -1), axis=1) for array in outputs.values()]
        except Exception as error:
            if len(group) == 1:
                chunk, slot = group[0][0]
                chunk.faults[slot] = f"the model failed on this record ({error})."
                return
            half = len(group) // 2
            self._run(group[:half])
            self._run(group[half:])
            return
        for row, ((chunk, slot), _) in enumerate(group):
            if all(bool(rows[row]) for rows in are_numbers):
                chunk.outputs[slot] = {name: array[row] for name, array in outputs.items()}
            else:
                chunk.faults[slot] = "the model's scores are not finite; its weights or its precision are at fault."

    def _finish(self, chunk: _Chunk) -> list[Outcome]:
        """Combine the outputs of each record's windows; this chunk's time decides the size of the next one."""
        began, self.finished_at = max(chunk.began, self.finished_at), monotonic()  # It may have waited for another.
        fits = int(len(chunk.outcomes) * CHUNK_SECONDS / max(self.finished_at - began, 1e-3))
        self.next_size = min(max(fits, FIRST_CHUNK), self.most_records)
        for i, features in chunk.features.items():
            outcome = chunk.outcomes[i]
            slots = [chunk.representative[i, k] for k in range(len(features.windows))]
            outcome.error = next((chunk.faults[slot] for slot in slots if slot in chunk.faults), None)
            if outcome.error is None:
                outputs = [chunk.outputs[slot] for slot in slots]
                outcome.prediction = self.task.combine(features, outputs)
                outcome.layers = max((int(output["layers"]) for output in outputs if "layers" in output), default=None)
        return chunk.outcomes


def result(task: BaseTask, outcome: Outcome, more: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """What the user gets for an outcome without an error: input fields, the task's result, the windows of a long text.

    more: further results. `merged` renames an input field that has the name of a result.
    """
    fields, results = task.answer(outcome.record, outcome.prediction)
    if outcome.windows > 1:
        results["windows"] = outcome.windows
    if outcome.truncated:
        results["truncated"] = True
    if outcome.unknown:
        results["unknown"] = round(outcome.unknown, 2)
    if outcome.layers is not None and task.options.all_scores:
        results["layers"] = outcome.layers
    return merged(fields, {**results, **more})


def finish(task: BaseTask, outcome: Outcome) -> Finished:
    """The record of an outcome with its result, or with the error that takes its place."""
    return outcome.record, None if outcome.error else result(task, outcome), outcome.error


# Texts that are mostly unknown to the model: their results are worth little, so the run warns at its end.


def scripts(text: str) -> Counter[str]:
    """The number of letters in each script by its Unicode name, or in the one language that uses a script."""
    names = (unicodedata.name(character, NO_SCRIPT).split()[0] for character in text if character.isalpha())
    return Counter(LANGUAGES.get(name, name.title()) for name in names)


def script_of(texts: Iterable[str]) -> str:
    """The script of most letters of texts that are read together. Kana among ideographs make them Japanese."""
    counts = scripts("".join(text[:SCRIPT_SAMPLE] for text in texts))
    return "Japanese" if "Japanese" in counts else max(counts, key=counts.__getitem__, default=NO_SCRIPT)


def unknown_sentence(counts: Mapping[str, int], records: int) -> str:
    """The warning at the end of a run. counts: its mostly unknown texts by script; records: the number of all texts."""
    likely = sorted(counts, key=lambda script: -counts[script])[:SCRIPTS_NAMED]
    questions = " ".join(f"{script[0].upper()}{script[1:]}?" for script in likely)
    return f"{sum(counts.values()):,} of {records:,} texts are mostly unknown to this model: {questions}"
