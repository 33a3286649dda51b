"""How a training run looks: a bar, figures and curves on a terminal; elsewhere a line for each evaluation.

Now and then a step has a line too where there is no terminal. Try: bertcli finetune … in a terminal; … 2> log.txt
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bertcli.cli.terminal import Voice
from bertcli.device import Device

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.live import Live

    from bertcli.pretraining.build import Reading
    from bertcli.training.loop import Eval, Step
    from bertcli.training.run import Note

LINE_EVERY = 30.0  # seconds between lines of progress in a log
WIDEST, NARROWEST = 60, 8  # cells of a curve
GAP = "  "
MOST = 256  # stretches of a curve that are kept: more than a terminal is wide
BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-=+*%#"


def figures(step: "Step") -> list[str]:
    """Epoch, learning rate and speed, each with its unit."""
    used = [] if step.utilisation is None else [f"{step.utilisation:.0%} of the GPU's peak"]
    speeds = [f"{step.examples_per_s:,.0f} examples/s", f"{step.tokens_per_s:,.0f} tokens/s"]
    return [f"epoch {step.epoch:.2f}", f"lr {step.lr:.2e}", *speeds, *used]


def left(step: "Step") -> str:
    """How long the rest takes at the speed so far."""
    minutes, seconds = divmod(round(step.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d} left" if hours else f"{minutes}:{seconds:02d} left"


def scalars(metrics: Mapping[str, Any]) -> str:
    """The numbers of a metrics dict on one line."""
    return GAP.join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float))


class Series:
    """Numbers as they come, kept as the means of at most MOST stretches of equal length."""

    def __init__(self) -> None:
        self.means: list[float] = []
        self.stretch = 1  # numbers in a mean
        self.rest: list[float] = []  # of the stretch that is not full

    def add(self, value: float) -> None:
        """Take the next number."""
        self.rest.append(value)
        if len(self.rest) == self.stretch:
            self.means.append(_mean(self.rest))
            self.rest = []
        if len(self.means) == MOST:
            self.means = [_mean(self.means[i : i + 2]) for i in range(0, MOST, 2)]
            self.stretch *= 2

    def draw(self, width: int, blocks: str = BLOCKS) -> str:
        """At most `width` characters, the last one the latest; the lowest is the least of what is shown."""
        values = [*self.means, *([_mean(self.rest)] if self.rest else [])]
        shown = min(width, len(values))
        if not shown:
            return ""
        edges = [len(values) * i // shown for i in range(shown + 1)]
        points = [_mean(values[a:b]) for a, b in pairwise(edges)]
        low, high = min(points), max(points)
        scale = (len(blocks) - 1) / (high - low) if high > low else 0.0
        return "".join(blocks[round((point - low) * scale)] for point in points)


class Curve:
    """A line with the latest number and how it came there. note: what stands behind it where there is room."""

    def __init__(self) -> None:
        self.series = Series()
        self.value = 0.0
        self.note = ""

    def add(self, value: float, note: str = "") -> None:
        """Take the next number."""
        self.series.add(value)
        self.value, self.note = value, note

    def line(self, name: str, width: int, blocks: str) -> str:
        """The line, within `width` cells."""
        head, tail = f"{name}{GAP}{self.value:.4f}{GAP}", GAP + self.note if self.note else ""
        if width - len(head) - len(tail) < NARROWEST:
            tail = ""
        return head + self.series.draw(max(0, min(WIDEST, width - len(head) - len(tail))), blocks) + tail


class Board:
    """What stands at the foot of a terminal while a run goes on; rich draws it anew several times a second."""

    def __init__(self) -> None:
        self.done = 0
        self.total: int | None = None
        self.time = ""
        self.figures: list[str] = []
        self.curves: dict[str, Curve] = {}

    def curve(self, name: str) -> Curve:
        """The curve of that name, empty at first."""
        return self.curves.setdefault(name, Curve())

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> Iterator["RenderableType"]:
        """The bar, then figures in as many lines as they need, then a line for each curve."""
        from rich.text import Text

        width, blocks = options.max_width, ASCII if options.ascii_only else BLOCKS
        yield self._bar()
        for line in wrapped(self.figures, width):
            yield Text(line, no_wrap=True, overflow="ellipsis")
        longest = max(map(len, self.curves), default=0)
        for name, curve in list(self.curves.items()):
            yield Text(curve.line(name.ljust(longest), width, blocks), no_wrap=True, overflow="ellipsis")

    def _bar(self) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        row = Table.grid(padding=(0, 2, 0, 0), expand=True)
        row.add_column(ratio=1)
        if self.total is None:  # how much is to be done is not known
            row.add_row(ProgressBar(pulse=True))
        else:
            row.add_row(ProgressBar(self.total, self.done), f"{self.done:,}/{self.total:,} steps", self.time)
        return row


def wrapped(parts: Sequence[str], width: int) -> list[str]:
    """Lines of at most `width` cells, which break between the parts."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(GAP) + len(part) <= width:
            lines[-1] += GAP + part
        else:
            lines.append(part)
    return lines


class Show:
    """Shows step and evaluation events as they come. Use it in a `with`. device: where the run is.

    The board appears with the first step: the notes on the data and the model come before it, on lines of their own.
    What is said while there is one stands above it.
    """

    def __init__(self, voice: Voice, device: Device) -> None:
        self.voice = voice
        self.where = f"cpu, threads: {device.threads}" if device.type == "cpu" else device.type
        self.board = Board()
        self.live: Live | None = None
        self.last = time.monotonic()

    def __enter__(self) -> "Show":
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()

    def _started(self) -> "Live":
        from rich.control import Control
        from rich.live import Live
        from rich.segment import ControlType

        console = self.voice.rich()
        console.control(Control(ControlType.CARRIAGE_RETURN))  # the terminal may have echoed a ^C
        live = Live(self.board, console=console, transient=True)
        live.start()
        return live

    def event(self, event: "Note | Reading | Step | Eval") -> None:
        """Show what a training run tells."""
        from bertcli.pretraining.build import Reading
        from bertcli.training.loop import Eval, Step

        if isinstance(event, Step):
            self.step(event)
        elif isinstance(event, Eval):
            self.evaluation(event)
        elif isinstance(event, Reading):
            self.reading(event)
        elif event.warning:
            self.voice.warn(event.message)
        else:
            self.voice.note(event.message)

    def step(self, step: "Step") -> None:
        """Move the board, or write a line when the last is a while ago."""
        self.board.time = left(step)
        self.board.curve("loss").add(step.loss)
        epoch, *others = figures(step)
        self._progress([epoch, *others, self.where], step.step, step.total)
        if not self.live:
            line = [f"step {step.step}/{step.total}", epoch, f"loss {step.loss:.4f}", *others, left(step)]
            self._line(GAP.join(line))

    def reading(self, reading: "Reading") -> None:
        """How far the corpus is tokenised; how much is left is not known of compressed files."""
        million = 1e6
        parts = [
            f"tokenising: {reading.characters / million:,.0f} M characters,",
            f"{reading.tokens / million:,.1f} M tokens,",
            f"{reading.speed / million:.1f} M characters/s",
        ]
        self._progress(parts, 0, None)
        if not self.live:
            self._line(" ".join(parts))

    def _progress(self, parts: list[str], done: int, total: int | None) -> None:
        self.board.figures, self.board.done, self.board.total = parts, done, total
        if self.voice.terminal and not self.live:
            self.live = self._started()

    def _line(self, text: str) -> None:
        if time.monotonic() - self.last > LINE_EVERY:
            self.last = time.monotonic()
            self.voice.line(text)

    def evaluation(self, scored: "Eval") -> None:
        """One line for each evaluation."""
        value = scored.metrics.get(scored.metric)
        if isinstance(value, float):  # None where these predictions leave it undefined
            curve = self.board.curve(f"dev {scored.metric}")
            curve.add(value, f"best {value:.4f} at step {scored.step:,}" if scored.best else curve.note)
        line = f"step {scored.step}{GAP}dev: {scalars(scored.metrics)}{GAP + '(best)' if scored.best else ''}"
        if self.live:
            self.live.console.print(line, highlight=False, markup=False)
        else:
            self.voice.line(line)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
