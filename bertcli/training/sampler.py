"""Which examples go together in a batch: a new shuffle each epoch, equal lengths together, cut by a token budget.

Knows lengths only. The plan of an epoch is a function of (lengths, budget, seed, epoch), so every process makes the
same one and a resumed run needs no state to find its place.
"""

from itertools import pairwise

import numpy as np

from bertcli.arrays import Indices


def epoch_batches(lengths: Indices, budget: int, seed: int, epoch: int) -> list[Indices]:
    """Index arrays that together hold every example once; each pads to at most `budget` tokens (or is one example).

    A stable sort of a shuffle: among equal lengths the order is random.
    """
    random = generator(seed, epoch)
    shuffled = random.permutation(len(lengths))
    batches = cut(shuffled[np.argsort(lengths[shuffled], kind="stable")], lengths, budget)
    return [batches[i] for i in random.permutation(len(batches))]


def generator(*seeds: int) -> np.random.Generator:
    """Randomness that only the seeds decide. PCG64DXSM, because torch's sampler is biased beyond 500M samples

    (ModernBERT, arXiv 2412.13663, appendix C.1).
    """
    return np.random.Generator(np.random.PCG64DXSM(seeds))


def unpadded_steps(lengths: Indices, budget: int, count: int, random: np.random.Generator) -> list[list[Indices]]:
    """`count` steps of about as many tokens, of batches of one length with at most `budget` tokens each.

    A batch is never larger than the average step, so that no step is empty.
    """
    shuffled = random.permutation(len(lengths))
    budget = min(budget, int(lengths.sum()) // count)
    batches = [shuffled[batch] for batch in in_length_order(lengths[shuffled], budget)]
    batches = [batches[i] for i in random.permutation(len(batches))]
    tokens = np.array([len(batch) * int(lengths[batch[0]]) for batch in batches])
    step = (np.cumsum(tokens) - tokens) * count // tokens.sum()
    cuts = np.flatnonzero(np.diff(step)) + 1
    return [batches[first:last] for first, last in pairwise([0, *cuts.tolist(), len(batches)])]


def in_length_order(lengths: Indices, budget: int) -> list[Indices]:
    """Batches of exactly one length, longest first, so that a batch too large for memory fails at once."""
    order = np.argsort(lengths, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1) if len(order) else []
    return [batch for group in groups for batch in cut(group, lengths, budget)][::-1]


def cut(order: Indices, lengths: Indices, budget: int) -> list[Indices]:
    """Cut ascending lengths where one more example would pad the batch beyond the budget.

    The padding is small: only the batches where one length ends and the next begins have any.
    """
    batches: list[Indices] = []
    start = 0
    while start < len(order):
        ahead = lengths[order[start : start + budget]]
        padded = ahead * np.arange(1, len(ahead) + 1)
        size = max(1, int(np.searchsorted(padded, budget, side="right")))
        batches.append(order[start : start + size])
        start += size
    return batches


def steps(batches: list[Indices], accumulate: int) -> list[list[Indices]]:
    """Group batches into optimiser steps; the last of an epoch may have fewer."""
    return [batches[i : i + accumulate] for i in range(0, len(batches), accumulate)]


def shard(batch: Indices, rank: int, processes: int) -> Indices:
    """This process' rows of a batch: the processes' shards together are the batch, without overlap."""
    return batch[rank::processes]
