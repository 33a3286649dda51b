"""From files of raw text to a tokenised corpus: in parallel, cached by content, continued where it was interrupted.

Workers are given documents in turn and answer in turn, so the corpus does not depend on their number. Each waits on a
pipe that ends with the process that started it, so none outlives a run, however the run ended.
"""

import hashlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from bertcli.errors import BertcliError, Interrupted, RecordError, UsageError
from bertcli.pretraining import cached
from bertcli.pretraining.corpus import Corpus, Part, Writer, open_corpus
from bertcli.pretraining.encoding import Encoder, sentences
from bertcli.pretraining.source import Document, Source

BATCH = 1 << 20  # characters that a worker is given at once
COMMIT = 1 << 26  # characters between entries of the journal: what an interruption may cost
VERSION = 1  # of the folder's format and of how text becomes tokens

Lines = Sequence[str]


@dataclass(frozen=True)
class Recipe:
    """What decides the tokens. tokenizer: a tokenizer.json as text. words: what finds words of Chinese, or None."""

    source: Source
    tokenizer: str
    words: str | None = None

    @cached_property
    def identity(self) -> dict[str, str]:
        """All of it as plain values."""
        words = cached.sha256(self.words) if self.words and Path(self.words).is_file() else str(self.words)
        digest = hashlib.sha256(self.tokenizer.encode()).hexdigest()
        return {**self.source.identity, "--words": words, "vocabulary": digest}


@dataclass(frozen=True)
class Reading:
    """How far tokenising is: characters and tokens so far; characters a second in this run."""

    characters: int
    tokens: int
    speed: float


@dataclass(frozen=True)
class _Place:
    """How far the corpus is read: so many documents and faults of this file; characters and faults before it."""

    file: int = 0
    items: int = 0
    characters: int = 0
    faults: int = 0
    first_fault: str = ""


_Batches = Iterator[tuple[_Place, list[Lines]]]


def prepare(
    recipe: Recipe, cache: Path, workers: int, stop: Callable[[], int | None]
) -> Generator[Reading, None, Corpus]:
    """Yield how far it is, return the corpus; at once where the cache has it.

    One process builds a folder, others wait for it, be they of this run or of another. Raises UsageError for a corpus
    without text and, unless the source skips faults, at the first one; Interrupted when `stop` returns a signal number.
    """
    folder = cache / cached.key(VERSION, recipe.identity)
    with cached.locked(folder, stop):
        if not open_corpus(folder):
            yield from _build(recipe, folder, workers, stop)
    found = open_corpus(folder)
    assert found is not None
    if found.facts["faults"]:  # an earlier run may have skipped them
        recipe.source.demand(RecordError(found.facts["first_fault"]))
    return found


def _build(recipe: Recipe, folder: Path, workers: int, stop: Callable[[], int | None]) -> Iterator[Reading]:
    writer = Writer(folder, Encoder(recipe.tokenizer).dtype)
    first = _Place(**writer.state)
    began, committed = time.perf_counter(), first.characters
    try:
        with closing(writer), closing(_parts(recipe, workers, _batches(recipe.source, first))) as parts:
            for place, part in parts:
                writer.append(part)
                speed = (place.characters - first.characters) / (time.perf_counter() - began)
                yield Reading(place.characters, writer.counts["ids"], speed)
                signum = stop()
                if signum or place.characters > committed + COMMIT:
                    writer.commit(asdict(place))
                    committed = place.characters
                if signum:
                    raise Interrupted(signum)
            _demand_text(writer, place)
            writer.commit(asdict(place))
            writer.finish({"files": list(recipe.source.files), **asdict(place)})
    except OSError as error:  # a full disk
        raise BertcliError(
            f"{folder}: {error.strerror}; --cache names another place, and it goes on from here."
        ) from error


def _demand_text(writer: Writer, place: _Place) -> None:
    if not writer.counts["ids"]:
        why = f" ({place.faults:,} faults, the first: {place.first_fault})" if place.faults else ""
        raise UsageError(f"the corpus has no text{why}.")


def _batches(source: Source, place: _Place) -> _Batches:
    """Documents of about BATCH characters together, and the place behind them; the last may hold none."""
    batch: list[Lines] = []
    size = 0
    for i, name in enumerate(source.files[place.file :], place.file):
        place = replace(place, file=i, items=place.items if i == place.file else 0)
        for item in islice(source.read(name), place.items, None):
            source.demand(item)
            place = _after(place, item)
            if not isinstance(item, RecordError):
                batch.append(item.lines)
                size += sum(map(len, item.lines))
            if size >= BATCH:
                place = replace(place, characters=place.characters + size)
                yield place, batch
                batch, size = [], 0
    yield replace(place, characters=place.characters + size), batch


def _after(place: _Place, item: Document | RecordError) -> _Place:
    if not isinstance(item, RecordError):
        return replace(place, items=place.items + 1)
    first = place.first_fault or str(item)
    return replace(place, items=place.items + 1, faults=place.faults + 1, first_fault=first)


def tokenise(encoder: Encoder, documents: Sequence[Lines]) -> Part:
    """Split documents into sentences and these into tokens; a sentence or document of which nothing is left is none."""
    split = [[sentence for line in lines for sentence in sentences(line)] for lines in documents]
    encoded = encoder.encode(list(chain.from_iterable(split)))
    kept = encoded.lengths > 0
    owner = np.repeat(np.arange(len(split)), [len(own) for own in split])
    counts = np.bincount(owner[kept], minlength=len(split))
    return Part(encoded.ids.astype(encoder.dtype), encoded.starts, encoded.lengths[kept], counts[counts > 0])


def _parts(recipe: Recipe, workers: int, batches: _Batches) -> Generator[tuple[_Place, Part], None, None]:
    """What becomes of the batches, in order; one worker would only be waited for, so this process does its work."""
    if workers > 1:
        with _workers(recipe, workers) as connections:
            yield from _answers(connections, batches)
        return
    encoder = Encoder(recipe.tokenizer, recipe.words)
    yield from ((place, tokenise(encoder, documents)) for place, documents in batches)


# The processes.


@contextmanager
def _workers(recipe: Recipe, count: int) -> Iterator[list[Connection]]:
    """Connections to `count` new processes, which end when the connections do."""
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    pipes = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=_work, args=(end, recipe.tokenizer, recipe.words)) for _, end in pipes]
    with _signals_held():
        for process, (_, end) in zip(processes, pipes, strict=True):
            process.start()
            end.close()
    try:
        yield [own for own, _ in pipes]
    finally:
        for own, _ in pipes:
            own.close()
        for process in processes:
            process.join()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Processes that are started meanwhile never see these signals, which may reach a whole group: the first decides.

    To ignore them would be too late in the processes, which need a second to begin.
    """
    resource_tracker.ensure_running()  # Python 3.11 lets the signals in when this has begun
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection, tokenizer: str, words: str | None) -> None:
    encoder = Encoder(tokenizer, words)
    with suppress(EOFError, OSError):  # the other end is closed
        while True:
            connection.send(tokenise(encoder, connection.recv()))


def _answers(connections: Sequence[Connection], batches: _Batches) -> Iterator[tuple[_Place, Part]]:
    """A batch to each worker in turn, and what it answers; with two at once, both ends could wait on full pipes."""
    free, busy = deque(connections), deque[tuple[Connection, _Place]]()
    try:
        for place, documents in batches:
            done = _receive(busy, free) if not free else None
            free[0].send(documents)
            busy.append((free.popleft(), place))
            if done:
                yield done
        while busy:
            yield _receive(busy, free)
    except (EOFError, ConnectionError):
        raise BertcliError("a tokenising process ended before its work; was it out of memory?") from None


def _receive(busy: deque[tuple[Connection, _Place]], free: deque[Connection]) -> tuple[_Place, Part]:
    connection, place = busy.popleft()
    free.append(connection)
    return place, connection.recv()
