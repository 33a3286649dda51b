"""bertcli export: write ONNX files of a model, fp32 and static int8, checked against torch."""

from typing import Any

import click

from bertcli.cli import options
from bertcli.cli.console import Voice

EXAMPLES = """
bertcli export DIR --calibrate train.tsv --text-field sentence
head -512 texts.txt | bertcli export DIR --calibrate -
"""


@click.command("export", cls=options.Command, epilog=EXAMPLES)
@click.argument("model", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@options.task
@click.option(
    "--calibrate",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="Texts like those to come; the int8 scales are measured on the first --samples of them. Repeatable.",
)
@click.option(
    "--samples", type=click.IntRange(1), default=512, show_default=True, help="How many texts to calibrate on."
)
@options.fields
@options.reading
@options.voice
def command(voice: Voice, **given: Any) -> int:
    """Write onnx/model.onnx and a static int8 onnx/model_quantized.onnx into the model directory DIR.

    Each file is run on the calibration texts beside torch, and the differences are printed.
    """
    from bertcli.cli.exporting import export

    return export(voice, given)
