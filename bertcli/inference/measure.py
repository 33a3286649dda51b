"""What runs here, whether the device computes the same as the CPU, and how fast a model is, by backend and length.

Each backend and precision is timed in its own process, which has its own start and memory. Knows no format and no
terminal. Try: bertcli info -m MODEL; bertcli bench -m MODEL
"""

import math
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import chain
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from bertcli import __version__, device, registry
from bertcli.arrays import Features, Window
from bertcli.backends import Stages, is_dynamic, open_backend
from bertcli.data.records import Record
from bertcli.errors import BertcliError, Exit, UsageError
from bertcli.inference import Batching, Request, cache
from bertcli.inference.batching import collate
from bertcli.inference.session import Session, open_session
from bertcli.inference.stream import result, scripts, stream
from bertcli.model import ONNX, Model
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import exit_threshold_of
from bertcli.tasks.options import Options
from bertcli.tokenizer import Tokenizer

PACKAGES = ("numpy", "tokenizers", "onnxruntime", "openvino", "torch", "transformers", "accelerate", "ray")
BOUND = 1e-3  # largest allowed difference of an output from the CPU's
ROWS = 8  # windows in the batch that is compared
RARE = "\U00010380"  # a letter of Ugaritic
TEXT = "the quick brown fox jumps over the lazy dog, and nothing of it is lost on the way"
BUCKETS = (16, 32, 64, 128, 256, 512)  # the greatest number of tokens in each
RUNS = 5  # timed, after one that is not
MADE_UP = (8, 24, 100, 400)  # words in each made-up text, if no file is given
TOKENS = 8192  # about as many for each length: half a second of MiniLM-L6 on two cores
ENGINES = {"onnx": "onnxruntime", "openvino": "openvino", "pytorch": "torch"}  # backend -> the package that it needs
WORDS = (
    "a", "film", "of", "wit", "and", "charm", "that", "never", "wakes", "up", "but", "is", "dull", "to", "the", "last",
)  # fmt: skip


def describe(session: Session) -> dict[str, Any]:
    """Versions, devices, the choice and its reason, and facts about the model."""
    versions = {"bertcli": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    model, backend = session.model, session.backend
    return {
        "versions": versions,
        "devices": device.available(),
        "choice": {
            "backend": backend.name,
            "precision": backend.precision,
            "int8 products": "exact, by VNNI or Arm's instructions"
            if device.has_exact_int8()
            else "exact, without VNNI",
            "reason": session.reason,
        },
        "model": {
            "path": str(model.path),
            "task": session.task.name,
            "labels": model.labels,
            "layers": model.layers or None,
            "hidden size": model.config.get("hidden_size"),
            "most tokens": session.task.tokenizer.max_length,
            "scripts": _scripts(session.task.tokenizer),
            "files": model.weights(),
            "ONNX file in the cache": str(model.onnx or "none"),
            "licence": model.licence or "not stated",
        },
    }


def _scripts(tokenizer: Tokenizer) -> str:
    """The scripts of the vocabulary's letters, and what happens to texts in other scripts."""
    counts = scripts("".join(tokenizer.backend.get_vocab()))
    parts = [
        f"{name} {count / counts.total():.0%}" for name, count in counts.most_common() if count >= counts.total() / 100
    ]
    # A rare letter shows it: a byte-level tokenizer spells it in bytes, even if it has a token for unknown pieces.
    loses = tokenizer.unknown in tokenizer.backend.encode(RARE).ids
    other = 'results say "unknown" for most others' if loses else "other texts are spelt in bytes"
    return f"{', '.join(parts)}; {other}"


def check(session: Session, request: Request) -> tuple[float, float]:
    """The largest difference of any output from that computed alone on the CPU: of a batch, and of one window alone.

    On a GPU in fp32. BOUND is about the device; a lower precision may differ by more.
    """
    backend, head = registry.load("backends", session.backend.name).Backend, session.task.head
    is_cpu = session.device.type == "cpu"
    precision = session.backend.precision if is_cpu else "fp32"
    tested = session.backend if is_cpu else open_backend(backend, session.model, session.device, head, precision)
    reference = open_backend(backend, session.model, device.cpu(request.threads, "reference"), head, precision)
    if isinstance(reference, Stages) and isinstance(session.backend, Stages):
        reference.is_sure = session.backend.is_sure
    # Distinct windows of one length: the pieces of a sentence, rotated.
    tokenizer = session.task.tokenizer
    first, *middle, last = tokenizer.backend.encode(TEXT).ids[: tokenizer.max_length]
    windows = [Window([first, *middle[i:], *middle[:i], last]) for i in range(ROWS)]
    expected = [reference.run(collate([window])) for window in windows]
    together = tested.run(collate(windows))
    rows = [{name: value[i : i + 1] for name, value in together.items()} for i in range(len(windows))]
    *batched, single = (
        max(float(np.abs(ours[name] - theirs[name]).max()) for name in theirs)
        for ours, theirs in zip([*rows, tested.run(collate(windows[:1]))], [*expected, expected[0]], strict=True)
    )
    return max(batched), single


# Speed.


@dataclass(frozen=True)
class Workload:
    """What one process times. records: None for made-up texts."""

    request: Request
    options: Options
    settings: Batching
    records: Sequence[Record] | None


def time_variants(workload: Workload, model: Model, head: str) -> Iterator[dict[str, Any]]:
    """A row for each length, of each installed backend and each precision that was asked for and has a file for it.

    A model with an early exit is timed with it, unless --no-exit forbids that, and at full depth. Raises UsageError if
    nothing can be measured.
    """
    request = workload.request
    lookups = {name: cache.with_cached_onnx(model, head, name, request.calibrate) for name in ONNX}
    files = [name for name, completed in lookups.items() if name in completed.precisions(head)]
    has_exit = request.exit and exit_threshold_of(model.config) is not None
    fixed = [name for name in files if not is_dynamic(lookups[name].require_onnx(name)[1])]
    precisions = {
        "pytorch": ["fp32", "bf16"] if model.has_weights else [],
        "openvino": [*fixed, "bf16"] if "fp32" in fixed else fixed,
    }
    variants = [
        (backend, precision, leaves)
        for backend in registry.names("backends")
        if request.backend in ("auto", backend) and find_spec(ENGINES.get(backend, backend))
        for precision in precisions.get(backend, files)
        if request.precision in ("auto", precision)
        for leaves in ([True, False] if has_exit and backend != "pytorch" else [False])
    ]
    if not variants:
        raise UsageError("no backend and precision that were asked for can run this model here; see `bertcli info`.")
    context = multiprocessing.get_context("spawn")
    for backend, precision, leaves in variants:
        variant = replace(workload, request=replace(request, backend=backend, precision=precision, exit=leaves))
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_answer, args=(theirs, variant, time.time()))
        with device.unseen_signals():
            process.start()
        theirs.close()
        try:
            rows = ours.recv()
        except EOFError as error:
            why = "something killed its process, as a system that is out of memory does"
            raise BertcliError(f"{backend} in {precision}: {why}; a smaller --batch-tokens needs less.") from error
        process.join()
        if isinstance(rows, Exception):
            raise rows
        yield from rows


def _answer(connection: Connection, workload: Workload, began: float) -> None:
    """What a process does: it sends its rows, or an error; it ends at once if its parent does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection.send(measure(workload, began))
    except Exception as error:
        connection.send(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(Exit.FAILED)


def measure(workload: Workload, began: float) -> list[dict[str, Any]]:
    """The rows of one backend and precision. began: when its process was started, by time.time()."""
    session = open_session(workload.request, workload.options)
    records = list(workload.records or ())
    if not records:  # distinct texts of several lengths
        for size in MADE_UP:
            for number in range(TOKENS // size):
                words = [str(number), *(WORDS[(number + i) % len(WORDS)] for i in range(size - 1))]
                records.append(Record(len(records), session.task.sample(" ".join(words))))
    _rate(session, records[:1], workload.settings)
    first_result = time.time() - began
    rows = []
    for limit, pairs in sorted(_by_length(session.task, records).items(), key=lambda item: item[0] or math.inf):
        rates = [_rate(session, [record for record, _ in pairs], workload.settings) for _ in range(RUNS + 1)][1:]
        tokens = sum(count for _, count in pairs) / len(pairs)
        rows.append(
            {
                "backend": session.backend.name,
                "precision": session.backend.precision,
                "device": session.device.type,
                "exit": isinstance(session.backend, Stages) and session.backend.is_sure is not None,
                "tokens": f"to {limit}" if limit else "more",
                "texts": len(pairs),
                "texts_per_s": round(statistics.median(rates)),
                "least": round(min(rates)),
                "most": round(max(rates)),
                "tokens_per_s": round(statistics.median(rates) * tokens),
                "first_result_s": round(first_result, 3),
            }
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # bytes
    return [{**row, "peak_mb": round(peak / 1e6)} for row in rows]


def _rate(session: Session, records: Sequence[Record], settings: Batching) -> float:
    """Texts a second, from records to results."""
    began = time.perf_counter()
    for outcome in chain.from_iterable(stream(session.task, session.backend, records, settings)):
        if outcome.error is None:
            result(session.task, outcome)
    return len(records) / (time.perf_counter() - began)


def _by_length(task: BaseTask, records: Sequence[Record]) -> dict[int, list[tuple[Record, int]]]:
    """The records, each with its number of tokens, by the limit of their bucket; 0 for those longer than all limits."""
    buckets: dict[int, list[tuple[Record, int]]] = {}
    for record, features in zip(records, task.encode(records), strict=True):
        if isinstance(features, Features):
            count = sum(len(window.ids) for window in features.windows)
            bucket = buckets.setdefault(next((limit for limit in BUCKETS if count <= limit), 0), [])
            if sum(tokens for _, tokens in bucket) < TOKENS:
                bucket.append((record, count))
    if not buckets:
        raise UsageError("the model can read none of the records; --text-field names the field with the text.")
    return buckets
