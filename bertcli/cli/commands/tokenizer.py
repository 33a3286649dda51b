"""bertcli tokenizer: train a WordPiece vocabulary on raw text."""

from typing import Any

import click

from bertcli.cli import options
from bertcli.cli.console import Voice

EXAMPLES = """
bertcli tokenizer train texts/ --vocab-size 30000 -o DIR
bertcli tokenizer train 'zh/*.txt.xz' --vocab-size 21000 -o DIR
bertcli tokenizer train news.jsonl.gz --text-field body --cased --vocab-size 30000 -o DIR
"""


@click.group("tokenizer", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make a tokenizer of one's own."""


@command.command(
    "train",
    cls=options.Command,
    group="tokenizer",
    short_help="Train a WordPiece vocabulary on raw text.",
    epilog=EXAMPLES,
)
@options.corpus
@click.option("--vocab-size", type=click.IntRange(1), required=True, metavar="N", help="Pieces in the vocabulary.")
@options.cased
@click.option("-o", "--output", required=True, type=click.Path(), metavar="DIR", help="Where the tokenizer goes.")
@click.option("--overwrite", is_flag=True, help="Replace the tokenizer in DIR.")
@options.voice
def train(voice: Voice, **given: Any) -> int:
    """Train BERT's WordPiece vocabulary on CORPUS: files, directories and quoted patterns of raw text.

    Plain text, JSONL, CSV or TSV, also .gz, .bz2 or .xz. The result, the same for the same text, opens with
    transformers and with --tokenizer. Chinese is split into characters as in BERT.
    """
    from bertcli.cli import vocabulary

    return vocabulary.train(voice, given)
