"""A cache of token ids by word: BERT's tokenizer encodes each word by itself, and texts repeat their words.

First comes what the caches share: which tokenizers qualify, what a word is, and how a new word becomes ids (the rules
are in google-research/bert's tokenization.py). Then come two caches; each is slow at the work of the other:

    KnownWords, a dictionary: for single texts in predict. A text takes 4 us (HashedWords 44, the library 26), 20,000
    texts take 0.06 CPU s (HashedWords twice as long, the library seven times).
    HashedWords, arithmetic on whole arrays: for a corpus in pretrain. 38 ms per MB of known words, 78 of new ones
    (KnownWords 88 and 136), which makes 24 MB/s on two cores instead of 15, all else that a corpus needs included.

Texts must not contain special tokens, which the caches do not know. Try:
python -c "import re; from bertcli.words import WORD; print(re.findall(WORD, 'Hello, world: 你好'))"
"""

import re
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from bertcli.arrays import Array, Indices

if TYPE_CHECKING:
    import tokenizers

PARTS = ("BertNormalizer", "BertPreTokenizer", "WordPiece")
# `predict` needs neither IDEOGRAPHS nor WORD, and to compile them takes 5 ms: `re` does that when one is first used.
# The characters that BERT's tokenizer takes for a word each (google-research/bert tokenization.py, `_is_chinese_char`),
# as `tokenizers` has them: there the range that should begin at U+2B820 begins at U+2B920.
IDEOGRAPHS = (
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff"
    "\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f]+"
)
IDEOGRAPH = IDEOGRAPHS.strip("[]+")
# BERT's pre-tokenizer makes each of these a word of its own, so text may be cut around them. Beyond ASCII only marks
# are listed that are common enough to matter for speed.
ALONE = r"!-/:-@\[-`{-~\n。,、;:?!()《》「」『』“”‘’…—·"  # noqa: RUF001
WORD = f"[{ALONE}{IDEOGRAPH}]|[^ {ALONE}{IDEOGRAPH}]+"
PLAIN_WORD = re.compile(r"[0-9A-Za-z]+|\S")  # WORD in printable ASCII, a sixth faster


def word_encoder(backend: "tokenizers.Tokenizer") -> Callable[[str], list[int]]:
    """A function from a word to its ids, without special tokens.

    backend: a tokenizer made of BERT's parts that neither pads nor truncates. Raises ValueError for another.
    """
    parts = (backend.normalizer, backend.pre_tokenizer, backend.model)
    if tuple(type(part).__name__ for part in parts) != PARTS:
        raise ValueError("not a tokenizer of BERT's parts")
    model, lowercase = backend.model, backend.normalizer.lowercase
    if model.token_to_id(model.unk_token) is None:
        raise ValueError("no token for a word that is not known")

    def encode(word: str) -> list[int]:
        if word.isascii() and word.isalnum():  # Only its case changes, and the model alone takes a third.
            return [token.id for token in model.tokenize(word.lower() if lowercase else word)]
        ids: list[int] = backend.encode(word, add_special_tokens=False).ids
        return ids

    return encode


# One text at a time.

PRINTABLE = "\t\n\r" + "".join(map(chr, range(0x20, 0x7F)))
LONGEST = 20  # characters of a word that is kept
KEPT = 1 << 16  # words, 10 to 30 MB; a full cache is cleared


class KnownWords(dict[str, list[int]]):
    """The ids of the words seen so far.

    backend: as for `word_encoder`. Raises ValueError as that does, if special tokens stand elsewhere than before and
    after the text, and if an added token may begin at any character.
    """

    def __init__(self, backend: "tokenizers.Tokenizer") -> None:
        self.word_ids = word_encoder(backend)
        one = backend.encode("a")
        begin = one.special_tokens_mask.index(0)
        self.before, self.after = one.ids[:begin], one.ids[begin + 1 :]
        if backend.encode("").ids != self.before + self.after:
            raise ValueError("special tokens that are not only before and after the text")
        # plain: printable ASCII without the characters that may begin an added token, because such a token is found
        # anywhere in a text, in any case and with any accents.
        contents = [token.content for token in backend.get_added_tokens_decoder().values()]
        forms = [*contents, *(backend.normalizer.normalize_str(content).strip() for content in contents)]
        if "" in forms:
            raise ValueError("an added token that is white space")
        begins = "".join(form[0] for form in forms)
        plain = set(PRINTABLE) - set(begins.lower()) - set(begins.upper())
        if not plain:
            raise ValueError("an added token for each character")
        self.plain = re.compile(f"[{re.escape(''.join(sorted(plain)))}]+")

    def encode(self, text: str) -> list[int] | None:
        """The ids with those of the special tokens; None for a text that only the library can encode.

        That is one with other characters than printable ASCII, or that may contain an added token.
        """
        if not self.plain.fullmatch(text):
            return None
        return [*self.before, *chain.from_iterable(map(self.__getitem__, PLAIN_WORD.findall(text))), *self.after]

    def __missing__(self, word: str) -> list[int]:
        ids = self.word_ids(word)
        if len(word) <= LONGEST:
            if len(self) >= KEPT:
                self.clear()
            self[word] = ids
        return ids


# A corpus.

CACHED = 1 << 23  # characters of distinct words, about 190 MB; a full cache is cleared
LINE_END = "\n"
SPACE, INSIDE, SINGLE = range(3)  # what a character is to a word
RATIO = 0x9E3779B97F4A7C13  # of the hash's powers; odd, so that it has an inverse modulo 2^64


class HashedWords:
    """The ids of the words seen so far, found without making a Python object of any word.

    word_ids: from a word to its ids. ideographs: whether each is a word of its own.

    A word's polynomial hash is the difference of two running sums, and a table of 64-bit hashes says which entry it is.
    That two of a million words collide has a probability of some 1e-7. Entry e is the word with the ids
    flat[begin[e] : begin[e] + length[e]]; entry 0 is a line end, which has no ids.
    """

    def __init__(self, word_ids: Callable[[str], list[int]], ideographs: bool) -> None:
        self.word_ids = word_ids
        self.classes = np.full(sys.maxunicode + 1, INSIDE, np.uint8)
        singles = re.compile(f"[{ALONE}{IDEOGRAPH if ideographs else ''}]+")
        for run in singles.finditer("".join(map(chr, range(sys.maxunicode + 1)))):
            self.classes[run.start() : run.end()] = SINGLE
        self.classes[ord(" ")] = SPACE
        self.numbers = np.random.default_rng(0).integers(1 << 64, size=len(self.classes), dtype=np.uint64)
        self.powers = self.inverse = np.ones(1, np.uint64)
        self._clear()

    def encode(self, texts: Sequence[str]) -> tuple[Array, Indices]:
        """ids: (T,) int64 of all S texts, none of which contains a line end; lengths: (S,) the tokens of each."""
        entries = self._entries(LINE_END.join([*texts, ""]))
        lengths = self.length[entries]
        ends = np.cumsum(lengths)
        ids = self.flat[np.repeat(self.begin[entries] - (ends - lengths), lengths) + np.arange(lengths.sum())]
        return ids, np.diff(ends[entries == 0], prepend=0)

    def _clear(self) -> None:
        self.flat, self.begin, self.length = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.characters = 0
        self.table = HashTable()
        self._learn([LINE_END], self._hashes(_code_points(LINE_END), np.array([0]), np.array([1])))

    def _entries(self, text: str) -> Indices:
        """The entry of each word of the text; new words are encoded and kept."""
        points = _code_points(text)
        classes = self.classes[points]
        single, inside = classes == SINGLE, np.concatenate([[False], classes == INSIDE, [False]])
        begins = np.flatnonzero(single | (inside[1:-1] & ~inside[:-2]))
        ends = np.flatnonzero(single | (inside[1:-1] & ~inside[2:])) + 1
        hashes = self._hashes(points, begins, ends)
        entries = self.table.find(hashes)
        missing = np.flatnonzero(entries < 0)
        if not len(missing):
            return entries
        if self.characters > CACHED:
            self._clear()
            return self._entries(text)
        new, first = np.unique(hashes[missing], return_index=True)
        spans = zip(begins[missing[first]].tolist(), ends[missing[first]].tolist(), strict=True)
        self._learn([text[begin:end] for begin, end in spans], new)
        entries[missing] = self.table.find(hashes[missing])
        return entries

    def _hashes(self, points: Array, begins: Indices, ends: Indices) -> Array:
        """Of each word: the sum of numbers[c_i] * RATIO^i over its characters c_i, modulo 2^64, as (W,) uint64."""
        if len(self.powers) < len(points):
            self.powers = _powers(RATIO, len(points))
            self.inverse = _powers(pow(RATIO, -1, 1 << 64), len(points))
        sums = np.zeros(len(points) + 1, np.uint64)
        np.cumsum(self.numbers[points] * self.powers[: len(points)], out=sums[1:])
        return np.asarray((sums[ends] - sums[begins]) * self.inverse[begins])

    def _learn(self, words: list[str], hashes: Array) -> None:
        pieces = [[] if word == LINE_END else self.word_ids(word) for word in words]
        lengths = np.array([len(ids) for ids in pieces], np.int64)
        self.begin = np.concatenate([self.begin, len(self.flat) + np.cumsum(lengths) - lengths])
        self.length = np.concatenate([self.length, lengths])
        self.flat = np.concatenate([self.flat, np.fromiter(chain.from_iterable(pieces), np.int64)])
        self.characters += sum(map(len, words))
        self.table.add(hashes)


class HashTable:
    """From 64-bit hashes to entries, numbered in the order of `add`: open addressing with linear probing."""

    hashes = keys = np.zeros(0, np.uint64)
    entries = np.zeros(0, np.int64)

    def find(self, hashes: Array) -> Indices:
        """The entry of each hash, or -1."""
        return self.entries[self._slots(hashes)]

    def add(self, hashes: Array) -> None:
        """Give each hash an entry; all must be new and distinct."""
        self.hashes = np.concatenate([self.hashes, hashes])
        entries = np.arange(len(self.hashes) - len(hashes), len(self.hashes))
        if 2 * len(self.hashes) > len(self.keys):  # too full: make a larger table and insert all
            bits = max(4 * len(self.hashes), 1 << 12).bit_length()
            self.shift = np.uint64(64 - bits)
            self.keys, self.entries = np.zeros(1 << bits, np.uint64), np.full(1 << bits, -1, np.int64)
            entries = np.arange(len(self.hashes))
        while len(entries):
            slots = self._slots(self.hashes[entries])
            self.entries[slots], self.keys[slots] = entries, self.hashes[entries]
            entries = entries[self.entries[slots] != entries]  # those whose free slot another one took

    def _slots(self, hashes: Array) -> Indices:
        """The slot of each hash, or the free slot where it would go."""
        slots = (hashes >> self.shift).astype(np.int64)
        others = np.flatnonzero(self._taken(slots, hashes))
        while len(others):
            slots[others] = (slots[others] + 1) % len(self.keys)
            others = others[self._taken(slots[others], hashes[others])]
        return slots

    def _taken(self, slots: Indices, hashes: Array) -> Array:
        return np.asarray((self.keys[slots] != hashes) & (self.entries[slots] >= 0))


def _code_points(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _powers(ratio: int, count: int) -> Array:
    """ratio^0 to ratio^(count - 1), modulo 2^64."""
    factors = np.full(count, ratio, np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)
