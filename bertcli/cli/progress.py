"""How a training run looks: a bar on a terminal, one line for each evaluation (and now and then a step) elsewhere."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from bertcli.cli.console import Voice

if TYPE_CHECKING:
    from rich.progress import Progress

    from bertcli.engine.train import Eval, Step

LINE_EVERY = 30.0  # seconds between lines of progress in a log


def describe(step: "Step") -> str:
    """Loss, learning rate, speed and time left, as one line."""
    minutes, seconds = divmod(round(step.seconds_left), 60)
    return (
        f"epoch {step.epoch:.2f}  loss {step.loss:.4f}  lr {step.lr:.2e}  "
        f"{step.examples_per_s:,.0f} examples/s  {minutes}:{seconds:02d} left"
    )


def scalars(metrics: Mapping[str, Any]) -> str:
    """The numbers of a metrics dict on one line."""
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float))


class Show:
    """Shows step and evaluation events as they come. Use it in a `with`."""

    def __init__(self, voice: Voice) -> None:
        self.voice = voice
        self.bar: Progress | None = None
        self.last = time.monotonic()

    def __enter__(self) -> "Show":
        if self.voice.terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self.bar = Progress(*columns, console=self.voice.rich(), transient=True)
            self.task = self.bar.add_task("starting", total=None)
        self.context: AbstractContextManager[Any] = self.bar or nullcontext()
        self.context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(*error)

    def step(self, step: "Step") -> None:
        """Move the bar, or write a line when the last is a while ago."""
        if self.bar:
            self.bar.update(self.task, completed=step.step, total=step.total, description=describe(step))
        elif time.monotonic() - self.last > LINE_EVERY:
            self.last = time.monotonic()
            self.voice.line(f"step {step.step}/{step.total}  {describe(step)}")

    def evaluation(self, scored: "Eval") -> None:
        """One line for each evaluation."""
        line = f"step {scored.step}  dev: {scalars(scored.metrics)}{'  (best)' if scored.best else ''}"
        if self.bar:
            self.bar.console.print(line, highlight=False, markup=False)
        else:
            self.voice.line(line)
