"""How a training run looks: a bar on a terminal, one line for each evaluation (and now and then a step) elsewhere."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bertcli.cli.console import Voice

if TYPE_CHECKING:
    from rich.progress import Progress

    from bertcli.engine.train import Eval, Step
    from bertcli.pretraining.build import Reading

LINE_EVERY = 30.0  # seconds between lines of progress in a log


def describe(step: "Step") -> str:
    """Loss, learning rate, speed and time left, as one line."""
    minutes, seconds = divmod(round(step.seconds_left), 60)
    used = "" if step.utilisation is None else f"  {step.utilisation:.0%} of the GPU's peak"
    return (
        f"epoch {step.epoch:.2f}  loss {step.loss:.4f}  lr {step.lr:.2e}  {step.examples_per_s:,.0f} examples/s  "
        f"{step.tokens_per_s:,.0f} tokens/s{used}  {minutes}:{seconds:02d} left"
    )


def scalars(metrics: Mapping[str, Any]) -> str:
    """The numbers of a metrics dict on one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float))


class Show:
    """Shows step and evaluation events as they come. Use it in a `with`.

    The bar appears with the first step: the notes on the data and the model come before it, on lines of their own. What
    is said while there is a bar stands above it.
    """

    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        self.bar: Progress | None = None
        self.last = time.monotonic()

    def __enter__(self) -> "Show":
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()

    def started(self) -> "Progress":
        """The bar, on the terminal from now on."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        bar = Progress(*columns, console=self.voice.rich(), transient=True)
        self.task = bar.add_task("")
        bar.start()
        return bar

    def step(self, step: "Step") -> None:
        """Move the bar, or write a line when the last is a while ago."""
        self._progress(describe(step), f"step {step.step}/{step.total}  ", step.step, step.total)

    def reading(self, reading: "Reading") -> None:
        """How far the corpus is tokenised; how much is left is not known of compressed files."""
        million = 1e6
        text = (
            f"tokenising: {reading.characters / million:,.0f} M characters, {reading.tokens / million:,.1f} M tokens, "
            f"{reading.speed / million:.1f} M characters/s"
        )
        self._progress(text, "", 0, None)

    def _progress(self, text: str, place: str, done: int, total: int | None) -> None:
        if self.voice.terminal:
            self.bar = self.bar or self.started()
            self.bar.update(self.task, completed=done, total=total, description=text)
        elif time.monotonic() - self.last > LINE_EVERY:
            self.last = time.monotonic()
            self.voice.line(place + text)

    def evaluation(self, scored: "Eval") -> None:
        """One line for each evaluation."""
        line = f"step {scored.step}  dev: {scalars(scored.metrics)}{'  (best)' if scored.best else ''}"
        if self.bar:
            self.bar.console.print(line, highlight=False, markup=False)
        else:
            self.voice.line(line)
