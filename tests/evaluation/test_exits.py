"""The threshold of an early exit: as low as the loss that is allowed lets it be, and no lower for luck."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bertcli.arrays import Features, Window
from bertcli.backends import Stages
from bertcli.data.records import Record
from bertcli.errors import UsageError
from bertcli.evaluation import Predicted
from bertcli.evaluation.calibrate import choose, fit_with_exit
from bertcli.tasks.options import Options
from bertcli.tasks.text_classification import Task

CONFIG: dict[str, Any] = {"id2label": {"0": "no", "1": "yes"}}


def task(**config: Any) -> Task:
    return Task(SimpleNamespace(), CONFIG | config, Options())  # type: ignore[arg-type]


def text(early: float, late: float, *more: tuple[float, float]) -> Any:
    """A record whose exit and last head give these log-odds for `yes`; and more windows of it."""
    windows = [(early, late), *more]
    outputs = [{"exit_logits": np.array([0, a]), "logits": np.array([0, b])} for a, b in windows]
    return Features([Window([1]) for _ in windows]), outputs


def test_it_is_lowered_until_too_much_is_lost_and_not_past_that() -> None:
    # Sure 5 to 1: right, right, wrong (the last head was right), right where the last head was wrong, right.
    both = [text(5, 1), text(-4, -1), text(3, -1), text(2, -1), text(1, 1)]
    gold = [1, 0, 0, 1, 1]
    threshold, has_left, predictions = choose(task(), gold, both, 0.1)
    assert (threshold, has_left.tolist()) == (4.0, [True, True, False, False, False])
    assert [row[1] for row in predictions] == [5, -4, -1, -1, 1]
    threshold, has_left, predictions = choose(task(), gold, both, 20)
    assert (threshold, has_left.all(), [row[1] for row in predictions]) == (1.0, True, [5, -4, 3, 2, 1])


def test_nothing_leaves_where_the_surest_text_costs_too_much() -> None:
    threshold, has_left, predictions = choose(task(), [0, 1], [text(5, -1), text(1, 1)], 0.1)
    assert not has_left.any()
    assert not np.float32([5]) >= threshold  # as predict compares, in fp32
    assert [row[1] for row in predictions] == [-1, 1]


def test_the_windows_of_a_long_text_leave_one_by_one() -> None:
    threshold, has_left, _ = choose(task(), [1, 0], [text(6, 2, (1, 3)), text(-5, -1)], 0)
    assert threshold == 1.0 and has_left.all()
    both = [text(6, 2, (1, -9)), text(-5, -1)]
    threshold, has_left, predictions = choose(task(), [0, 0], both, 0)
    assert threshold > 1 and has_left.tolist() == [False, True]
    assert predictions[0][1] == (6 + -9) / 2


def test_what_an_exit_costs_several_labels_is_up_to_their_own_thresholds() -> None:
    # No label reaches 0.5. The last head has -1 for a label that applies and -2 for another, the exit knows nothing.
    gold = [[0], [1], [0], [1], [0, 1], []] * 20
    both = []
    for i, labels in enumerate(gold):
        late, early = np.full(2, -2.0), np.full(2, -3.0 - i % 7)
        late[labels] = -1 + 1e-3 * i
        both.append((Features([Window([1])]), [{"exit_logits": early, "logits": late}]))
    predicted = Predicted([Record(fields={"text": "x"})] * len(gold), gold, both)
    backend = Stages.__new__(Stages)
    backend.after = 1
    several = task(problem_type="multi_label_classification")
    fitted = fit_with_exit(several, backend, predicted, None, 0.1)
    left = fitted.stored["exit"]
    assert (left["share"], left["micro_f1"], left["at full depth"], left["lost"]) == (0, 1, 1, 0)
    assert fitted.after["micro_f1"] == 1 and fitted.before["micro_f1"] < 0.5


def test_certainty_is_the_log_odds_to_the_next_label_or_the_least_of_several() -> None:
    logits = np.array([[3.0, 1.0, -4.0], [0.0, 0.5, 0.25]])
    assert task().certainty(logits).tolist() == [2.0, 0.25]
    assert task(problem_type="multi_label_classification").certainty(logits).tolist() == [1.0, 0.0]
    with pytest.raises(UsageError, match="this model predicts a number, which has no early exit"):
        task(problem_type="regression", id2label={"0": "LABEL_0"}).certainty(logits)
