"""The streaming engine: records in, one outcome out for each, in order, before the input ends, in constant memory.

A reader thread feeds records; this thread tokenises a window of them and cuts it into batches; a backend's streams
run the batches. While one window computes the next is read and tokenised. What fills no batch goes with the next
window, or as soon as a stream is idle. Knows no task, format or command.
Try: (echo good; sleep 3; echo bad) | bertcli predict
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from bertcli.backends.base import BaseBackend
from bertcli.data.records import Record
from bertcli.errors import Interrupted, RecordError
from bertcli.inference.batching import Cutter, Row, Slot, collate, distinct
from bertcli.inference.room import Room
from bertcli.inference.settings import Settings
from bertcli.tasks.base import BaseTask
from bertcli.tokenizer import Features

FIRST_WINDOW = 64  # records: the first results come soon
QUICK = 10.0  # seconds that a later window may take, by what the last one took; at most Settings.window records
IN_FLIGHT = 2  # windows: one computes while the next is tokenised and waits


@dataclass(slots=True)
class Outcome:
    """What became of a record: a raw prediction for `task.decode`, or the error that takes its place.

    tokens: in all its windows.
    """

    record: Record
    prediction: Any = None
    error: str | None = None
    windows: int = 1
    truncated: bool = False
    tokens: int = 0


class Stop:
    """A request to stop that a signal handler may make: `SimpleQueue.put` is safe inside one."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self.events: SimpleQueue[Any] = SimpleQueue()

    def request(self, signum: int, frame: object = None) -> None:
        """Handle a signal: ask the stream to end, and wake it."""
        self.signum = signum
        self.events.put(None)


def stream(
    task: BaseTask,
    backend: BaseBackend,
    records: Iterable[Record],
    settings: Settings | None = None,
    stop: Stop | None = None,
) -> Iterator[list[Outcome]]:
    """Yield the outcomes of each window of records as soon as it and those before it are done.

    Raises Interrupted after a stop request, once what was finished has been yielded, and whatever `records` raises.
    """
    pipeline = _Stream(task, backend, settings or Settings(), stop or Stop())
    try:
        pipeline.start(records)
        yield from pipeline.run()
    finally:
        pipeline.close()


@dataclass(slots=True, eq=False)
class _Job:
    """A window in flight. Each different text is in `outputs` or in `faults` when it has been computed."""

    outcomes: list[Outcome]
    began: float
    features: dict[int, Features] = field(default_factory=dict)
    same: dict[Slot, Slot] = field(default_factory=dict)
    different: int = 0
    faults: dict[Slot, str] = field(default_factory=dict)
    outputs: dict[Slot, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return len(self.outputs) + len(self.faults) == self.different


_Group = list[Row[tuple[_Job, Slot]]]


class _Stream:
    """The state of one run. `events` wakes its thread: with a batch that ended, or with None to look again."""

    def __init__(self, task: BaseTask, backend: BaseBackend, settings: Settings, stop: Stop) -> None:
        self.task, self.backend, self.settings, self.stop = task, backend, settings, stop
        self.events = stop.events
        self.room = Room(2 * settings.window, 2 * settings.characters)
        self.pool = ThreadPoolExecutor(backend.streams, "bertcli-stream")
        self.jobs: deque[_Job] = deque()
        self.cutter: Cutter[tuple[_Job, Slot]] = Cutter(settings.batch_tokens)
        self.running = 0  # batches that the pool has
        self.waiting: deque[Record] = deque()  # read, and in no window yet
        self.since: float | None = None  # when the first of them was seen
        self.size = min(FIRST_WINDOW, settings.window)
        self.finished = 0.0  # when the last window was
        self.ended = False
        self.failure: BaseException | None = None  # that ended the input

    def start(self, records: Iterable[Record]) -> None:
        """Read on a thread of its own: a read that blocks must hold up neither results nor signals."""
        threading.Thread(target=self._read, args=(records,), daemon=True, name="bertcli-reader").start()

    def _read(self, records: Iterable[Record]) -> None:
        try:
            for record in records:
                if not self.room.take(_weight(record)):
                    return
                self.waiting.append(record)
                if len(self.waiting) in (1, self.size) or self.room.characters <= self.settings.characters:
                    self.events.put(None)
        except BaseException as error:  # raised by the consumer, after the results of what was read
            self.failure = error
        self.ended = True
        self.events.put(None)

    def run(self) -> Iterator[list[Outcome]]:
        """The event loop."""
        while True:
            while self.jobs and self.jobs[0].done:
                yield self._finish(self.jobs.popleft())
            if self.stop.signum is not None:
                raise Interrupted(self.stop.signum)
            if self.cutter.held and self.running < self.backend.streams:
                self._start(self.cutter.rest())
            elif len(self.jobs) < IN_FLIGHT and self._due():
                self._submit()
            elif self.ended and not self.waiting and not self.jobs:
                break
            else:
                self._wait()
        if self.failure:
            raise self.failure

    def _due(self) -> bool:
        """Close the window when it is full, the input has ended, or its oldest record has waited long enough."""
        if not self.waiting:
            return False
        self.since = self.since or monotonic()
        return self._is_full() or self.ended or self._time_left() <= 0

    def _is_full(self) -> bool:
        return len(self.waiting) >= self.size or self.room.characters <= self.settings.characters

    def _time_left(self) -> float:
        return (self.since or 0.0) + self.settings.max_wait_ms / 1000 - monotonic()

    def _wait(self) -> None:
        """Wait for the next event, but not past the moment at which the waiting records are due."""
        is_due = self.waiting and len(self.jobs) < IN_FLIGHT
        try:
            event = self.events.get(timeout=max(0.0, self._time_left()) if is_due else None)
        except Empty:
            return
        if event is not None:
            self.running -= 1
            event.result()

    def _submit(self) -> None:
        """Tokenise a window of the waiting records and hand its batches to the streams."""
        records = self._window()
        job = _Job([Outcome(record, error=record.fault) for record in records], monotonic())
        self._encode(job)
        windows, job.same = distinct(job.features.items())
        job.different = len(windows)
        self.jobs.append(job)
        self._start(self.cutter.add(((job, slot), window) for slot, window in windows))

    def _window(self) -> list[Record]:
        records: list[Record] = []
        weight = 0
        while self.waiting and len(records) < self.size and weight < self.settings.characters:
            records.append(self.waiting.popleft())
            weight += _weight(records[-1])
        self.since = None
        self.room.give(len(records), weight)
        return records

    def _start(self, groups: list[_Group]) -> None:
        for group in groups:
            self.running += 1
            self.pool.submit(self._run, group).add_done_callback(self.events.put)

    def _encode(self, job: _Job) -> None:
        good = [(i, outcome) for i, outcome in enumerate(job.outcomes) if outcome.error is None]
        encoded = self.task.encode([outcome.record for _, outcome in good])
        for (i, outcome), features in zip(good, encoded, strict=True):
            if isinstance(features, RecordError):
                outcome.error = str(features)
            else:
                job.features[i] = features
                outcome.windows = len(features.windows) - (features.second is not None)
                outcome.truncated = features.truncated
                outcome.tokens = sum(len(window.ids) for window in features.windows)

    def _run(self, group: _Group) -> None:
        """Run a batch on a stream's thread. One that fails is halved until the record at fault is alone."""
        try:
            batch = collate([window for _, window in group])
            outputs = self.task.reduce(batch, self.backend.run(batch))
        except Exception as error:
            if len(group) == 1:
                job, slot = group[0][0]
                job.faults[slot] = f"the model failed on this record ({error})."
                return
            half = len(group) // 2
            self._run(group[:half])
            self._run(group[half:])
            return
        for row, ((job, slot), _) in enumerate(group):
            job.outputs[slot] = {name: array[row] for name, array in outputs.items()}

    def _finish(self, job: _Job) -> list[Outcome]:
        began, self.finished = max(job.began, self.finished), monotonic()  # it may have waited for the window before
        fits = int(len(job.outcomes) * QUICK / max(self.finished - began, 1e-3))
        self.size = min(max(fits, FIRST_WINDOW), self.settings.window)
        for i, features in job.features.items():
            outcome = job.outcomes[i]
            slots = [job.same[i, k] for k in range(len(features.windows))]
            outcome.error = next((job.faults[slot] for slot in slots if slot in job.faults), None)
            if outcome.error is None:
                outcome.prediction = self.task.combine(features, [job.outputs[slot] for slot in slots])
        return job.outcomes

    def close(self) -> None:
        """Let the reader thread go and drop the batches that have not begun."""
        self.room.close()
        self.pool.shutdown(wait=True, cancel_futures=True)


def _weight(record: Record) -> int:
    return sum(len(value) for value in record.fields.values() if isinstance(value, str))


def result(task: BaseTask, outcome: Outcome) -> dict[str, Any]:
    """What the user gets for a good outcome: the input's fields, what the task found, and how a long text was treated.

    An input field that has the name of a result is kept as `input_NAME`.
    """
    found = task.decode(outcome.record, outcome.prediction)
    if outcome.windows > 1:
        found["windows"] = outcome.windows
    if outcome.truncated:
        found["truncated"] = True
    fields = outcome.record.fields
    return {(f"input_{name}" if name in found else name): value for name, value in fields.items()} | found
