"""Which Chinese characters continue a word: for whole-word masking, where a token is a character and a word several.

python -c 'from bertcli.pretraining.words import *; print(inner("我在北京。", open_segmenter("jieba")))'
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from bertcli.errors import UsageError

Cut = Callable[[str], list[str]]
# What BERT's tokenizer makes tokens of one character (google-research/bert tokenization.py, `_is_chinese_char`), as
# `tokenizers` has it, which begins the range of U+2B820 at U+2B920.
IDEOGRAPHS = re.compile(
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff"
    "\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f\U0002b920-\U0002ceaf\U0002f800-\U0002fa1f]+"
)


def open_segmenter(name: str) -> Cut:
    """A function that cuts Chinese text into words, which joined are the text.

    name: `jieba`, or a UTF-8 file with a word a line, of which the longest that fits is taken from the left; what
    follows a word after white space, as in jieba's own dictionaries, is ignored. Raises UsageError.
    """
    if name == "jieba":
        return _jieba()
    words = _words(name)
    beginnings = {word[:end]: False for word in words for end in range(1, len(word))}
    return partial(_longest_match, beginnings | dict.fromkeys(words, True))


def inner(text: str, cut: Cut) -> np.ndarray:
    """bool, (len(text),): True where an ideograph continues a word. Only runs of ideographs are cut."""
    continues = np.zeros(len(text), dtype=bool)
    for run in IDEOGRAPHS.finditer(text):
        begin = run.start()
        for word in cut(run[0]):
            continues[begin + 1 : begin + len(word)] = True
            begin += len(word)
    return continues


def _jieba() -> Cut:
    try:
        import rjieba
    except ImportError as error:
        raise UsageError(
            "the segmenter jieba is not installed; pip install 'bertcli[zh]', or name a file with a word a line."
        ) from error
    cut: Cut = rjieba.cut
    return cut


def _words(path: str) -> frozenset[str]:
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the word list {path}: {error.strerror}; the built-in one is `jieba`.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}:{line}: invalid UTF-8 in the word list; convert it with iconv.") from error
    words = frozenset(fields[0] for line in text.splitlines() if (fields := line.split(maxsplit=1)))
    if not words:
        raise UsageError(f"{path}: there is no word in the list.")
    return words


def _longest_match(known: Mapping[str, bool], text: str) -> list[str]:
    """Forward maximum matching; a character that begins no word is one. known: beginning -> whether it is a word."""
    pieces, begin = [], 0
    while begin < len(text):
        longest = end = begin + 1
        while end <= len(text) and (is_word := known.get(text[begin:end])) is not None:
            longest = end if is_word else longest
            end += 1
        pieces.append(text[begin:longest])
        begin = longest
    return pieces
