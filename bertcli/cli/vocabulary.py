"""What the tokenizer command does between its options and the engine: find the text, train, count its faults."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertcli.cli.console import Voice
from bertcli.cli.corpus import source
from bertcli.cli.run import heed_signals
from bertcli.errors import Exit


def train(voice: Voice, given: Mapping[str, Any]) -> int:
    """Train a vocabulary and write its files; returns the exit code."""
    from bertcli.pretraining.source import Texts
    from bertcli.pretraining.vocabulary import build

    output, size = Path(given["output"]), given["vocab_size"]
    with heed_signals() as stop:
        texts = Texts(source(given), lambda: stop.signum)
        voice.note(f"training {size:,} pieces; files: {len(texts.source.files):,}")
        try:
            build(texts, output, size, lowercase=given["lowercase"], overwrite=given["overwrite"])
        finally:
            if texts.faults:
                voice.warn(
                    f"{texts.faults:,} unreadable lines or records were left out; the first: {texts.first_fault}"
                )
    voice.note(f"tokenizer: {output}")
    return Exit.OK
