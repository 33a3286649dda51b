"""How fast a model is here: texts and tokens a second, time to the first result and memory, by backend and length.

Each backend and precision has a process of its own, so that its start and its memory are its own. Knows no format and
no terminal. Try: bertcli bench -m MODEL
"""

import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import chain
from typing import Any

from bertcli import registry
from bertcli.data.records import Record
from bertcli.errors import UsageError
from bertcli.inference.session import open_session
from bertcli.inference.settings import Request, Settings
from bertcli.inference.stream import result, stream
from bertcli.model import Model
from bertcli.tasks.base import BaseTask, Options
from bertcli.tokenizer import Features

BUCKETS = (16, 32, 64, 128, 256, 512)  # tokens: the greatest length in each
RUNS = 5  # timed, after one that is not
MADE_UP = (8, 24, 100, 400)  # words of the texts, where no file is given
TOKENS = 8192  # about as many of each length: half a second of MiniLM-L6 on two cores
ENGINES = {"onnx": "onnxruntime", "openvino": "openvino", "pytorch": "torch"}  # backend -> what it needs
WORDS = (
    "a",
    "film",
    "of",
    "wit",
    "and",
    "charm",
    "that",
    "never",
    "wakes",
    "up",
    "but",
    "is",
    "dull",
    "to",
    "the",
    "last",
)


@dataclass(frozen=True)
class Job:
    """What one process measures. records: None for made-up texts."""

    request: Request
    options: Options
    settings: Settings
    records: Sequence[Record] | None


def bench(job: Job, model: Model, head: str) -> Iterator[dict[str, Any]]:
    """A row for each backend, precision and length. Raises UsageError where nothing can be measured."""
    variants = list(_variants(job.request, model, head))
    if not variants:
        raise UsageError("no backend and precision that were asked for can run this model here; see `bertcli info`.")
    context = multiprocessing.get_context("spawn")
    for backend, precision in variants:
        with ProcessPoolExecutor(1, mp_context=context) as process:
            own = replace(job, request=replace(job.request, backend=backend, precision=precision))
            yield from process.submit(measure, own, time.time()).result()


def _variants(request: Request, model: Model, head: str) -> Iterator[tuple[str, str]]:
    for backend in registry.names("backends"):
        if request.backend in ("auto", backend) and find_spec(ENGINES.get(backend, backend)):
            for precision in _precisions(backend, model, head):
                if request.precision in ("auto", precision):
                    yield backend, precision


def _precisions(backend: str, model: Model, head: str) -> list[str]:
    if backend == "pytorch":
        return ["fp32", "bf16"] if model.has_weights else []
    found = [name for name in ("int8", "fp32") if model.head == head and model.onnx_file(name)]
    return [*found, "bf16"] if backend == "openvino" and "fp32" in found else found


def measure(job: Job, began: float) -> list[dict[str, Any]]:
    """The rows of one backend and precision. began: the time of day at which its process was started."""
    session = open_session(job.request, job.options)
    records = job.records or _made_up(session.task)
    _answer(session, records[:1], job.settings)
    first = time.time() - began
    rows = []
    for limit, own in sorted(_by_length(session.task, records).items()):
        rates = [_answer(session, [record for record, _ in own], job.settings) for _ in range(RUNS + 1)][1:]
        tokens = sum(count for _, count in own) / len(own)
        rows.append({"tokens": f"to {limit}" if limit else "more", "texts": len(own), **_rates(rates, tokens)})
    whole = {"first_result_s": round(first, 3), "peak_mb": round(_peak() / 1e6)}
    backend, kind = session.backend, session.place.type
    return [{"backend": backend.name, "precision": backend.precision, "device": kind, **row, **whole} for row in rows]


def _rates(rates: Sequence[float], tokens: float) -> dict[str, float]:
    """Of texts, with their spread, and of tokens. tokens: in a text, on average."""
    least, middle, most = min(rates), statistics.median(rates), max(rates)
    names = ("texts_per_s", "least", "most", "tokens_per_s")
    return {name: round(rate) for name, rate in zip(names, (middle, least, most, middle * tokens), strict=True)}


def _answer(session: Any, records: Sequence[Record], settings: Settings) -> float:
    """Texts a second, from records to results."""
    began = time.perf_counter()
    for outcome in chain.from_iterable(stream(session.task, session.backend, records, settings)):
        if outcome.error is None:
            result(session.task, outcome)
    return len(records) / (time.perf_counter() - began)


def _by_length(task: BaseTask, records: Sequence[Record]) -> dict[int, list[tuple[Record, int]]]:
    """The records, each with its tokens, by the greatest length of their bucket; 0 for what is longer than all."""
    buckets: dict[int, list[tuple[Record, int]]] = {}
    for record, features in zip(records, task.encode(records), strict=True):
        if isinstance(features, Features):
            count = sum(len(window.ids) for window in features.windows)
            own = buckets.setdefault(next((bucket for bucket in BUCKETS if count <= bucket), 0), [])
            if sum(other for _, other in own) < TOKENS:
                own.append((record, count))
    if not buckets:
        raise UsageError("the model can read none of the records; --text-field names the field with the text.")
    return buckets


def _made_up(task: BaseTask) -> list[Record]:
    """Texts of several lengths, no two of them equal, with what any task asks for."""
    records: list[Record] = []
    for size in MADE_UP:
        for number in range(TOKENS // size):
            words = [str(number), *(WORDS[(number + i) % len(WORDS)] for i in range(size - 1))]
            text = " ".join(words)
            fields = {"text": f"{text} {getattr(task, 'mask', '')}", "question": "what is it", "context": text}
            records.append(Record(len(records), fields))
    return records


def _peak() -> int:
    """Bytes of the process' largest resident set."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
