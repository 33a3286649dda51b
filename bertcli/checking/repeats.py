"""Texts that nearly repeat others. A text is a tuple of its parts, two for a pair.

Found in time linear in the number of texts: candidates by MinHash and banding (Broder 1997; Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, 3.4), each then compared exactly. Knows no record and no split.
Try: python -c "from bertcli.checking.repeats import near; print(list(near([('a fine film',)] * 2)))"
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import regex

from bertcli.arrays import Array
from bertcli.tasks.texts import fold

SIMILAR = 0.8  # least share of the n-grams of two texts that both have
# 12 bands of 5: of two texts at that similarity 99.2 % share a band, at 0.85 99.9 %, at 0.5 32 %, at 0.3 3 %.
BANDS, ROWS = 12, 5
SKETCH = 64  # minima of a text; the nearest power of two, for which the library is fastest
DOUBTFUL = 0.6  # estimated similarity, with a standard deviation of 0.05, from which on two texts are compared exactly
CHUNK = 1 << 14  # texts sketched at once
LEAST = 20  # letters of a text, or ideographs of half as many, under which only its letters' equality counts
IDEOGRAPHS = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")
# Punctuation, symbols and white space, but not the marks on letters that \w leaves out: the vowels of Hindi and Thai.
MARKS = r"(?:[^\w\p{M}\p{N}]|[_\ufe00-\ufe0f])+"
_MARKS = regex.compile(MARKS)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def near(texts: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, int, float]]:
    """The texts, all distinct, that are nearly an earlier one, in order: the first such, and how similar it is.

    Case, width, punctuation and white space do not count. Similarity: Jaccard's of the sets of n-grams of the letters,
    4 at a time, 2 of ideographs; of a pair that of the part where it is less.
    """
    letters = ["\n".join(_MARKS.sub(" ", fold(part)).strip() for part in parts) for parts in texts]
    first: dict[str, int] = {}
    similar = {i: (j, 1.0) for i, text in enumerate(letters) if text.strip() and (j := first.setdefault(text, i)) != i}
    longer = [i for text, i in first.items() if len(text) >= (LEAST // 2 if _size(text) == 2 else LEAST)]
    pairs = _candidates(_sketches([letters[i] for i in longer])) if len(longer) > 1 else ()
    for later, earlier in pairs:
        i, j = longer[later], longer[earlier]
        if i not in similar:
            similarity = min(map(_jaccard, letters[i].split("\n"), letters[j].split("\n")))
            if similarity >= SIMILAR:
                similar[i] = j, similarity
    for i in sorted(similar):
        yield i, *similar[i]


def _size(text: str) -> int:
    """Characters in an n-gram: an ideograph says about as much as half a word."""
    return 2 if not text.isascii() and 2 * len(IDEOGRAPHS.findall(text)) > len(text) else 4


def _sketches(letters: Sequence[str]) -> Array:
    """(N, SKETCH) minima of the hashed n-grams of N texts."""
    from rensa import RMinHash

    sketches = np.empty((len(letters), SKETCH), np.uint32)
    sizes = np.array([_size(text) for text in letters])
    for size in (2, 4):
        rows = np.flatnonzero(sizes == size)
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            text = "".join(letters[i] for i in chunk)
            codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
            count = len(codes) - size + 1
            hashes = np.zeros(count, np.uint64)
            for k in range(size):
                hashes = (hashes * _FACTOR) ^ codes[k : count + k]
            hashes *= _FACTOR
            hashes ^= hashes >> np.uint64(29)
            lengths = np.array([len(letters[i]) for i in chunk])
            within = np.ones(count, bool)
            for k in range(1, size):
                within[np.cumsum(lengths)[:-1] - k] = False  # begins in one text and ends in the next
            offsets = np.concatenate([[0], np.cumsum(lengths - size + 1)])  # where the hashes of each text begin
            minima = RMinHash.digest_matrix_from_flat_token_hashes(hashes[within], offsets, SKETCH, 1)
            sketches[chunk] = minima.to_rows()
    return sketches


def _candidates(sketches: Array) -> Iterator[tuple[int, int]]:
    """Each text with earlier ones that may be similar, in order.

    Of those with which it shares a band these are the first and the last before it, so that a thousand texts from one
    template make some thousand pairs and not a million. The library's own LSH index gives all of them.
    """
    links: list[Array] = []  # (P, 2) each: later and earlier
    for band in range(BANDS):
        values = np.zeros(len(sketches), np.uint64)  # of texts with the same band the same
        for column in sketches[:, band * ROWS : (band + 1) * ROWS].T:
            values = (values * _FACTOR) ^ column
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        begins = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        first = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
        before = np.concatenate([order[:1], order[:-1]])
        links += [np.stack([order[~begins], other[~begins]], 1) for other in (first, before)]
    pairs = np.unique(np.concatenate(links), axis=0)  # sorted
    for chunk in np.array_split(pairs, len(pairs) // CHUNK + 1):
        alike = (sketches[chunk[:, 0]] == sketches[chunk[:, 1]]).mean(1) >= DOUBTFUL
        yield from map(tuple, chunk[alike].tolist())


def _jaccard(one: str, other: str) -> float:
    size = _size(one)
    a, b = ({text[i : i + size] for i in range(max(len(text) - size + 1, 1))} for text in (one, other))
    return len(a & b) / len(a | b) if a | b else 1.0
