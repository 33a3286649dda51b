"""How good predictions are: scores with intervals, what differs between two models, calibration.

First come the results of an evaluation as plain data, from which tables, JSON and pages are made. Then come the steps:
`collect` puts labels beside the outcomes of inference/stream.py, `scores` computes the metrics, `compare` finds what
another system has right or wrong instead, `check_gates` holds metrics to bounds. The other system is an evaluation in
memory, or the JSON that an earlier `bertcli evaluate` printed. Knows no backend, format or command.
Try: bertcli evaluate dev.jsonl --errors wrong.jsonl --fail-under accuracy=0.9
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bertcli.arrays import Indices
from bertcli.data.records import Record, merged
from bertcli.errors import GateError, RecordError, UsageError
from bertcli.inference.stream import Outcome, script_of
from bertcli.metrics import bootstrap, calibration
from bertcli.metrics.bootstrap import Difference, Interval, Metrics
from bertcli.metrics.calibration import Curve, Reliability
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import UnknownLabel, map_hint
from bertcli.tasks.texts import Example

FIRST = 16  # records: if none of them can be scored, an option is wrong
SHORTEST = 16  # tokens of the first bucket of lengths
SAME = 3  # records shown for a label that the model lacks; the others are only counted
NAMED = 10  # labels that the model lacks, the most frequent first, in a message
SCORES = "scores"  # this column has a number for each label of each example, and is too large to keep
SAID = ("given", "predicted", "entities")  # the columns of outcomes that hold a prediction


# -- what an evaluation found


@dataclass(frozen=True)
class LengthBucket:
    """The examples of low to high tokens (the model's pieces, special ones and all windows of a long text included).

    value: of the evaluation's first metric; None where it is not defined on them.
    """

    low: int
    high: int
    count: int
    value: float | None


@dataclass(frozen=True)
class Outcomes:
    """These predictions as a later paired test needs them.

    data: a digest of texts and labels. right: 1 or 0 for each, None where a task knows no right and wrong. columns: of
    Task.columns, a value for each prediction.
    """

    task: str
    data: str
    right: Sequence[int] | None
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """An example that one system has right and the other wrong. before: the other system's prediction, if known."""

    example: Example
    before: Any


@dataclass(frozen=True)
class Comparison:
    """How this system differs from another one on the same examples.

    differences: by metric, from the paired bootstrap. fixed: examples that the other has wrong and this one right;
    broken: the reverse. mcnemar_p: McNemar's p-value of both; None where a task knows no right and wrong.
    """

    other: str
    differences: Mapping[str, Difference]
    fixed: tuple[Change, ...] = ()
    broken: tuple[Change, ...] = ()
    mcnemar_p: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """metrics: of the task: numbers, `per_class` (a row for each class or entity type), `confusion` (labels, matrix).

    model: its name. metric: the first of the task's metrics, that lengths are scored by. records: how many were scored.
    faults: `file:line: message` of those that were not. intervals: by metric, of 95 %. examples: in input order, with
    tokens, the length of each. calibration: what the model's scores were corrected by, {} where by nothing. exit: what
    share left early, and what it cost; {} where none may. predictions: of another system, how many were missing and
    surplus; {} of a model.
    """

    task: str
    model: str
    metric: str
    metrics: dict[str, Any]
    records: int
    faults: list[str]
    examples: Sequence[Example] = ()
    tokens: Sequence[int] = ()
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    reliability: Reliability | None = None
    curve: Curve | None = None
    lengths: tuple[LengthBucket, ...] = ()
    outcomes: Outcomes | None = None
    comparison: Comparison | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[str, int] = field(default_factory=dict)
    exit: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mistakes(self) -> list[Example]:
        """The wrong ones, surest first, and numbers that are off, the farthest first; equal ones in input order."""
        wrong = (case for case in self.examples if case.right is False or (case.right is None and case.sure))
        return sorted(wrong, key=lambda case: -case.sure)

    def as_json(self) -> dict[str, Any]:
        """The metrics by their names, then what belongs to them; the examples stay out, but for their outcomes."""
        compared: dict[str, Any] = {}
        if comparison := self.comparison:
            differences = {
                name: {"value": one.value, "interval": [one.interval.low, one.interval.high], "p_value": one.p_value}
                for name, one in comparison.differences.items()
            }
            compared = {"other": comparison.other, "differences": differences}
            if comparison.mcnemar_p is not None:
                compared["mcnemar_p"] = comparison.mcnemar_p
                for name, changes in (("fixed", comparison.fixed), ("broken", comparison.broken)):
                    compared[name] = [
                        {"place": one.example.record.location, **one.example.shown, "before": one.before}
                        for one in changes
                    ]
        blocks = {
            "intervals": {name: [interval.low, interval.high] for name, interval in self.intervals.items()},
            "calibration": dict(self.calibration),
            "predictions": dict(self.predictions),
            "exit": dict(self.exit),
            "reliability": self.reliability and asdict(self.reliability),
            "curve": self.curve and asdict(self.curve),
            "lengths": [asdict(bucket) for bucket in self.lengths],
            "comparison": compared,
            "outcomes": self.outcomes and asdict(self.outcomes),
        }
        return {"records": self.records, **self.metrics} | {name: block for name, block in blocks.items() if block}


def listed(example: Example) -> dict[str, Any]:
    """An example as --errors writes it: the input's fields, gold and prediction, and `file:line`."""
    position = {"source": example.record.source, "line": example.record.line}
    return merged(example.record.fields, {**example.shown, **position})


# -- how it is found


@dataclass
class Predicted:
    """Labelled records with their raw predictions, and faults (`file:line: message`) for those left out.

    tokens: the length of each record. layers: how many layers computed it, None without an early exit. lost: how many
    records are left out. unknown: how many texts the model mostly does not know, by script.
    """

    records: list[Record] = field(default_factory=list)
    gold: list[Any] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    layers: list[int | None] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    lost: int = 0
    unknown: Counter[str] = field(default_factory=Counter)


def collect(task: BaseTask, outcomes: Iterable[Outcome]) -> Predicted:
    """Add the gold label to each outcome. A record without a prediction or a usable label is left out as a fault.

    Raises UsageError where no record is left.
    """
    predicted, lacking = Predicted(), list[UnknownLabel]()
    for outcome in outcomes:
        try:
            if outcome.error is not None:
                raise RecordError(outcome.error)
            label = task.label(outcome.record)
        except RecordError as error:
            predicted.lost += 1
            if isinstance(error, UnknownLabel):
                lacking.append(error)
            if not isinstance(error, UnknownLabel) or len(lacking) <= SAME:
                predicted.faults.extend(outcome.record.listed(error))
            continue
        predicted.records.append(outcome.record)
        predicted.gold.append(label)
        predicted.predictions.append(outcome.prediction)
        predicted.tokens.append(outcome.tokens)
        predicted.layers.append(outcome.layers)
        if outcome.unknown:
            predicted.unknown[script_of(task.texts(outcome.record).values())] += 1
    advice = summary(lacking, predicted.lost + len(predicted.gold))
    predicted.faults.extend(advice)
    if not predicted.gold:
        none = f"none of the {predicted.lost} records can be scored. The first: "
        why = none + "\n".join([predicted.faults[0], *advice]) if predicted.faults else "the input has no records."
        raise UsageError(f"nothing to evaluate: {why}")
    return predicted


def require_labels(task: BaseTask, records: Iterator[Record]) -> Iterator[Record]:
    """Pass the records on. Raises UsageError where none of the first 16 can be scored, for then an option is wrong.

    This shows before the whole input has passed through the model.
    """
    first, faults, lacking = list(islice(records, FIRST)), list[str](), list[UnknownLabel]()
    for record in first:
        try:
            if record.fault is not None:
                raise RecordError(record.fault)
            task.label(record)
        except RecordError as error:
            faults.extend(record.listed(error)[:1])
            lacking += [error] if isinstance(error, UnknownLabel) else []
    if len(faults) == FIRST:
        advice = [faults[0], *summary(lacking, FIRST)]
        raise UsageError(f"none of the first {FIRST} records can be scored. The first: " + "\n".join(advice))
    return chain(first, records)


def summary(lacking: Sequence[UnknownLabel], total: int) -> list[str]:
    """A sentence about the records whose labels a model lacks, in a list; an empty list without such records."""
    if not lacking:
        return []
    counts = dict(Counter(name for error in lacking for name in error.names).most_common(NAMED))
    share = f"{len(lacking):,} of {total:,}, with {', '.join(f'{name} ({counts[name]:,})' for name in counts)}"
    return [f"records left out for labels that the model lacks: {share}; {map_hint(list(counts))}."]


def scores(task: BaseTask, predicted: Predicted, model: str = "") -> Evaluation:
    """Score predictions, with a task that is tuned on them. model: its name."""
    gold, predictions = predicted.gold, predicted.predictions
    task = task.tuned(gold, predictions)
    metrics = task.metrics(gold, predictions)
    examples, columns = task.examples(predicted.records, gold, predictions), task.columns(gold, predictions)
    resampled, scored = task.resampled(gold, columns), task.scored(gold, predictions, examples)
    metric = next(iter(task.directions), "")
    right = None if any(case.right is None for case in examples) else [int(case.right is True) for case in examples]
    return Evaluation(
        task=task.name,
        model=model,
        metric=metric,
        metrics=metrics,
        records=len(gold),
        faults=predicted.faults,
        examples=examples,
        tokens=predicted.tokens,
        intervals=bootstrap.intervals(resampled, len(gold)),
        reliability=calibration.reliability(scored) if scored else None,
        curve=calibration.curve(scored) if scored else None,
        lengths=by_length(resampled, metric, np.asarray(predicted.tokens)),
        outcomes=Outcomes(
            task.name, digest(examples), right, {name: columns[name] for name in columns if name != SCORES}
        ),
        calibration=task.config.get("calibration") or {},
    )


def disjoint(evaluation: Evaluation) -> str:
    """A warning where another system has no label in common with the data, and so scores 0; else ""."""
    rows = evaluation.metrics.get("per_class", {})
    wanted = [name for name, row in rows.items() if row["support"]]
    said = [name for name, row in rows.items() if row["precision"] is not None]
    if not evaluation.predictions or not wanted or not said or set(wanted) & set(said):
        return ""
    return (
        f"no label is in both: the data has {', '.join(wanted[:NAMED])}, the predictions {', '.join(said[:NAMED])}; "
        f"--map-labels {wanted[0]}=LABEL,… makes them the same"
    )


def by_length(resampled: Metrics, metric: str, tokens: Indices) -> tuple[LengthBucket, ...]:
    """The metric by length, in buckets that double; empty ones are left out. tokens: (N,), of each example."""
    if not tokens.any() or not metric:
        return ()
    buckets = np.ceil(np.log2(np.maximum(tokens, SHORTEST) / SHORTEST)).astype(int)  # 0 up to SHORTEST tokens
    numbers, counts = np.unique(buckets, return_counts=True)
    values = resampled((buckets == numbers[:, None]).astype(np.float64)).get(metric, np.full(len(numbers), np.nan))
    return tuple(
        LengthBucket(SHORTEST * 2 ** (k - 1) + 1 if k else 1, SHORTEST * 2**k, n, value if np.isfinite(value) else None)
        for k, n, value in zip(numbers.tolist(), counts.tolist(), values.tolist(), strict=True)
    )


def digest(examples: Sequence[Example]) -> str:
    """A digest of texts and labels, to tell whether two evaluations are of the same data."""
    state = blake2b(digest_size=16)
    for example in examples:
        state.update(json.dumps([example.text, example.pair, example.gold]).encode())
    return state.hexdigest()


def read_outcomes(file: Path, task: str) -> Outcomes:
    """Outcomes from the JSON of an earlier evaluation. Raises UsageError where it has none of this task."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--compare {file}: cannot be read ({error}).") from error
    stated = document.get("outcomes") if isinstance(document, dict) else None
    names = {field.name for field in fields(Outcomes)}
    if not isinstance(stated, dict) or stated.keys() != names:
        raise UsageError(
            f"--compare {file}: it has no outcomes of single examples, which a paired test needs; "
            "`bertcli evaluate … > FILE` writes them. Or name the other model itself."
        )
    if stated["task"] != task:
        raise UsageError(f"--compare {file}: it is of {stated['task']}, this model of {task}.")
    return Outcomes(**stated)


def compare(task: BaseTask, gold: Sequence[Any], ours: Evaluation, theirs: Outcomes, name: str) -> Comparison:
    """Differences of the metrics that both have, with paired tests. Raises UsageError for other data."""
    outcomes = ours.outcomes
    assert outcomes is not None
    if theirs.data != outcomes.data:
        raise UsageError(f"--compare {name}: it was scored on other texts or labels; evaluate both on the same data.")
    resampled, theirs_resampled = task.resampled(gold, outcomes.columns), task.resampled(gold, theirs.columns)
    differences = bootstrap.differences(resampled, theirs_resampled, len(gold))
    if outcomes.right is None or theirs.right is None:
        return Comparison(name, differences)
    # What the other system said, where its outcomes keep it.
    kept = next((theirs.columns[column] for column in SAID if column in theirs.columns), [None] * len(theirs.right))
    turned = list(zip(map(Change, ours.examples, kept), theirs.right, outcomes.right, strict=True))
    fixed = tuple(change for change, before, now in turned if now > before)
    broken = tuple(change for change, before, now in turned if now < before)
    return Comparison(name, differences, fixed, broken, bootstrap.mcnemar(len(fixed), len(broken)))


class Gate(NamedTuple):
    """A bound on a metric. direction 1: the metric must be no less; -1, for errors and losses: no more."""

    metric: str
    bound: float
    direction: int


def parse_gates(texts: Iterable[str], directions: Mapping[str, int]) -> list[Gate]:
    """Gates from `accuracy=0.9`; `rmse=0.5` is an upper bound, for `directions` (of the task) says that less is better.

    Needs no prediction, so that a slip shows before the run. Raises UsageError for a text without `=`, a metric that
    the task has not, and a bound that is no number or that no model can meet (`accuracy=90`).
    """
    gates = []
    for text in texts:
        metric, equals, number = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f"--fail-under '{text}': write METRIC=NUMBER, as in accuracy=0.9.")
        if not directions:
            raise UsageError(f"--fail-under: this task has no metric to hold to a bound, '{metric}' or other.")
        if metric not in directions:
            close = get_close_matches(metric.lower().replace("-", "_"), directions, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            names = ", ".join(directions)
            raise UsageError(f"--fail-under: no metric is called '{metric}'.{hint} There are: {names}.")
        try:
            bound = float(number)
        except ValueError:
            bound = math.nan
        if not math.isfinite(bound):
            raise UsageError(f"--fail-under '{text}': '{number}' is not a number.")
        if directions[metric] > 0 and bound > 1:
            raise UsageError(f"--fail-under '{text}': {metric} is never over 1; write 0.9 for 90 %.")
        if directions[metric] < 0 and bound < 0:
            raise UsageError(f"--fail-under '{text}': {metric} is never under 0.")
        gates.append(Gate(metric, bound, directions[metric]))
    return gates


def check_gates(gates: Iterable[Gate], metrics: Mapping[str, Any]) -> None:
    """Raise GateError with a sentence for each gate that is not met. A metric that is not defined meets none."""
    failures = []
    for metric, bound, direction in gates:
        value = metrics[metric]
        if value is None:
            failures.append(f"{metric} is not defined on this data, so it does not meet {bound}.")
        elif value * direction < bound * direction:
            # To four decimals, or to as many as show on which side of the bound the value is.
            texts = (f"{value:.{digits}f}" for digits in range(4, 17))
            shown = next((text for text in texts if (float(text) - bound) * (value - bound) > 0), repr(value))
            failures.append(f"{metric} {shown} is {'under' if direction > 0 else 'over'} {bound}.")
    if failures:
        raise GateError(" ".join(failures))
