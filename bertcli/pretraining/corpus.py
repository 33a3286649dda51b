"""From files of raw text to a tokenised corpus: in parallel, cached by content, resumed where it was interrupted.

Workers get documents in turn and answer in turn, so the corpus does not depend on their number. Each waits on a pipe
that closes with the process that started it, so no worker outlives a run, however that ends. The corpus is written by
appending, with a journal to resume from, and read by memory map. It is a folder of flat files, all little-endian, and
corpus.json once it is complete:

    ids.bin        (T,) uint16, or uint32 for a vocabulary beyond 65,536: the tokens, document after document
    starts.bin     (T,) uint8: 1 where a token begins a word
    sentences.bin  (S,) int64: where each sentence ends in them
    documents.bin  (D, 2) int64: where each document ends, in tokens and in sentences

Knows no file format of text and no model. Try:
python -c "from bertcli.pretraining.corpus import prepare; help(prepare)"
"""

import hashlib
import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain, cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from bertcli.arrays import Array, Indices
from bertcli.data.sinks import replace_file
from bertcli.device import unseen_signals
from bertcli.errors import BertcliError, Interrupted, RecordError, UsageError
from bertcli.pretraining.encoding import Encoder
from bertcli.pretraining.source import Source, Stop, key, locked, sha256

FILES = {"ids": "ids.bin", "starts": "starts.bin", "sentences": "sentences.bin", "documents": "documents.bin"}
COMPLETE, JOURNAL = "corpus.json", "journal.json"


@dataclass(frozen=True)
class Corpus:
    """T tokens, S sentences, D documents, in the shapes of the files. facts: the content of corpus.json."""

    ids: Array
    starts: Array
    sentences: Array
    documents: Array
    facts: Mapping[str, Any]

    @property
    def bounds(self) -> tuple[Indices, Indices]:
        """Where each document begins and ends in the tokens: (D,), (D,)."""
        ends = np.asarray(self.documents[:, 0])
        return np.concatenate([[0], ends[:-1]]), ends


def open_corpus(folder: Path) -> Corpus | None:
    """The corpus in a folder, or None where it is not complete. Raises BertcliError where its files are damaged."""
    if not (folder / COMPLETE).is_file():
        return None
    facts = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
    for name, file in FILES.items():
        path = folder / file
        if not path.is_file() or path.stat().st_size != facts["sizes"][name]:
            raise BertcliError(f"{path}: not the size it was written with; delete the folder.")
    dtypes = (facts["dtype"], "u1", "<i8", "<i8")
    ids, starts, sentences, documents = (
        np.memmap(folder / file, dtype, "r") for file, dtype in zip(FILES.values(), dtypes, strict=True)
    )
    return Corpus(ids, starts, sentences, documents.reshape(-1, 2), facts)


@dataclass(frozen=True)
class Part:
    """Some tokenised documents: ids and starts (T,), tokens in each sentence (S,), sentences in each document (D,)."""

    ids: Array
    starts: Array
    sentences: Indices
    documents: Indices


class Writer:
    """Appends parts. `commit` makes its state and all parts before it survive a crash."""

    def __init__(self, folder: Path, dtype: str) -> None:
        """Resume from the folder's journal, if there is one. dtype: of the ids."""
        self.folder = folder
        self.dtype = dtype
        folder.mkdir(parents=True, exist_ok=True)
        journal = folder / JOURNAL
        kept = json.loads(journal.read_text(encoding="utf-8")) if journal.is_file() else {}
        self.sizes: dict[str, int] = kept.get("sizes", dict.fromkeys(FILES, 0))
        self.state: dict[str, Any] = kept.get("state", {})
        self.counts: dict[str, int] = kept.get("counts", dict.fromkeys(FILES, 0))
        self.files = {name: (folder / file).open("ab") for name, file in FILES.items()}
        for name, file in self.files.items():
            file.truncate(self.sizes[name])

    def append(self, part: Part) -> None:
        """Add documents; the lengths in `part` become positions in the corpus."""
        sentence_ends = self.counts["ids"] + np.cumsum(part.sentences)
        last = self.counts["sentences"] + np.cumsum(part.documents)
        ends = np.concatenate([[self.counts["ids"]], sentence_ends])[np.cumsum(part.documents)]
        columns = {
            "ids": part.ids.astype(self.dtype),
            "starts": part.starts.astype("u1"),
            "sentences": sentence_ends.astype("<i8"),
            "documents": np.stack([ends, last], -1).astype("<i8"),
        }
        for name, values in columns.items():
            self.files[name].write(values.tobytes())
            self.counts[name] += len(values)
            self.sizes[name] += values.nbytes

    def commit(self, state: Mapping[str, Any]) -> None:
        """Force all parts to disk, then the journal."""
        for file in self.files.values():
            file.flush()
            os.fsync(file.fileno())
        self.state = dict(state)
        journal = {"sizes": self.sizes, "counts": self.counts, "state": self.state}
        replace_file(self.folder / JOURNAL, json.dumps(journal, indent=1).encode())

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Complete the corpus with what is committed."""
        self.close()
        whole = {"dtype": self.dtype, "sizes": self.sizes, "counts": self.counts, **facts}
        replace_file(self.folder / COMPLETE, json.dumps(whole, indent=1).encode())  # ASCII: file names may be any bytes
        (self.folder / JOURNAL).unlink()

    def close(self) -> None:
        """Close the files; a resumed run cuts off what was not committed."""
        for file in self.files.values():
            with suppress(OSError):  # of a full disk, which has been reported already
                file.close()


BATCH = 1 << 20  # characters that a worker gets at once
COMMIT = 1 << 26  # characters between two commits: what an interruption may cost
VERSION = 2  # of the folder's format and of how text becomes tokens


@dataclass(frozen=True)
class Recipe:
    """What decides the tokens. tokenizer: a tokenizer.json as text. words: the segmenter of Chinese words, or None."""

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
class Tokenising:
    """The event of tokenising: characters and tokens so far; characters a second in this run."""

    characters: int
    tokens: int
    speed: float


def prepare(recipe: Recipe, cache: Path, workers: int, stop: Stop) -> Generator[Tokenising, None, Corpus]:
    """Tokenise with events of progress, and return the corpus; at once if the cache has it.

    One process builds a folder, and all others of this or another run wait. Raises UsageError for a corpus without text
    and, unless the source skips faults, at the first fault; Interrupted if `stop` returns a signal number.
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
    """How far the corpus is read. items: documents and faults of the file at index `file`; the others: of all files."""

    file: int = 0
    items: int = 0
    characters: int = 0
    faults: int = 0
    first_fault: str = ""


Lines = Sequence[str]
_Batches = Iterator[tuple[_Position, list[Lines]]]


def _build(recipe: Recipe, folder: Path, workers: int, stop: Stop) -> Iterator[Tokenising]:
    """Write the folder, resuming from its journal."""
    writer = Writer(folder, Encoder(recipe.tokenizer).dtype)
    first = _Position(**writer.state)
    began, committed = time.perf_counter(), first.characters
    try:
        with closing(writer), closing(_parts(recipe, workers, _batches(recipe.source, first))) as parts:
            for position, part in parts:
                writer.append(part)
                speed = (position.characters - first.characters) / (time.perf_counter() - began)
                yield Tokenising(position.characters, writer.counts["ids"], speed)
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
    """Documents of about BATCH characters together, and the position after them; the last batch may be empty."""
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
    """Split documents into sentences and these into tokens. Sentences and documents without tokens are left out."""
    split = [encoder.split(lines) for lines in documents]
    encoded = encoder.encode(list(chain.from_iterable(split)))
    kept = encoded.lengths > 0
    owner = np.repeat(np.arange(len(split)), [len(document) for document in split])
    counts = np.bincount(owner[kept], minlength=len(split))
    return Part(encoded.ids.astype(encoder.dtype), encoded.starts, encoded.lengths[kept], counts[counts > 0])


def _parts(recipe: Recipe, workers: int, batches: _Batches) -> Generator[tuple[_Position, Part], None, None]:
    """The batches tokenised, in order, each with its position."""
    if workers < 2:  # This process would only wait for a single worker, so it does the work.
        encoder = Encoder(recipe.tokenizer, recipe.words)
        yield from ((position, tokenise(encoder, documents)) for position, documents in batches)
        return
    waiting = deque[tuple[Connection, _Position]]()
    with _workers(recipe, workers) as connections:
        try:
            for connection, (position, documents) in zip(cycle(connections), batches, strict=False):
                # A worker has one batch at a time: with two, both ends could wait on full pipes.
                done = (waiting.popleft()[1], _answer(connection)) if len(waiting) == workers else None
                connection.send(documents)
                waiting.append((connection, position))
                if done:
                    yield done
            yield from ((position, _answer(connection)) for connection, position in waiting)
        except (EOFError, ConnectionError):
            raise BertcliError("a tokenising process was killed; was it out of memory?") from None


def _answer(connection: Connection) -> Part:
    """What a worker made of its batch, or the error that ended it, raised here."""
    answer: Part | Exception = connection.recv()
    if isinstance(answer, Exception):
        raise answer
    return answer


@contextmanager
def _workers(recipe: Recipe, count: int) -> Iterator[list[Connection]]:
    """Connections to `count` new processes, which end when the connections do."""
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    pipes = [context.Pipe() for _ in range(count)]
    processes = [context.Process(target=_work, args=(end, recipe.tokenizer, recipe.words)) for _, end in pipes]
    with unseen_signals():
        for process, (_, end) in zip(processes, pipes, strict=True):
            process.start()
            end.close()
    try:
        yield [connection for connection, _ in pipes]
    finally:
        for connection, _ in pipes:
            connection.close()
        for process in processes:
            process.join()


def _work(connection: Connection, tokenizer: str, words: str | None) -> None:
    encoder = None
    with suppress(EOFError, OSError):  # the other end is closed
        while True:
            documents = connection.recv()
            try:
                encoder = encoder or Encoder(tokenizer, words)
                part = tokenise(encoder, documents)
            except Exception as error:  # such as a package that is missing
                connection.send(error)
                return
            connection.send(part)
