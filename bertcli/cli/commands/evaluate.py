"""bertcli evaluate: score a model on labelled data."""

from typing import Any

import click

from bertcli.cli import options
from bertcli.cli.console import Voice

EXAMPLES = """
bertcli evaluate dev.jsonl -m DIR
bertcli evaluate dev.tsv -m DIR --text-field sentence --errors wrong.jsonl
bertcli evaluate dev.jsonl -m DIR --report report.html
bertcli evaluate dev.jsonl -m DIR --compare OLD_DIR
bertcli evaluate dev.tsv -m DIR --fail-under accuracy=0.9 --fail-under macro_f1=0.85 -q > metrics.json
"""


@click.command("evaluate", cls=options.Command, epilog=EXAMPLES)
@click.argument("files", nargs=-1, type=click.Path())
@options.model
@options.task
@options.fields
@options.labels
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Least score for a label to be given.  [default: 0.5 for multi-label]",
)
@options.mask
@options.question
@click.option(
    "--null-threshold",
    type=options.Threshold(),
    help="Log-odds under which a question has no answer; auto: the best on this data, which the model then keeps.",
)
@options.language
@options.long
@options.reading
@options.report
@click.option(
    "--errors",
    type=click.Path(),
    metavar="FILE",
    help="Write the wrong items here, most confident first (JSONL, TSV or CSV).",
)
@options.page
@click.option(
    "--compare",
    metavar="OTHER",
    help="Test the difference to another model, or to an earlier evaluation's JSON, on the same data.",
)
@click.option(
    "--fail-under",
    multiple=True,
    metavar="METRIC=X",
    help="Exit with 4 unless the metric is at least X (at most X for rmse, mae and losses). Repeatable.",
)
@options.engine
@options.voice
def command(voice: Voice, **given: Any) -> int:
    """Score predictions against the labels in FILES or stdin.

    Prints tables on a terminal and one JSON object otherwise: metrics with 95 % bootstrap intervals, classes,
    confusion, how reliable the scores are, metrics by length. Records that cannot be scored are listed on stderr,
    left out of the metrics, and make the exit code 3.
    """
    from bertcli.cli.evaluating import evaluate

    return evaluate(voice, given)
