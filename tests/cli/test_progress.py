"""What a training run shows: a board at the foot of a terminal, lines in a log."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from bertcli.cli.progress import MOST, Series, TrainingProgress, wrapped
from bertcli.cli.terminal import Messages
from bertcli.device import Device
from bertcli.training.loop import Eval, Step

CPU = Device("cpu", 2, "no GPU on this machine")
STEP = Step(1, 1200, 0.01, 0.6931, 2e-5, 1.0, 8, 100, 231.4, 4912.3, None, 3725.0)


def draw(show: TrainingProgress, width: int, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False).print(show.board)
    file.flush()
    return raw.getvalue().decode(encoding).splitlines()


@pytest.fixture
def show() -> TrainingProgress:
    """After 40 steps and three evaluations, the second of which is the best."""
    show = TrainingProgress(Messages(quiet=True), CPU)
    for step in range(1, 41):
        show.event(replace(STEP, step=step, loss=1 / step))
    for step, accuracy, best in ((10, 0.5, True), (20, 0.875, True), (30, 0.75, False)):
        show.event(Eval(step, 0.1, {"loss": 0.5, "accuracy": accuracy, "confusion": {}}, best, "accuracy"))
    return show


def test_the_board_at_80_columns(show: TrainingProgress) -> None:
    bar, *lines = draw(show, 80)
    assert bar == "━╸".ljust(52) + "40/1,200 steps  1:02:05 left"
    assert [line.rstrip() for line in lines] == [
        "epoch 0.01  lr 2.00e-05  231 examples/s  4,912 tokens/s  cpu, threads: 2",
        "loss          0.0250  █▄▃▃▂▂▂▂▂▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁",
        "dev accuracy  0.7500  ▁█▆  best 0.8750 at step 20",
    ]  # fmt: skip


def test_the_board_at_50_columns_breaks_between_figures_and_keeps_the_curves(show: TrainingProgress) -> None:
    lines = draw(show, 50)
    assert all(len(line.rstrip()) <= 50 for line in lines)
    assert "40/1,200 steps  1:02:05 left" in lines[0]
    assert [line.rstrip() for line in lines[1:3]] == [
        "epoch 0.01  lr 2.00e-05  231 examples/s", "4,912 tokens/s  cpu, threads: 2"
    ]  # fmt: skip
    assert lines[3] == "loss          0.0250  █▄▃▂▂▂▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁"
    assert lines[4].rstrip() == "dev accuracy  0.7500  ▁█▆"


def test_a_terminal_without_blocks_has_ascii(show: TrainingProgress) -> None:
    assert draw(show, 80, "ascii")[3].rstrip() == "dev accuracy  0.7500  _#*  best 0.8750 at step 20"


def test_an_undefined_metric_is_not_drawn() -> None:
    show = TrainingProgress(Messages(quiet=True), CPU)
    show.event(Eval(1, 0.1, {"pearson": None}, True, "pearson"))
    assert show.board.curves == {}


def test_a_log_has_a_line_for_each_evaluation_and_for_a_step_when_the_last_is_a_while_ago(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TrainingProgress(Messages(), CPU) as show:
        show.event(STEP)
        show.event(Eval(1, 0.1, {"loss": 0.5, "accuracy": 0.75}, True, "accuracy"))
        show.last -= 31
        show.event(replace(STEP, utilisation=0.41, seconds_left=65))
    assert capsys.readouterr().err.splitlines() == [
        "step 1  dev: loss 0.5000  accuracy 0.7500  (best)",
        "step 1/1200  epoch 0.01  loss 0.6931  lr 2.00e-05  231 examples/s  4,912 tokens/s  41% of the GPU's peak  "
        "1:05 left",
    ]


def test_parts_are_wrapped_between_them() -> None:
    assert wrapped(["aaa", "bbb", "ccc"], 8) == ["aaa  bbb", "ccc"]
    assert wrapped(["longer than that", "b"], 4) == ["longer than that", "b"]
    assert wrapped([], 4) == []


def test_a_series_is_drawn_from_its_least_to_its_greatest() -> None:
    series = Series()
    assert series.draw(10) == ""
    for value in (3.0, 1.0, 8.0):
        series.add(value)
    assert series.draw(10) == "▃▁█"
    assert series.draw(1) == "▁"


def test_a_long_series_keeps_means_of_equal_stretches() -> None:
    series = Series()
    for value in range(100 * MOST):
        series.add(float(value))
    assert len(series.means) < MOST and series.stretch == 128
    assert series.means[0] == 63.5 and series.means[-1] == series.means[-2] + 128
    assert series.draw(8) == "▁▂▃▄▅▆▇█"
