"""bertcli calibrate: make a model's scores mean what they say, and choose thresholds."""

from typing import Any

import click

from bertcli.cli import options
from bertcli.cli.console import Voice

EXAMPLES = """
bertcli calibrate dev.jsonl -m DIR
bertcli calibrate dev.tsv -o DIR --text-field sentence
bertcli calibrate dev.jsonl -m DIR --target "precision>=0.9"
"""


@click.command("calibrate", cls=options.Command, epilog=EXAMPLES)
@click.argument("files", nargs=-1, type=click.Path())
@options.model
@click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="DIR",
    help="Write a calibrated copy of the model here.  [default: into the model itself]",
)
@options.task
@options.fields
@options.labels
@click.option(
    "--target",
    metavar="METRIC>=X",
    help="What each label's threshold must reach, precision or recall.  [default: the best F1]",
)
@options.long
@options.reading
@options.report
@options.engine
@options.voice
def command(voice: Voice, **given: Any) -> int:
    """Fit a temperature, and for several labels a threshold each, to the labelled records in FILES or stdin.

    They are stored in the model's config.json; predict and evaluate use them from then on. Take data that the model
    was not trained on. Prints calibration error and loss before and after: tables on a terminal, else JSON.
    """
    from bertcli.cli.calibrating import calibrate

    return calibrate(voice, given)
