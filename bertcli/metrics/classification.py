"""Metrics of text classification: one label, several labels, or a number per record.

Each function takes at least one record and returns plain Python values that JSON can hold, unrounded; what is not
defined is None, never NaN. The definitions are scikit-learn's and SciPy's, imported where they are used: they take a
second, which predict does not pay.
Try: python -c "from bertcli.metrics import classification as c; print(c.regression([1, 2, 3], [1, 2, 4]))"
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from bertcli.errors import BertcliError

# The metrics that a --fail-under or an early stop may name. 1: higher is better and 1 is perfect; -1: lower is better
# and 0 is perfect.
SINGLE_LABEL = {"accuracy": 1, "macro_f1": 1, "micro_f1": 1, "weighted_f1": 1, "mcc": 1, "log_loss": -1}
MULTI_LABEL = {
    "micro_f1": 1,
    "subset_accuracy": 1,
    "macro_f1": 1,
    "weighted_f1": 1,
    "samples_f1": 1,
    "map": 1,
    "hamming_loss": -1,
}
REGRESSION = {"pearson": 1, "spearman": 1, "rmse": -1, "mae": -1}

Array = np.ndarray[Any, Any]


def single_label(gold: Sequence[int], scores: Array, labels: Sequence[str]) -> dict[str, Any]:
    """Score the likeliest class of each record, the first of equals.

    gold: (N,) class indices. scores: (N, L) probabilities. labels: the L names.

    accuracy; macro_f1, micro_f1 (here equal to accuracy) and weighted_f1 as in `_f1_report`; mcc: Matthews correlation
    for L classes (R_K: Gorodkin 2004, Comput. Biol. Chem. 28, eq. 8), 0 where only one class is predicted or present;
    log_loss: mean of -ln p(gold); per_class; confusion: counts, a row per gold class, a column per predicted class.
    Raises BertcliError for scores that are not finite.
    """
    from sklearn import metrics

    _demand_finite(scores)
    truth, given, ids = np.asarray(gold), scores.argmax(1), [*range(len(labels))]
    averages, per_class = _f1_report(truth, given, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one class only
        correlation = metrics.matthews_corrcoef(truth, given)
        counts = metrics.confusion_matrix(truth, given, labels=ids)
    return {
        "accuracy": float(metrics.accuracy_score(truth, given)),
        **averages,
        "mcc": float(correlation),
        "log_loss": float(metrics.log_loss(truth, scores, labels=ids)) if len(labels) > 1 else 0.0,
        "per_class": per_class,
        "confusion": {"labels": list(labels), "matrix": counts.tolist()},
    }


def multi_label(
    gold: Sequence[Sequence[int]], scores: Array, labels: Sequence[str], threshold: float | Array
) -> dict[str, Any]:
    """Score the set of labels of each record: those whose score is at least the threshold.

    gold: N lists of label indices. scores: (N, L) probabilities. labels: the L names. threshold: of all, or (L,), which
    `thresholds` then names.

    subset_accuracy: share of records whose set is exactly right; macro, micro and weighted F1 as in `_f1_report`;
    samples_f1: mean of each record's F1, 1 where both sets are empty; map: mean over the `map_labels` labels that occur
    in gold of the average precision, sum of (R_n - R_n-1) P_n without interpolation, which no threshold enters;
    hamming_loss: share of the N x L decisions that are wrong.
    Raises BertcliError for scores that are not finite.
    """
    from sklearn import metrics

    _demand_finite(scores)
    truth = np.zeros(scores.shape, dtype=int)  # (N, L)
    for row, indices in enumerate(gold):
        truth[row, list(indices)] = 1
    given = (scores >= threshold).astype(int)
    # One more label that never occurs: scikit-learn would take the sets of a single label for a class.
    sets = [np.pad(indicators, ((0, 0), (0, 1))) for indicators in (truth, given)]
    averages, per_class = _f1_report(sets[0], sets[1], labels)
    precisions = [_average_precision(truth[:, i], scores[:, i]) for i in range(len(labels))]
    for label, precision in zip(labels, precisions, strict=True):
        per_class[label]["average_precision"] = precision
    defined = [precision for precision in precisions if precision is not None]
    return {
        "subset_accuracy": float(metrics.accuracy_score(truth, given)),
        **averages,
        "samples_f1": float(metrics.f1_score(*sets, average="samples", zero_division=1)),
        "map": float(np.mean(defined)) if defined else None,
        "map_labels": len(defined),
        "hamming_loss": float(metrics.hamming_loss(truth, given)),
        **_stated(threshold, labels),
        "per_class": per_class,
    }


def regression(gold: Sequence[float], predicted: Sequence[float] | Array) -> dict[str, Any]:
    """Score numbers, each (N,).

    pearson: the linear correlation; spearman: that of the ranks, equals sharing their mean rank; both None for one
    record or where either side is constant. rmse and mae: root of the mean squared error, mean absolute error.
    Raises BertcliError for predictions that are not finite.
    """
    from scipy import stats
    from sklearn import metrics

    x, y = np.asarray(gold, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    _demand_finite(y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant input, for which the correlation is NaN
        pearson, spearman = (f(x, y).statistic if len(x) > 1 else np.nan for f in (stats.pearsonr, stats.spearmanr))
    return {
        "pearson": _number(pearson),
        "spearman": _number(spearman),
        "rmse": float(metrics.root_mean_squared_error(x, y)),
        "mae": float(metrics.mean_absolute_error(x, y)),
    }


def _stated(threshold: float | Array, labels: Sequence[str]) -> dict[str, Any]:
    if isinstance(threshold, np.ndarray):
        return {"thresholds": dict(zip(labels, threshold.tolist(), strict=True))}
    return {"threshold": float(threshold)}


def _demand_finite(scores: Array) -> None:
    # argmax takes NaN for the greatest: a broken model would get a plausible accuracy.
    bad = int((~np.isfinite(scores.reshape(len(scores), -1))).any(1).sum())
    if bad:
        raise BertcliError(
            f"the model's scores are not finite for {bad} of {len(scores)} records; "
            "its weights or its precision are at fault."
        )


def _f1_report(
    truth: Array, given: Array, labels: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, dict[str, Any]]]:
    """Averages of F1 and the table per class, from class indices (N,) or indicators (N, L).

    F1 = 2 hits / (given + support): macro is its plain mean over the classes that occur in gold or predictions,
    weighted its mean by support, micro the F1 of the summed counts. Precision is None for a class never predicted,
    recall for one not in gold.
    """
    from sklearn.metrics import precision_recall_fscore_support as report

    def score(average: str | None) -> Any:
        return report(truth, given, labels=[*range(len(labels))], average=average, zero_division=np.nan)

    columns = [[_number(value) for value in column] for column in score(None)[:3]]
    support = [int(count) for count in score(None)[3]]
    names = "precision", "recall", "f1", "support"
    rows = (dict(zip(names, values, strict=True)) for values in zip(*columns, support, strict=True))
    averages = {f"{average}_f1": _number(score(average)[2]) for average in ("macro", "micro", "weighted")}
    return averages, dict(zip(labels, rows, strict=True))


def _average_precision(truth: Array, scores: Array) -> float | None:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth, scores)) if truth.any() else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
