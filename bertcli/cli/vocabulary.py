"""What the tokenizer command does between its options and the engine: find the text, read it, count its faults."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bertcli.cli.console import Voice
from bertcli.cli.run import heed_signals
from bertcli.data.documents import Document, expand, read
from bertcli.engine.predict import Stop
from bertcli.errors import Exit, Interrupted, UsageError


class Texts:
    """The lines of a corpus, as often as they are wanted. faults: how many places of it could not be read."""

    def __init__(self, given: Mapping[str, Any], stop: Stop) -> None:
        self.files = expand(given["corpus"])
        self.faults = 0
        self.first = ""
        self._stop = stop
        self._fail = given["on_error"] == "fail"
        self._options = {
            "text_field": given["text_field"], "encoding": given["encoding"], "per": given["document_per"],
        }  # fmt: skip

    def __iter__(self) -> Iterator[str]:
        self.faults = 0
        for file in self.files:
            for item in read(file, **self._options):
                if self._stop.signum:
                    raise Interrupted(self._stop.signum)
                if isinstance(item, Document):
                    yield from item.lines
                else:
                    self._count(str(item))

    def _count(self, fault: str) -> None:
        if self._fail:
            raise UsageError(f"{fault}; --on-error skip leaves such places out.")
        self.faults += 1
        self.first = self.first or fault

    def warn(self, voice: Voice) -> None:
        """Say in one sentence what was left out."""
        if self.faults:
            voice.warn(f"{self.faults:,} unreadable lines or records were left out; the first: {self.first}")


def train(voice: Voice, given: Mapping[str, Any]) -> int:
    """Train a vocabulary and write its files; returns the exit code."""
    from bertcli.engine.vocabulary import build

    output, size = Path(given["output"]), given["vocab_size"]
    with heed_signals() as stop:
        texts = Texts(given, stop)
        voice.note(f"training {size:,} pieces; files: {len(texts.files):,}")
        try:
            build(texts, output, size, lowercase=not given["cased"], overwrite=given["overwrite"])
        finally:
            texts.warn(voice)
    voice.note(f"tokenizer: {output}")
    return Exit.OK
