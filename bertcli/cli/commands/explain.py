"""bertcli explain: show which tokens made a decision, and what each attention head looked at."""

from typing import Any

import click

from bertcli.cli import options
from bertcli.cli.console import Voice

EXAMPLES = """
bertcli explain "a gripping film"
bertcli explain "not a good film" --target positive
bertcli explain -t ner "Tim Cook is in Berlin." | jq -c '.explanations[] | [.target, .text, .score]'
bertcli explain "Who is in Berlin?" --context "Tim Cook is in Berlin."
bertcli explain -m DIR "the first text" --pair "the second"
bertcli explain "a gripping film" --attention --layer 2 --head 3
bertcli explain "a gripping film" --html page.html
bertcli explain -m DIR --input reviews.jsonl > explained.jsonl
"""


@click.command("explain", cls=options.Command, epilog=EXAMPLES)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@options.model
@options.task
@click.option("--target", metavar="LABEL", help="Explain this label, entity type or answer, not what was predicted.")
@click.option("--pair", metavar="TEXT", help="The second text of a pair.")
@click.option("--context", metavar="TEXT", help="Answer TEXT, a question, from this.")
@click.option("--attention", is_flag=True, help="Also give the weights of self-attention, by layer and head.")
@click.option("--layer", type=click.IntRange(1), metavar="N", help="Only the attention of this layer, from 1.")
@click.option("--head", type=click.IntRange(1), metavar="N", help="Only the attention of this head, from 1.")
@click.option("--html", type=click.Path(), metavar="FILE", help="Also write a page with all of it, in one file.")
@click.option("--input", "files", type=click.Path(), multiple=True, metavar="FILE", help="Read records. Repeatable.")
@options.fields
@options.question
@options.long
@options.reading
@click.option(
    "-f",
    "--format",
    "output_format",
    type=click.Choice(["rich", "jsonl"]),
    help="[default: rich on a terminal, else jsonl]",
)
@options.device
@options.voice
def command(voice: Voice, **given: Any) -> int:
    """Show what each word added to the score of what predict finds in TEXT, in files, or in the lines of stdin.

    Integrated gradients (arXiv 1703.01365) over the word embeddings, from a text of which every piece is [MASK]. The
    attributions sum to the difference of the two scores, in log-odds; where they are more than 1 % off, this is said.
    A model that has only an int8 ONNX file is explained by its weights, whose score is given beside predict's.
    """
    from bertcli.cli.explaining import explain

    return explain(voice, given)
