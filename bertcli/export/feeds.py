"""Arrays to run a model on, of records: what int8 scales are measured on, and what ONNX files are compared on.

Try: bertcli export DIR --calibrate texts.txt
"""

from collections.abc import Sequence

from bertcli.arrays import Batch
from bertcli.data.records import Record
from bertcli.errors import UsageError
from bertcli.features import Features
from bertcli.inference.batching import collate, cut, distinct
from bertcli.inference.settings import BATCH_TOKENS
from bertcli.tasks.base import BaseTask
from bertcli.tokenizer import encode_each


def feeds_of(task: BaseTask, records: Sequence[Record]) -> list[Batch]:
    """Batches of the records' different windows. Raises UsageError where the task can read none of them."""
    encoded = encode_each(task.encode, [record for record in records if not record.fault])
    good = [features for features in encoded if isinstance(features, Features)]
    if not good:
        raise UsageError("there is no text to calibrate on; --calibrate takes a file of texts like those to come.")
    windows, _ = distinct(enumerate(good))
    return [collate([window for _, window in batch]) for batch in cut(windows, BATCH_TOKENS)]
