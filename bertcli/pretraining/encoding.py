"""Raw text to token ids at the speed a corpus needs: sentences first, then each distinct word only once.

A BERT tokenizer treats every word by itself, and text repeats its words: looking up ids of words that were seen
(word_cache.py) is several times faster than tokenising them again, with the same result.
Other tokenizers, and text whose words a segmenter finds, go through the `tokenizers` library line by line.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np
import tokenizers

from bertcli.known_words import KINDS, word_encoder
from bertcli.pretraining.word_cache import ALONE, IDEOGRAPH, WordCache
from bertcli.pretraining.words import IDEOGRAPHS, inner, open_segmenter

Array = np.ndarray[Any, Any]
WORD = re.compile(f"[{ALONE}{IDEOGRAPH}]|[^ {ALONE}{IDEOGRAPH}]+")
PREFIX = "##"  # of a piece inside a word; no word begins so, for # is one of its own
LONG = 1 << 12  # characters; the time of sentencex grows with the square of a text's length
WIDE_SPACE = re.compile(r"[^\S\x00-\x7f]")


@dataclass(frozen=True)
class Encoded:
    """S sentences as T tokens. ids: (T,); starts: (T,) bool, whether a token begins a word; lengths: (S,) tokens of
    each sentence, 0 where nothing of it is left."""  # fmt: skip

    ids: Array
    starts: Array
    lengths: Array


def sentences(line: str) -> list[str]:
    """The sentences of one line of text, in Chinese or any other language (sentencex, Wikimedia Foundation)."""
    if line.isascii():
        return [sentence for found in _segments("en", line) if (sentence := found.strip())]
    language = "zh" if 2 * sum(map(len, IDEOGRAPHS.findall(line[:200]))) > len(line[:200]) else "en"
    # sentencex 1.0 takes the space in "B\xa0." for one byte, and panics
    ends = accumulate(map(len, _segments(language, WIDE_SPACE.sub(" ", line))))
    return [sentence for begin, end in pairwise(chain([0], ends)) if (sentence := line[begin:end].strip())]


def _segments(language: str, text: str) -> Iterator[str]:
    """The sentences, which joined are the text; one longer than LONG is cut at a space, if it has any."""
    from sentencex import segment

    begin = 0
    while begin < len(text):
        found = segment(language, text[begin : begin + LONG])
        if begin + LONG < len(text):  # the last one may go on
            found = found[:-1] or [found[0][: found[0].rfind(" ") + 1] or found[0]]
        yield from found
        begin += sum(map(len, found))


class Encoder:
    """tokenizer: a tokenizer.json as text. segmenter: names what finds words of Chinese (words.py), None for single
    characters.

    Special tokens that the text spells out ("[SEP]") are text like any other, never the tokens.
    """  # fmt: skip

    def __init__(self, tokenizer: str, segmenter: str | None = None) -> None:
        self.tokenizer = tokenizers.Tokenizer.from_str(tokenizer)
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        vocabulary = self.tokenizer.get_vocab()
        largest = max(vocabulary.values())  # a vocabulary may have gaps
        self.dtype = "<u2" if largest < 1 << 16 else "<u4"
        self.segment = open_segmenter(segmenter) if segmenter else None
        stated = json.loads(tokenizer)
        self.cache = None if segmenter else _word_cache(self.tokenizer, stated)
        self.continues = np.zeros(largest + 1, bool)
        self.continues[[token for piece, token in vocabulary.items() if piece.startswith(PREFIX)]] = True
        special = [re.escape(token["content"]) for token in stated["added_tokens"] if token["special"]]
        # whatever the library is told, Unigram finds them among its pieces
        self.special = re.compile("|".join(special)) if special and stated["model"]["type"] == "Unigram" else None

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode sentences, none of which holds a line end."""
        if not self.cache:
            return self._line_by_line(texts)
        ids, lengths = self.cache.encode(texts)
        return Encoded(ids, ~self.continues[ids], lengths)

    def _line_by_line(self, texts: Sequence[str]) -> Encoded:
        if self.special:
            texts = [self.special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text) for text in texts]
        encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        starts = [self._starts(encoding, text) for encoding, text in zip(encodings, texts, strict=True)]
        ids = list(chain.from_iterable(encoding.ids for encoding in encodings))
        lengths = np.array([len(encoding) for encoding in encodings], np.int64)
        return Encoded(np.array(ids, np.int64), np.concatenate([np.zeros(0, bool), *starts]), lengths)

    def _starts(self, encoding: tokenizers.Encoding, text: str) -> Array:
        """By the tokenizer's own words, and more finely where these hold punctuation or several Chinese words."""
        words = np.array([-1 if word is None else word for word in encoding.word_ids], np.int64)
        begins, ends = np.array(encoding.offsets, np.int64).reshape(-1, 2).T
        continues = np.zeros(len(text) + 1, bool)
        if self.segment:
            continues[:-1] = inner(text, self.segment)
        begun = np.zeros(len(text) + 1, np.int64)
        begun[[found.start() + 1 for found in WORD.finditer(text)]] = 1
        begun = (begun * ~np.roll(continues, 1)).cumsum()
        starts = (np.diff(words, prepend=-2) != 0) & ~continues[begins]
        return np.asarray(starts | (np.diff(np.maximum.accumulate(begun[ends]), prepend=0) > 0))


def _word_cache(tokenizer: tokenizers.Tokenizer, stated: dict[str, Any]) -> WordCache | None:
    kinds = [(stated[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model")]
    across = any(not token["special"] for token in stated["added_tokens"])  # found wherever they are in a text
    if across or tuple(kinds) != KINDS:
        return None
    if stated["model"]["continuing_subword_prefix"] != PREFIX:
        return None
    return WordCache(word_encoder(tokenizer), stated["normalizer"]["handle_chinese_chars"])
