"""ONNX files of a checkpoint, fp32 and int8, and an int8 file back as a torch model.

export.py writes the files into a model's directory, and here a run writes one that its model lacks into the cache
(inference/cache.py), once. Imports torch only when there is one to write.
Try: bertcli predict -m DIR --backend onnx < texts.txt; bertcli cache
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, product
from pathlib import Path

from bertcli.arrays import Batch, Features
from bertcli.backends import BATCH_TOKENS, BaseBackend
from bertcli.data.records import Record, weight
from bertcli.data.sinks import new_directory, writing
from bertcli.errors import UsageError
from bertcli.inference import CHARACTERS, SAMPLES, Request, cache
from bertcli.inference.batching import collate, cut, distinct
from bertcli.inference.session import open_task, open_task_class
from bertcli.model import EXTERNAL, ONNX, REST, Model
from bertcli.tasks.base import BaseTask
from bertcli.tasks.options import Options
from bertcli.tokenizer_files import TOKENIZER

LEAST = 64  # texts for int8: MiniLM's 1 - cosine is then 0.002 on average and 0.015 at most, with 1 text 0.14 and 0.54
TEXT = "the quick brown fox jumps over the lazy dog"  # An fp32 file is compared on it; any text would do.


def write_missing(
    request: Request,
    options: Options,
    records: Iterator[Record],
    texts: Iterator[Record] | None,
    note: Callable[[str], None],
) -> Iterator[Record]:
    """Write the ONNX file that a run lacks into the cache, unless it is there. Returns all records, read ones too.

    texts: records of the files of --calibrate; None: the scales of int8 are measured on the first records.
    Raises UsageError where those are too few, and ModelError for a model that export refuses.
    """
    model, task_class = open_task_class(request)
    precision = cache.missing_precision(model, task_class.head, request.precision)
    can_run = request.device in ("auto", "cpu") and (request.backend, request.precision) != ("onnx", "bf16")
    if precision is None or not can_run:
        return records
    folder = cache.folder_of(model, task_class.head, precision, request.calibrate)
    if folder.is_dir():
        return records
    task = open_task(task_class, model, options)
    sample = [Record(fields=task.sample(" ".join([TEXT] * count))) for count in (1, 2, 4)]
    if precision == "int8":
        note(f"measuring the scales of int8 on the first {SAMPLES} texts")
        sample, source = [], records if texts is None else texts
        free = CHARACTERS * BaseBackend.chunk_records  # no more text than a run holds in memory
        while len(sample) < SAMPLES and free > 0 and (record := next(source, None)):
            sample.append(record)
            free -= weight(record.fields)
        records = chain(sample, records) if texts is None else records
    feeds = feeds_of(task, sample)
    count = sum(len(feed["input_ids"]) for feed in feeds)
    if precision == "int8" and texts is None and count < LEAST:
        raise UsageError(
            f"the scales of int8 are measured on the first {SAMPLES} texts, and {count} are too few: "
            f"{LEAST} are the least. --calibrate FILE names texts like those to come."
        )
    with writing(cache.root(), "BERTCLI_CACHE names another folder"), cache.locked(note):
        if not folder.is_dir():  # else another process has written it meanwhile
            note(f"writing an ONNX file of {request.model} in {precision} into {cache.root()}, once")
            _write(cache.named(str(request.model)), model, task, precision, feeds, folder)
    return records


def _write(name: str, model: Model, task: BaseTask, precision: str, feeds: Sequence[Batch], folder: Path) -> None:
    """Write the ONNX file, checked against torch, its about.json, and a tokenizer.json where the model has none.

    name: of the model, as the user knows it.
    """
    from bertcli.export.export import write

    with new_directory(folder) as draft:
        write(model, draft, task.head, feeds, task.tokenizer.max_length, int8=precision == "int8")
        if precision != "fp32":  # The fp32 file was only needed to make the int8 file.
            for file, ending in product((ONNX["fp32"], REST["fp32"]), ("", EXTERNAL)):
                (draft / (file + ending)).unlink(missing_ok=True)
        if not (model.path / TOKENIZER).is_file():
            task.tokenizer.backend.save(str(draft / TOKENIZER))
        texts = sum(len(feed["input_ids"]) for feed in feeds) if precision == "int8" else None
        cache.describe(draft, model=name, task=task.name, precision=precision, texts=texts)


def feeds_of(task: BaseTask, records: Sequence[Record]) -> list[Batch]:
    """Batches of the records' different windows. Raises UsageError where the task can read none of them."""
    encoded = task.encode([record for record in records if not record.fault])
    good = [features for features in encoded if isinstance(features, Features)]
    if not good:
        raise UsageError("there is no text to calibrate on; --calibrate takes a file of texts like those to come.")
    windows, _ = distinct(enumerate(good))
    return [collate([window for _, window in batch]) for batch in cut(windows, BATCH_TOKENS)]
