"""Which tokens of a batch are to be guessed, and what stands in their place.

Each draw is unbiased: over many rows the share masked is the rate, whatever their lengths, and of the masked 80 %
become the mask token, 10 % a random token and 10 % stay (Devlin et al. 2018, arXiv 1810.04805, section 3.1). Special
tokens and padding are never chosen and never put in. Knows no corpus and no tokenizer. Try:
python -c "from bertcli.pretraining.masking import Masking; help(Masking)"
"""

from dataclasses import dataclass

import numpy as np

from bertcli.arrays import Array, Flags, Indices, TokenIds
from bertcli.pretraining.settings import Mask
from bertcli.tasks.base import IGNORED

REPLACED, RANDOM = 0.8, 0.1
SPAN_STOP, LONGEST_SPAN = 0.2, 10  # words; SpanBERT (Joshi et al. 2019, arXiv 1907.10529, section 3.1)


@dataclass(frozen=True)
class Masking:
    """How to mask. unit: what is masked at once; rate: the share of the tokens; mask_id: the mask token.

    ordinary: (N,) the ids of all tokens but the special ones.
    """

    unit: Mask
    rate: float
    mask_id: int
    ordinary: Indices

    def apply(
        self, ids: TokenIds, free: Flags, starts: Flags, random: np.random.Generator
    ) -> tuple[TokenIds, TokenIds]:
        """(B, T) ids to the masked ids and the targets (the ids where masked, IGNORED elsewhere).

        free: (B, T), what may be chosen; starts: (B, T), where a word begins.
        """
        groups = _groups(free, starts if self.unit != "token" else np.ones_like(starts))
        if self.unit == "span":
            groups = _runs(groups, random)
        chosen = _units(groups, self.rate, random)
        # SpanBERT replaces a span as a whole; words are replaced token by token, as BERT's whole-word masking does.
        fate = np.asarray(random.random(ids.shape))
        if self.unit == "span":
            fate = np.take_along_axis(fate, np.maximum(groups, 0), 1)
        masked = np.where(chosen & (fate < REPLACED), self.mask_id, ids)
        swapped = chosen & (fate >= REPLACED) & (fate < REPLACED + RANDOM)
        masked[swapped] = random.choice(self.ordinary, int(swapped.sum()))
        return masked, np.where(chosen, ids, IGNORED)


def _groups(free: Array, starts: Array) -> Array:
    """(B, T) the number of each token's word in its row, from 0; -1 where nothing may be chosen.

    A row that begins inside a word, where a long document was cut, begins with the rest of it.
    """
    before = np.pad(free, ((0, 0), (1, 0)))[:, :-1]
    return np.where(free, (free & (starts | ~before)).cumsum(1) - 1, -1)


def _runs(groups: Array, random: np.random.Generator) -> Array:
    """(B, T) the numbers of words to those of runs of words, which have geometric lengths."""
    count = int(groups.max(initial=-1)) + 1
    lengths = np.minimum(random.geometric(SPAN_STOP, (len(groups), count)), LONGEST_SPAN)
    begins = np.zeros((len(groups), count + 1), np.int64)
    np.put_along_axis(begins, np.minimum(lengths.cumsum(1), count), 1, axis=1)
    runs = begins.cumsum(1)
    return np.where(groups < 0, -1, np.take_along_axis(runs, np.maximum(groups, 0), 1))


def _units(groups: Array, rate: float, random: np.random.Generator) -> Array:
    """Words or runs in random order, until the row's share is reached; the last with the chance that makes it exact."""
    rows, columns = np.nonzero(groups >= 0)
    count = int(groups.max(initial=-1)) + 1
    sizes = np.zeros((len(groups), count), np.int64)
    np.add.at(sizes, (rows, groups[rows, columns]), 1)
    order = np.argsort(random.random(sizes.shape) + (sizes == 0), axis=1)
    ordered = np.take_along_axis(sizes, order, 1)
    wanted = rate * sizes.sum(1, keepdims=True)
    left = wanted - (ordered.cumsum(1) - ordered)
    taken = random.random(sizes.shape) * ordered < left
    chosen = np.zeros(sizes.shape, bool)
    np.put_along_axis(chosen, order, taken & (ordered > 0), 1)
    result = np.zeros(groups.shape, bool)
    result[rows, columns] = chosen[rows, groups[rows, columns]]
    return result
