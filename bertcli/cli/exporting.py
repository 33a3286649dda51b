"""What export, and finetune at its end, do between their options and export/export.py."""

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from bertcli import registry
from bertcli.cli.console import Voice
from bertcli.cli.run import open_input, select
from bertcli.data.records import Record
from bertcli.errors import Exit, UsageError
from bertcli.inference.batching import BATCH_TOKENS, collate, cut, distinct
from bertcli.inference.session import open_task, task_of
from bertcli.model import read
from bertcli.tasks.base import Options
from bertcli.tokenizer import Features

SAMPLES = 512  # texts to calibrate on: more moved no scale by as much as a percent


def export(voice: Voice, given: Mapping[str, Any]) -> int:
    """Export a model directory; returns the exit code."""
    export_directory(voice, Path(given["model"]), islice(open_input(given), given["samples"]), given)
    return Exit.OK


def export_directory(voice: Voice, path: Path, records: Iterable[Record], given: Mapping[str, Any]) -> None:
    """Write the ONNX files of a model, calibrated on the records, and print how they differ from torch."""
    from bertcli.export.export import export as run

    model = read(path)
    task_class = registry.load("tasks", given.get("task") or task_of(model)).Task
    task = open_task(task_class, model, select(Options, given))
    good = [features for features in task.encode([r for r in records if not r.fault]) if isinstance(features, Features)]
    if not good:
        raise UsageError("there is no text to calibrate on; --calibrate takes a file of texts like those to come.")
    windows, _ = distinct(enumerate(good))
    feeds = [collate([window for _, window in batch]) for batch in cut(windows, BATCH_TOKENS)]
    for row in run(path, task.head, feeds):
        voice.line(str(row))
