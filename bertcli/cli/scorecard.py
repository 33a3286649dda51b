"""An evaluation as tables for people: metrics with intervals, classes, lengths, reliability, mistakes, what changed.

Knows what an evaluation holds, and no metric by name. Try: bertcli evaluate dev.jsonl --format rich
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bertcli.cli.tables import plain, render
from bertcli.evaluation.results import Evaluation, Example

if TYPE_CHECKING:
    from rich.console import Console

MISTAKES = 5
LONG = 20  # rows of a table, after which the headline has left the screen and comes again
LEAST_P = 0.0001  # what four decimals show
CUTS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # thresholds that the table shows of a curve


def render_evaluation(console: "Console", evaluation: Evaluation) -> None:
    """Print all that an evaluation found, its surest mistakes last: of each list the first few, a line each."""
    render(console, _tables(evaluation), evaluation.model)
    lists = {"surest mistakes (--errors FILE lists all)": evaluation.mistakes}
    comparison = evaluation.comparison
    if comparison and comparison.mcnemar_p is not None:
        changes = {"fixed": comparison.fixed, "broken": comparison.broken}
        lists = {name: [change.example for change in changed] for name, changed in changes.items()} | lists
    for title, examples in lists.items():
        if not examples:
            continue
        console.print()
        console.print(plain(f"{title}: {len(examples):,}", style="bold"))
        for example in examples[:MISTAKES]:
            score = "" if example.score is None else f"  {example.score:.4f}"
            gold, predicted = _spelt(example)
            texts = "  ".join(" ".join(text.split()) for text in (example.pair, example.text) if text)
            line = plain(f" {example.location}{score}  {gold} → {predicted}  {texts}")
            console.print(line, no_wrap=True, overflow="ellipsis")
    if any(len(value) > LONG for value in evaluation.metrics.values() if isinstance(value, Mapping)):
        console.print()
        console.print(plain(headline(evaluation), style="bold"))


def headline(evaluation: Evaluation) -> str:
    """The metric that decides, with its interval, on how many records."""
    value, interval = evaluation.metrics.get(evaluation.metric), evaluation.intervals.get(evaluation.metric)
    shown = f"{value:.4f}" if isinstance(value, float) else "-"
    bounds = f" ({interval.low:.4f} to {interval.high:.4f})" if interval else ""
    return f"{evaluation.metric} {shown}{bounds} on {evaluation.records:,} records"


def _tables(evaluation: Evaluation) -> dict[str, Any]:
    """Named blocks as cli/tables.py takes them."""
    metrics, intervals = evaluation.metrics, evaluation.intervals
    numbers = {name: value for name, value in metrics.items() if not isinstance(value, Mapping)}
    temperature = evaluation.calibration.get("temperature")
    blocks: dict[str, Any] = {
        "records": evaluation.records,
        **({} if temperature is None else {"calibrated, temperature": temperature}),
        **{name: value for name, value in numbers.items() if name not in intervals},
        "with 95 % bootstrap intervals": {
            name: {"value": numbers[name], "from": interval.low, "to": interval.high}
            for name, interval in intervals.items()
            if name in numbers
        },
    }
    if comparison := evaluation.comparison:
        title = f"compared with {comparison.other}"
        if comparison.mcnemar_p is not None:
            changed = f"{len(comparison.fixed):,} fixed, {len(comparison.broken):,} broken"
            chance = f"{comparison.mcnemar_p:.4f}" if comparison.mcnemar_p >= LEAST_P else f"under {LEAST_P}"
            title += f": {changed}, McNemar's p {chance}"
        blocks[title] = {
            name: {
                "difference": change.value, "from": change.interval.low, "to": change.interval.high, "p": change.p_value
            }
            for name, change in comparison.differences.items()
        }  # fmt: skip
    blocks |= {name: value for name, value in metrics.items() if isinstance(value, Mapping)}
    blocks["by length in tokens"] = {
        f"{bucket.low:,} to {bucket.high:,}": {evaluation.metric: bucket.value, "records": bucket.count}
        for bucket in evaluation.lengths
    }
    reliability, curve = evaluation.reliability, evaluation.curve
    if reliability and curve:
        blocks[f"reliability of scores: ECE {reliability.ece:.4f}"] = {
            f"{part.low:.2f} to {part.high:.2f}": {
                "mean score": part.confidence, "right": part.accuracy, reliability.items: part.count
            }
            for part in reliability.bins
        }  # fmt: skip
        # Where a curve does not change it has no point: the last one before the threshold holds.
        points = {cut: max(i for i, low in enumerate(curve.thresholds) if low <= cut or not i) for cut in CUTS}
        blocks[f"only {curve.items} that score at least"] = {
            f"{cut:.2f}": {"precision": curve.precision[i], "recall": curve.recall[i], "f1": curve.f1[i]}
            for cut, i in points.items()
        }
    return blocks


def _spelt(example: Example) -> list[str]:
    """What is right and what was predicted: a label, answers, or of tags the entities that they spell."""
    are_tags = isinstance(example.gold, list) and isinstance(example.predicted, list)
    are_tags = are_tags and bool(example.gold_marks or example.predicted_marks)
    texts = []
    for value, marks in ((example.gold, example.gold_marks), (example.predicted, example.predicted_marks)):
        shown = [f"{mark.type} {example.text[mark.start : mark.end]}" for mark in marks] if are_tags else value
        text = ", ".join(dict.fromkeys(map(str, shown))) if isinstance(shown, list) else str(shown)
        texts.append(text or "none")
    return texts
