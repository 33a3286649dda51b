"""How far a metric would move with other examples: bootstrap intervals, and paired tests of two systems.

Examples are drawn with replacement (Efron and Tibshirani 1993, chapters 6, 13 and 16), the percentile method. A
resample is a row of weights: how often each example was drawn. So a metric of 1,000 resamples is a product of matrices,
and each family of metrics has `weighted` functions that make one from what is known of N examples. With the same seed
the intervals are those of `scipy.stats.bootstrap(..., method="percentile")`, which knows neither metrics that only some
resamples define nor several at once. Knows no task.
Try: python -c "from bertcli.metrics import bootstrap as b; print(b.intervals(lambda w: {'mean': w.mean(1)}, 10))"
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from bertcli.arrays import Array, Floats

RESAMPLES = 1000
CONFIDENCE = 0.95
SEED = 0
CELLS = 1_000_000  # weights in memory at a time: 8 MB
Weights = Annotated["np.ndarray[Any, Any]", "(B, N) float64: how often each of B resamples draws each of N examples"]
Metrics = Callable[[Weights], dict[str, Array]]  # to each metric (B,), NaN where a resample does not define it


@dataclass(frozen=True)
class Interval:
    """Where a metric is with 95 % confidence."""

    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A metric of one system less that of another on the same examples. p_value: two-sided, of no difference."""

    value: float
    interval: Interval
    p_value: float


def resamples(count: int) -> Iterator[Weights]:
    """How often each of `count` examples is drawn: RESAMPLES rows, in parts (B, count) of at most CELLS weights."""
    rng = np.random.default_rng(SEED)
    step = max(1, CELLS // count)
    for start in range(0, RESAMPLES, step):
        picks = rng.integers(0, count, (min(step, RESAMPLES - start), count))
        picks += np.arange(len(picks))[:, None] * count
        yield np.bincount(picks.ravel(), minlength=picks.size).reshape(picks.shape).astype(np.float64)


def values(metrics: Metrics, count: int) -> dict[str, float]:
    """The metrics of the examples as they are, each counted once."""
    return {name: float(value[0]) for name, value in metrics(np.ones((1, count))).items()}


def intervals(metrics: Metrics, count: int) -> dict[str, Interval]:
    """The confidence interval of each metric that some resample defines; {} for fewer than two examples."""
    if count < 2:
        return {}
    pairs = ((name, interval(drawn)) for name, drawn in _drawn(metrics, count).items())
    return {name: between for name, between in pairs if between}


def interval(drawn: Floats) -> Interval | None:
    """The middle 95 % of the resamples that define the metric."""
    defined = drawn[np.isfinite(drawn)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, [50 - 50 * CONFIDENCE, 50 + 50 * CONFIDENCE])
    return Interval(float(low), float(high))


def differences(ours: Metrics, theirs: Metrics, count: int) -> dict[str, Difference]:
    """The difference of each metric that both systems have; {} for fewer than two examples.

    Each resample draws the same examples for both systems. The p-value is twice the share of resamples on the rarer
    side of zero; its least value with B resamples is 2 / (B + 1).
    """
    if count < 2:
        return {}
    our_values, their_values = values(ours, count), values(theirs, count)
    our_drawn, their_drawn = _drawn(ours, count), _drawn(theirs, count)
    result = {}
    for name in (name for name in our_values if name in their_values):
        difference, drawn = our_values[name] - their_values[name], our_drawn[name] - their_drawn[name]
        if np.isfinite(difference) and (between := interval(drawn)):
            drawn = drawn[np.isfinite(drawn)]
            rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
            p_value = float(min(1.0, 2 * (rarer + 1) / (len(drawn) + 1)))
            result[name] = Difference(difference, between, p_value)
    return result


def _drawn(metrics: Metrics, count: int) -> dict[str, Floats]:
    """The values (B,) of each metric, one for each resample."""
    parts = [metrics(weights) for weights in resamples(count)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def mcnemar(fixed: int, broken: int) -> float:
    """The exact two-sided p-value of McNemar's test (1947, Psychometrika 12) for the examples fixed and broken."""
    changed, tail, ways = fixed + broken, 0, 1
    for k in range(min(fixed, broken) + 1):  # each from the one before: math.comb takes minutes for 20,000
        tail += ways
        ways = ways * (changed - k) // (k + 1)
    return float(min(1.0, 2 * tail / 2**changed))


# What the families of metrics share to weigh their examples.


def weighted_means(columns: Mapping[str, Array | Sequence[float]], counts: Floats | None = None) -> Metrics:
    """Weighted means of columns (N,): of values; or, with counts (N,), of sums over that many items each."""
    sums = {name: np.asarray(column, np.float64) for name, column in columns.items()}

    def metrics(weights: Weights) -> dict[str, Array]:
        total = weights.sum(1) if counts is None else weights @ counts
        return {name: ratio(weights @ column, total) for name, column in sums.items()}

    return metrics


def f1_averages(correct: Array, support: Array, predicted: Array) -> dict[str, Floats]:
    """Averages of F1, each (B,), from counts (B, L) of L classes: correct, gold, and predicted.

    macro: the mean over the classes that occur; weighted: by their support; micro: of the summed counts.
    """
    f1 = ratio(2 * correct, support + predicted)
    by_support = np.where(np.isnan(f1), 0, f1) * support
    return {
        "macro_f1": mean_of_defined(f1),
        "micro_f1": ratio(2 * correct.sum(1), support.sum(1) + predicted.sum(1)),
        "weighted_f1": ratio(by_support.sum(1), support.sum(1)),
    }


def mean_of_defined(numbers: Array) -> Floats:
    """The mean (B,) over the columns of (B, L), without NaN."""
    is_defined = ~np.isnan(numbers)
    return ratio(np.where(is_defined, numbers, 0).sum(1), is_defined.sum(1))


def ratio(part: Array, whole: Array) -> Floats:
    """part / whole, NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole != 0)  # type: ignore[no-any-return]
