"""What is plotted: curves of an evaluation and of a training log, as plain numbers. page.js draws them with uPlot.

Try: bertcli finetune --train train.tsv --dev dev.tsv -o DIR --report report.html
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

from bertcli.evaluation.results import Evaluation

MOST = 300  # points of a curve: more than a page is wide
DIGITS = 4  # significant ones
Number = float | None
Style = Literal["line", "dots", "dash", "bars"]
Points = Sequence[tuple[int, Number]]  # (step, value)


@dataclass(frozen=True)
class Line:
    """A series of a chart, a value (or None) for each of the chart's x."""

    label: str
    values: Sequence[Number]
    style: Style = "line"


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
    """The reliability of its scores and its thresholds, where it has them."""
    charts = []
    if reliability := evaluation.reliability:
        bins, total = reliability.bins, sum(part.count for part in reliability.bins)
        confidences = _short(part.confidence for part in bins)
        lines = [
            Line("right", _short(part.accuracy for part in bins), "dots"),
            Line("as the score says", confidences, "dash"),
            Line(f"share of the {reliability.items}", _short(part.count / total for part in bins), "bars"),
        ]
        note = f"Expected calibration error {reliability.ece:.4f}. Under the dashed line the scores promise too much."
        charts.append(Chart("Reliability", note, "score", confidences, lines, (0, 1)))
    if curve := evaluation.curve:
        series = {"precision": curve.precision, "recall": curve.recall, "F1": curve.f1}
        lines = [Line(label, _short(values)) for label, values in series.items()]
        note = f"What is right, and found, where only {curve.items} with at least this score count."
        charts.append(Chart("Thresholds", note, "least score", _short(curve.thresholds), lines, (0, 1)))
    return charts


def of_training(log: Path) -> list[Chart]:
    """The losses, the metric that decided, and the learning rate, from a run's log.jsonl."""
    with log.open(encoding="utf-8") as file:
        entries = [json.loads(line) for line in file]
    steps = [entry for entry in entries if entry["event"] == "step"]
    evaluations = [entry for entry in entries if entry["event"] != "step"]

    def measured(name: str) -> Points:
        return [(entry["step"], entry["metrics"].get(name)) for entry in evaluations]

    charts = [_chart("Loss", "loss", _thinned([(entry["step"], entry["loss"]) for entry in steps]), measured("loss"))]
    metric = evaluations[-1]["metric"] if evaluations else "loss"
    if metric != "loss":
        charts.append(_chart(f"Dev {metric}", metric, [], measured(metric)))
    rates = _thinned([(entry["step"], entry["lr"]) for entry in steps])
    return [*charts, _chart("Learning rate", "learning rate", rates, [])]


def _chart(title: str, name: str, train: Points, dev: Points) -> Chart:
    """Two series with steps of their own over all of their steps."""
    xs = sorted({step for step, _ in (*train, *dev)})
    series: list[tuple[str, Points, Style]] = [(name, train, "line"), (f"dev {name}", dev, "dots")]
    lines = [Line(label, _short(dict(points).get(x) for x in xs), style) for label, points, style in series if points]
    return Chart(title, "", "step", xs, lines)


def _thinned(points: Sequence[tuple[int, float]]) -> Points:
    """At most MOST points: means of stretches of equal length, each at its last step."""
    size = ceil(len(points) / MOST) or 1
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _short(values: Iterable[Number]) -> list[Number]:
    return [None if value is None else float(f"{value:.{DIGITS}g}") for value in values]
