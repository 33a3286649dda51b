"""Score a task's predictions against the labels of their records, list the mistakes, and hold metrics to bounds.

Takes the outcomes of engine/predict.py, and knows no backend, format or command. Keeps a label and a raw prediction
per record, and of the records only the wrong ones, if they are asked for.
Try: bertcli evaluate dev.jsonl --errors wrong.jsonl --fail-under accuracy=0.9
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

from bertcli.data.records import Record
from bertcli.errors import GateError, RecordError, UsageError
from bertcli.tasks.base import BaseTask


class Outcome(Protocol):
    """What became of a record, as engine/predict.py tells it."""

    record: Record
    prediction: Any
    error: str | None


@dataclass(frozen=True)
class Evaluation:
    """metrics: of the task. records: how many were scored. faults: `file:line: message` of those that were not.

    mistakes: the wrong ones, surest first: their input fields, what the task shows of the mistake (`gold`,
    `predicted`, …), `source` and `line`; empty unless asked for.
    """

    metrics: dict[str, Any]
    records: int
    faults: list[str]
    mistakes: list[dict[str, Any]]


def evaluate(task: BaseTask, outcomes: Iterable[Outcome], *, keep_mistakes: bool = False) -> Evaluation:
    """Score all outcomes. A record without a prediction or a usable label is a fault, and not scored.

    Raises UsageError where no record could be scored.
    """
    gold: list[Any] = []
    predictions: list[Any] = []
    faults: list[str] = []
    mistakes: list[tuple[float, dict[str, Any]]] = []
    lost = 0
    for outcome in outcomes:
        try:
            label = _label(task, outcome)
        except RecordError as error:
            faults.extend(outcome.record.listed(error))
            lost += 1
            continue
        gold.append(label)
        predictions.append(outcome.prediction)
        if keep_mistakes and (mistake := task.mistake(label, outcome.prediction)):
            mistakes.append((mistake[0], _listed(outcome.record, mistake[1])))
    if not gold:
        raise UsageError(_nothing(lost, faults))
    mistakes.sort(key=lambda item: -item[0])  # stable: equally sure ones stay in input order
    return Evaluation(task.metrics(gold, predictions), len(gold), faults, [fields for _, fields in mistakes])


def _label(task: BaseTask, outcome: Outcome) -> Any:
    if outcome.error is not None:
        raise RecordError(outcome.error)
    return task.label(outcome.record)


def _listed(record: Record, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**record.fields, **fields, "source": record.source, "line": record.line}


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
