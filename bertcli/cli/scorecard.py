"""An evaluation as tables for people: metrics with intervals, classes, lengths, reliability, mistakes, what changed."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bertcli.cli.tables import plain, render
from bertcli.evaluation.results import Comparison, Curve, Evaluation, Example, Mark

if TYPE_CHECKING:
    from rich.console import Console

MISTAKES = 5
LEAST_P = 0.0001  # what four decimals show
CUTS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # thresholds that the table shows of a curve


def render_evaluation(console: "Console", evaluation: Evaluation) -> None:
    """Print all that an evaluation found, its surest mistakes last."""
    render(console, tables(evaluation), evaluation.model)
    comparison = evaluation.comparison
    if comparison and comparison.mcnemar_p is not None:
        _render_examples(console, "fixed", [change.example for change in comparison.fixed])
        _render_examples(console, "broken", [change.example for change in comparison.broken])
    _render_examples(console, "surest mistakes (--errors FILE lists all)", evaluation.mistakes)


def tables(evaluation: Evaluation) -> dict[str, Any]:
    """Named blocks as cli/tables.py takes them."""
    numbers = {name: own for name, own in evaluation.metrics.items() if not isinstance(own, Mapping)}
    others = {name: own for name, own in evaluation.metrics.items() if isinstance(own, Mapping)}
    intervals = evaluation.intervals
    bare = {name: own for name, own in numbers.items() if name not in intervals}
    sure = {
        name: {"value": numbers[name], "from": own.low, "to": own.high}
        for name, own in intervals.items()
        if name in numbers
    }
    stated = evaluation.calibration.get("temperature")
    return {
        "records": evaluation.records,
        **({} if stated is None else {"calibrated, temperature": stated}),
        **bare,
        "with 95 % bootstrap intervals": sure,
        **_compared(evaluation.comparison),
        **others,
        "by length in tokens": {
            f"{own.low:,} to {own.high:,}": {evaluation.metric: own.value, "records": own.count}
            for own in evaluation.lengths
        },
        **_reliability(evaluation),
    }


def _compared(comparison: Comparison | None) -> dict[str, Any]:
    if comparison is None:
        return {}
    rows = {
        name: {"difference": own.value, "from": own.interval.low, "to": own.interval.high, "p": own.p_value}
        for name, own in comparison.differences.items()
    }
    title = f"compared with {comparison.other}"
    if comparison.mcnemar_p is not None:
        changed = f"{len(comparison.fixed):,} fixed, {len(comparison.broken):,} broken"
        chance = f"{comparison.mcnemar_p:.4f}" if comparison.mcnemar_p >= LEAST_P else f"under {LEAST_P}"
        title += f": {changed}, McNemar's p {chance}"
    return {title: rows}


def _reliability(evaluation: Evaluation) -> dict[str, Any]:
    """The reliability curve as a table, and a few points of the threshold curve."""
    reliability, curve = evaluation.reliability, evaluation.curve
    if reliability is None or curve is None:
        return {}
    rows = {
        f"{own.low:.2f} to {own.high:.2f}": {
            "mean score": own.confidence, "right": own.accuracy, reliability.items: own.count
        }
        for own in reliability.bins
    }  # fmt: skip
    return {
        f"reliability of scores: ECE {reliability.ece:.4f}": rows,
        f"only {curve.items} that score at least": {f"{cut:.2f}": _point(curve, cut) for cut in CUTS},
    }


def _point(curve: Curve, cut: float) -> dict[str, Any]:
    """The curve at a threshold: where it does not change it has no point."""
    i = max(i for i, own in enumerate(curve.thresholds) if own <= cut or not i)
    return {"precision": curve.precision[i], "recall": curve.recall[i], "f1": curve.f1[i]}


def _render_examples(console: "Console", title: str, examples: Sequence[Example]) -> None:
    """The first of them, a line each, cut at the width."""
    if not examples:
        return
    console.print()
    console.print(plain(f"{title}: {len(examples):,}", style="bold"))
    for own in examples[:MISTAKES]:
        score = "" if own.score is None else f"  {own.score:.4f}"
        gold, predicted = _said(own, own.gold, own.gold_marks), _said(own, own.predicted, own.predicted_marks)
        texts = "  ".join(" ".join(text.split()) for text in (own.pair, own.text) if text)
        line = plain(f" {own.place}{score}  {gold} → {predicted}  {texts}")
        console.print(line, no_wrap=True, overflow="ellipsis")


def _said(own: Example, value: Any, marks: Sequence[Mark]) -> str:
    """A label, answers, or of tags the entities that they spell."""
    if isinstance(own.gold, list) and isinstance(own.predicted, list) and (own.gold_marks or own.predicted_marks):
        value = [f"{mark.type} {own.text[mark.start : mark.end]}" for mark in marks]
    if isinstance(value, list):
        return ", ".join(dict.fromkeys(map(str, value))) or "none"
    return str(value) or "none"
