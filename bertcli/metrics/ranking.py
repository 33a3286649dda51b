"""Ranked guesses against one right answer each."""

from collections.abc import Sequence
from typing import Any

DIRECTIONS = {"accuracy": 1, "accuracy_at_5": 1, "accuracy_at_10": 1, "mrr": 1}


def score(gold: Sequence[int], ranked: Sequence[Sequence[int]]) -> dict[str, Any]:
    """How often the answer is first, among the first 5 and 10, and the mean of 1 / its rank (0 where it is not there).

    ranked: at least 10 guesses for each answer, best first. What is not defined is None.
    """
    ranks = [
        list(guesses).index(answer) + 1 if answer in guesses else None
        for answer, guesses in zip(gold, ranked, strict=True)
    ]
    if not ranks:
        return dict.fromkeys(DIRECTIONS)
    within = {n: sum(rank is not None and rank <= n for rank in ranks) / len(ranks) for n in (1, 5, 10)}
    mrr = sum(1 / rank for rank in ranks if rank) / len(ranks)
    return {"accuracy": within[1], "accuracy_at_5": within[5], "accuracy_at_10": within[10], "mrr": mrr}
