"""What a page shows: the curves of a run as plain numbers, and its examples, their texts cut where marks end.

page.js draws the curves with uPlot. Knows no HTML: page.html asks the functions for what stands in it.
Try: bertcli finetune --train train.tsv --dev dev.tsv -o DIR --report report.html
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil
from pathlib import Path
from typing import Any, Literal

from bertcli.evaluation.results import Evaluation, Example

POINTS = 300  # of a curve: more than a page is wide
DIGITS = 4  # significant ones
MOST = 1000  # examples, which a browser searches at once
ROOM = 1_200_000  # bytes of their texts: with what stands around them a page stays under 2 MB
Number = float | None
Style = Literal["line", "dots", "dash", "bars"]
Points = Sequence[tuple[int, Number]]  # (step, value)


def chosen(examples: Sequence[Example]) -> list[Example]:
    """Those that a page shows, in input order: all, or as many as it holds: the surest mistakes, then the others."""
    order = sorted(range(len(examples)), key=lambda i: (examples[i].right is not False, -examples[i].sure))[:MOST]
    sizes = (len(f"{examples[i].text}{examples[i].pair or ''}".encode(errors="replace")) for i in order)
    return [examples[i] for i in sorted(i for i, end in zip(order, accumulate(sizes), strict=True) if end <= ROOM)]


class Classes:
    """The classes or entity types of an evaluation, by which examples are found; none for other tasks."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.names = list(map(str, evaluation.per_class))
        self.index = {name: i for i, name in enumerate(self.names)}

    def of(self, example: Example, side: Literal["gold", "predicted"]) -> list[int]:
        """Indices of those that an example has on one side."""
        value, marks = getattr(example, side), getattr(example, f"{side}_marks")
        values = value if isinstance(value, (list, tuple)) else [value]
        names = dict.fromkeys([*(mark.type for mark in marks), *(name for name in values if isinstance(name, str))])
        return [self.index[name] for name in names if name in self.index]


@dataclass(frozen=True)
class Tag:
    """The name that stands where a mark ends. verdict: right, wrong (predicted, not gold) or missed (gold only)."""

    verdict: str
    name: str


@dataclass(frozen=True)
class Piece:
    """Text under the same marks. gold: "", "found" or "missed"; predicted: "", "right" or "wrong"."""

    text: str
    gold: str
    predicted: str
    tags: tuple[Tag, ...]


def pieces(example: Example) -> list[Piece]:
    """The whole text of an example, in order. Marks may overlap in any way: a piece ends where one begins or ends."""
    gold = [(mark.start, mark.end, mark.type) for mark in example.gold_marks]
    predicted = [(mark.start, mark.end, mark.type) for mark in example.predicted_marks]
    right = [span for span in predicted if span in gold]
    wrong = [span for span in predicted if span not in gold]
    missed = [span for span in gold if span not in predicted]
    if example.right:
        # One of several gold answers is enough, and the prediction may differ in case, articles or where it stands.
        right, wrong, missed = [*right, *wrong], [], []
    edges = sorted({0, len(example.text), *(edge for start, end, _ in [*gold, *predicted] for edge in (start, end))})

    def covers(spans: Sequence[tuple[int, int, str]], position: int) -> bool:
        return any(start <= position < end for start, end, _ in spans)

    return [
        Piece(
            example.text[start:end],
            "missed" if covers(missed, start) else "found" if covers(gold, start) else "",
            "wrong" if covers(wrong, start) else "right" if covers(right, start) else "",
            tuple(
                Tag(verdict, name)
                for verdict, spans in (("right", right), ("wrong", wrong), ("missed", missed))
                for name in dict.fromkeys(type_ for _, last, type_ in spans if last == end)
            ),
        )
        for start, end in pairwise(edges)
    ]


def where(example: Example) -> str:
    """`file:line`, without the directories of the machine that made the page."""
    source = example.record.source
    return example.location.replace(source, Path(source).name) if source else example.location


def readable(value: Any) -> str:
    """A value in a cell or below a text."""
    match value:
        case None:
            return "-"
        case bool() | str():
            return str(value)
        case float():
            return f"{value:.4f}"
        case int():
            return f"{value:,}"
        case Mapping():
            return ", ".join(f"{name} {readable(entry)}" for name, entry in value.items()) or "-"
        case list() | tuple():
            return ", ".join(dict.fromkeys(map(readable, value))) or "-"
    return str(value)


# Curves.


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
    """At most POINTS of them: means of stretches of equal length, each at its last step."""
    size = ceil(len(points) / POINTS) or 1
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(part[-1][0], sum(value for _, value in part) / len(part)) for part in parts]


def _short(values: Iterable[Number]) -> list[Number]:
    return [None if value is None else float(f"{value:.{DIGITS}g}") for value in values]
