"""Metrics of text classification: one label, several labels, or a number per record.

Each family has two functions. The first scores N >= 1 records with scikit-learn's and SciPy's definitions and returns
plain Python values that JSON can hold, unrounded; what is not defined is None, never NaN. The `weighted` one gives the
same numbers for many weightings of the records at once, as metrics/bootstrap.py takes them. The libraries are imported
where they are used: they take a second, which only several labels and correlations pay. Knows no model and no task.
Try: python -c "from bertcli.metrics import classification as c; print(c.regression([1, 2, 3], [1, 2, 4]))"
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bertcli.arrays import Array, Flags, Floats, Indices
from bertcli.errors import BertcliError
from bertcli.metrics.bootstrap import Metrics, Weights, f1_averages, mean_of_defined, ratio, weighted_means

# The metrics that a --fail-under or an early stop may name. 1: higher is better and 1 is perfect; -1: lower is better
# and 0 is perfect.
SINGLE_LABEL = {"accuracy": 1, "macro_f1": 1, "micro_f1": 1, "weighted_f1": 1, "mcc": 1, "log_loss": -1}
MULTI_LABEL = {
    "micro_f1": 1, "subset_accuracy": 1, "macro_f1": 1, "weighted_f1": 1, "samples_f1": 1, "map": 1, "hamming_loss": -1,
}  # fmt: skip
REGRESSION = {"pearson": 1, "spearman": 1, "rmse": -1, "mae": -1}


def single_label(gold: Sequence[int], scores: Array, labels: Sequence[str]) -> dict[str, Any]:
    """Score the likeliest class of each record, the first of equals.

    gold: (N,) class indices. scores: (N, L) probabilities. labels: the L names.

    accuracy; macro_f1, micro_f1 (here equal to accuracy) and weighted_f1 as in `f1_averages`; mcc: Matthews correlation
    for L classes (R_K: Gorodkin 2004, Comput. Biol. Chem. 28, eq. 8), 0 where only one class is predicted or present;
    log_loss: mean of -ln p(gold); per_class; confusion: counts, a row per gold class, a column per predicted class.
    Raises BertcliError for scores that are not finite.
    """
    _require_finite(scores)
    truth, predicted = np.asarray(gold), scores.argmax(1)
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (truth, predicted), 1)
    right, support, guessed = counts.diagonal(), counts.sum(1), counts.sum(0)
    least = np.finfo(scores.dtype).eps  # so that no loss is infinite
    chances = np.clip(scores[np.arange(len(truth)), truth], least, 1 - least)
    return {
        **_plain(_class_metrics(right[None], support[None], guessed[None])),
        "log_loss": float(-np.log(chances).mean()) if len(labels) > 1 else 0.0,
        "per_class": _per_class(right, support, guessed, labels),
        "confusion": {"labels": list(labels), "matrix": counts.tolist()},
    }


def weighted_single_label(gold: Indices, predicted: Indices, losses: Floats, labels: int) -> Metrics:
    """gold, predicted: (N,) class indices under `labels`. losses: (N,), -ln p(gold)."""
    columns = _indicators(gold, labels, gold == predicted), _indicators(gold, labels), _indicators(predicted, labels)

    def metrics(weights: Weights) -> dict[str, Array]:
        shared = _class_metrics(*(weights @ column for column in columns))
        return shared | {"log_loss": ratio(weights @ losses, weights.sum(1))}

    return metrics


def _class_metrics(right: Array, support: Array, guessed: Array) -> dict[str, Floats]:
    """From counts (B, L) of L classes: predicted rightly, gold, and predicted at all; each (B,)."""
    total = support.sum(1)
    covariance = right.sum(1) * total - (support * guessed).sum(1)
    # As numbers of 64 bits: the product of integers overflows from 55,000 records on.
    variances = np.prod([total**2.0 - (counts**2).sum(1) for counts in (support, guessed)], axis=0)
    return {
        "accuracy": ratio(right.sum(1), total),
        **f1_averages(right, support, guessed),
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
    from sklearn.metrics import average_precision_score

    _require_finite(scores)
    truth = np.zeros(scores.shape, bool)  # (N, L)
    for row, indices in zip(truth, gold, strict=True):
        row[list(indices)] = True
    predicted = scores >= threshold
    right, support, guessed = (flags.sum(0) for flags in (truth & predicted, truth, predicted))
    averages = _plain(f1_averages(right[None], support[None], guessed[None]))
    if guessed.any() and not support.any():
        averages["weighted_f1"] = 0.0  # as scikit-learn has it
    per_class = _per_class(right, support, guessed, labels)
    for row, flags, column in zip(per_class.values(), truth.T, scores.T, strict=True):
        row["average_precision"] = float(average_precision_score(flags, column)) if flags.any() else None
    precisions = [row["average_precision"] for row in per_class.values() if row["average_precision"] is not None]
    rows = _row_metrics(truth, predicted)
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
        "hamming_loss": float((truth != predicted).mean()),
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
    """Of each record (N,), from (N, L) labels that it has, and is predicted to have."""
    sizes = truth.sum(1) + predicted.sum(1)
    return {
        "subset_accuracy": (truth == predicted).all(1),
        "samples_f1": np.where(sizes, 2 * (truth & predicted).sum(1) / np.maximum(sizes, 1), 1.0),
        "hamming_loss": (truth != predicted).mean(1),
    }


def _weighted_average_precision(truth: Flags, scores: Array) -> Callable[[Weights], Floats]:
    """Of one label, (N,) both: a sum over the scores that gold examples have; NaN where no such example was drawn."""
    _, ranks = np.unique(-scores, return_inverse=True)  # best first; equal scores are one rank
    gold = np.unique(ranks[truth])
    steps = np.searchsorted(gold, ranks)  # the first rank of a gold example at or after each example's
    above, right_above = _indicators(steps, len(gold) + 1), _indicators(steps, len(gold) + 1, truth)

    def precision(weights: Weights) -> Floats:
        right, guessed = weights @ right_above, (weights @ above).cumsum(1)  # (B, ranks of gold examples)
        return ratio((right * right.cumsum(1) / np.maximum(guessed, 1)).sum(1), right.sum(1))

    return precision


def regression(gold: Sequence[float], predicted: Sequence[float] | Array) -> dict[str, Any]:
    """Score numbers, each (N,).

    pearson: the linear correlation; spearman: that of the ranks, equals sharing their mean rank; both None for one
    record or where either side is constant. rmse and mae: root of the mean squared error, mean absolute error.
    Raises BertcliError for predictions that are not finite.
    """
    from scipy import stats

    x, y = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    _require_finite(y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant input, for which the correlation is NaN
        pearson, spearman = (f(x, y).statistic if len(x) > 1 else np.nan for f in (stats.pearsonr, stats.spearmanr))
    correlations = {"pearson": [pearson], "spearman": [spearman]}
    return {**_plain(correlations), "rmse": float(np.sqrt(((x - y) ** 2).mean())), "mae": float(np.abs(x - y).mean())}


def weighted_regression(gold: Floats, predicted: Floats) -> Metrics:
    """gold, predicted: (N,) numbers."""
    x, y = gold - gold.mean(), predicted - predicted.mean()  # correlations stay, and sums of squares keep their digits
    error = predicted - gold
    gold_ranks, predicted_ranks = _weighted_ranks(gold), _weighted_ranks(predicted)

    def metrics(weights: Weights) -> dict[str, Array]:
        total = weights.sum(1)
        return {
            "pearson": _weighted_pearson(weights, x, y),
            "spearman": _weighted_pearson(weights, gold_ranks(weights), predicted_ranks(weights)),
            "rmse": np.sqrt(ratio(weights @ error**2, total)),
            "mae": ratio(weights @ np.abs(error), total),
        }

    return metrics


def _weighted_ranks(numbers: Floats) -> Callable[[Weights], Array]:
    """The ranks (B, N) that numbers (N,) have among those that were drawn, equals sharing their mean rank."""
    distinct, groups = np.unique(numbers, return_inverse=True)
    members = _indicators(groups, len(distinct))

    def ranks(weights: Weights) -> Array:
        counts: Array = weights @ members  # (B, distinct numbers)
        middle: Array = counts.cumsum(1) - (counts - 1) / 2
        return middle[:, groups]

    return ranks


def _weighted_pearson(weights: Weights, x: Array, y: Array) -> Floats:
    """(B,): of values (N,) or (B, N); NaN where either is constant."""
    total = weights.sum(1, keepdims=True)
    x = x - (weights * x).sum(1, keepdims=True) / total
    y = y - (weights * y).sum(1, keepdims=True) / total
    products = (weights * x * y).sum(1)
    spread = (weights * x**2).sum(1) * (weights * y**2).sum(1)
    return ratio(products, np.sqrt(np.where(spread > np.finfo(float).tiny, spread, 0)))


def _indicators(ids: Indices, labels: int, values: Array | None = None) -> Any:
    """A sparse (N, L): 1 (or the value) at each example's label."""
    from scipy.sparse import csr_array

    count, ids = len(ids), ids.copy()  # dropping zeros changes it
    ones = np.ones(count) if values is None else values.astype(np.float64)
    result = csr_array((ones, ids, np.arange(count + 1)), shape=(count, labels))
    result.eliminate_zeros()
    return result


def _require_finite(scores: Array) -> None:
    # argmax takes NaN for the greatest: a broken model would get a plausible accuracy.
    bad = int((~np.isfinite(scores.reshape(len(scores), -1))).any(1).sum())
    if bad:
        raise BertcliError(
            f"the model's scores are not finite for {bad} of {len(scores)} records; "
            "its weights or its precision are at fault."
        )


def _per_class(right: Array, support: Array, guessed: Array, labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A row for each of L labels, from counts (L,): predicted rightly, gold, and predicted at all.

    Precision is None for a label never predicted, recall for one that is not gold.
    """
    f1 = ratio(2 * right, support + guessed)
    columns = {"precision": ratio(right, guessed), "recall": ratio(right, support), "f1": f1}
    return {
        label: _plain({name: column[i:] for name, column in columns.items()}) | {"support": int(support[i])}
        for i, label in enumerate(labels)
    }


def _plain(metrics: Mapping[str, Sequence[float] | Floats]) -> dict[str, Any]:
    """The first value of each, NaN as None."""
    return {name: None if np.isnan(values[0]) else float(values[0]) for name, values in metrics.items()}
