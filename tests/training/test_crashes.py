"""A run that is killed at any moment: `--resume` ends in the same model and the same curve, whichever file came last.

A stand-in kills the run at each of its file operations, as Python's audit events tell them: nothing of the operation
happens, and nothing after it. Try: pytest tests/training/test_crashes.py
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bertcli.training import run
from bertcli.training.artifacts import write_metrics, write_settings
from bertcli.training.checkpoint import CHECKPOINTS, LOG, require_usable
from tests.training.test_loop import FOUR, ToyJob, trainer

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.truncate"}
OPTIONS = {"lr": 0.1}


class Killed(BaseException):
    """What no handler of an error catches."""


class Killer:
    """Counts the file operations while it is armed, and kills the run at number `at` and all after it."""

    def __init__(self) -> None:
        self.at: int | None = None
        self.count = 0
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.at is None:
            return
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writes:
            self.count += 1
            if self.count >= self.at:
                raise Killed

    @contextmanager
    def armed(self, at: int) -> Iterator[None]:
        """Within it the run is killed at the operation of that number, if it has so many."""
        self.at, self.count = at, 0
        try:
            yield
        except Killed:
            pass
        finally:
            self.at = None


@pytest.fixture(scope="module")
def killer() -> Killer:
    return Killer()


def story(output: Path, resume: bool, train: Callable[..., Any] = trainer) -> None:
    """What finetune and pretrain do with files, around a model of six weights."""
    require_usable(output, resume, False)
    job = ToyJob(*FOUR)
    job.evaluate = lambda model: {"accuracy": model.linear.bias.item()}  # type: ignore[assignment]
    toy = train(output / CHECKPOINTS, job, epochs=2, eval_every=3)
    if run.finished(toy.accelerator, output, "toy", OPTIONS, {}, resume, False):
        return
    list(run.start(toy, output, resume))
    with run.event_log(toy.accelerator, output, toy.step) as log:
        for event in toy.run(job, lambda: None):
            log(event)
    _, step = run.best_step(toy)

    def fill(draft: Path) -> None:
        (draft / "1_Pooling").mkdir(exist_ok=True)
        for name in ("config.json", "README.md", "1_Pooling/config.json"):
            (draft / name).write_text("{}", "utf-8")
        write_settings(draft, "toy", OPTIONS, {})
        write_metrics(draft, {"accuracy": 1.0}, step, toy.history)

    run.publish(toy, output, fill)


def result(output: Path) -> dict[str, object]:
    """All that is there in the end; of the log the steps in their order."""
    files = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    events = [json.loads(line) for line in files.pop(LOG).splitlines()]
    return {**files, "log": [(event["event"], event["step"], event.get("loss")) for event in events]}


def test_a_run_that_is_killed_at_any_file_operation_is_resumed_to_the_same_end(tmp_path: Path, killer: Killer) -> None:
    with killer.armed(10**9):
        story(tmp_path / "whole", resume=False)
    operations, expected = killer.count, result(tmp_path / "whole")
    assert operations > 30 and "model.safetensors" in expected
    for at in range(1, operations + 1):
        output = tmp_path / f"cut{at}"
        with killer.armed(at):
            story(output, resume=False)
        story(output, resume=True)
        assert result(output) == expected, at
    story(output, resume=True)  # A job that is queued once more finds it done.
    assert result(output) == expected


def test_so_is_one_whose_resumed_run_is_killed_too(tmp_path: Path, killer: Killer) -> None:
    with killer.armed(10**9):
        story(tmp_path / "whole", resume=False)
    operations, expected = killer.count, result(tmp_path / "whole")
    for at in range(5, operations, 11):
        for second in range(1, 40, 7):
            output = tmp_path / f"cut{at}-{second}"
            with killer.armed(at):
                story(output, resume=False)
            with killer.armed(second):
                story(output, resume=True)
            story(output, resume=True)
            assert result(output) == expected, (at, second)


@pytest.mark.parametrize("rest", [b'{"event": "step", "st', b"null\n", b"\xff\n", b'{"event"\n'])
def test_a_line_of_the_log_that_a_kill_has_cut_is_dropped(tmp_path: Path, rest: bytes) -> None:
    job = ToyJob(*FOUR)
    toy = trainer(tmp_path / CHECKPOINTS, job)
    lines = b"".join(b'{"event": "step", "step": %d}\n' % step for step in (1, 2, 3))
    (tmp_path / LOG).write_bytes(lines + rest)
    with run.event_log(toy.accelerator, tmp_path, 2):
        assert (tmp_path / LOG).read_bytes() == lines[: lines.index(b'{"event": "step", "step": 3')]
    (tmp_path / LOG).write_bytes(lines + rest)
    with run.event_log(toy.accelerator, tmp_path, 3):
        assert (tmp_path / LOG).read_bytes() == lines
