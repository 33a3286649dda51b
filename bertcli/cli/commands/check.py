"""bertcli check: find the faults of labelled data before it is trained on."""

from typing import Any

import click

from bertcli.cli import options
from bertcli.cli.console import Voice
from bertcli.training.settings import Settings

EXAMPLES = """
bertcli check train.jsonl --dev dev.jsonl
bertcli check train.tsv --dev dev.tsv --text-field sentence -m MODEL      # lengths and unknown pieces too
bertcli check train.conll --dev dev.conll -t ner
bertcli check train.json --json | jq -r '.findings[] | select(.code == "duplicate").places[].place'
"""


@click.command("check", cls=options.Command, epilog=EXAMPLES)
@click.argument("train", nargs=-1, type=click.Path())
@click.option("--dev", multiple=True, metavar="FILE", help="Records to be scored on; is any also in TRAIN? Repeatable.")
@click.option("-m", "--model", metavar="MODEL", help="Count tokens as this model does: a directory or a Hub name.")
@options.task
@options.fields
@options.labels
@options.setting_of(Settings)(
    "--problem",
    click.Choice(["auto", "single", "multi", "regression"]),
    "auto: lists are several labels, decimal numbers regression, else one label.",
)
@options.question
@options.reading
@options.report
@click.option("--json", "output_format", flag_value="json", help="As --format json.")
@options.voice
def command(voice: Voice, **given: Any) -> int:
    """Look for faults in the labelled records of TRAIN or stdin, and of --dev.

    Errors, for which finetune would refuse the data, make the exit code 1: records, texts and labels that are none.
    Warnings do not: texts that are in both splits, or come twice, or nearly, or with other labels; labels that look
    misspelt, are rare or uneven; empty or overlong texts; entities and answers that no tokens make up.
    """
    from bertcli.cli.checking import check

    return check(voice, given)
