"""The ids of words that were seen, found by arithmetic on whole arrays: no Python object is made for a known word.

Words are where the pre-tokenizer of BERT would cut; a word's polynomial hash is the difference of two running sums, and
an open-addressing table of 64-bit hashes says which entry it is. Two of a million words collide with a probability of
some 1e-7.
"""

import re
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from bertcli.pretraining.words import IDEOGRAPHS

Array = np.ndarray[Any, Any]
CACHED = 1 << 23  # characters of distinct words kept, about 190 MB; then the cache starts anew
LINE_END = "\n"
# BERT's pre-tokenizer makes each of these a word of its own, so text may be cut before and after them. The marks beyond
# ASCII are those common enough to matter for speed.
ALONE = r"!-/:-@\[-`{-~\n。,、;:?!()《》「」『』“”‘’…—·"  # noqa: RUF001
IDEOGRAPH = IDEOGRAPHS.pattern.strip("[]+")
SPACE, INSIDE, SINGLE = range(3)  # what a character is to a word
RATIO = 0x9E3779B97F4A7C13  # of the hash's powers; odd, so that it has an inverse modulo 2^64


class WordCache:
    """encode: the ids of a word. ideographs: whether each is a word of its own.

    Entry e is the word with the ids flat[begin[e] : begin[e] + length[e]]; entry 0 a line end.
    """

    def __init__(self, encode: Callable[[str], list[int]], ideographs: bool) -> None:
        self.encode_word = encode
        self.kinds = _kinds(ideographs)
        self.numbers = np.random.default_rng(0).integers(1 << 64, size=len(self.kinds), dtype=np.uint64)
        self.powers = self.inverse = np.ones(1, np.uint64)
        self._clear()

    def encode(self, texts: Sequence[str]) -> tuple[Array, Array]:
        """ids: (T,) of all texts, none of which holds a line end; lengths: (S,) how many of each of the S texts."""
        text = LINE_END.join([*texts, ""])
        entries = self._look_up(text)
        lengths = self.length[entries]
        ends = np.cumsum(lengths)
        ids = self.flat[np.repeat(self.begin[entries] - (ends - lengths), lengths) + np.arange(lengths.sum())]
        return ids, np.diff(ends[entries == 0], prepend=0)

    def _clear(self) -> None:
        self.flat, self.begin, self.length = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.characters = 0
        self.table = _Table()
        self._learn([LINE_END], self._hashes(_points(LINE_END), np.array([0]), np.array([1])))

    def _look_up(self, text: str) -> Array:
        points = _points(text)
        begins, ends = self._words(points)
        hashes = self._hashes(points, begins, ends)
        entries = self.table.find(hashes)
        missing = np.flatnonzero(entries < 0)
        if not len(missing):
            return entries
        if self.characters > CACHED:
            self._clear()
            return self._look_up(text)
        new, first = np.unique(hashes[missing], return_index=True)
        where = missing[first]
        self._learn([text[i:j] for i, j in zip(begins[where].tolist(), ends[where].tolist(), strict=True)], new)
        entries[missing] = self.table.find(hashes[missing])
        return entries

    def _words(self, points: Array) -> tuple[Array, Array]:
        """Where words begin and end."""
        kinds = self.kinds[points]
        inside = np.concatenate([[False], kinds == INSIDE, [False]])
        single = kinds == SINGLE
        begins = np.flatnonzero(single | (inside[1:-1] & ~inside[:-2]))
        ends = np.flatnonzero(single | (inside[1:-1] & ~inside[2:])) + 1
        return begins, ends

    def _hashes(self, points: Array, begins: Array, ends: Array) -> Array:
        """Of each word: the sum of numbers[c_i] * RATIO^i over its characters c_i, modulo 2^64."""
        self._raise_powers(len(points))
        sums = np.zeros(len(points) + 1, np.uint64)
        np.cumsum(self.numbers[points] * self.powers[: len(points)], out=sums[1:])
        return np.asarray((sums[ends] - sums[begins]) * self.inverse[begins])

    def _raise_powers(self, count: int) -> None:
        if len(self.powers) < count:
            self.powers = _powers(RATIO, count)
            self.inverse = _powers(pow(RATIO, -1, 1 << 64), count)

    def _learn(self, words: list[str], hashes: Array) -> None:
        pieces = [[] if word == LINE_END else self.encode_word(word) for word in words]
        lengths = np.array([len(own) for own in pieces], np.int64)
        self.begin = np.concatenate([self.begin, len(self.flat) + np.cumsum(lengths) - lengths])
        self.length = np.concatenate([self.length, lengths])
        self.flat = np.concatenate([self.flat, np.fromiter(chain.from_iterable(pieces), np.int64)])
        self.characters += sum(map(len, words))
        self.table.add(hashes)


class _Table:
    """Open addressing with linear probing; entries are numbered as they come."""

    def __init__(self) -> None:
        self.hashes = np.zeros(0, np.uint64)
        self._grow(1 << 12)

    def find(self, hashes: Array) -> Array:
        """The entry of each hash, or -1."""
        return self.entries[self._slots(hashes)]

    def add(self, hashes: Array) -> None:
        """Give each hash, all new and different, an entry."""
        self.hashes = np.concatenate([self.hashes, hashes])
        if 2 * len(self.hashes) > len(self.keys):
            self._grow(4 * len(self.hashes))
        else:
            self._place(np.arange(len(self.hashes) - len(hashes), len(self.hashes)))

    def _grow(self, least: int) -> None:
        bits = least.bit_length()
        self.shift = np.uint64(64 - bits)
        self.keys, self.entries = np.zeros(1 << bits, np.uint64), np.full(1 << bits, -1, np.int64)
        self._place(np.arange(len(self.hashes)))

    def _slots(self, hashes: Array) -> Array:
        """Of each hash its slot, or the free one where it would go."""
        slots = (hashes >> self.shift).astype(np.int64)
        others = np.flatnonzero(self._taken(slots, hashes))
        while len(others):
            slots[others] = (slots[others] + 1) % len(self.keys)
            others = others[self._taken(slots[others], hashes[others])]
        return slots

    def _taken(self, slots: Array, hashes: Array) -> Array:
        return np.asarray((self.keys[slots] != hashes) & (self.entries[slots] >= 0))

    def _place(self, entries: Array) -> None:
        while len(entries):
            slots = self._slots(self.hashes[entries])
            self.entries[slots], self.keys[slots] = entries, self.hashes[entries]
            entries = entries[self.entries[slots] != entries]  # another one took the slot that was free


def _points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _kinds(ideographs: bool) -> Array:
    kinds = np.full(sys.maxunicode + 1, INSIDE, np.uint8)
    singles = re.compile(f"[{ALONE}{IDEOGRAPH if ideographs else ''}]+")
    for found in singles.finditer("".join(map(chr, range(sys.maxunicode + 1)))):
        kinds[found.start() : found.end()] = SINGLE
    kinds[ord(" ")] = SPACE
    return kinds


def _powers(ratio: int, count: int) -> Array:
    """ratio^0 to ratio^(count - 1), modulo 2^64."""
    factors = np.full(count, ratio, np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)
