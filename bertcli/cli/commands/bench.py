"""bertcli bench: how fast a model is here, by backend, precision and length of text."""

from typing import Any

import click

from bertcli.cli import options
from bertcli.cli.console import Voice

EXAMPLES = """
bertcli bench
bertcli bench -m DIR texts.txt --threads 1
bertcli bench -m DIR --backend onnx --format json | jq -s 'max_by(.texts_per_s)'
"""


@click.command("bench", cls=options.Command, epilog=EXAMPLES)
@click.argument("files", nargs=-1, type=click.Path())
@options.model
@options.task
@options.fields
@options.question
@options.long
@options.reading
@options.report
@options.engine
@options.voice
def command(voice: Voice, **given: Any) -> int:
    """Measure texts and tokens a second, time to the first result and peak memory on FILES or on made-up texts.

    A row for each backend and precision that can run the model and for each length: the median of five runs after one
    that does not count, with the least and the most. At most 10,000 records are taken.
    """
    from bertcli.cli.measuring import bench

    return bench(voice, given)
