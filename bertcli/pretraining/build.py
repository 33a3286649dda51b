"""From files of raw text to a tokenised corpus: in parallel, cached by content, continued where it was interrupted.

Workers are given documents in turn and answer in turn, so the corpus does not depend on their number. Each waits on a
pipe that ends with the process that started it, so none outlives a run, however the run ended. Knows no file format of
text and no model. Try: python -c "from bertcli.pretraining.build import prepare; help(prepare)"
"""

import hashlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain, cycle, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from bertcli.errors import BertcliError, Interrupted, RecordError, UsageError
from bertcli.pretraining.corpus import Corpus, Part, Writer, open_corpus
from bertcli.pretraining.encoding import Encoder
from bertcli.pretraining.source import Source, Stop, key, locked, sha256

BATCH = 1 << 20  # characters that a worker is given at once
COMMIT = 1 << 26  # characters between entries of the journal: what an interruption may cost
VERSION = 2  # of the folder's format and of how text becomes tokens


@dataclass(frozen=True)
class Recipe:
    """What decides the tokens. tokenizer: a tokenizer.json as text. words: what finds words of Chinese, or None."""

    source: Source
    tokenizer: str
    words: str | None = None

    @cached_property
    def identity(self) -> dict[str, str]:
        """All of it as plain values."""
        words = sha256(self.words) if self.words and Path(self.words).is_file() else str(self.words)
        digest = hashlib.sha256(self.tokenizer.encode()).hexdigest()
        return {**self.source.identity, "--words": words, "vocabulary": digest}


@dataclass(frozen=True)
class Reading:
    """How far tokenising is: characters and tokens so far; characters a second in this run."""

    characters: int
    tokens: int
    speed: float


def prepare(recipe: Recipe, cache: Path, workers: int, stop: Stop) -> Generator[Reading, None, Corpus]:
    """Yield how far it is, return the corpus; at once where the cache has it.

    One process builds a folder, others wait for it, be they of this run or of another. Raises UsageError for a corpus
    without text and, unless the source skips faults, at the first one; Interrupted when `stop` returns a signal number.
    """
    folder = cache / key(VERSION, recipe.identity)
    with locked(folder, stop):
        if not open_corpus(folder):
            yield from _build(recipe, folder, workers, stop)
    corpus = open_corpus(folder)
    assert corpus is not None
    if corpus.facts["faults"]:  # an earlier run may have skipped them
        recipe.source.check(RecordError(corpus.facts["first_fault"]))
    return corpus


@dataclass(frozen=True)
class _Position:
    """How far the corpus is read: so many documents and faults of this file; characters and faults before it."""

    file: int = 0
    items: int = 0
    characters: int = 0
    faults: int = 0
    first_fault: str = ""


Lines = Sequence[str]
_Batches = Iterator[tuple[_Position, list[Lines]]]
_Parts = Generator[tuple[_Position, Part], None, None]


def _build(recipe: Recipe, folder: Path, workers: int, stop: Stop) -> Iterator[Reading]:
    """Write the folder, from where its journal says that an earlier run was."""
    writer = Writer(folder, Encoder(recipe.tokenizer).dtype)
    first = _Position(**writer.state)
    began, committed = time.perf_counter(), first.characters
    try:
        with closing(writer), closing(_parts(recipe, workers, _batches(recipe.source, first))) as parts:
            for position, part in parts:
                writer.append(part)
                speed = (position.characters - first.characters) / (time.perf_counter() - began)
                yield Reading(position.characters, writer.counts["ids"], speed)
                signum = stop()
                if signum or position.characters > committed + COMMIT:
                    writer.commit(asdict(position))
                    committed = position.characters
                if signum:
                    raise Interrupted(signum)
            if not writer.counts["ids"]:
                why = f" ({position.faults:,} faults, the first: {position.first_fault})" if position.faults else ""
                raise UsageError(f"the corpus has no text{why}.")
            writer.commit(asdict(position))
            writer.finish({"files": list(recipe.source.files), **asdict(position)})
    except OSError as error:  # a full disk
        raise BertcliError(
            f"{folder}: {error.strerror}; --cache names another place, and it goes on from here."
        ) from error


def _batches(source: Source, position: _Position) -> _Batches:
    """Documents of about BATCH characters together, and the position behind them; the last may hold none."""
    batch: list[Lines] = []
    size = 0
    for i, name in enumerate(source.files[position.file :], position.file):
        position = replace(position, file=i, items=position.items if i == position.file else 0)
        for item in islice(source.read(name), position.items, None):
            source.check(item)
            position = replace(position, items=position.items + 1)
            if isinstance(item, RecordError):
                first = position.first_fault or str(item)
                position = replace(position, faults=position.faults + 1, first_fault=first)
            else:
                batch.append(item.lines)
                size += sum(map(len, item.lines))
            if size >= BATCH:
                position = replace(position, characters=position.characters + size)
                yield position, batch
                batch, size = [], 0
    yield replace(position, characters=position.characters + size), batch


def tokenise(encoder: Encoder, documents: Sequence[Lines]) -> Part:
    """Split documents into sentences and these into tokens; a sentence or document of which nothing is left is none."""
    split = [encoder.split(lines) for lines in documents]
    encoded = encoder.encode(list(chain.from_iterable(split)))
    kept = encoded.lengths > 0
    owner = np.repeat(np.arange(len(split)), [len(document) for document in split])
    counts = np.bincount(owner[kept], minlength=len(split))
    return Part(encoded.ids.astype(encoder.dtype), encoded.starts, encoded.lengths[kept], counts[counts > 0])


def _parts(recipe: Recipe, workers: int, batches: _Batches) -> _Parts:
    """What becomes of the batches, in order."""
    if workers < 2:  # one would only be waited for, so this process does its work
        encoder = Encoder(recipe.tokenizer, recipe.words)
        yield from ((position, tokenise(encoder, documents)) for position, documents in batches)
        return
    waiting = deque[tuple[Connection, _Position]]()
    with _workers(recipe, workers) as connections:
        try:
            for connection, (position, documents) in zip(cycle(connections), batches, strict=False):
                # A worker has one batch at a time: with two, both ends could wait on full pipes.
                done = (waiting.popleft()[1], connection.recv()) if len(waiting) == workers else None
                connection.send(documents)
                waiting.append((connection, position))
                if done:
                    yield done
            yield from ((position, connection.recv()) for connection, position in waiting)
        except (EOFError, ConnectionError):
            raise BertcliError("a tokenising process ended before its work; was it out of memory?") from None


@contextmanager
def _workers(recipe: Recipe, count: int) -> Iterator[list[Connection]]:
    """Connections to `count` new processes, which end when the connections do."""
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    pipes = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=_work, args=(end, recipe.tokenizer, recipe.words)) for _, end in pipes]
    # The processes never see these signals, which may reach a whole group: the first process decides. To ignore them
    # there would be too late, for a process needs a second to begin.
    resource_tracker.ensure_running()  # Python 3.11 lets the signals in when this has begun
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        for process, (_, end) in zip(processes, pipes, strict=True):
            process.start()
            end.close()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield [connection for connection, _ in pipes]
    finally:
        for connection, _ in pipes:
            connection.close()
        for process in processes:
            process.join()


def _work(connection: Connection, tokenizer: str, words: str | None) -> None:
    encoder = Encoder(tokenizer, words)
    with suppress(EOFError, OSError):  # the other end is closed
        while True:
            connection.send(tokenise(encoder, connection.recv()))
