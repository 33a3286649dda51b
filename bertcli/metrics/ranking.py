"""Ranked guesses against one right answer each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

DIRECTIONS = {"accuracy": 1, "accuracy_at_5": 1, "accuracy_at_10": 1, "mrr": 1}
Rank = int | None  # from 1; None where the answer is not among the guesses
GAINS: Mapping[str, Callable[[Rank], float]] = {  # what a rank adds to each metric, a mean over the answers
    "accuracy": lambda rank: rank == 1,
    "accuracy_at_5": lambda rank: rank is not None and rank <= 5,
    "accuracy_at_10": lambda rank: rank is not None and rank <= 10,
    "mrr": lambda rank: 1 / rank if rank else 0.0,
}


def ranks(gold: Sequence[int], ranked: Sequence[Sequence[int]]) -> list[Rank]:
    """Where each answer is among its guesses, best first."""
    return [
        list(guesses).index(answer) + 1 if answer in guesses else None
        for answer, guesses in zip(gold, ranked, strict=True)
    ]


def score(gold: Sequence[int], ranked: Sequence[Sequence[int]]) -> dict[str, Any]:
    """How often the answer is first, among the first 5 and 10, and the mean of 1 / its rank (0 where it is not there).

    ranked: at least 10 guesses for each answer, best first. What is not defined is None.
    """
    found = ranks(gold, ranked)
    return {name: sum(map(gain, found)) / len(found) if found else None for name, gain in GAINS.items()}
