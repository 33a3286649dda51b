"""From logits to the likeliest sequence of tags."""

import numpy as np

from bertcli.arrays import Array, Flags, Logits


def log_softmax(logits: Logits) -> Array:
    """Logits (N, L) to logarithms of probabilities."""
    below = logits - logits.max(1, keepdims=True)
    return below - np.log(np.exp(below).sum(1, keepdims=True))  # type: ignore[no-any-return]


def viterbi(scores: Array, forbidden: Flags) -> list[int]:
    """The path (N,) of greatest sum through (N, L) that makes no forbidden step (1 + L, L), its row 0 the start."""
    cost = np.where(forbidden, -np.inf, 0.0)
    if not len(scores):
        return []
    best, back = scores[0] + cost[0], []
    for row in scores[1:]:
        total = best[:, None] + cost[1:]  # (L, L)
        back.append(total.argmax(0))
        best = total.max(0) + row
    path = [int(best.argmax())]
    for pointers in reversed(back):
        path.append(int(pointers[path[-1]]))
    return path[::-1]
