"""The progress of a run at the foot of a terminal: a line for records; a bar, figures and curves for a training.

Without a terminal a training prints a line for each evaluation, and now and then one for a step. Knows the events of a
run, no task and no format. Try: bertcli predict big.jsonl -o out.jsonl; bertcli finetune … in a terminal; … 2> log.txt
"""

import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bertcli.cli.terminal import Messages
from bertcli.data import visible
from bertcli.device import Device
from bertcli.errors import BertcliError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.live import Live

    from bertcli.data.records import Record
    from bertcli.inference.stream import Outcome
    from bertcli.pretraining.corpus import Tokenising
    from bertcli.training.loop import Eval, Step
    from bertcli.training.run import Note
    from bertcli.training.teacher import Answering

LINE_EVERY = 30.0  # seconds between lines of progress in a log
WIDEST, NARROWEST = 60, 8  # cells of a curve
GAP = "  "
MOST = 256  # means of a curve that are kept: more than a terminal has columns
BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-=+*%#"
MILLION = 1e6
DRAW_EVERY = 0.2  # seconds between two states of the line
COUNTED = 1 << 30  # bytes of input whose lines are counted, in half a second
TABLES = {b"PAR1": "parquet", b"ARRO": "arrow", b"\xff\xff\xff\xff": "arrow"}  # by first bytes; rows are counted
ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zX")  # gzip, bzip2, xz


class RecordCount(AbstractContextManager["RecordCount"]):
    """The number of finished records, on one line of a terminal on stderr; silent elsewhere. Use it in a `with`.

    files: the input. The lines of files of at most COUNTED bytes are counted, to tell how much is left; for pipes and
    archives it shows count and speed only.
    """

    def __init__(self, messages: Messages, files: Sequence[str]) -> None:
        self.messages = messages
        self.lines = _lines(files) if messages.draws else {}
        self.before = dict(zip(self.lines, accumulate([0, *self.lines.values()]), strict=False))
        self.records, self.line, self.first_line = 0, 0, 0
        self.began, self.last = time.monotonic(), 0.0
        self.is_shown = False

    def __exit__(self, *error: object) -> None:
        self._draw("")

    def count(self, record: "Record") -> None:
        """Count a finished record."""
        self.records += 1
        self.line = self.before.get(record.source, 0) + record.line
        self.first_line = self.first_line or self.line

    def watched(self, chunks: "Iterable[list[Outcome]]") -> "Iterator[list[Outcome]]":
        """The chunks of outcomes, counted and shown as they come."""
        for chunk in chunks:
            for outcome in chunk:
                self.count(outcome.record)
            self.show()
            yield chunk

    def passed(self, records: "Iterable[Record]") -> "Iterator[Record]":
        """The records, counted and shown as they come."""
        for record in records:
            self.count(record)
            self.show()
            yield record

    def show(self) -> None:
        """Draw the line anew, if DRAW_EVERY seconds have passed."""
        now = time.monotonic()
        if not self.messages.draws or now - self.last < DRAW_EVERY:
            return
        self.last, seconds = now, max(now - self.began, 0.001)
        parts = [f"{self.records:,} records", f"{self.records / seconds:,.0f} records/s"]
        total, done = sum(self.lines.values()), self.line - self.first_line
        if total and done:
            parts.append(f"{self.line / total:.0%}, {left(seconds * max(total - self.line, 0) / done)}")
        self._draw(GAP.join(parts))

    def _draw(self, line: str) -> None:
        if line or self.is_shown:
            self.is_shown = bool(line)
            with suppress(OSError):
                # A line that wraps could not be redrawn. A terminal may not know its size.
                room = max(os.get_terminal_size(sys.stderr.fileno()).columns - 1, 0) or None
                click.echo(f"\r{line[:room]}\x1b[K", nl=False, err=True)


def left(seconds: float) -> str:
    """A time for people, as "1:05 left" or "2:00:05 left"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} left" if hours else f"{minutes}:{rest:02d} left"


def _lines(files: Sequence[str]) -> dict[str, int]:
    """The number of lines of each file; {} if one is no uncompressed file, or all together are too large to count."""
    paths = [Path(name) for name in files]
    if not all(path.is_file() for path in paths) or sum(path.stat().st_size for path in paths) > COUNTED:
        return {}
    counts = {}
    for name, path in zip(files, paths, strict=True):
        with path.open("rb") as file:
            head = file.read(4)
            if head.startswith(ARCHIVES):
                return {}
            if head in TABLES:
                from bertcli.data.formats.table_reader import count

                with suppress(BertcliError):  # Reading the file will raise it too.
                    counts[name] = count(name, TABLES[head])
                continue
            file.seek(0)
            counts[name] = 1 + sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return counts


# -- trainings


@dataclass(eq=False)
class Series:
    """A curve of numbers in constant memory: the means of at most MOST stretches of equal length.

    stretch: how many numbers a mean is of. rest: those of the stretch that is not full. value: the latest number. note:
    shown after the curve if there is room.
    """

    means: list[float] = field(default_factory=list)
    stretch: int = 1
    rest: list[float] = field(default_factory=list)
    value: float = 0.0
    note: str = ""

    def add(self, value: float, note: str = "") -> None:
        """Take the next number."""
        self.value, self.note = value, note
        self.rest.append(value)
        if len(self.rest) == self.stretch:
            self.means.append(_mean(self.rest))
            self.rest = []
        if len(self.means) == MOST:
            self.means = [_mean(self.means[i : i + 2]) for i in range(0, MOST, 2)]
            self.stretch *= 2

    def draw(self, width: int, blocks: str = BLOCKS) -> str:
        """The curve in at most `width` characters; the last is the latest. Its least value is the lowest."""
        values = [*self.means, *([_mean(self.rest)] if self.rest else [])]
        shown = min(width, len(values))
        if not shown:
            return ""
        edges = [len(values) * i // shown for i in range(shown + 1)]
        points = [_mean(values[a:b]) for a, b in pairwise(edges)]
        low, high = min(points), max(points)
        scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
        return "".join(blocks[round((point - low) * scale)] for point in points)

    def line(self, name: str, width: int, blocks: str) -> str:
        """Name, latest number, curve and note within `width` cells."""
        head, tail = f"{name}{GAP}{self.value:.4f}{GAP}", GAP + self.note if self.note else ""
        if width - len(head) - len(tail) < NARROWEST:
            tail = ""
        return head + self.draw(max(0, min(WIDEST, width - len(head) - len(tail))), blocks) + tail


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


@dataclass
class Board:
    """The bar, figures and curves at the foot of a terminal; rich draws them several times a second.

    total: the number of `unit` in the run, None if not known. left: the remaining time, as text.
    """

    done: int = 0
    total: int | None = None
    unit: str = "steps"
    left: str = ""
    figures: Sequence[str] = ()
    curves: defaultdict[str, Series] = field(default_factory=lambda: defaultdict(Series))

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> Iterator["RenderableType"]:
        """The bar, then figures in as many lines as they need, then a line for each curve."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        width, blocks = options.max_width, ASCII if options.ascii_only else BLOCKS
        bar = Table.grid(padding=(0, 2, 0, 0), expand=True)
        bar.add_column(ratio=1)
        if self.total is None:
            bar.add_row(ProgressBar(pulse=True))
        else:
            bar.add_row(ProgressBar(self.total, self.done), f"{self.done:,}/{self.total:,} {self.unit}", self.left)
        yield bar
        longest = max(map(len, self.curves), default=0)
        curves = [curve.line(name.ljust(longest), width, blocks) for name, curve in list(self.curves.items())]
        for line in [*wrapped(self.figures, width), *curves]:
            yield Text(line, no_wrap=True, overflow="ellipsis")


def wrapped(parts: Sequence[str], width: int) -> list[str]:
    """Lines of at most `width` cells, which break between the parts."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(GAP) + len(part) <= width:
            lines[-1] += GAP + part
        else:
            lines.append(part)
    return lines


class TrainingProgress(AbstractContextManager["TrainingProgress"]):
    """Shows step and evaluation events as they come. Use it in a `with`. device: where the run is.

    The board appears with the first step, below the notes on the data and the model. Later messages stand above it.
    """

    def __init__(self, messages: Messages, device: Device) -> None:
        self.messages = messages
        self.where = f"cpu, threads: {device.threads}" if device.type == "cpu" else device.type
        self.board = Board()
        self.live: Live | None = None
        self.last = time.monotonic()

    def __exit__(self, *error: object) -> None:
        if self.live:
            with suppress(OSError):  # the terminal may be gone, and the run has been stored
                self.live.stop()

    def event(self, event: "Note | Tokenising | Answering | Step | Eval") -> None:
        """Show an event of a training."""
        from bertcli.pretraining.corpus import Tokenising
        from bertcli.training.loop import Eval, Step
        from bertcli.training.teacher import Answering

        board = self.board
        if isinstance(event, Step):
            epoch = f"epoch {event.epoch:.2f}"
            figures = [
                f"lr {event.lr:.2e}",
                f"{event.examples_per_s:,.0f} examples/s",
                f"{event.tokens_per_s:,.0f} tokens/s",
                *([] if event.utilisation is None else [f"{event.utilisation:.0%} of the GPU's peak"]),
            ]
            board.done, board.total, board.unit, board.left = event.step, event.total, "steps", left(event.seconds_left)
            board.figures = [epoch, *figures, self.where]
            board.curves["loss"].add(event.loss)
            parts = [f"step {event.step}/{event.total}", epoch, f"loss {event.loss:.4f}", *figures, board.left]
            self._draw(GAP.join(parts))
        elif isinstance(event, Eval):
            value = event.metrics.get(event.metric)
            if isinstance(value, float):  # None where these predictions leave it undefined
                curve = board.curves[f"dev {event.metric}"]
                curve.add(value, f"best {value:.4f} at step {event.step:,}" if event.best else curve.note)
            numbers = [f"{name} {value:.4f}" for name, value in event.metrics.items() if isinstance(value, float)]
            line = f"step {event.step}{GAP}dev: {GAP.join(numbers)}{GAP + '(best)' if event.best else ''}"
            if self.live:
                self.live.console.print(visible(line), highlight=False, markup=False)
            else:
                self.messages.line(line)
        elif isinstance(event, Tokenising):
            # How much is left is not known of compressed files.
            parts = [
                f"tokenising: {event.characters / MILLION:,.0f} M characters,",
                f"{event.tokens / MILLION:,.1f} M tokens,",
                f"{event.speed / MILLION:.1f} M characters/s",
            ]
            board.figures, board.done, board.total = parts, 0, None
            self._draw(" ".join(parts))
        elif isinstance(event, Answering):
            speed = f"{event.speed:,.0f} texts/s"
            board.done, board.total, board.unit = event.done, event.total, "answers of the teacher"
            board.figures = [speed, self.where]
            self._draw(f"teacher: {event.done:,} of {event.total:,} texts, {speed}")
        elif event.warning:
            self.messages.warn(event.message)
        else:
            self.messages.note(event.message)

    def tell(self, message: str) -> None:
        """Show a message at once on a terminal, above the board."""
        if self.live:
            self.live.console.print(message, highlight=False, markup=False)
        else:
            self.messages.tell(message)

    def _draw(self, line: str) -> None:
        """Show the board on a terminal; elsewhere print the line, if the last is LINE_EVERY seconds ago."""
        if self.live:
            return
        if self.messages.draws:
            from rich.console import Console
            from rich.control import Control
            from rich.live import Live
            from rich.segment import ControlType

            console = Console(stderr=True)
            console.control(Control(ControlType.CARRIAGE_RETURN))  # the terminal may have echoed a ^C
            self.live = Live(self.board, console=console, transient=True)
            self.live.start()
        elif time.monotonic() - self.last > LINE_EVERY:
            self.last = time.monotonic()
            self.messages.line(line)
