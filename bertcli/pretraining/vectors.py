"""Word vectors of word2vec or GloVe as the beginning of word embeddings: read the words that match, fit the width.

python -c 'from bertcli.pretraining.vectors import read; print(read("glove.6B.300d.txt", {"the": 7}, lowercase=True))'
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from bertcli.errors import UsageError

OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
MARKS = "#[<"  # begin what is no word of a vocabulary: `##s`, `[MASK]`, `<unk>`


def read(path: str, vocabulary: Mapping[str, int], *, lowercase: bool) -> tuple[np.ndarray, np.ndarray]:
    """Ids (n,) int64 and vectors (n, D) float32 of the words that the vocabulary has, in the order of the file.

    path: text, also compressed: `WORD NUMBER…` a line, with or without word2vec's first line `COUNT WIDTH`. Of a
    word's lines the first counts, and only lines that count are checked for numbers. Raises UsageError with the line.
    """
    found: dict[int, np.ndarray] = {}
    for place, word, numbers in _rows(path):
        name = word.lower() if lowercase else word
        token = None if len(name) > 1 and name[0] in MARKS else vocabulary.get(name)
        if token is not None and token not in found:
            found[token] = _vector(place, numbers)
    if not found:
        raise UsageError(f"{path}: none of its words is in the vocabulary; are they of the same language and case?")
    return np.fromiter(found, np.int64), np.stack(list(found.values()))


def fit(vectors: np.ndarray, width: int, deviation: float, generator: np.random.Generator) -> np.ndarray:
    """Vectors (n, D) as float32 (n, width), centred, with the standard deviation that a model's embeddings begin with.

    Where D > width these are the first principal components; where D < width the columns that lack are normal noise.
    LayerNorm and the position embeddings expect that scale: at word2vec's own, positions would hardly count at first.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    if vectors.shape[1] > width:
        axes = np.linalg.eigh(centred.T @ centred).eigenvectors  # the largest variance last
        centred = centred @ axes[:, : -width - 1 : -1]
    scaled = centred * (deviation / (centred.std() or 1.0))  # equal vectors are 0
    noise = generator.normal(0.0, deviation, (len(vectors), max(0, width - vectors.shape[1])))
    return np.hstack([scaled, noise]).astype(np.float32)


def _rows(path: str) -> Iterator[tuple[str, str, list[bytes]]]:
    """Place, word and numbers of each line."""
    width = 0
    for number, line in _lines(path):
        fields = line.split()  # bytes part at ASCII white space only: a word may hold any other
        place = f"{path}:{number}"
        if not width and len(fields) == 2 and all(field.isdigit() for field in fields):
            width = int(fields[1])
        elif fields:
            width = width or len(fields) - 1
            _check_width(place, fields, width)
            yield place, b" ".join(fields[:-width]).decode("utf-8", "replace"), fields[-width:]


def _lines(path: str) -> Iterator[tuple[int, bytes]]:
    try:
        with OPEN.get(Path(path).suffix.lower(), open)(path, "rb") as file:
            yield from enumerate(file, 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UsageError(f"cannot read the vectors {path}: {getattr(error, 'strerror', None) or error}.") from error


def _check_width(place: str, fields: list[bytes], width: int) -> None:
    """Some files have words with spaces, so more fields are a fault only where all of them are numbers."""
    surplus = fields[1:-width]
    if width < 1 or len(fields) <= width or (surplus and all(map(_is_number, surplus))):
        raise UsageError(f"{place}: {len(fields) - 1} numbers after the word, not {width or 'the width of a vector'}.")


def _is_number(field: bytes) -> bool:
    with suppress(ValueError):
        float(field)
        return True
    return False


def _vector(place: str, numbers: list[bytes]) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):
            vector = np.array(numbers, dtype=np.float32)
    except ValueError as error:
        raise UsageError(f"{place}: not a vector ({error}).") from error
    if not np.isfinite(vector).all():
        raise UsageError(f"{place}: a number that is not finite.")
    return vector
