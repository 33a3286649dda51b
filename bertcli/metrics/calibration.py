"""Whether a score of 0.8 means right in 80 of 100 cases, and what to do where it does not.

Reliability, expected calibration error and the temperature that lessens it: Guo et al. 2017 (arXiv 1706.04599),
sections 2, 3 and 4.2. Knows no model: what it fits, evaluation/calibrate.py stores.
Try: bertcli calibrate dev.jsonl -m DIR
"""

from dataclasses import dataclass

import numpy as np

from bertcli.arrays import Array, Flags, Floats, Logits
from bertcli.errors import UsageError

BINS = 15  # as Guo et al. have them
STEPS = 101  # thresholds of a curve
TRIED = 0.02, 50.0  # the least and the greatest temperature
GOLDEN = (1 + 5**0.5) / 2
HALVINGS = 50  # steps of the search, after which the temperature is known to ten digits


@dataclass(frozen=True)
class Scored:
    """M decisions with their scores.

    items: what is decided on, as texts. scores: (M,) in 0 to 1. right: (M,). support: the number of gold items.
    """

    items: str
    scores: Floats
    right: Flags
    support: int


@dataclass(frozen=True)
class Bin:
    """The decisions whose scores are over low and at most high: count, mean score, and the share that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """ece: expected calibration error, the mean of |accuracy - confidence| over the bins, weighted by their counts.

    bins: those of BINS equal ones that are not empty.
    """

    items: str
    ece: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True)
class Curve:
    """Precision, recall and F1 of the decisions whose score is at least a threshold, for each threshold.

    precision: None where nothing reaches the threshold.
    """

    items: str
    thresholds: tuple[float, ...]
    precision: tuple[float | None, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]


def reliability(scored: Scored) -> Reliability:
    """The reliability over equal bins of 0 to 1; a bin includes its upper end."""
    edges = np.linspace(0, 1, BINS + 1)
    numbers = np.clip(np.searchsorted(edges, scored.scores) - 1, 0, BINS - 1)
    counts = np.bincount(numbers, minlength=BINS)
    sums, hits = np.bincount(numbers, scored.scores, BINS), np.bincount(numbers, scored.right, BINS)
    ece = float(np.abs(sums - hits).sum() / max(len(numbers), 1))
    bins = [
        Bin(float(low), float(high), int(count), float(total / count), float(right / count))
        for low, high, count, total, right in zip(edges, edges[1:], counts, sums, hits, strict=False)
        if count
    ]
    return Reliability(scored.items, ece, tuple(bins))


def curve(scored: Scored) -> Curve:
    """The curve at thresholds of whole percents, without those that change nothing."""
    order = np.argsort(scored.scores, kind="stable")
    ranked, hits = scored.scores[order], np.concatenate([[0], np.cumsum(scored.right[order])])
    cuts, steps = np.unique(np.searchsorted(ranked, np.arange(STEPS) / (STEPS - 1)), return_index=True)
    decided, right = len(ranked) - cuts, hits[-1] - hits[cuts]  # at each threshold
    precision = tuple(float(part / whole) if whole else None for part, whole in zip(right, decided, strict=True))
    recall = right / max(scored.support, 1)
    f1 = 2 * right / np.maximum(decided + scored.support, 1)
    return Curve(scored.items, _rounded(steps / (STEPS - 1)), precision, _rounded(recall), _rounded(f1))


def _rounded(numbers: Floats) -> tuple[float, ...]:
    return tuple(round(float(number), 6) for number in numbers)


def probabilities(logits: Logits, targets: Array, temperature: float) -> Logits:
    """(M, L): a softmax for classes (targets (M,)), sigmoids for sets of labels (targets (M, L))."""
    scaled = logits / temperature
    if targets.ndim == 2:
        return 0.5 * (1 + np.tanh(0.5 * scaled))  # the sigmoid, without overflow
    return np.exp(_log_softmax(scaled))


def _log_softmax(scaled: Logits) -> Logits:
    below = scaled - scaled.max(1, keepdims=True)
    return below - np.log(np.exp(below).sum(1, keepdims=True))  # type: ignore[no-any-return]


def nll(logits: Logits, targets: Array, temperature: float = 1.0) -> float:
    """The mean of -ln p of what is right: the class, or each label's presence or absence.

    logits: (M, L). targets: (M,) class indices, or (M, L) of bool.
    """
    scaled = logits / temperature
    if targets.ndim == 2:
        return float(np.logaddexp(0, np.where(targets, -scaled, scaled)).mean())
    return float(-_log_softmax(scaled)[np.arange(len(targets)), targets].mean())


def fit_temperature(logits: Logits, targets: Array) -> float:
    """The temperature of least NLL, which is convex in its inverse. logits, targets: as `nll` takes them.

    Raises UsageError for logits that are not finite, and where no temperature is best: all or none of it is right.
    """
    if not len(logits) or not np.isfinite(logits).all():
        raise UsageError("the model's scores are not finite numbers; its weights or its precision are at fault.")
    # Some temperature is best if the NLL falls from an infinite one on, and rises again before zero.
    if targets.ndim == 2:
        signed = np.where(targets, logits, -logits)
        has_best = signed.min() < 0 < signed.mean()
    else:
        gold = logits[np.arange(len(targets)), targets]
        has_best = (gold < logits.max(1)).any() and (gold - logits.mean(1)).mean() > 0
    if not has_best:
        raise UsageError(
            f"no temperature is best on these {len(logits):,} decisions: all are right, or no better than chance; "
            "calibrate on more data, that the model was not trained on."
        )
    low, high = np.log(TRIED)
    for _ in range(HALVINGS):  # the golden section: NLL falls and then rises, so the lower of two points says where
        left, right = high - (high - low) / GOLDEN, low + (high - low) / GOLDEN
        if nll(logits, targets, np.exp(left)) < nll(logits, targets, np.exp(right)):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


@dataclass(frozen=True)
class Target:
    """The precision or recall that a threshold has to reach."""

    metric: str
    value: float


def fit_threshold(truth: Flags, scores: Floats, target: Target | None = None) -> float | None:
    """The threshold of a label with the best F1; with a target, the one with the best other metric that reaches it.

    truth, scores: (N,). Halfway to the next lower score, so that near ones are treated alike. None where the label has
    no example, or where nothing reaches the target.
    """
    if not truth.any():
        return None
    order = np.argsort(-scores, kind="stable")
    # Of the examples of each score, the least first.
    last = np.flatnonzero(np.append(np.diff(scores[order]), -1.0))[::-1]
    cuts, right = scores[order][last], np.cumsum(truth[order])[last]
    precision, recall = right / (last + 1), right / truth.sum()
    worth = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    if target:
        reached, other = (precision, recall) if target.metric == "precision" else (recall, precision)
        if not (reached >= target.value).any():
            return None
        worth = np.where(reached >= target.value, other, -1.0)
    best = len(worth) - 1 - int(np.argmax(worth[::-1]))  # of equal ones the highest, which gives fewest
    return float((cuts[best] + (cuts[best - 1] if best else 0.0)) / 2)
