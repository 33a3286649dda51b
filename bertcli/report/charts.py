"""What is plotted: curves of an evaluation and of a training log, as plain numbers. page.js draws them with uPlot."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Literal

from bertcli.evaluation.results import Curve, Evaluation, Reliability

MOST = 300  # points of a curve: more than a page is wide
DIGITS = 4  # significant ones
Number = float | None
Kind = Literal["line", "dots", "dash", "bars"]


@dataclass(frozen=True)
class Line:
    """A series of a chart, a value (or None) for each of the chart's x."""

    label: str
    values: Sequence[Number]
    kind: Kind = "line"


@dataclass(frozen=True)
class Chart:
    """x: its label; xs: in rising order. y_range: of the axis, None: of the data. note: what to look for."""

    title: str
    note: str
    x: str
    xs: Sequence[Number]
    lines: Sequence[Line]
    y_range: tuple[float, float] | None = None


def of_evaluation(evaluation: Evaluation) -> list[Chart]:
    """Those of its curves that there are."""
    charts = []
    if evaluation.reliability:
        charts.append(_reliability(evaluation.reliability))
    if evaluation.curve:
        charts.append(_threshold(evaluation.curve))
    return charts


def _reliability(found: Reliability) -> Chart:
    total = sum(own.count for own in found.bins)
    return Chart(
        "Reliability",
        f"Expected calibration error {found.ece:.4f}. Under the dashed line the scores promise too much.",
        "score",
        _short(own.confidence for own in found.bins),
        [
            Line("right", _short(own.accuracy for own in found.bins), "dots"),
            Line("as the score says", _short(own.confidence for own in found.bins), "dash"),
            Line(f"share of the {found.items}", _short(own.count / total for own in found.bins), "bars"),
        ],
        (0, 1),
    )


def _threshold(curve: Curve) -> Chart:
    series = {"precision": curve.precision, "recall": curve.recall, "F1": curve.f1}
    return Chart(
        "Thresholds",
        f"What is right, and found, where only {curve.items} with at least this score count.",
        "least score",
        _short(curve.thresholds),
        [Line(label, _short(values)) for label, values in series.items()],
        (0, 1),
    )


def of_training(log: Path) -> list[Chart]:
    """The losses, the metric that decided, and the learning rate, from a run's log.jsonl."""
    steps, evals = _read(log)
    dev = [(own["step"], own["metrics"].get("loss")) for own in evals]
    charts = [_joined("Loss", "loss", _thinned([(own[0], own[1]) for own in steps]), dev)]
    metric = evals[-1]["metric"] if evals else "loss"
    if metric != "loss":
        charts.append(
            _joined(f"Dev {metric}", metric, [], [(own["step"], own["metrics"].get(metric)) for own in evals])
        )
    charts.append(_joined("Learning rate", "learning rate", _thinned([(own[0], own[2]) for own in steps]), []))
    return charts


def _read(log: Path) -> tuple[list[tuple[int, float, float]], list[Mapping[str, Any]]]:
    """(step, loss, learning rate) of each step, and the evaluations."""
    steps, evals = [], []
    with log.open(encoding="utf-8") as file:
        for entry in map(json.loads, file):
            if entry["event"] == "step":
                steps.append((entry["step"], entry["loss"], entry["lr"]))
            else:
                evals.append(entry)
    return steps, evals


def _joined(title: str, name: str, train: Sequence[tuple[int, Number]], dev: Sequence[tuple[int, Number]]) -> Chart:
    """Two series with steps of their own over all of their steps."""
    xs = sorted({step for step, _ in (*train, *dev)})
    series: list[tuple[str, Sequence[tuple[int, Number]], Kind]] = [(name, train, "line"), (f"dev {name}", dev, "dots")]
    lines = [Line(label, _short(dict(points).get(x) for x in xs), kind) for label, points, kind in series if points]
    return Chart(title, "", "step", xs, lines)


def _thinned(points: Sequence[tuple[int, float]]) -> list[tuple[int, Number]]:
    """At most MOST points: means of stretches of equal length, each at its last step."""
    size = ceil(len(points) / MOST) or 1
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _short(values: Iterable[Number]) -> list[Number]:
    return [None if value is None else float(f"{value:.{DIGITS}g}") for value in values]
