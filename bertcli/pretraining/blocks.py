"""From a corpus to training inputs: blocks of one length without padding, single or in pairs, masked, for each step.

A Table holds the blocks of an epoch as positions in the corpus, and makes batches of blocks of one length. It reads a
block only when it is needed, so the corpus may be larger than memory. CorpusData plans a run: its dev split, the phases
of different lengths, its epochs, and so the blocks and masks of each step. Knows no model. Try:
python -c "import numpy as np; from bertcli.pretraining.blocks import cut; print(cut(np.array([0]), np.array([9]), 4))"
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from typing import Literal

import numpy as np

from bertcli.arrays import Array, Flags, Indices, TokenIds
from bertcli.errors import ModelError, UsageError
from bertcli.pretraining.corpus import Corpus
from bertcli.pretraining.settings import Mask, PretrainSettings
from bertcli.tasks.base import IGNORED
from bertcli.tokenizer import Tokenizer
from bertcli.training.sampler import generator, unpadded_steps

MASKED, RANDOM = 0.8, 0.1  # shares of the chosen tokens that become the mask token, and a random one
SPAN_STOP, LONGEST_SPAN = 0.2, 10  # words; SpanBERT (Joshi et al. 2019, arXiv 1907.10529, section 3.1)


@dataclass(frozen=True)
class Masking:
    """How to mask. unit: what is masked at once; rate: the share of tokens chosen; mask_id: the mask token.

    Each draw is unbiased: over many rows of any length the share of chosen tokens is the rate. Of these 80 % become
    the mask token, 10 % a random token, and 10 % stay (Devlin et al. 2018, arXiv 1810.04805, section 3.1). Special
    tokens are neither chosen nor drawn as random tokens. ordinary: (N,) the ids of all other tokens.
    """

    unit: Mask
    rate: float
    mask_id: int
    ordinary: Indices

    def apply(
        self, ids: TokenIds, free: Flags, starts: Flags, random: np.random.Generator
    ) -> tuple[TokenIds, TokenIds]:
        """(B, T) ids to the masked ids and the targets (the original ids where chosen, IGNORED elsewhere).

        free: (B, T), which tokens may be chosen; starts: (B, T), which tokens begin a word.
        """
        # groups (B, T) numbers what is masked at once in each row, from 0; -1 where nothing may be chosen. A row may
        # begin inside a word, where a long document was cut: the rest of that word is its first group.
        begins_group = starts if self.unit != "token" else np.ones_like(starts)
        before = np.pad(free, ((0, 0), (1, 0)))[:, :-1]
        groups: Array = np.where(free, (free & (begins_group | ~before)).cumsum(1) - 1, -1)
        if self.unit == "span":  # from words to spans of words, whose lengths are geometric
            count = int(groups.max(initial=-1)) + 1
            lengths = np.minimum(random.geometric(SPAN_STOP, (len(groups), count)), LONGEST_SPAN)
            begins = np.zeros((len(groups), count + 1), np.int64)
            np.put_along_axis(begins, np.minimum(lengths.cumsum(1), count), 1, axis=1)
            groups = np.where(groups < 0, -1, np.take_along_axis(begins.cumsum(1), np.maximum(groups, 0), 1))
        chosen = _choose(groups, self.rate, random)
        # One draw for a whole span, as in SpanBERT; one for each token of a word, as in BERT's whole-word masking.
        draw = np.asarray(random.random(ids.shape))
        if self.unit == "span":
            draw = np.take_along_axis(draw, np.maximum(groups, 0), 1)
        masked = np.where(chosen & (draw < MASKED), self.mask_id, ids)
        randomised = chosen & (draw >= MASKED) & (draw < MASKED + RANDOM)
        masked[randomised] = random.choice(self.ordinary, int(randomised.sum()))
        return masked, np.where(chosen, ids, IGNORED)


def _choose(groups: Array, rate: float, random: np.random.Generator) -> Array:
    """(B, T) of bool: groups in random order up to the rate; chance decides on the last, so that the mean is exact."""
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


Pack = Literal["document", "across"]
Relation = Literal["nsp", "sop"]
Span = tuple[int, int]  # of positions in the corpus: from, and up to
MOST_DEV = 50  # at most one token in 50 is dev
SHORT = 0.1  # share of pairs that are shorter than possible, as in google-research/bert's create_pretraining_data.py
TRIES = 10  # to draw whole sentences from another document that are not the true next text


@dataclass(frozen=True)
class Special:
    """The ids of the special tokens: cls before a text, sep after each text."""

    cls: int
    sep: int


@dataclass(frozen=True)
class Inputs:
    """B blocks of T tokens. targets: (B, T), IGNORED where nothing is predicted.

    type_ids: (B, T) segments, and relation: (B,) class of each pair; both None for single blocks.
    """

    ids: TokenIds
    targets: TokenIds
    type_ids: TokenIds | None = None
    relation: Indices | None = None


def split(corpus: Corpus, dev_tokens: int, least: int = 1, sentences: int = 1) -> tuple[Indices, Indices]:
    """The indices of the train and dev documents, ascending, whatever the seed of the run.

    Dev has about dev_tokens tokens, at most a fiftieth of the corpus. It takes documents that are no larger than that
    and have at least `sentences` sentences. It is empty if either side would have fewer than `least` documents.
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
    """Cut ranges into parts of `size`, the last of each range shorter: their starts and sizes."""
    counts = -(-(ends - begins) // size)
    first = np.cumsum(counts) - counts
    starts = np.repeat(begins - first * size, counts) + np.arange(counts.sum()) * size
    return starts, np.minimum(np.repeat(ends, counts) - starts, size)


class Blocks:
    """Single blocks, [CLS] text [SEP]: each from one document, or with pack "across" from several, [SEP] between.

    masking: None for the causal objective, which predicts every next token.
    """

    def __init__(
        self, corpus: Corpus, documents: Indices, length: int, pack: Pack, special: Special, masking: Masking | None
    ) -> None:
        self.corpus, self.special, self.masking = corpus, special, masking
        begins, ends = (bound[documents] for bound in corpus.bounds)
        self.is_across = pack == "across"
        if self.is_across:  # All documents are one text, with one position for a separator after each.
            self.begins, self.ends, sizes = begins, ends, ends - begins + 1
            self.firsts = np.cumsum(sizes) - sizes
            total = int(sizes.sum()) - 1 if len(sizes) else 0  # nothing follows the last document
            begins, ends = np.zeros(1, np.int64), np.array([total])
        self.starts, sizes = cut(begins, ends, length - 2)
        self.lengths = sizes + 2
        self.closes = np.isin(self.starts + sizes, ends) if not self.is_across else np.zeros(len(sizes), bool)

    def batch(self, rows: Indices, random: np.random.Generator) -> Inputs:
        """Blocks of one length, whose targets are the masked tokens, or each next token (causal)."""
        positions = self.starts[rows, None] + np.arange(self.lengths[rows[0]] - 2)
        is_text = np.ones(positions.shape, bool)
        if self.is_across:  # from positions in that text to those in the corpus
            document = np.searchsorted(self.firsts, positions, side="right") - 1
            in_corpus = self.begins[document] + positions - self.firsts[document]
            is_text = in_corpus < self.ends[document]
            positions = np.where(is_text, in_corpus, self.begins[document])
        text = np.where(is_text, self.corpus.ids[positions].astype(np.int64), self.special.sep)
        edge = ((0, 0), (1, 1))
        ids = np.pad(text, edge, constant_values=((0, 0), (self.special.cls, self.special.sep)))
        if self.masking:
            begins_word = self.corpus.starts[positions] > 0
            return Inputs(*self.masking.apply(ids, np.pad(is_text, edge), np.pad(begins_word, edge), random))
        targets = np.pad(ids[:, 1:], ((0, 0), (0, 1)), constant_values=IGNORED)
        targets[~self.closes[rows], -2] = IGNORED  # [SEP] is predicted only where the document ends too
        return Inputs(ids, targets)


# Pairs of text for a second objective: is B what follows A (next sentence), or are A and B in order (sentence order)?
#
# Next sentence prediction is Devlin et al. 2018, arXiv 1810.04805, section 3.1, Task #2: half of the second parts are
# what follows the first, half come from another document. Sentence order: Lan et al. 2019, arXiv 1909.11942, 3.1.


class Pairs:
    """One epoch's pairs, [CLS] A [SEP] B [SEP]. relation 0: B follows A; 1: B is from elsewhere, or they are swapped.

    All text is in some pair, except a single last sentence of a document. Raises UsageError if there are no pairs.
    """

    def __init__(
        self, corpus: Corpus, documents: Indices, length: int, objective: Relation, special: Special, masking: Masking,
        random: np.random.Generator,
    ) -> None:  # fmt: skip
        self.corpus, self.special, self.masking, self.random = corpus, special, masking, random
        self.documents = documents
        self.room = length - 3
        if objective == "nsp" and len(documents) < 2:
            raise UsageError(
                "the corpus is one document, which has no other to take a wrong next sentence from; separate documents "
                "by blank lines, or train with --objective mlm or mlm+sop."
            )
        numbers = array("q")
        for document in documents.tolist():
            for row in self._of_document(document, objective):
                numbers.extend(row)
        table = np.frombuffer(numbers, np.int64).reshape(-1, 5)
        if not len(table):
            raise UsageError("no document has two sentences, so there are no pairs; train with --objective mlm.")
        self.first, self.second, self.relation = table[:, :2], table[:, 2:4], table[:, 4]
        self.lengths = np.diff(self.first)[:, 0] + np.diff(self.second)[:, 0] + 3

    def _of_document(self, document: int, objective: Relation) -> list[tuple[int, int, int, int, int]]:
        """Where A and B begin and end in the corpus, and the relation, of each pair whose A is in this document."""
        # bounds: where its sentences begin, then its end. Sentences over half the room are cut, so that two fit.
        begin, first = self.corpus.documents[document - 1] if document else (0, 0)
        end, last = self.corpus.documents[document]
        ends = np.asarray(self.corpus.sentences[first:last])
        begins, _ = cut(np.concatenate([[begin], ends[:-1]]), ends, max(self.room // 2, 1))
        bounds = [*begins.tolist(), int(end)]
        rows, i = [], 0
        while i + 2 < len(bounds):
            target = int(self.random.integers(2, self.room + 1)) if self.random.random() < SHORT else self.room
            stop = max(i + 2, bisect_right(bounds, bounds[i] + target) - 1)
            middle = int(self.random.integers(i + 1, stop))
            # A wrong text may reach to where the true one could have ended, so that lengths do not tell the relation.
            limit = max(bounds[stop], min(bounds[i] + target, bounds[-1]))
            first, second, relation = (bounds[i], bounds[middle]), (bounds[middle], bounds[stop]), 0
            if self.random.random() < 0.5:
                relation = 1
                if objective == "sop":
                    first, second = second, first
                elif other := self._elsewhere(document, limit - bounds[middle], second):
                    second, stop = other, middle  # the true next text begins the next pair
                else:
                    relation = 0
            rows.append((*first, *second, relation))
            i = stop
        return rows

    def _elsewhere(self, document: int, room: int, true: Span) -> Span | None:
        """Text of another document, which never begins as the true next text does: the corpus may have copies of it.

        Whole sentences from a random one on, as many as fit; if none fits in any try, the beginning of one.
        """
        wrong: Span | None = None
        for _ in range(TRIES):
            other = int(self.documents[self.random.integers(len(self.documents) - 1)])
            other = other if other != document else int(self.documents[-1])
            first = self.corpus.documents[other - 1, 1] if other else 0
            last = int(self.corpus.documents[other, 1])
            start = int(self.random.integers(first, last))
            begin = int(self.corpus.sentences[start - 1]) if start else 0
            ends = self.corpus.sentences[start : min(start + room, last)]
            fitting = int(np.searchsorted(ends, begin + room, side="right"))
            end = int(ends[fitting - 1]) if fitting else begin + room
            size = min(end - begin, true[1] - true[0])
            if np.array_equal(self.corpus.ids[begin : begin + size], self.corpus.ids[true[0] : true[0] + size]):
                continue
            wrong = begin, end
            if fitting:  # True texts are whole sentences too: only their meaning should tell the two apart.
                break
        return wrong

    def batch(self, rows: Indices, random: np.random.Generator) -> Inputs:
        """Pairs of one total length."""
        first, second = self.first[rows], self.second[rows]
        columns = np.arange(self.lengths[rows[0]])[None]
        middle = np.diff(first) + 1  # (B, 1): where the first [SEP] is
        in_first = (columns > 0) & (columns < middle)
        free = in_first | ((columns > middle) & (columns < columns[0, -1]))
        positions = np.where(in_first, first[:, :1] + columns - 1, second[:, :1] + columns - middle - 1)
        positions = np.where(free, positions, 0)
        ids = np.where(free, self.corpus.ids[positions], np.where(columns == 0, self.special.cls, self.special.sep))
        starts = self.corpus.starts[positions] > 0
        masked, targets = self.masking.apply(ids.astype(np.int64), free, starts, random)
        return Inputs(masked, targets, (columns > middle).astype(np.int64), self.relation[rows])


Table = Blocks | Pairs  # of an epoch; `lengths` (N,) are the tokens of each block, special ones included
RELATIONS: dict[str, Relation] = {"mlm+nsp": "nsp", "mlm+sop": "sop"}


@dataclass(frozen=True)
class Phase:
    """Steps `first` to `stop` take blocks of `length` tokens."""

    length: int
    first: int
    stop: int
    steps_per_epoch: int


@dataclass(frozen=True)
class BatchKey:
    """What a batch is made of when its turn comes: rows of a table, and the seeds of its masks."""

    table: Table
    rows: Indices
    seeds: tuple[int, ...]


class CorpusData:
    """The batches of a run. Raises ModelError for a tokenizer that does not put one token before and one after a text.

    train, dev: the indices of their documents.
    """

    def __init__(self, settings: PretrainSettings, corpus: Corpus, tokenizer: Tokenizer) -> None:
        self.settings, self.corpus = settings, corpus
        around = tokenizer.backend.encode("").ids
        if len(around) != 2:
            raise ModelError("the tokenizer does not put one token before a text and one after it, as BERT's does.")
        self.special = Special(*around)
        self.masking: Masking | None = None
        if settings.objective != "causal":
            special = {token for token, added in tokenizer.backend.get_added_tokens_decoder().items() if added.special}
            ordinary = sorted(set(tokenizer.backend.get_vocab().values()) - special)
            self.masking = Masking(settings.mask, settings.mask_rate, tokenizer.mask[1], np.array(ordinary, np.int64))
        least = 2 if settings.objective == "mlm+nsp" else 1  # documents: a wrong next sentence is from another
        sentences = 2 if settings.objective in RELATIONS else 1
        self.train, self.dev = split(corpus, settings.dev_tokens, least, sentences)

    def table(self, documents: Indices, length: int, random: np.random.Generator) -> Table:
        """The blocks of some documents in one epoch."""
        settings = self.settings
        if settings.objective in RELATIONS and self.masking:
            relation = RELATIONS[settings.objective]
            return Pairs(self.corpus, documents, length, relation, self.special, self.masking, random)
        return Blocks(self.corpus, documents, length, settings.pack, self.special, self.masking)

    @cached_property
    def phases(self) -> list[Phase]:
        """The steps of each length. An epoch is a pass over the blocks of the first length."""
        settings = self.settings
        size = settings.batch_tokens * settings.accumulate
        lengths = [length for length, _ in settings.lengths]
        tables = (
            self.table(self.train, length, generator(settings.seed, number, 0, 0))
            for number, length in enumerate(lengths)
        )
        per_epoch = [max(1, int(table.lengths.sum()) // size) for table in tables]
        total = settings.steps or settings.epochs * per_epoch[0]
        ends = [round(total * share) for share in np.cumsum([share for _, share in settings.lengths])]
        return [Phase(*row) for row in zip(lengths, [0, *ends[:-1]], ends, per_epoch, strict=True)]

    def schedule(self, step: int) -> Iterator[list[BatchKey]]:
        """The batches of each step after `step`, through all phases and epochs."""
        settings = self.settings
        for number, phase in enumerate(self.phases):
            size, done, total = phase.steps_per_epoch, max(step - phase.first, 0), phase.stop - phase.first
            for epoch in range(done // size, -(-total // size) if done < total else 0):
                seeds = (settings.seed, number, epoch)
                table = self.table(self.train, phase.length, generator(*seeds, 0))
                order = generator(*seeds, 1)
                steps = unpadded_steps(table.lengths, settings.batch_tokens, size, order)
                # Pairs are drawn anew in each epoch, so one may have too few blocks for its steps; then some come
                # twice, with other masks. All epochs must have as many steps, because a resumed run derives its epoch
                # from them.
                begin, end = max(done - epoch * size, 0), min(total - epoch * size, size)
                for i, batches in islice(enumerate(cycle(steps)), begin, end):
                    yield [BatchKey(table, rows, (*seeds, 2, i, j)) for j, rows in enumerate(batches)]
