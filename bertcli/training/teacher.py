"""A teacher's answers to texts: each is computed once and kept, by what the teacher reads, so a stopped run goes on.

An answer is the raw prediction of the task's `combine`. It is about words, characters or whole texts, so teacher and
student may have different tokens. The answers of one teacher on one type of processor are a table in a SQLite file.
Where more than a fifth of a text's pieces are unknown to the teacher, the label takes the place of its answer, if a
label can do that. Knows no task.
Try: bertcli finetune --train train.tsv --unlabelled texts.txt --teacher MODEL -o DIR -v
"""

import io
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b, sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from bertcli.arrays import Array
from bertcli.data.records import Record
from bertcli.device import Device
from bertcli.errors import BertcliError, Interrupted, RecordError
from bertcli.inference import Request
from bertcli.inference.cache import describe, named
from bertcli.inference.session import Session, open_session
from bertcli.inference.stream import stream
from bertcli.model import fingerprint, resolve
from bertcli.tasks.training import BaseDistillation, Data, Faults, Labelled
from bertcli.tokenizer import FOREIGN
from bertcli.training.loop import Stop
from bertcli.training.run import Note
from bertcli.training.settings import Settings

VERSION = 3  # of the file's format; another version computes all answers anew


@dataclass(frozen=True)
class Answering:
    """Progress of a teacher: how many texts of `total` are answered, and how many texts a second."""

    done: int
    total: int
    speed: float


def open_teacher(settings: Settings, device: Device, is_bf16: bool) -> Session:
    """Open the teacher: from an ONNX file in fp32 on a CPU, or where there is nothing else; else from its weights.

    is_bf16: whether the student computes in bf16; the weights then do too. That is 1.7 times as fast as fp32 for
    all-mpnet-base-v2 on a CPU with AMX, 1.2 times for 12 layers of 384, which ONNX's fp32 beats by 1.1.
    Raises ModelError or UsageError where the teacher cannot be opened.
    """
    model = resolve(settings.teacher)
    where = device.type if model.has_weights else "cpu"
    is_onnx = not model.has_weights or bool(where == "cpu" and model.onnx_file("fp32"))
    engine = "onnx" if is_onnx else "pytorch"
    precision = "bf16" if is_bf16 else "auto"
    if is_onnx:
        precision = "fp32" if model.onnx_file("fp32") else "auto"
    request = Request(settings.teacher, settings.task, engine, where, precision, device.threads, exit=False)
    session = open_session(request, replace(settings.options, long="window"))
    session.task.tokenizer.mostly = FOREIGN
    return session


@dataclass(frozen=True)
class Answers:
    """A teacher's answers to the training records (`labelled`) and the loss against them. sha256: of the answers."""

    distillation: BaseDistillation
    labelled: Labelled
    sha256: str


def ask(
    settings: Settings,
    data: Data,
    records: Sequence[Record],
    device: Device,
    cache: Path,
    accelerator: Accelerator,
    stop: Stop,
) -> Generator[Note | Answering, None, Answers]:
    """Compute the teacher's answers to all training records, with and without a label; yields its progress.

    The processes of a distributed run share the work and the file. Raises UsageError for a teacher of another task or
    other labels and for records that it cannot read, Interrupted when `stop` returns a signal number.
    """
    session = open_teacher(settings, device, accelerator.mixed_precision == "bf16")
    backend, where = session.backend, session.device
    yield Note(f"teacher: {session.model.name}, {backend.name} {backend.precision} on {where.type}")
    distillation = data.task.distillation(data.decision, settings, session.task, settings.teacher_temperature)
    read = (repr(session.task.read(record)).encode("utf-8", "surrogatepass") for record in records)
    keys = [blake2b(content, digest_size=16).digest() for content in read]
    with _table(session, cache, named(str(settings.teacher))) as table:
        for share in slice(accelerator.process_index, None, accelerator.num_processes), slice(None):
            kept = {key for (key,) in table.execute("SELECT key FROM answers")}
            missing = {key: record for key, record in zip(keys, records, strict=True) if key not in kept}
            yield from _compute(session, dict([*missing.items()][share]), distillation.answer, table, stop)
            accelerator.wait_for_everyone()  # What they have computed by now is missing no more.
        query = "SELECT answer, is_unknown FROM answers WHERE key = ?"
        rows = [table.execute(query, [key]).fetchone() for key in keys]
    answers, unknown = [np.load(io.BytesIO(answer)) for answer, _ in rows], [i for i, row in enumerate(rows) if row[1]]
    gold, examples = data.splits["train"].gold, data.splits["train"].examples
    taught = 0
    for i in unknown:  # The labelled records come first.
        if i < len(gold) and (certain := distillation.certain(gold[i])) is not None:
            answers[i], taught = certain, taught + 1
    if unknown:
        count = f"{len(unknown):,} of {len(rows):,} texts are partly unknown to the teacher"
        yield Note(f"{count}; labels alone teach {taught:,} of them, its guesses the others")
    digest = sha256(b"".join(answer.tobytes() for answer in answers)).hexdigest()
    return Answers(distillation, Labelled(examples, answers, distillation.targets(examples, answers)), digest)


@contextmanager
def _table(session: Session, cache: Path, model: str) -> Iterator[sqlite3.Connection]:
    """The table of the answers of a teacher of this name. Raises BertcliError where it cannot be read or written."""
    backend, task = session.backend, session.task
    weights = "*.onnx*" if backend.name == "onnx" else "*.safetensors"
    computed = (backend.name, backend.precision, session.device.type, fingerprint(session.model, weights))
    name = blake2b(repr((VERSION, task.name, task.options, *computed)).encode(), digest_size=10).hexdigest()
    file = cache / "teacher" / name / "answers.sqlite"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        describe(file.parent, model=model, task=task.name, precision=backend.precision, texts=None)
        with closing(sqlite3.connect(file, timeout=600)) as table:
            table.execute(
                "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, answer BLOB, is_unknown BOOL) WITHOUT ROWID"
            )
            yield table
    except (sqlite3.Error, OSError) as error:
        raise BertcliError(f"{file}: {error}. Make room, remove the file or name another --cache.") from error


def _compute(
    session: Session, missing: dict[bytes, Record], keep: Callable[[Any], Array], table: sqlite3.Connection, stop: Stop
) -> Iterator[Answering]:
    """Add the answers to these records to the table, as the chunks of the stream are done."""
    faults, began, done = Faults(), time.perf_counter(), 0
    keys = iter(missing)
    for outcomes in stream(session.task, session.backend, missing.values()):
        with table:  # a transaction
            for key, outcome in zip(islice(keys, len(outcomes)), outcomes, strict=True):
                if outcome.error is None:
                    np.save(answer := io.BytesIO(), keep(outcome.prediction), allow_pickle=False)
                    row = (key, answer.getvalue(), outcome.unknown > 0)
                    table.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", row)
                else:
                    faults.add(outcome.record, RecordError(f"the teacher: {outcome.error}"))
        done += len(outcomes)
        yield Answering(done, len(missing), done / (time.perf_counter() - began))
        if signum := stop():
            raise Interrupted(signum, "the teacher's answers so far are kept; the same command goes on from there")
    faults.require_none(good=done - faults.count)
