"""Score a task's predictions against the labels of their records, and hold metrics to bounds.

Takes the outcomes of inference/stream.py, and knows no backend, format or command. Keeps the records with their labels
and raw predictions in memory. Try: bertcli evaluate dev.jsonl --errors wrong.jsonl --fail-under accuracy=0.9
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np

from bertcli.data.records import Record
from bertcli.errors import GateError, RecordError, UsageError
from bertcli.evaluation.results import Evaluation, LengthBucket, Outcomes
from bertcli.metrics import bootstrap, calibration
from bertcli.metrics.bootstrap import Metrics
from bertcli.tasks.base import BaseTask
from bertcli.tasks.scored import Example

SHORTEST = 16  # tokens of the first bucket of lengths
SCORES = "scores"  # the column that is too large to keep: a number for each label of each example


class Outcome(Protocol):
    """What became of a record, as inference/stream.py tells it."""

    record: Record
    prediction: Any
    error: str | None
    tokens: int


@dataclass
class Predicted:
    """Records whose labels are known, with their raw predictions; and `file:line: message` of those that are left out.

    tokens: the length of each record. lost: how many records the faults are of.
    """

    records: list[Record] = field(default_factory=list)
    gold: list[Any] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    lost: int = 0


def collect(task: BaseTask, outcomes: Iterable[Outcome]) -> Predicted:
    """Label all outcomes. A record without a prediction or a usable label is a fault, and left out.

    Raises UsageError where no record is left.
    """
    found = Predicted()
    for outcome in outcomes:
        try:
            label = _label(task, outcome)
        except RecordError as error:
            found.faults.extend(outcome.record.listed(error))
            found.lost += 1
            continue
        found.records.append(outcome.record)
        found.gold.append(label)
        found.predictions.append(outcome.prediction)
        found.tokens.append(outcome.tokens)
    if not found.gold:
        raise UsageError(_nothing(found.lost, found.faults))
    return found


def evaluate(task: BaseTask, outcomes: Iterable[Outcome]) -> Evaluation:
    """Score all outcomes; see `collect` and `scores`."""
    return scores(task, collect(task, outcomes))


def scores(task: BaseTask, found: Predicted, model: str = "") -> Evaluation:
    """All that is known of predictions whose labels are known, of the task as they tune it."""
    data = found.gold, found.predictions
    task = task.tuned(*data)
    metrics = task.metrics(*data)
    examples, columns = task.examples(found.records, *data), task.columns(*data)
    resampled, scored = task.resampled(found.gold, columns), task.scored(*data, examples)
    metric = next(iter(task.directions), "")
    return Evaluation(
        task=task.name,
        model=model,
        metric=metric,
        metrics=metrics,
        records=len(found.gold),
        faults=found.faults,
        examples=examples,
        tokens=found.tokens,
        intervals=bootstrap.intervals(resampled, len(found.gold)),
        reliability=calibration.reliability(scored) if scored else None,
        curve=calibration.curve(scored) if scored else None,
        lengths=by_length(resampled, metric, np.asarray(found.tokens)),
        outcomes=outcomes_of(task, examples, columns),
        calibration=task.config.get("calibration") or {},
    )


def intervals(task: BaseTask, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, list[float]]:
    """Of 95 % by metric: [low, high]."""
    found = bootstrap.intervals(task.resampled(gold, task.columns(gold, predictions)), len(gold))
    return {name: [own.low, own.high] for name, own in found.items()}


def outcomes_of(task: BaseTask, examples: Sequence[Example], columns: Mapping[str, Any]) -> Outcomes:
    """What a later comparison needs."""
    right = None if any(own.right is None for own in examples) else [int(own.right is True) for own in examples]
    return Outcomes(task.name, digest(examples), right, {name: columns[name] for name in columns if name != SCORES})


def by_length(resampled: Metrics, metric: str, tokens: "np.ndarray[Any, Any]") -> tuple[LengthBucket, ...]:
    """The metric in buckets of twice the length of the last, without empty ones."""
    if not tokens.any() or not metric:
        return ()
    buckets = np.ceil(np.log2(np.maximum(tokens, SHORTEST) / SHORTEST)).astype(int)  # 0 up to SHORTEST tokens
    found, counts = np.unique(buckets, return_counts=True)
    values = resampled((buckets == found[:, None]).astype(np.float64)).get(metric, np.full(len(found), np.nan))
    return tuple(
        LengthBucket(SHORTEST * 2 ** (k - 1) + 1 if k else 1, SHORTEST * 2**k, n, value if np.isfinite(value) else None)
        for k, n, value in zip(found.tolist(), counts.tolist(), values.tolist(), strict=True)
    )


def digest(examples: Sequence[Example]) -> str:
    """Of texts and labels: the same for the same data, whatever the model says."""
    state = blake2b(digest_size=16)
    for own in examples:
        state.update(json.dumps([own.text, own.pair, own.gold]).encode())
    return state.hexdigest()


def _label(task: BaseTask, outcome: Outcome) -> Any:
    if outcome.error is not None:
        raise RecordError(outcome.error)
    return task.label(outcome.record)


def _nothing(records: int, faults: Sequence[str]) -> str:
    if not faults:
        return "nothing to evaluate: the input has no records."
    return f"nothing to evaluate: none of the {records} records can be scored. The first: {faults[0]}"


@dataclass(frozen=True)
class Gate:
    """A bound on a metric. direction 1: the metric must be no less; -1, for errors and losses: no more."""

    metric: str
    bound: float
    direction: int

    def failure(self, value: float | None) -> str | None:
        """A sentence that says how the value misses the bound, None where it meets it; undefined misses."""
        if value is None:
            return f"{self.metric} is not defined on this data, so it does not meet {self.bound}."
        if value * self.direction >= self.bound * self.direction:
            return None
        side = "under" if self.direction > 0 else "over"
        return f"{self.metric} {_distinct(value, self.bound)} is {side} {self.bound}."


def parse_gates(texts: Iterable[str], directions: Mapping[str, int]) -> list[Gate]:
    """Gates from `accuracy=0.9`; `rmse=0.5` is an upper bound, for `directions` (of the task) says that less is better.

    Needs no prediction, so that a slip shows before the run. Raises UsageError for a text without `=`, a metric that
    the task has not, and a bound that is no number or that no model can meet (`accuracy=90`).
    """
    return [_gate(text, directions) for text in texts]


def check_gates(gates: Iterable[Gate], metrics: Mapping[str, Any]) -> None:
    """Raise GateError with a sentence for each gate that the metrics do not meet."""
    failures = [failure for gate in gates if (failure := gate.failure(metrics[gate.metric]))]
    if failures:
        raise GateError(" ".join(failures))


def _gate(text: str, directions: Mapping[str, int]) -> Gate:
    metric, equals, number = (part.strip() for part in text.partition("="))
    if not equals:
        raise UsageError(f"--fail-under '{text}': write METRIC=NUMBER, as in accuracy=0.9.")
    if metric not in directions:
        raise UsageError(_unknown(metric, directions))
    direction = directions[metric]
    bound = _bound(text, number)
    if direction > 0 and bound > 1:
        raise UsageError(f"--fail-under '{text}': {metric} is never over 1; write 0.9 for 90 %.")
    if direction < 0 and bound < 0:
        raise UsageError(f"--fail-under '{text}': {metric} is never under 0.")
    return Gate(metric, bound, direction)


def _bound(text: str, number: str) -> float:
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise UsageError(f"--fail-under '{text}': '{number}' is not a number.")
    return bound


def _unknown(metric: str, directions: Mapping[str, int]) -> str:
    if not directions:
        return f"--fail-under: this task has no metric to hold to a bound, '{metric}' or other."
    close = get_close_matches(metric.lower().replace("-", "_"), directions, n=1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"--fail-under: no metric is called '{metric}'.{hint} There are: {', '.join(directions)}."


def _distinct(value: float, bound: float) -> str:
    """The value to four decimals, or to as many as show on which side of the bound it is."""
    texts = (f"{value:.{digits}f}" for digits in range(4, 17))
    return next((text for text in texts if (float(text) - bound) * (value - bound) > 0), repr(value))
