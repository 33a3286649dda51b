"""bertcli tokenizer: train a WordPiece vocabulary on raw text."""

from dataclasses import dataclass
from pathlib import Path

import click

from bertcli.cli import shared
from bertcli.cli.options import HELP, command
from bertcli.cli.shared import RawTextOptions
from bertcli.cli.terminal import Messages, heed_signals
from bertcli.errors import Exit
from bertcli.option import REQUIRED, like, option
from bertcli.pretraining.settings import PretrainSettings

EXAMPLES = """
bertcli tokenizer train texts/ --vocab-size 30000 -o DIR
bertcli tokenizer train 'zh/*.txt.xz' --vocab-size 21000 -o DIR
bertcli tokenizer train news.jsonl.gz --text-field body --cased --vocab-size 30000 -o DIR
"""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Train(RawTextOptions):
    """The options of `bertcli tokenizer train`."""

    vocab_size: int = option(REQUIRED, "Pieces in the vocabulary.", "N", least=1, most=10**7)
    lowercase: bool = like(PretrainSettings, "lowercase")
    output: str = option(REQUIRED, "Where the tokenizer goes.", "DIR", flags="-o", type=shared.PATH)
    overwrite: bool = option(False, "Replace the tokenizer in DIR.")


@click.group("tokenizer", context_settings=HELP)
def tokenizer() -> None:
    """Make a tokenizer of one's own."""


@command(
    "corpus text_field document_per encoding on_error vocab_size lowercase output overwrite",
    EXAMPLES,
    group="tokenizer",
    short_help="Train a WordPiece vocabulary on raw text.",
)
def train(messages: Messages, options: Train) -> int:
    """Train BERT's WordPiece vocabulary on CORPUS: files, directories and quoted patterns of raw text.

    Plain text, JSONL, CSV, TSV, also .gz, .bz2 or .xz, Parquet. The result, the same for the same text, opens with
    transformers and with --tokenizer. Chinese is split into characters as in BERT.
    """
    from bertcli.pretraining.source import Texts
    from bertcli.pretraining.vocabulary import build

    output, size = Path(options.output), options.vocab_size
    with heed_signals() as stop:
        texts = Texts(options.source(), lambda: stop.signum)
        messages.note(f"training {size:,} pieces; files: {len(texts.source.files):,}")
        build(texts, output, size, lowercase=options.lowercase, overwrite=options.overwrite)
    if texts.faults:
        messages.warn(f"{texts.faults:,} unreadable lines or records were left out; the first: {texts.first_fault}")
    messages.note(f"tokenizer: {output}")
    return Exit.OK


tokenizer.add_command(train)
