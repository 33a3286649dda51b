"""The labels of a model as tags, in whatever scheme it was trained with, and the likeliest sequence of them.

Knows labels and logits, no text.
Try: python -c "from bertcli.tasks.token_classification import tagging; print(tagging.TagSet(['I-PER', 'O']).scheme)"
"""

import re
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np

from bertcli.arrays import Array, Flags, Logits
from bertcli.metrics import entities
from bertcli.metrics.entities import OUTSIDE, Scheme, Span

PREFIXED = re.compile(r"([BIESLU])-(.+)", re.DOTALL)
SAME = {"L": "E", "U": "S"}  # what BILOU calls the prefixes of BIOES


class TagSet:
    """The labels of a model, read as tags.

    scheme: iob2 where each type has a B- to begin with; iob1 where a type has only I-, so that B- parts neighbours and
    I- begins an entity too; bioes where there are E- or S-; io where labels are types alone, or I- alone; words where
    no label stands for "no entity", as for parts of speech: each word is an entity by itself then. In a set with
    prefixes, labels without one, such as the "X" and "[CLS]" of some models, stand outside of entities.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = list(labels)
        parts = {label: PREFIXED.fullmatch(label) for label in labels}
        prefixed = [part for part in parts.values() if part]
        types = {letter: {part[2] for part in prefixed if part[1] == letter} for letter in "BIESLU"}
        self.scheme: Scheme | Literal["words"]
        if prefixed and (types["E"] | types["S"] | types["L"] | types["U"]):
            self.scheme = "bioes"
        elif prefixed:
            self.scheme = "io" if not types["B"] else "iob2" if types["I"] <= types["B"] else "iob1"
        else:
            self.scheme = "io" if set(labels) & set(OUTSIDE) else "words"
        self.tags = [self._tag(label, parts[label], bool(prefixed)) for label in labels]
        self.index = {tag: i for i, tag in reversed(list(enumerate(self.tags)))}
        self.any_of = {tag[2:]: i for tag, i in reversed(self.index.items())}  # a label of each type

    def _tag(self, label: str, part: re.Match[str] | None, is_prefixed: bool) -> str:
        if part:
            return f"{SAME.get(part[1], part[1])}-{part[2]}"
        if label in OUTSIDE or is_prefixed:
            return "O"
        return f"{'B' if self.scheme == 'words' else 'I'}-{label}"

    @property
    def types(self) -> list[str]:
        """What an entity may be, sorted."""
        return sorted({tag[2:] for tag in self.tags if tag != "O"})

    def spans(self, ids: Sequence[int]) -> list[Span]:
        """The entities that labels spell."""
        return entities.spans([self.tags[i] for i in ids])

    def ids(self, spans: Sequence[Span], count: int) -> list[int]:
        """The labels of `count` words that spell these entities, of types that there are."""
        scheme: Scheme = "iob2" if self.scheme == "words" else self.scheme
        outside = self.index.get("O", 0)
        return [self.index.get(tag, self.any_of.get(tag[2:], outside)) for tag in entities.tags(spans, count, scheme)]

    @cached_property
    def forbidden(self) -> Flags:
        """(1 + L, L): whether the second label may not follow the first; row 0 is the start of a sentence."""
        after = [entities.split(tag) for tag in self.tags]
        before = [("O", ""), *after]
        return np.array([[self._is_broken(*first, *second) for second in after] for first in before])

    def _is_broken(self, prefix: str, last: str, next_prefix: str, label: str) -> bool:
        if self.scheme == "iob2":
            return next_prefix == "I" and label != last
        if self.scheme != "bioes":
            return False
        is_open, goes_on = prefix in "BI", next_prefix in "IE"
        return is_open != goes_on or (goes_on and label != last)

    def best(self, logits: Logits, count: int, temperature: float) -> tuple[list[int], Array]:
        """The likeliest labels of `count` words that the scheme allows, and the probability of each.

        Viterbi (Forney 1973) with the allowed transitions and no other preference. logits: (N, L) of the first words,
        of which some are NaN: a word that no window shows has no part in this. It belongs to an entity if the words on
        both sides of it do, else to none.
        """
        known = np.flatnonzero(~np.isnan(logits).any(1))[:count]
        scores = log_softmax(logits[known].astype(np.float64))
        path = viterbi(scores, self.forbidden)
        calibrated = scores if temperature == 1 else log_softmax(scores / temperature)
        labels = np.full(count, self.index.get("O", 0))
        chances = np.ones(count)
        labels[known], chances[known] = path, np.exp(calibrated[np.arange(len(path)), path])
        for first, second in pairwise(known):
            tag = self.tags[labels[second]]
            if second - first > 1 and tag[0] in "IE" and self.tags[labels[first]][2:] == tag[2:]:
                labels[first + 1 : second] = self.index.get(f"I-{tag[2:]}", labels[second])
                chances[first + 1 : second] = chances[second]
        return labels.tolist(), chances


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
