"""The corpus of a run as tables of blocks: its split, the special tokens, the masks and the phases of lengths."""

import numpy as np

from bertcli.errors import ModelError
from bertcli.pretraining.blocks import Blocks, Special, Table, split
from bertcli.pretraining.corpus import Corpus
from bertcli.pretraining.job import Phase
from bertcli.pretraining.masking import Masking
from bertcli.pretraining.pairs import Pairs, Relation
from bertcli.pretraining.settings import PretrainSettings
from bertcli.tokenizer import Tokenizer
from bertcli.training.sampler import generator, step_count

RELATIONS: dict[str, Relation] = {"mlm+nsp": "nsp", "mlm+sop": "sop"}
TWO = 2  # sentences that a pair needs, and documents, for one to take a wrong next sentence from


class CorpusData:
    """What a job asks for blocks. words: the tokenizer of the corpus."""

    def __init__(self, settings: PretrainSettings, corpus: Corpus, words: Tokenizer) -> None:
        self.settings, self.corpus = settings, corpus
        self.special = _special(words)
        self.masking = _masking(settings, words)
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

    def table(self, name: str, length: int, random: np.random.Generator) -> Table | None:
        """An epoch's blocks of the train or dev split; None where it has none."""
        documents = self.train if name == "train" else self.dev
        if not len(documents):
            return None
        settings = self.settings
        if settings.objective in RELATIONS and self.masking:
            kind = RELATIONS[settings.objective]
            return Pairs(self.corpus, documents, length, kind, self.special, self.masking, random)
        return Blocks(self.corpus, documents, length, settings.pack, self.special, self.masking)

    def phases(self) -> list[Phase]:
        """The steps with each length. An epoch is counted in blocks of the first length."""
        settings = self.settings
        size = settings.batch_tokens * settings.accumulate
        per_epoch = [self._steps(number, length, size) for number, (length, _) in enumerate(settings.lengths)]
        total = settings.steps or settings.epochs * per_epoch[0]
        ends = [round(total * share) for share in np.cumsum([share for _, share in settings.lengths])]
        firsts = [0, *ends[:-1]]
        rows = zip(settings.lengths, firsts, ends, per_epoch, strict=True)
        return [Phase(length, first, stop, steps) for (length, _), first, stop, steps in rows]

    def _steps(self, number: int, length: int, size: int) -> int:
        table = self.table("train", length, generator(self.settings.seed, number, 0, 0))
        assert table is not None
        return step_count(table.lengths, size)


def _special(words: Tokenizer) -> Special:
    ids = words.backend.encode("").ids
    if len(ids) != 2:
        raise ModelError("the tokenizer does not put one token before a text and one behind it, as BERT's does.")
    return Special(*ids)


def _masking(settings: PretrainSettings, words: Tokenizer) -> Masking | None:
    if settings.objective == "causal":
        return None
    special = {token for token, added in words.backend.get_added_tokens_decoder().items() if added.special}
    known = set(words.backend.get_vocab().values()) - special
    return Masking(settings.mask, settings.mask_rate, words.mask[1], np.array(sorted(known), np.int64))
