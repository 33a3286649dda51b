"""Pairs of text for a second objective: is B what follows A (next sentence), or are A and B in order (sentence order)?

Next sentence prediction is Devlin et al. 2018, arXiv 1810.04805, section 3.1, Task #2: half of the second parts are
what follows the first, half come from another document. Sentence order: Lan et al. 2019, arXiv 1909.11942, 3.1.
Knows no tokenizer and no model. Try: python -c "from bertcli.pretraining.pairs import Pairs; help(Pairs)"
"""

from array import array
from bisect import bisect_right
from typing import Literal

import numpy as np

from bertcli.arrays import Indices
from bertcli.errors import UsageError
from bertcli.pretraining.blocks import Inputs, Special, cut
from bertcli.pretraining.corpus import Corpus
from bertcli.pretraining.masking import Masking

Relation = Literal["nsp", "sop"]
SHORT = 0.1  # of the pairs are shorter than they could be, as in google-research/bert's create_pretraining_data.py
TRIES = 10  # to find another document's text that is not, by chance, the true next text, and whole sentences
Span = tuple[int, int]


class Pairs:
    """One epoch's pairs: [CLS] A [SEP] B [SEP]. relation 0: B follows A; 1: it is from elsewhere, or they are swapped.

    All text but a last single sentence of a document is in some pair. Raises UsageError where there can be none.
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
        bounds = self._bounds(document)
        rows, i = [], 0
        while i + 2 < len(bounds):
            target = int(self.random.integers(2, self.room + 1)) if self.random.random() < SHORT else self.room
            stop = max(i + 2, bisect_right(bounds, bounds[i] + target) - 1)
            middle = int(self.random.integers(i + 1, stop))
            # where the true text could have ended, so that lengths do not tell the relation
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

    def _bounds(self, document: int) -> list[int]:
        """Where the document's sentences begin, and its end; one of over half the room is cut, so that two fit."""
        begin, first = self.corpus.documents[document - 1] if document else (0, 0)
        end, last = self.corpus.documents[document]
        ends = np.asarray(self.corpus.sentences[first:last])
        begins, _ = cut(np.concatenate([[begin], ends[:-1]]), ends, max(self.room // 2, 1))
        return [*begins.tolist(), int(end)]

    def _elsewhere(self, document: int, room: int, true: Span) -> Span | None:
        """Text of another document; never the true next one, nor more or less of it, which some copy may hold.

        It is whole sentences from a random one on, as many as fit; where none fits in any try, the beginning of one.
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
            if fitting:  # true texts always are whole sentences, and what tells the two apart should be their sense
                break
        return wrong

    def batch(self, rows: Indices, random: np.random.Generator) -> Inputs:
        """Pairs of one length in all, with their segments and relations."""
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
