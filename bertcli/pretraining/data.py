"""Which blocks of the corpus each step of a run takes: its split, its phases of lengths, its epochs, its masks.

Knows no model. Try: python -c "from bertcli.pretraining.data import CorpusData; help(CorpusData)"
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Literal

import numpy as np

from bertcli.arrays import Indices
from bertcli.errors import ModelError
from bertcli.pretraining.blocks import Blocks, Masking, Pairs, Relation, Special, Table, split
from bertcli.pretraining.corpus import Corpus
from bertcli.pretraining.settings import PretrainSettings
from bertcli.tokenizer import Tokenizer
from bertcli.training.sampler import generator, step_count, unpadded_steps

RELATIONS: dict[str, Relation] = {"mlm+nsp": "nsp", "mlm+sop": "sop"}
TWO = 2  # sentences that a pair needs, and documents, for one to take a wrong next sentence from


@dataclass(frozen=True)
class Phase:
    """Steps `first` to `stop` take blocks of `length` tokens."""

    length: int
    first: int
    stop: int
    steps_per_epoch: int


@dataclass(frozen=True)
class Key:
    """A batch: rows of a table, and the seeds of its masks. length: tokens in the blocks of its phase, at most."""

    table: Table
    rows: Indices
    seeds: tuple[int, ...]
    length: int


class CorpusData:
    """A corpus under some settings. words: its tokenizer.

    Raises ModelError for a tokenizer that does not put one token before a text and one behind it.
    """

    def __init__(self, settings: PretrainSettings, corpus: Corpus, words: Tokenizer) -> None:
        self.settings, self.corpus = settings, corpus
        around = words.backend.encode("").ids
        if len(around) != 2:
            raise ModelError("the tokenizer does not put one token before a text and one behind it, as BERT's does.")
        self.special = Special(*around)
        self.masking: Masking | None = None
        if settings.objective != "causal":
            special = {token for token, added in words.backend.get_added_tokens_decoder().items() if added.special}
            ordinary = sorted(set(words.backend.get_vocab().values()) - special)
            self.masking = Masking(settings.mask, settings.mask_rate, words.mask[1], np.array(ordinary, np.int64))
        least = TWO if settings.objective == "mlm+nsp" else 1
        sentences = TWO if settings.objective in RELATIONS else 1
        self.train, self.dev = split(corpus, settings.dev_tokens, least, sentences)

    def describe(self) -> str:
        """The split, for people."""
        begins, ends = self.corpus.bounds
        tokens = int((ends - begins)[self.dev].sum())
        if not tokens:
            return "dev: none; the corpus has too few documents to keep some of them for it"
        return f"dev: {len(self.dev):,} of {len(begins):,} documents, {tokens:,} tokens"

    def table(self, name: Literal["train", "dev"], length: int, random: np.random.Generator) -> Table | None:
        """An epoch's blocks of a split; None where it has none."""
        documents = self.train if name == "train" else self.dev
        if not len(documents):
            return None
        settings = self.settings
        if settings.objective in RELATIONS and self.masking:
            relation = RELATIONS[settings.objective]
            return Pairs(self.corpus, documents, length, relation, self.special, self.masking, random)
        return Blocks(self.corpus, documents, length, settings.pack, self.special, self.masking)

    def _epoch(self, phase: int, length: int, epoch: int) -> Table:
        table = self.table("train", length, generator(self.settings.seed, phase, epoch, 0))
        assert table is not None  # the split leaves at least one document to train on
        return table

    def phases(self) -> list[Phase]:
        """The steps with each length. An epoch is counted in blocks of the first length."""
        settings = self.settings
        size = settings.batch_tokens * settings.accumulate
        lengths = [length for length, _ in settings.lengths]
        per_epoch = [step_count(self._epoch(number, length, 0).lengths, size) for number, length in enumerate(lengths)]
        total = settings.steps or settings.epochs * per_epoch[0]
        ends = [round(total * share) for share in np.cumsum([share for _, share in settings.lengths])]
        return [Phase(*row) for row in zip(lengths, [0, *ends[:-1]], ends, per_epoch, strict=True)]

    def schedule(self, phases: list[Phase], step: int) -> Iterator[list[Key]]:
        """The batches of each step after `step`, phase after phase and in each epoch after epoch."""
        for number, phase in enumerate(phases):
            first = max(step, phase.first)
            if first < phase.stop:
                epoch, done = divmod(first - phase.first, phase.steps_per_epoch)
                yield from islice(self._steps(number, phase, epoch), done, done + phase.stop - first)

    def _steps(self, number: int, phase: Phase, first: int) -> Iterator[list[Key]]:
        """The steps of a phase without end, from the epoch `first` on."""
        settings = self.settings
        for epoch in count(first):
            table = self._epoch(number, phase.length, epoch)
            seeds = (settings.seed, number, epoch)
            order = generator(*seeds, 1)
            steps = unpadded_steps(table.lengths, settings.batch_tokens, phase.steps_per_epoch, order)
            for i, batches in enumerate(steps):
                yield [Key(table, rows, (*seeds, 2, i, j), phase.length) for j, rows in enumerate(batches)]
