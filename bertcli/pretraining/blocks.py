"""What the encoder sees of a corpus: blocks of one length, cut from documents without padding; and the dev split.

A Table holds one epoch's blocks as positions in the corpus, and makes batches of equal lengths from them. Nothing is
read before it is needed, so the corpus may be larger than memory. Knows no tokenizer and no model. Try:
python -c "import numpy as np; from bertcli.pretraining.blocks import cut; print(cut(np.array([0]), np.array([9]), 4))"
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from bertcli.arrays import Array, Flags, Indices, TokenIds
from bertcli.pretraining.corpus import Corpus
from bertcli.pretraining.masking import IGNORED, Masking

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

    ids: TokenIds
    targets: TokenIds
    type_ids: TokenIds | None = None
    relation: Indices | None = None


class Table(Protocol):
    """The blocks of an epoch. lengths: (N,) tokens of each, special ones included."""

    lengths: Indices

    def batch(self, rows: Indices, random: np.random.Generator) -> Inputs:
        """Blocks of one length, masked."""


def split(corpus: Corpus, dev_tokens: int, least: int = 1, sentences: int = 1) -> tuple[Indices, Indices]:
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


def cut(begins: Indices, ends: Indices, size: int) -> tuple[Indices, Indices]:
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
        self, corpus: Corpus, documents: Indices, length: int, pack: Pack, special: Special, masking: Masking | None
    ) -> None:
        self.corpus, self.special, self.masking = corpus, special, masking
        begins, ends = (bound[documents] for bound in corpus.bounds)
        self.stream = _Stream(begins, ends) if pack == "across" else None
        if self.stream:
            begins, ends = np.zeros(1, np.int64), np.array([self.stream.size])
        self.starts, sizes = cut(begins, ends, length - 2)
        self.lengths = sizes + 2
        self.closes = np.isin(self.starts + sizes, ends) if not self.stream else np.zeros(len(sizes), bool)

    def batch(self, rows: Indices, random: np.random.Generator) -> Inputs:
        """[CLS], text, [SEP]; to be guessed is what is masked, or what comes next."""
        positions = self.starts[rows, None] + np.arange(self.lengths[rows[0]] - 2)
        is_text = np.ones(positions.shape, bool)
        if self.stream:
            positions, is_text = self.stream.locate(positions)
        text = np.where(is_text, self.corpus.ids[positions].astype(np.int64), self.special.sep)
        edge = ((0, 0), (1, 1))
        ids = np.pad(text, edge, constant_values=((0, 0), (self.special.cls, self.special.sep)))
        if self.masking:
            begins_word = self.corpus.starts[positions] > 0
            return Inputs(*self.masking.apply(ids, np.pad(is_text, edge), np.pad(begins_word, edge), random))
        targets = np.pad(ids[:, 1:], ((0, 0), (0, 1)), constant_values=IGNORED)
        targets[~self.closes[rows], -2] = IGNORED  # [SEP] is to be guessed only where the document ends too
        return Inputs(ids, targets)


class _Stream:
    """Documents end to end, each followed by one position for a separator, seen as one long text of `size` positions.

    begins, ends: of the documents in the corpus.
    """

    def __init__(self, begins: Indices, ends: Indices) -> None:
        self.begins, self.ends = begins, ends
        sizes = ends - begins + 1
        self.size = int(sizes.sum()) - 1 if len(sizes) else 0  # nothing follows the last document
        self.first = np.cumsum(sizes) - sizes

    def locate(self, positions: Array) -> tuple[Array, Flags]:
        """Positions of any shape in the text to those in the corpus, and whether they are in it: not for separators."""
        document = np.searchsorted(self.first, positions, side="right") - 1
        in_corpus = self.begins[document] + positions - self.first[document]
        is_text = in_corpus < self.ends[document]
        return np.where(is_text, in_corpus, self.begins[document]), is_text
