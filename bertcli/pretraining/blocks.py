"""What the encoder sees of a corpus: blocks of one length, cut from documents without padding; and the dev split.

A Table holds one epoch's blocks as positions, and makes batches of equal lengths from them. Nothing is read before it
is needed, so the corpus may be larger than memory.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from bertcli.pretraining.corpus import Corpus
from bertcli.pretraining.masking import IGNORED, Masking

Array = np.ndarray[Any, Any]
Pack = Literal["document", "across"]
MOST_DEV = 50  # at most one token in so many is dev


@dataclass(frozen=True)
class Special:
    """The ids that stand around text: before it, and behind it or between two texts."""

    cls: int
    sep: int


@dataclass(frozen=True)
class Inputs:
    """B blocks of T tokens. targets: (B, T), IGNORED where there is nothing to guess.

    type_ids: (B, T), and relation: (B,) class of each pair; None for single blocks.
    """

    ids: Array
    targets: Array
    type_ids: Array | None = None
    relation: Array | None = None


class Table(Protocol):
    """The blocks of an epoch. lengths: (N,) tokens of each, special ones included."""

    lengths: Array

    def batch(self, rows: Array, random: np.random.Generator) -> Inputs:
        """Blocks of one length, masked."""


def split(corpus: Corpus, dev_tokens: int, least: int = 1, sentences: int = 1) -> tuple[Array, Array]:
    """The documents to train on and those to score on: the same ones whatever the seed of a run, both ascending.

    About dev_tokens tokens are dev, and at most a fiftieth of the corpus, in documents none of which is larger or has
    fewer `sentences`; none where either would have fewer than `least`.
    """
    begins, ends = corpus.bounds
    order = np.random.Generator(np.random.PCG64DXSM(0)).permutation(len(begins))
    most = min(dev_tokens, len(corpus.ids) // MOST_DEV)
    enough = np.diff(corpus.documents[:, 1], prepend=0) >= sentences
    small = order[(enough & (ends - begins <= most))[order]]
    dev = small[: np.searchsorted(np.cumsum((ends - begins)[small]), most, side="right")]
    if not least <= len(dev) <= len(order) - least:
        dev = dev[:0]
    return np.setdiff1d(order, dev), np.sort(dev)


def cut(begins: Array, ends: Array, size: int) -> tuple[Array, Array]:
    """Cut ranges into pieces of `size`, the last of each range shorter: where they begin, and their sizes."""
    counts = -(-(ends - begins) // size)
    first = np.cumsum(counts) - counts
    starts = np.repeat(begins - first * size, counts) + np.arange(counts.sum()) * size
    return starts, np.minimum(np.repeat(ends, counts) - starts, size)


class Blocks:
    """Single blocks: [CLS] text [SEP], each from one document, or with pack "across" from neighbours, [SEP] between.

    masking: None for the causal objective, which guesses every next token.
    """

    def __init__(
        self, corpus: Corpus, documents: Array, length: int, pack: Pack, special: Special, masking: Masking | None
    ) -> None:
        self.corpus, self.special, self.masking = corpus, special, masking
        begins, ends = (bound[documents] for bound in corpus.bounds)
        self.stream = _Stream(begins, ends) if pack == "across" else None
        if self.stream:
            begins, ends = np.zeros(1, np.int64), np.array([self.stream.size])
        self.starts, sizes = cut(begins, ends, length - 2)
        self.lengths = sizes + 2
        self.closes = np.isin(self.starts + sizes, ends) if not self.stream else np.zeros(len(sizes), bool)

    def batch(self, rows: Array, random: np.random.Generator) -> Inputs:
        """[CLS], text, [SEP]; to be guessed is what is masked, or what comes next."""
        places = self.starts[rows, None] + np.arange(self.lengths[rows[0]] - 2)
        text, starts, free = self._read(places)
        edge = ((0, 0), (1, 1))
        ids = np.pad(text, edge, constant_values=((0, 0), (self.special.cls, self.special.sep)))
        if self.masking is None:
            return Inputs(ids, self._next(ids, rows))
        return Inputs(*self.masking.apply(ids, np.pad(free, edge), np.pad(starts, edge), random))

    def _read(self, places: Array) -> tuple[Array, Array, Array]:
        """(B, T) tokens, whether they begin words, and whether they are text."""
        if self.stream is None:
            return self.corpus.ids[places].astype(np.int64), self.corpus.starts[places] > 0, np.ones(places.shape, bool)
        places, is_text = self.stream.locate(places)
        ids = np.where(is_text, self.corpus.ids[places], self.special.sep)
        return ids.astype(np.int64), self.corpus.starts[places] > 0, is_text

    def _next(self, ids: Array, rows: Array) -> Array:
        """The token after each; [SEP] at the end only where the document ends too."""
        targets = np.pad(ids[:, 1:], ((0, 0), (0, 1)), constant_values=IGNORED)
        targets[~self.closes[rows], -2] = IGNORED
        return targets


class _Stream:
    """Documents end to end, each followed by one place for a separator; places (any shape) -> places in the corpus."""

    def __init__(self, begins: Array, ends: Array) -> None:
        self.begins, self.ends = begins, ends
        sizes = ends - begins + 1
        self.size = int(sizes.sum()) - 1 if len(sizes) else 0  # nothing follows the last document
        self.first = np.cumsum(sizes) - sizes

    def locate(self, places: Array) -> tuple[Array, Array]:
        """The place in the corpus, and whether it is one: not for separators."""
        own = np.searchsorted(self.first, places, side="right") - 1
        found = self.begins[own] + places - self.first[own]
        is_text = found < self.ends[own]
        return np.where(is_text, found, self.begins[own]), is_text
