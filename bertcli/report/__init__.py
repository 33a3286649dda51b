"""HTML pages, each one file that holds everything: of evaluations, trainings and explanations.

Two pages, of `--report` and of `explain --html`: a template that is filled in, and written whole. Nothing on a page is
fetched, and its content security policy forbids to: texts come from anywhere. So jinja2 escapes all that it puts into
HTML, and what a script reads goes in as JSON without `<`, `>`, `&` and `'`. Knows neither where an evaluation or an
explanation comes from, nor options.
Try: bertcli evaluate dev.jsonl --report report.html
"""

import json
import re
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import accumulate, pairwise
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from bertcli import __version__
from bertcli.data.sinks import require_writable, write_file
from bertcli.errors import UsageError
from bertcli.tasks.texts import Example

if TYPE_CHECKING:
    from bertcli.evaluation import Evaluation

HERE = Path(__file__).parent
BEGINNINGS = {  # by which a page is known as one of ours, and of which option
    "--report": "<!doctype html><!-- bertcli report -->\n",
    "--html": "<!doctype html><!-- bertcli explain -->\n",
}
SHARES = "".join(f".share-{i} {{ --share: {i / 100} }}" for i in range(101))  # the policy has no inline style
LONG = 16  # characters of a label that leaves the numbers beside it little room in half a page
WIDEST_MATRIX = 30  # classes; the eye finds nothing in a larger one
POINTS = 300  # of a curve: more than a page is wide
DIGITS = 4  # significant ones
MOST = 1000  # examples, which a browser searches at once
ROOM = 1_200_000  # bytes of their texts: with what stands around them a page stays under 2 MB
Number = float | None
Style = Literal["line", "dots", "dash", "bars"]
Points = Sequence[tuple[int, Number]]  # (step, value)


@dataclass(frozen=True)
class Report:
    """What the page of a run shows. title: the model's name. log: of the training, None where there was none.

    evaluation: None where there was no dev data. metrics: of a training without an evaluation. facts: of the run.
    """

    title: str
    evaluation: "Evaluation | None" = None
    log: Path | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def require_replaceable(path: str, option: str = "--report") -> None:
    """Raise UsageError for a file that is no page of the option: asked before a run, at whose end it would be lost."""
    if not Path(path).is_file():
        return
    beginning = BEGINNINGS[option].encode()
    with Path(path).open("rb") as file:
        if file.read(len(beginning)) != beginning:
            raise UsageError(f"{option} {path}: the file is no page of bertcli's, and is not replaced; name another.")


def render(report: Report) -> str:
    """The page of a run as HTML."""
    evaluation = report.evaluation
    drawn = of_training(report.log) if report.log else []
    facts, metrics, tables, confusion = {}, report.metrics, {}, None
    if evaluation:
        drawn += of_evaluation(evaluation)
        facts = {"task": evaluation.task, "examples": evaluation.records}
        facts |= {"faults in the data": len(evaluation.faults)} if evaluation.faults else {}
        facts |= {"calibrated by": evaluation.calibration} if evaluation.calibration else {}
        metrics = evaluation.metrics
        confusion = metrics.get("confusion")
        # Metrics that are tables: their columns, and a row of them for each entry.
        for name, value in metrics.items():
            if isinstance(value, Mapping) and name != "confusion":
                rows = {label: row if isinstance(row, Mapping) else {"value": row} for label, row in value.items()}
                columns = list(dict.fromkeys(column for row in rows.values() for column in row))
                tables[name] = {"columns": columns, "rows": rows, "is_wide": max(map(len, rows), default=0) > LONG}
    return BEGINNINGS["--report"] + _filled(
        "page.html",
        styles=[_text("uplot/uPlot.min.css"), _text("page.css"), SHARES],
        scripts=[_text("uplot/uPlot.iife.min.js"), _text("page.js")],
        report=report,
        version=__version__,
        facts={**facts, **report.facts},
        metrics={name: value for name, value in metrics.items() if not isinstance(value, (Mapping, list))},
        charts=drawn,
        chart_data=[asdict(chart) for chart in drawn],
        evaluation=evaluation,
        tables=tables,
        confusion=confusion and _confusion(confusion),
        classes={str(name): i for i, name in enumerate(metrics.get("per_class") or ())} if evaluation else {},
        examples=chosen(evaluation.examples) if evaluation else [],
    )


@contextmanager
def explain_page(path: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """`with explain_page(path) as add: add(result)`: a page of explanations, written at the end unless the run failed.

    result: as Explainer.explain gives it, with attention. Raises UsageError at once where the file cannot be written,
    or is no such page.
    """
    require_replaceable(path, "--html")
    require_writable(path)
    results: list[dict[str, Any]] = []

    def add(result: Mapping[str, Any]) -> None:
        explanations = [
            {name: value for name, value in explanation.items() if name != "tokens"}
            for explanation in result["explanations"]
        ]
        facts = {name: result[name] for name in ("baseline", "weights", "windows", "truncated") if name in result}
        attention = []
        for window in result["attention"]:
            # All matrices (T, T), one after the other, in steps of 1/255, for they grow with the square of the text.
            steps = (np.rint(matrix["weights"] * 255).astype(np.uint8) for matrix in window["matrices"])
            heads = [[matrix["layer"], matrix["head"]] for matrix in window["matrices"]]
            packed = b64encode(zlib.compress(b"".join(map(bytes, steps)), 9)).decode()
            attention.append({"tokens": window["tokens"], "heads": heads, "weights": packed})
        results.append({**facts, "explanations": explanations, "attention": attention})

    yield add
    page = _filled("explain.html", [_text("explain.css")], [_text("explain.js")], results=results)
    write_file(path, BEGINNINGS["--html"] + page)


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").strip()


def _filled(template: str, styles: Sequence[str], scripts: Sequence[str], **values: Any) -> str:
    """A template of this folder with its values. One that it names and does not get is an error.

    The page obeys these styles and scripts alone, known by their hashes, whatever a text brings into it.
    """
    style_hashes, script_hashes = (
        " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in texts)
        for texts in (styles, scripts)
    )
    policy = f"default-src 'none'; img-src data:; style-src {style_hashes}; script-src {script_hashes}"
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"pieces": pieces, "indices": indices, "readable": readable, "where": where}
    environment.filters["percent"] = lambda share: round(100 * share)
    # A label may go on in the next line after a mark between its words.
    environment.filters["breakable"] = lambda label: Markup(re.sub(r"([_/.:])(?=\w)", r"\1<wbr>", str(escape(label))))
    return environment.get_template(template).render(values, styles=styles, scripts=scripts, policy=policy)


def _confusion(confusion: Mapping[str, Any]) -> dict[str, Any]:
    """The matrix with the share of each count in its row; of a larger one the most frequent errors."""
    labels, matrix = confusion["labels"], confusion["matrix"]
    shown = {"labels": labels, "is_wide": max(map(len, labels), default=0) > LONG}
    if len(labels) <= WIDEST_MATRIX:
        return {**shown, "rows": [[(count, count / max(sum(row), 1)) for count in row] for row in matrix]}
    size = range(len(labels))
    errors = [(matrix[i][j], labels[i], labels[j]) for i in size for j in size if i != j and matrix[i][j]]
    return {**shown, "errors": sorted(errors, key=lambda error: -error[0])[:WIDEST_MATRIX]}


# -- examples, their texts cut where marks end; the templates ask the functions for what stands in them


def chosen(examples: Sequence[Example]) -> list[Example]:
    """Those that a page shows, in input order: all, or as many as it holds: the surest mistakes, then the others."""
    order = sorted(range(len(examples)), key=lambda i: (examples[i].right is not False, -examples[i].sure))[:MOST]
    sizes = (len(f"{examples[i].text}{examples[i].pair or ''}".encode(errors="replace")) for i in order)
    return [examples[i] for i in sorted(i for i, end in zip(order, accumulate(sizes), strict=True) if end <= ROOM)]


def indices(example: Example, side: Literal["gold", "predicted"], classes: Mapping[str, int]) -> list[int]:
    """Of the classes or entity types that an example has on one side, by which it is found. classes: their indices."""
    value, marks = getattr(example, side), getattr(example, f"{side}_marks")
    values = value if isinstance(value, (list, tuple)) else [value]
    names = dict.fromkeys([*(mark.type for mark in marks), *(name for name in values if isinstance(name, str))])
    return [classes[name] for name in names if name in classes]


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
    location = example.record.location
    return location.replace(source, Path(source).name) if source else location


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


# -- curves, which page.js draws with uPlot


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


def of_evaluation(evaluation: "Evaluation") -> list[Chart]:
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

    metric = evaluations[-1]["metric"] if evaluations else "loss"
    dev = {name: [(one["step"], one["metrics"].get(name)) for one in evaluations] for name in ("loss", metric)}
    charts = [_chart("Loss", "loss", _thinned([(entry["step"], entry["loss"]) for entry in steps]), dev["loss"])]
    if metric != "loss":
        charts.append(_chart(f"Dev {metric}", metric, [], dev[metric]))
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
