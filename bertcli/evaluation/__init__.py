"""How good predictions are: scores with intervals, what differs between two models, calibration.

Here is what an evaluation found, for every task: what tables, JSON and pages are made from. Plain data, no computing:
evaluate.py fills it. `as_json` is what `bertcli evaluate` prints in a pipe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bertcli.metrics.bootstrap import Difference, Interval
from bertcli.metrics.calibration import Bin, Curve, Reliability
from bertcli.tasks.texts import Example, Mark

__all__ = [
    "Bin", "Change", "Comparison", "Curve", "Difference", "Evaluation", "Example", "Interval", "LengthBucket", "Mark",
    "Outcomes", "Reliability",
]  # fmt: skip


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
    """What a later paired test needs of these predictions.

    data: a digest of texts and labels. right: 1 or 0 for each, None where the task knows no right and wrong. columns:
    of the task, a value for each.
    """

    task: str
    data: str
    right: Sequence[int] | None
    columns: Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """An example that one system has right and the other wrong. before: of the other system, None where not kept."""

    example: Example
    before: Any


@dataclass(frozen=True)
class Comparison:
    """This system less another on the same examples.

    differences: by metric, from the paired bootstrap. fixed: examples that the other had wrong and this has right;
    broken: the reverse. mcnemar_p: of as many of each being chance; None where the task knows no right and wrong.
    """

    other: str
    differences: Mapping[str, Difference]
    fixed: tuple[Change, ...] = ()
    broken: tuple[Change, ...] = ()
    mcnemar_p: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Differences with intervals and p-values, and the places of what changed."""
        differences = {
            name: {"value": one.value, "interval": [one.interval.low, one.interval.high], "p_value": one.p_value}
            for name, one in self.differences.items()
        }
        if self.mcnemar_p is None:
            return {"other": self.other, "differences": differences}
        turned = {
            name: [{"place": one.example.location, **one.example.shown, "before": one.before} for one in changes]
            for name, changes in (("fixed", self.fixed), ("broken", self.broken))
        }
        return {"other": self.other, "differences": differences, "mcnemar_p": self.mcnemar_p, **turned}


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

    @property
    def per_class(self) -> Mapping[str, Mapping[str, Any]]:
        """A row for each class or entity type: precision, recall, f1, support; {} for other tasks."""
        return self.metrics.get("per_class") or {}

    @property
    def confusion(self) -> Mapping[str, Any] | None:
        """labels, and matrix: counts, a row per gold class, a column per predicted one."""
        return self.metrics.get("confusion")

    def as_json(self) -> dict[str, Any]:
        """The metrics by their names, then what belongs to them; the examples stay out, but for their outcomes."""
        blocks = {
            "intervals": {name: [interval.low, interval.high] for name, interval in self.intervals.items()},
            "calibration": dict(self.calibration),
            "predictions": dict(self.predictions),
            "exit": dict(self.exit),
            "reliability": self.reliability and asdict(self.reliability),
            "curve": self.curve and asdict(self.curve),
            "lengths": [asdict(bucket) for bucket in self.lengths],
            "comparison": self.comparison and self.comparison.as_json(),
            "outcomes": self.outcomes and asdict(self.outcomes),
        }
        return {"records": self.records, **self.metrics} | {name: block for name, block in blocks.items() if block}


def listed(example: Example) -> dict[str, Any]:
    """An example as --errors writes it: the input's fields, what shows it, and its place."""
    return {**example.record.fields, **example.shown, "source": example.record.source, "line": example.record.line}
