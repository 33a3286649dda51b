"""Raw text to token ids at the speed that a corpus needs: split into sentences, and encode each distinct word once.

For BERT's tokenizers, bertcli/words.py looks up the ids of known words. The `tokenizers` library encodes sentence by
sentence for other tokenizers, and if a segmenter finds Chinese words. Knows no files but a word list. Try:
python -c "from bertcli.pretraining.encoding import sentences; print(sentences('It is. Is it?'))"
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain, pairwise
from pathlib import Path

import numpy as np
import tokenizers

from bertcli.arrays import Array, Flags, Indices
from bertcli.errors import UsageError
from bertcli.words import IDEOGRAPHS, LINE_END, WORD, HashedWords, word_encoder

PREFIX = "##"  # of a piece inside a word; no word begins with it, because # is a word of its own
LONG = 1 << 12  # characters; the time of sentencex grows with the square of a text's length
WIDE_SPACE = re.compile(r"[^\S\x00-\x7f]")

Cut = Callable[[str], list[str]]  # from Chinese text to its words, which joined are the text


def sentences(line: str) -> list[str]:
    """The sentences of one line of text, in Chinese or any other language (sentencex, Wikimedia Foundation)."""
    if line.isascii():
        return [sentence for part in _segments("en", line) if (sentence := part.strip())]
    language = "zh" if 2 * sum(map(len, re.findall(IDEOGRAPHS, line[:200]))) > len(line[:200]) else "en"
    # sentencex 1.0 takes the space in "B\xa0." for one byte and panics.
    ends = accumulate(map(len, _segments(language, WIDE_SPACE.sub(" ", line))))
    return [sentence for begin, end in pairwise(chain([0], ends)) if (sentence := line[begin:end].strip())]


def _segments(language: str, text: str) -> Iterator[str]:
    """The sentences, which joined are the text; one longer than LONG is cut at a space, if it has one."""
    from sentencex import segment

    begin = 0
    while begin < len(text):
        parts = segment(language, text[begin : begin + LONG])
        if begin + LONG < len(text):  # The last one may continue after LONG characters.
            parts = parts[:-1] or [parts[0][: parts[0].rfind(" ") + 1] or parts[0]]
        yield from parts
        begin += sum(map(len, parts))


# Chinese words, for whole-word masking: each token is a character, a word has several.


def open_segmenter(name: str) -> Cut:
    """A function that cuts Chinese text into words, which joined are the text.

    name: `jieba`, or a UTF-8 file with a word a line, whose longest match is taken from the left. What follows a word
    after white space, as in jieba's dictionaries, is ignored. Raises UsageError.
    """
    if name == "jieba":
        try:
            import rjieba
        except ImportError as error:
            raise UsageError(
                "the segmenter jieba is not installed; pip install 'bertcli[zh]', or name a file with a word a line."
            ) from error
        cut: Cut = rjieba.cut
        return cut
    try:
        text = Path(name).read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read the word list {name}: {error.strerror}; the built-in one is `jieba`.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{name}:{line}: invalid UTF-8 in the word list; convert it with iconv.") from error
    words = frozenset(fields[0] for line in text.splitlines() if (fields := line.split(maxsplit=1)))
    if not words:
        raise UsageError(f"{name}: there is no word in the list.")
    beginnings = {word[:end]: False for word in words for end in range(1, len(word))}
    return partial(_longest_match, beginnings | dict.fromkeys(words, True))


def _longest_match(known: Mapping[str, bool], text: str) -> list[str]:
    """Forward maximum matching; a character that begins no word is a word. known: prefix -> whether it is a word."""
    pieces, begin = [], 0
    while begin < len(text):
        longest = end = begin + 1
        while end <= len(text) and (is_word := known.get(text[begin:end])) is not None:
            longest = end if is_word else longest
            end += 1
        pieces.append(text[begin:longest])
        begin = longest
    return pieces


def inner(text: str, cut: Cut) -> Flags:
    """(len(text),): True where an ideograph continues a word. Only runs of ideographs are cut."""
    continues = np.zeros(len(text), dtype=bool)
    for run in re.finditer(IDEOGRAPHS, text):
        begin = run.start()
        for word in cut(run[0]):
            continues[begin + 1 : begin + len(word)] = True
            begin += len(word)
    return continues


# Tokens.


@dataclass(frozen=True)
class Encoded:
    """S sentences as T tokens. ids: (T,); starts: (T,) whether a token begins a word; lengths: (S,) tokens of each."""

    ids: Array
    starts: Flags
    lengths: Indices


class Encoder:
    """tokenizer: a tokenizer.json as text. segmenter: as open_segmenter takes it; None if Chinese characters are words.

    A special token that is spelt out in the text ("[SEP]") is text, never the token.
    """

    def __init__(self, tokenizer: str, segmenter: str | None = None) -> None:
        stated = json.loads(tokenizer)
        pre_tokenizer = stated["pre_tokenizer"] or {}
        parts = [pre_tokenizer, *pre_tokenizer.get("pretokenizers", ())]
        byte_level = [part for part in parts if part.get("type") == "ByteLevel"]  # It makes tokens of spaces too.
        self.keeps_spaces = bool(byte_level)
        # The library would put a space before each sentence, but it belongs only before a document.
        self.first = " " if any(part.get("add_prefix_space") for part in byte_level) else ""
        for part in byte_level:
            part["add_prefix_space"] = False
        self.tokenizer = tokenizers.Tokenizer.from_str(json.dumps(stated))
        self.tokenizer.encode_special_tokens = True
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        vocabulary = self.tokenizer.get_vocab()
        largest = max(vocabulary.values())  # a vocabulary may have gaps
        self.dtype = "<u2" if largest < 1 << 16 else "<u4"
        self.continues = np.zeros(largest + 1, bool)
        self.continues[[token for piece, token in vocabulary.items() if piece.startswith(PREFIX)]] = True
        self.segment = open_segmenter(segmenter) if segmenter else None
        special = [re.escape(token["content"]) for token in stated["added_tokens"] if token["special"]]
        # Unigram finds special tokens among its pieces in spite of encode_special_tokens.
        self.special = re.compile("|".join(special)) if special and stated["model"]["type"] == "Unigram" else None
        # An added token that is not special may go across words.
        by_words = not segmenter and all(token["special"] for token in stated["added_tokens"])
        self.words: HashedWords | None = None
        if by_words and stated["model"].get("continuing_subword_prefix") == PREFIX:
            with suppress(ValueError):  # not made of BERT's parts
                encode = word_encoder(self.tokenizer)
                self.words = HashedWords(encode, self.tokenizer.normalizer.handle_chinese_chars)

    def split(self, lines: Sequence[str]) -> list[str]:
        """The sentences of a document, for `encode`.

        For a byte-level tokenizer, which encodes spaces too, each has the white space before it: so the tokens of all
        sentences are those of the document.
        """
        if not self.keeps_spaces:
            return [sentence for line in lines for sentence in sentences(line)]
        spaced, before = [], self.first
        for line in lines:
            end = len(line) - len(line.lstrip())
            for sentence in sentences(line):
                begin = line.index(sentence, end)
                spaced.append((before or line[end:begin]) + sentence)
                before, end = "", begin + len(sentence)
            before = LINE_END
        return spaced

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode sentences, as `split` gives them."""
        if self.words:
            ids, lengths = self.words.encode(texts)
            return Encoded(ids, ~self.continues[ids], lengths)
        if self.special:
            texts = [self.special.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text) for text in texts]
        encodings = self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
        starts = [np.zeros(0, bool)]
        for encoding, text in zip(encodings, texts, strict=True):
            # Words are the tokenizer's, and parts of these that hold punctuation or several Chinese words.
            words = np.array([-1 if word is None else word for word in encoding.word_ids], np.int64)
            begins, ends = np.array(encoding.offsets, np.int64).reshape(-1, 2).T
            continues = np.zeros(len(text) + 1, bool)
            if self.segment:
                continues[:-1] = inner(text, self.segment)
            begun = np.zeros(len(text) + 1, np.int64)
            begun[[word.start() + 1 for word in re.finditer(WORD, text)]] = 1
            begun = (begun * ~np.roll(continues, 1)).cumsum()
            is_new = (np.diff(words, prepend=-2) != 0) & ~continues[begins]
            starts.append(is_new | (np.diff(np.maximum.accumulate(begun[ends]), prepend=0) > 0))
        ids = np.array(list(chain.from_iterable(encoding.ids for encoding in encodings)), np.int64)
        lengths = np.array([len(encoding) for encoding in encodings], np.int64)
        return Encoded(ids, np.concatenate(starts), lengths)
