"""From encoded records to the arrays a backend runs: batches of windows of one length, cut by tokens.

Windows in a batch have exactly the same length. So nothing is padded, no work is done on padding, and no record's
result can depend on how long its neighbours in the batch are.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from bertcli.tokenizer import Features, Window

if TYPE_CHECKING:
    from bertcli.backends.base import Batch

BATCH_TOKENS = 1024  # activations of 1,024 tokens of a small encoder stay in a core's 1 MB L2 cache
Slot = tuple[int, int]  # position of a record in its list, position of a window in the record


def distinct(encoded: Iterable[tuple[int, Features]]) -> tuple[list[tuple[Slot, Window]], dict[Slot, Slot]]:
    """Every different window once, and for each slot the one that stands for it: what a window gives is in its ids."""
    first: dict[tuple[Any, ...], Slot] = {}
    windows: list[tuple[Slot, Window]] = []
    same: dict[Slot, Slot] = {}
    for i, features in encoded:
        for k, window in enumerate(features.windows):
            key = (*window.ids, None, *(window.type_ids or ()))
            slot = same[i, k] = first.setdefault(key, (i, k))
            if slot == (i, k):
                windows.append((slot, window))
    return windows, same


def cut(windows: Iterable[tuple[Slot, Window]], tokens: int) -> Iterator[list[tuple[Slot, Window]]]:
    """Groups of windows of one length, longest first (the last batches then keep all streams busy).

    tokens: the most in a batch; a longer window is a batch of its own.
    """
    for length, group in groupby(sorted(windows, key=_length, reverse=True), key=_length):
        same, size = list(group), max(1, tokens // length)
        for start in range(0, len(same), size):
            yield same[start : start + size]


def _length(slot: tuple[Slot, Window]) -> int:
    return len(slot[1].ids)


def collate(windows: Sequence[Window]) -> "Batch":
    """input_ids, attention_mask and token_type_ids, each (B, T) int64, of B windows of T tokens."""
    import numpy as np

    input_ids = np.array([window.ids for window in windows], dtype=np.int64)
    type_ids = np.zeros_like(input_ids)
    for row, window in enumerate(windows):
        if window.type_ids is not None:
            type_ids[row] = window.type_ids
    return {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids), "token_type_ids": type_ids}
