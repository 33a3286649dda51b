"""Scores, a file for each family of them.

Here are the names of those of classification.py that a --fail-under or an early stop may name, without NumPy. 1: higher
is better and 1 is perfect; -1: lower is better and 0 is perfect.
"""

SINGLE_LABEL = {"accuracy": 1, "macro_f1": 1, "micro_f1": 1, "weighted_f1": 1, "mcc": 1, "log_loss": -1}
MULTI_LABEL = {
    "micro_f1": 1, "subset_accuracy": 1, "macro_f1": 1, "weighted_f1": 1, "samples_f1": 1, "map": 1, "hamming_loss": -1,
}  # fmt: skip
REGRESSION = {"pearson": 1, "spearman": 1, "rmse": -1, "mae": -1}
