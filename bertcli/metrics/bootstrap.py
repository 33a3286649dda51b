"""How far a metric would move with other examples: bootstrap intervals, and paired tests of two systems.

Examples are drawn with replacement (Efron and Tibshirani 1993, chapters 6, 13 and 16), the percentile method. A
resample is a row of weights, how often each example was drawn, so that sums over all resamples are a matrix product.
With the same seed the intervals are those of `scipy.stats.bootstrap(..., method="percentile")`.
Try: python -c "from bertcli.metrics import bootstrap as b; print(b.intervals(lambda w: {'mean': w.mean(1)}, 10))"
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

RESAMPLES = 1000
CONFIDENCE = 0.95
SEED = 0
CELLS = 1_000_000  # weights in memory at a time: 8 MB
Array = np.ndarray[Any, Any]
Metrics = Callable[[Array], dict[str, Array]]  # weights (B, N) -> each metric (B,), NaN where it is not defined


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


def resamples(count: int, seed: int = SEED) -> Iterator[Array]:
    """How often each of `count` examples was drawn, (B, N), in parts of RESAMPLES rows."""
    rng = np.random.default_rng(seed)
    step = max(1, CELLS // count)
    for start in range(0, RESAMPLES, step):
        picks = rng.integers(0, count, (min(step, RESAMPLES - start), count))
        picks += np.arange(len(picks))[:, None] * count
        yield np.bincount(picks.ravel(), minlength=picks.size).reshape(picks.shape).astype(np.float64)


def values(metrics: Metrics, count: int) -> dict[str, float]:
    """The metrics of all examples, each once."""
    return {name: float(value[0]) for name, value in metrics(np.ones((1, count))).items()}


def intervals(metrics: Metrics, count: int) -> dict[str, Interval]:
    """Of each metric; none where there are fewer than two examples, or where no resample defines it."""
    if count < 2:
        return {}
    found = {name: interval(drawn) for name, drawn in _drawn(metrics, count).items()}
    return {name: own for name, own in found.items() if own}


def interval(drawn: Array) -> Interval | None:
    """The middle 95 % of the resamples that define the metric."""
    defined = drawn[np.isfinite(drawn)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, [50 - 50 * CONFIDENCE, 50 + 50 * CONFIDENCE])
    return Interval(float(low), float(high))


def differences(ours: Metrics, theirs: Metrics, count: int) -> dict[str, Difference]:
    """Of the metrics that both have, each resample drawing the same examples for both; none of fewer than two."""
    if count < 2:
        return {}
    own, other = values(ours, count), values(theirs, count)
    drawn, their = _drawn(ours, count), _drawn(theirs, count)
    found = {}
    for name in own.keys() & other.keys():
        change = drawn[name] - their[name]
        if np.isfinite(own[name] - other[name]) and (between := interval(change)):
            found[name] = Difference(own[name] - other[name], between, _p_value(change[np.isfinite(change)]))
    return {name: found[name] for name in own if name in found}


def mcnemar(fixed: int, broken: int) -> float:
    """The p-value of as many examples fixed and broken being chance: exact (McNemar 1947, Psychometrika 12)."""
    from scipy import stats

    return float(stats.binomtest(fixed, fixed + broken).pvalue) if fixed + broken else 1.0


def _drawn(metrics: Metrics, count: int) -> dict[str, Array]:
    parts = [metrics(weights) for weights in resamples(count)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _p_value(change: Array) -> float:
    """Twice the share of resamples on the rarer side of zero; at least 2 / (B + 1), for B draws know no less."""
    rarer = min(int((change <= 0).sum()), int((change >= 0).sum()))
    return float(min(1.0, 2 * (rarer + 1) / (len(change) + 1)))
