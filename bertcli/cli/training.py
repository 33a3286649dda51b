"""What several commands share of long runs: the page of --report, where and how a training is done, and raw text.

Imports nothing heavy, for --help. Try: bertcli pretrain --help
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from bertcli.cli.options import spelt
from bertcli.cli.shared import PATH
from bertcli.cli.terminal import Voice
from bertcli.errors import Interrupted
from bertcli.inference.settings import Request
from bertcli.option import REQUIRED, like, option

if TYPE_CHECKING:
    from bertcli.data.records import Record
    from bertcli.evaluation.results import Evaluation
    from bertcli.inference.stream import Stop
    from bertcli.pretraining.source import Source
    from bertcli.report.page import Report
    from bertcli.training.run import Saved

STOPPING = "stopping after this step, with a checkpoint for --resume"
NOT_KEPT = ("output", "resume", "overwrite", "cache", "track", "report")  # where and how, not what, is trained


@dataclass(frozen=True, kw_only=True)
class Reported:
    """The page of --report."""

    report: str | None = option(
        None,
        "HTML page of curves, tables and examples to search.",
        "FILE",
        type=PATH,
    )

    def require_page(self, output: str | None = None) -> None:
        """Raise UsageError where the page cannot be written; before the run, not after it.

        output: the directory that the run will make.
        """
        if self.report:
            from bertcli.data.sinks import require_writable
            from bertcli.report.page import require_replaceable

            require_replaceable(self.report)
            folder = Path(self.report).parent
            if folder.is_dir() or not output or folder != Path(output):
                require_writable(self.report)

    def write_page(self, voice: Voice, page: "Report") -> None:
        """Write it, if it is asked for."""
        if self.report:
            from bertcli.report.page import render, write

            write(self.report, render(page))
            voice.note(f"report: {self.report}")


@dataclass(frozen=True, kw_only=True)
class Training(Reported):
    """Where and how a training is done, besides what is trained."""

    output: str = option(REQUIRED, "Where the model goes.", "DIR", flags="-o", type=PATH)
    device: str = like(Request, "device")
    threads: int | None = like(Request, "threads")
    resume: bool = option(False, "Finish the run in DIR, to the same weights.")
    overwrite: bool = option(False, "Replace what is in DIR.")
    cache: str | None = option(
        None,
        "Keeps tokenised corpora and teachers' answers.  [default: ~/.cache/bertcli]",
        "DIR",
        type=click.Path(file_okay=False),
        group="data",
    )
    track: Literal["tensorboard"] | None = option(
        None, "Send losses and metrics there too; DIR/log.jsonl has them anyway.", group="output"
    )

    @property
    def cache_folder(self) -> Path:
        """What --cache names, or the usual one."""
        from bertcli.inference.cache import root

        return Path(self.cache) if self.cache else root()

    def kept(self) -> Mapping[str, object]:
        """What bertcli.yaml keeps: the options by name, without those that say where and how it is trained."""
        return {name: value for name, value in spelt(self).items() if name not in NOT_KEPT}

    def write_training_page(
        self, voice: Voice, saved: "Saved", facts: Mapping[str, object], evaluation: "Evaluation | None" = None
    ) -> None:
        """The curves of a run, facts of it that are known, and its dev data where they were scored."""
        if not self.report:
            return
        from bertcli.report.page import Report
        from bertcli.training.checkpoint import LOG

        known = {name: value for name, value in facts.items() if value is not None}
        title = saved.path.resolve().name
        self.write_page(voice, Report(title, evaluation, saved.path / LOG, saved.metrics or {}, known))


def until(stop: "Stop", records: Iterable["Record"]) -> Iterator["Record"]:
    """The records; Interrupted once a signal came, for a reader that does not look for it by itself."""
    for record in records:
        if stop.signum is not None:
            raise Interrupted(stop.signum)
        yield record


@dataclass(frozen=True, kw_only=True)
class RawText:
    """How raw text is read."""

    corpus: tuple[str, ...] = option(REQUIRED, is_argument=True, type=PATH)
    text_field: str = option(
        "text",
        "Field or column with the text of JSONL and of tables, where a record is a document; a.b goes inside.",
        "NAME",
        group="data",
    )
    document_per: Literal["blank-line", "file", "line"] = option(
        "blank-line", "What parts the documents of plain text.", group="data"
    )
    encoding: str = option("utf-8", "Encoding of the text.", group="data")
    on_error: Literal["skip", "fail"] = option(
        "skip", "A line or record that cannot be read: left out and counted, or the end of the run.", group="data"
    )

    def source(self) -> "Source":
        """Files, how they are read, and what happens at a fault. Raises UsageError for what names no file."""
        from bertcli.data.documents import expand, read
        from bertcli.pretraining.source import Source

        documents = partial(read, text_field=self.text_field, encoding=self.encoding, per=self.document_per)
        chosen = {"text_field": self.text_field, "encoding": self.encoding, "document_per": self.document_per}
        return Source(expand(self.corpus), documents, chosen, self.on_error == "skip")
