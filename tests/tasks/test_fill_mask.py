"""Ranked guesses against one right answer each."""

from bertcli.tasks import fill_mask


def test_ranks_count_as_they_should() -> None:
    guesses = list(range(10))
    assert fill_mask.score([0, 4, 9, 99], [guesses] * 4) == {
        "accuracy": 0.25, "accuracy_at_5": 0.5, "accuracy_at_10": 0.75, "mrr": (1 + 1 / 5 + 1 / 10) / 4,
    }  # fmt: skip


def test_nothing_ranked_is_not_defined() -> None:
    assert set(fill_mask.score([], []).values()) == {None}
