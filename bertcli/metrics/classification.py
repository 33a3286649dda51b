"""Metrics of text classification: one label, several labels, or a number per record.

Each family has two functions. The first scores N >= 1 records as scikit-learn and SciPy define it (these take 200 MB,
so only tests compare with them) and returns plain Python values that JSON can hold, unrounded; what is not defined is
None, never NaN. The `weighted` one gives the same numbers for many weightings of the records at once, as
metrics/bootstrap.py takes them. Knows no model and no task.
Try: python -c "from bertcli.metrics import classification as c; print(c.regression([1, 2, 3], [1, 2, 4]))"
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bertcli.arrays import Array, Flags, Floats, Indices
from bertcli.errors import BertcliError
from bertcli.metrics.bootstrap import Metrics, Weights, f1_averages, mean_of_defined, ratio, weighted_means


def single_label(gold: Sequence[int], scores: Array, labels: Sequence[str]) -> dict[str, Any]:
    """Score the likeliest class of each record, the first of equals.

    gold: (N,) class indices. scores: (N, L) probabilities. labels: the L names.

    accuracy; macro_f1, micro_f1 (here equal to accuracy) and weighted_f1 as in `f1_averages`; mcc: Matthews correlation
    for L classes (R_K: Gorodkin 2004, Comput. Biol. Chem. 28, eq. 8), 0 where only one class is predicted or present;
    log_loss: mean of -ln p(gold); per_class; confusion: counts, a row per gold class, a column per predicted class.
    Raises BertcliError for scores that are not finite.
    """
    _require_finite(scores)
    truth = np.asarray(gold)
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (truth, scores.argmax(1)), 1)
    correct, support, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    least = np.finfo(scores.dtype).eps  # so that no loss is infinite
    chances = np.clip(scores[np.arange(len(truth)), truth], least, 1 - least)
    return {
        **_plain(_class_metrics(correct[None], support[None], predicted[None])),
        "log_loss": float(-np.log(chances).mean()) if len(labels) > 1 else 0.0,
        "per_class": _per_class(correct, support, predicted, labels),
        "confusion": {"labels": list(labels), "matrix": counts.tolist()},
    }


def weighted_single_label(gold: Indices, predicted: Indices, losses: Floats | None, labels: int) -> Metrics:
    """gold, predicted: (N,) class indices under `labels`. losses: (N,), -ln p(gold), None where they are not known."""
    columns = _grouped(gold, labels, gold == predicted), _grouped(gold, labels), _grouped(predicted, labels)
    loss = weighted_means({} if losses is None else {"log_loss": losses})
    return lambda weights: _class_metrics(*(column(weights) for column in columns)) | loss(weights)


def _class_metrics(correct: Array, support: Array, predicted: Array) -> dict[str, Floats]:
    """From counts (B, L) of L classes: correct, gold, and predicted; each (B,)."""
    total = support.sum(1)
    covariance = correct.sum(1) * total - (support * predicted).sum(1)
    # As numbers of 64 bits: the product of integers overflows from 55,000 records on.
    variances = np.prod([total**2.0 - (counts**2).sum(1) for counts in (support, predicted)], axis=0)
    return {
        "accuracy": ratio(correct.sum(1), total),
        **f1_averages(correct, support, predicted),
        "mcc": np.where(variances > 0, covariance / np.sqrt(np.maximum(variances, 1)), 0.0),
    }


def multi_label(
    gold: Sequence[Sequence[int]], scores: Array, labels: Sequence[str], threshold: float | Array
) -> dict[str, Any]:
    """Score the set of labels of each record: those whose score is at least the threshold.

    gold: N lists of label indices. scores: (N, L) probabilities. labels: the L names. threshold: of all, or (L,), which
    `thresholds` then names.

    subset_accuracy: share of records whose set is exactly right; macro, micro and weighted F1 as in `f1_averages`;
    samples_f1: mean of each record's F1, 1 where both sets are empty; map: mean over the `map_labels` labels that occur
    in gold of the average precision, sum of (R_n - R_n-1) P_n without interpolation, which no threshold enters;
    hamming_loss: share of the N x L decisions that are wrong.
    Raises BertcliError for scores that are not finite.
    """
    _require_finite(scores)
    truth = np.zeros(scores.shape, bool)  # (N, L)
    for row, indices in zip(truth, gold, strict=True):
        row[list(indices)] = True
    above = scores >= threshold
    correct, support, predicted = (flags.sum(0) for flags in (truth & above, truth, above))
    averages = _plain(f1_averages(correct[None], support[None], predicted[None]))
    if predicted.any() and not support.any():
        averages["weighted_f1"] = 0.0  # as scikit-learn has it
    per_class = _per_class(correct, support, predicted, labels)
    for row, flags, column in zip(per_class.values(), truth.T, scores.T, strict=True):
        precision = _weighted_average_precision(flags, column)(np.ones((1, len(flags)))) if flags.any() else None
        row["average_precision"] = None if precision is None else float(precision[0])
    precisions = [row["average_precision"] for row in per_class.values() if row["average_precision"] is not None]
    rows = _row_metrics(truth, above)
    if isinstance(threshold, np.ndarray):
        stated: dict[str, Any] = {"thresholds": dict(zip(labels, threshold.tolist(), strict=True))}
    else:
        stated = {"threshold": float(threshold)}
    return {
        "subset_accuracy": float(rows["subset_accuracy"].mean()),
        **averages,
        "samples_f1": float(rows["samples_f1"].mean()),
        "map": float(np.mean(precisions)) if precisions else None,
        "map_labels": len(precisions),
        "hamming_loss": float((truth != above).mean()),
        **stated,
        "per_class": per_class,
    }


def weighted_multi_label(truth: Flags, predicted: Flags, scores: Array | None) -> Metrics:
    """truth, predicted: (N, L). scores: (N, L) for map, which is left out where they are not known."""
    columns = [flags.astype(np.float64) for flags in (truth & predicted, truth, predicted)]
    row_means = weighted_means(_row_metrics(truth, predicted))
    precisions = [] if scores is None else list(map(_weighted_average_precision, truth.T, scores.T))

    def metrics(weights: Weights) -> dict[str, Array]:
        result = row_means(weights) | f1_averages(*(weights @ column for column in columns))
        if precisions:
            result["map"] = mean_of_defined(np.array([precision(weights) for precision in precisions]).T)
        return result

    return metrics


def _row_metrics(truth: Flags, predicted: Flags) -> dict[str, Array]:
    """The metrics of each record, (N,), from its gold and predicted labels, (N, L)."""
    sizes = truth.sum(1) + predicted.sum(1)
    return {
        "subset_accuracy": (truth == predicted).all(1),
        "samples_f1": np.where(sizes, 2 * (truth & predicted).sum(1) / np.maximum(sizes, 1), 1.0),
        "hamming_loss": (truth != predicted).mean(1),
    }


def _weighted_average_precision(truth: Flags, scores: Array) -> Callable[[Weights], Floats]:
    """The average precision of one label; NaN for a resample without a gold example. truth, scores: (N,)."""
    _, ranks = np.unique(-scores, return_inverse=True)  # best first; equal scores are one rank
    gold = np.unique(ranks[truth])
    steps = np.searchsorted(gold, ranks)  # the first rank of a gold example at or after each example's
    above, correct_above = _grouped(steps, len(gold) + 1), _grouped(steps, len(gold) + 1, truth)

    def precision(weights: Weights) -> Floats:
        correct, predicted = correct_above(weights), above(weights).cumsum(1)  # (B, ranks of gold examples)
        return ratio((correct * correct.cumsum(1) / np.maximum(predicted, 1)).sum(1), correct.sum(1))

    return precision


def regression(gold: Sequence[float], predicted: Sequence[float] | Array) -> dict[str, Any]:
    """Score numbers, each (N,).

    pearson: the linear correlation; spearman: that of the ranks, equals sharing their mean rank; both None for one
    record or where either side is constant. rmse and mae: root of the mean squared error, mean absolute error.
    Raises BertcliError for predictions that are not finite.
    """
    x, y = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    _require_finite(y)
    return _plain(weighted_regression(x, y)(np.ones((1, len(x)))))


def weighted_regression(gold: Floats, predicted: Floats) -> Metrics:
    """gold, predicted: (N,) numbers."""
    x, y = gold - gold.mean(), predicted - predicted.mean()  # correlations stay, and sums of squares keep their digits
    error = predicted - gold
    distinct = [np.unique(numbers, return_inverse=True) for numbers in (gold, predicted)]  # and where each of N is
    counters = [(_grouped(places, len(numbers)), places) for numbers, places in distinct]

    def metrics(weights: Weights) -> dict[str, Array]:
        total = weights.sum(1)
        ranks = []  # (B, N) of each side: those that its numbers have among what was drawn, equals sharing the mean
        for counter, places in counters:
            counts = counter(weights)  # (B, distinct numbers)
            ranks.append((counts.cumsum(1) - (counts - 1) / 2)[:, places])
        return {
            "pearson": _weighted_pearson(weights, x, y),
            "spearman": _weighted_pearson(weights, *ranks),
            "rmse": np.sqrt(ratio(weights @ error**2, total)),
            "mae": ratio(weights @ np.abs(error), total),
        }

    return metrics


def _weighted_pearson(weights: Weights, x: Array, y: Array) -> Floats:
    """Pearson's correlation, (B,), of values (N,) or (B, N); NaN where either is constant."""
    total = weights.sum(1, keepdims=True)
    products, spread = weights, np.ones(len(weights))
    for values in (x, y):
        centred = values - (weights * values).sum(1, keepdims=True) / total
        size, rest = ((weights * numbers**2).sum(1) for numbers in (values, centred))
        # Equal values are off their mean by its rounding; without this a resample of them would have a correlation.
        spread = spread * np.where(rest > np.finfo(float).eps ** 2 * weights.shape[1] * size, rest, 0)
        products = products * centred
    return ratio(products.sum(1), np.sqrt(np.where(spread > np.finfo(float).tiny, spread, 0)))


def _grouped(ids: Indices, groups: int, values: Array | None = None) -> Callable[[Weights], Array]:
    """A function that sums weights (B, N) by the group (N,) of each example: (B, groups). values: (N,) factors."""
    order = np.argsort(ids, kind="stable")
    present, starts = np.unique(ids[order], return_index=True)

    def sums(weights: Weights) -> Array:
        drawn = weights[:, order] if values is None else weights[:, order] * values[order]
        result = np.zeros((len(weights), groups))
        result[:, present] = np.add.reduceat(drawn, starts, axis=1)
        return result

    return sums


def _require_finite(scores: Array) -> None:
    # argmax takes NaN for the greatest: a broken model would get a plausible accuracy.
    bad = int((~np.isfinite(scores.reshape(len(scores), -1))).any(1).sum())
    if bad:
        raise BertcliError(
            f"the model's scores are not finite for {bad} of {len(scores)} records; "
            "its weights or its precision are at fault."
        )


def _per_class(correct: Array, support: Array, predicted: Array, labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A row for each of L labels, from counts (L,): correct, gold, and predicted.

    Precision is None for a label never predicted, recall for one that is not gold.
    """
    f1 = ratio(2 * correct, support + predicted)
    columns = {"precision": ratio(correct, predicted), "recall": ratio(correct, support), "f1": f1}
    return {
        label: _plain({name: column[i:] for name, column in columns.items()}) | {"support": int(support[i])}
        for i, label in enumerate(labels)
    }


def _plain(metrics: Mapping[str, Sequence[float] | Floats]) -> dict[str, Any]:
    """The first value of each metric as a float, None for NaN."""
    return {name: None if np.isnan(values[0]) else float(values[0]) for name, values in metrics.items()}
