"""bertcli export: write ONNX files of a model, fp32 and int8, checked against torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bertcli import registry
from bertcli.cli import shared
from bertcli.cli.options import command
from bertcli.cli.terminal import Messages, ended_by_signals
from bertcli.errors import Exit
from bertcli.inference import SAMPLES, Request
from bertcli.option import REQUIRED, like, option
from bertcli.tasks.options import Options

if TYPE_CHECKING:
    from bertcli.data.records import Record

EXAMPLES = """
bertcli export DIR --calibrate train.tsv --text-field sentence
head -512 texts.txt | bertcli export DIR --calibrate -
"""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Export(shared.InputOptions, Options):
    """The options of `bertcli export`."""

    model: str = option(REQUIRED, metavar="DIR", is_argument=True, type=click.Path(exists=True, file_okay=False))
    task: str | None = like(Request, "task")
    files: tuple[str, ...] = option(
        REQUIRED,
        "Texts like those to come; the int8 scales are measured on the first --samples of them. Repeatable.",
        "FILE",
        flags="--calibrate",
        more=shared.MANY,
    )
    samples: int = option(SAMPLES, "How many texts to calibrate on.", least=1)


@command("model task files samples text_field pair_field input_format columns delimiter encoding", EXAMPLES)
def export(messages: Messages, options: Export) -> int:
    """Write onnx/model.onnx and a static int8 onnx/model_quantized.onnx into the model directory DIR.

    Each file is run on the calibration texts beside torch, and the differences are printed.
    """
    records = islice(options.open(options.files), options.samples)
    export_directory(messages, Path(options.model), records, options.task, options)
    return Exit.OK


def export_directory(
    messages: Messages, path: Path, records: Iterable["Record"], task_name: str | None, options: Options
) -> None:
    """Write the ONNX files of a model, calibrated on the records, and print how they differ from torch.

    task_name: None for the task whose head the model has.
    """
    from bertcli.export import feeds_of
    from bertcli.export.export import export
    from bertcli.inference.session import open_task, task_of
    from bertcli.model import read

    model = read(path)
    task = open_task(registry.load("tasks", task_name or task_of(model)).Task, model, options)
    with ended_by_signals():
        for row in export(path, task.head, feeds_of(task, list(records)), task.tokenizer.max_length):
            messages.line(str(row))
