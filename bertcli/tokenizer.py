"""Text to token ids: a thin layer over the `tokenizers` library, for single texts and pairs, long ones in windows.

There are four ways to encode, by what a task needs to know of each token: `encode` (nothing), `encode_words` (the word
that it begins), `encode_marked` (which mask it is), `encode_contexts` (its offsets in the context).
Knows no task and no model weights. Nothing is padded here and nothing is cut unless `long="truncate"` asks for it.
Try: python -c "from bertcli.tokenizer_files import *; print(load(Path('DIR'), {}).encode(['']))"
"""

import itertools
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from bertcli.arrays import Array, Features, Flags, Long, Trace, Window
from bertcli.errors import ModelError, RecordError

if TYPE_CHECKING:
    import tokenizers
    from tokenizers import Encoding

    from bertcli.words import KnownWords

Text = str | tuple[str, str]
MASKS = ("[MASK]", "<mask>")  # of BERT and its kin, of RoBERTa and its kin
LIKE_MASK = re.compile("mask", re.IGNORECASE)  # what others call it: <|mask|>
PADS = ("[PAD]", "<pad>")
UNKNOWN = ("[UNK]", "<unk>")
SAMPLES = ("a", "1", "的")  # texts of which every vocabulary has a piece, be it the one for unknown ones
LAST_SPACE = 0x3000  # no character after it is white space, nor unseen but for the one that stands for no space
NO_SPACE = 0xFEFF
MOSTLY = 0.5  # share of a text's pieces above which it is mostly unknown, and a result says so
FOREIGN = 0.2  # the same for texts to learn from: BERT's English pieces have two of five characters of Chinese ones
ENDLESS = sys.maxsize // 2  # tokens in a window that cuts nothing
UNSEEN = {"Zs", "Zl", "Zp", "Cc", "Cf"}  # spaces, controls and formats, such as a zero-width space
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Frame:
    """The special tokens around one text or two: ids before, between and after, and all segment ids.

    The library can add them too, but takes 28 µs for a question with its context instead of 4. Its offsets are then
    wrong for byte-level pieces: it removes the space before a word once more, and with it the first letter.
    """

    ids: list[list[int]]
    type_ids: list[list[int]]
    text_types: list[int]


class Tokenizer:
    """The tokenizer of a model directory. max_length: tokens in a window, special tokens included.

    special: what the model's files call the tokens for mask, pad and unk, as far as they say.
    pieces: where its vocabulary is a part of a larger one, the ids that its tokens had there. traced: windows keep what
    the library says of each token; that takes memory and time. mostly: the share of unknown pieces above which a
    text counts as unknown. has_segments: whether the second text of a pair is told from the first by segment ids.
    keeps_end: whether a long text loses its beginning, not its end, where it is to be cut.
    """

    mostly = MOSTLY

    def __init__(
        self,
        backend: "tokenizers.Tokenizer",
        max_length: int,
        special: Mapping[str, str] = MappingProxyType({}),
        pieces: Sequence[int] | None = None,
        has_segments: bool = True,
        keeps_end: bool = False,
    ) -> None:
        self.backend = backend
        self.max_length = max_length
        self.special = special
        self.pieces = pieces
        self.has_segments = has_segments
        self.keeps_end = keeps_end
        self.traced = False
        backend.no_padding()
        backend.no_truncation()

    @cached_property
    def mask(self) -> tuple[str, int]:
        """The mask token and its id. Raises ModelError where there is none, or only one that stands for more."""
        added = self.backend.get_added_tokens_decoder().values()
        likely = [token.content for token in added if LIKE_MASK.search(token.content)]
        token = self._first("mask", [*MASKS, *(likely if len(likely) == 1 else [])])
        if token is None:
            raise ModelError(f"the tokenizer has no mask token ({' or '.join(MASKS)}), and names no other.")
        if token[1] in (*self._around, self.unknown):
            raise ModelError(
                f"the tokenizer's mask token is {token[0]}, which it also uses for something else; mend mask_token in "
                "tokenizer_config.json."
            )
        return token

    @property
    def pad(self) -> int:
        """The id of the padding token; 0 where there is none, for it is never looked at."""
        return self.padding or 0

    @cached_property
    def padding(self) -> int | None:
        """The id of the padding token; None where there is none."""
        token = self._first("pad", PADS)
        return token[1] if token else None

    @cached_property
    def unknown(self) -> int | None:
        """The id of the piece that stands for all that the vocabulary lacks; None where it lacks nothing."""
        token = self._first("unk", UNKNOWN)
        return token[1] if token else None

    @cached_property
    def rows(self) -> int:
        """The rows of embeddings and of a mask's logits that are pieces: one more than the highest id."""
        return max(self.backend.get_vocab().values()) + 1  # its count is less where ids have gaps

    def unknown_share(self, windows: Sequence[Window]) -> float:
        """The share of a text's pieces that the vocabulary does not know if it is above `mostly`, else 0.

        Special tokens and spaces are no pieces.
        """
        count = 0 if self.unknown is None else sum(window.ids.count(self.unknown) for window in windows)
        share = count and count / sum(id_ not in self._around for window in windows for id_ in window.ids)
        return share if share > self.mostly else 0.0

    @cached_property
    def _around(self) -> frozenset[int]:
        """The special tokens that stand before, between and after texts, and SentencePiece's lone mark of a space."""
        space = self.backend.token_to_id("▁")
        return frozenset([*self.backend.encode("", "").ids, *([] if space is None else [space])])

    def _first(self, role: str, usual: Sequence[str]) -> tuple[str, int] | None:
        """The token that the model's files name for a role (mask, pad), else the first usual one in the vocabulary."""
        for token in (*filter(None, [self.special.get(role)]), *usual):
            if (id_ := self.backend.token_to_id(token)) is not None:
                return token, id_
        return None

    def tells_spaces(self) -> bool:
        """Whether a word after a space has other pieces, as RoBERTa's; transformers wants add_prefix_space there."""
        import tokenizers

        return isinstance(self.backend.pre_tokenizer, tokenizers.pre_tokenizers.ByteLevel)

    def encode(self, texts: Sequence[Text], long: Long = "window") -> list[Features | RecordError]:
        """Encode texts or pairs; a text that cannot be encoded gives a RecordError in its place.

        Single texts of words that were all seen before skip the library, unless its encodings are to be traced.
        """
        words = None if self.traced else self._words
        known = [words.encode(text) if words is not None and isinstance(text, str) else None for text in texts]
        encode = self.backend.encode_batch if self.traced else self.backend.encode_batch_fast
        rest = iter(encode([text for text, ids in zip(texts, known, strict=True) if ids is None]))
        pairs = zip(texts, known, strict=True)
        windows = [self._whole(next(rest), text) if ids is None else Window(ids) for text, ids in pairs]
        return [
            Features([window]) if len(window.ids) <= self.max_length else self._long(text, long)
            for window, text in zip(windows, texts, strict=True)
        ]

    @cached_property
    def _words(self) -> "KnownWords | None":
        from bertcli.words import KnownWords  # which not every tokenizer needs

        try:
            return KnownWords(self.backend)
        except ValueError:  # the library alone knows its ways
            return None

    def _whole(self, encoding: "Encoding", text: Text) -> Window:
        """The window of a text or a pair to which the library has added the special tokens."""
        window = Window(encoding.ids, None if isinstance(text, str) or not self.has_segments else encoding.type_ids)
        if self.traced:
            special, sides = encoding.special_tokens_mask, encoding.sequence_ids
            window.trace = Trace(encoding.tokens, special, sides, encoding.word_ids, encoding.offsets)
        return window

    def _framed(self, *pieces: "Encoding", words: list[int] | None = None) -> Window:
        """The window of a part of a text, or of two, with special tokens added. words: as Window's."""
        frame = self._frames[len(pieces) - 1]
        ids, type_ids = list(frame.ids[0]), list(frame.type_ids[0])
        for side, piece in enumerate(pieces):
            ids += piece.ids
            ids += frame.ids[side + 1]
            type_ids += [frame.text_types[side]] * len(piece)
            type_ids += frame.type_ids[side + 1]
        if words is not None:
            words = [-1] * len(frame.ids[0]) + words + [-1] * len(frame.ids[1])
        window = Window(ids, type_ids if len(pieces) == 2 and self.has_segments else None, words)
        if self.traced:
            around = [[(self.backend.id_to_token(id_), 1, None, None, (0, 0)) for id_ in part] for part in frame.ids]
            rows: list[tuple[Any, ...]] = [*around[0]]
            for side, piece in enumerate(pieces):
                texts = zip(piece.tokens, itertools.repeat(0), itertools.repeat(side), piece.word_ids, piece.offsets)
                rows += [*texts, *around[side + 1]]
            window.trace = Trace(*map(list, zip(*rows, strict=True)))
        return window

    @cached_property
    def _frames(self) -> tuple[Frame, Frame]:
        """The frames of one text and of two, from a sample. Raises ModelError for a tokenizer without any piece."""
        encoded = (self.backend.encode(text, add_special_tokens=False) for text in SAMPLES)
        sample = next(filter(len, encoded), None)
        if sample is None:
            raise ModelError(f"the tokenizer has no piece for any of {', '.join(SAMPLES)}.")
        frames = []
        for count in (1, 2):
            whole = self.backend.post_process(sample, sample if count == 2 else None)
            ends, begins = [0], []
            for _ in range(count):
                begins.append(whole.special_tokens_mask.index(0, ends[-1]))
                ends.append(begins[-1] + len(sample))
            around = [slice(*part) for part in zip(ends, [*begins, len(whole)], strict=True)]
            types = [whole.type_ids[part] for part in around]
            frames.append(Frame([whole.ids[part] for part in around], types, [whole.type_ids[i] for i in begins]))
        return frames[0], frames[1]

    def _long(self, text: Text, long: Long) -> Features | RecordError:
        """Windows that together hold every token of the text, or of both texts of a pair."""
        if long == "error":
            return self._too_long("text")
        parts = [text] if isinstance(text, str) else list(text)
        bare = [self.backend.encode(part, add_special_tokens=False) for part in parts]
        size = self.max_length - self.backend.num_special_tokens_to_add(len(parts) == 2)
        shares = _shares(bare, size)
        pieces = [self._cut(encoding, share, long) for encoding, share in zip(bare, shares, strict=True)]
        count = max(map(len, pieces))
        rows = [[piece[i * len(piece) // count][1] for piece in pieces] for i in range(count)]
        return Features([self._framed(*row) for row in rows], truncated=long == "truncate")

    def _cut(self, encoding: "Encoding", size: int, long: Long) -> "list[tuple[int, Encoding]]":
        """Pieces of at most `size` tokens, each with the index of its first token.

        Each shares a quarter with the one before; where the text is to be cut, there is one.
        """
        count = len(encoding)
        if long == "truncate":
            encoding.truncate(size, direction="left" if self.keeps_end else "right")
            return [(count - len(encoding) if self.keeps_end else 0, encoding)]
        encoding.truncate(size, stride=size // 4)
        return list(zip(itertools.count(0, size - size // 4), [encoding, *encoding.overflowing], strict=False))

    def _too_long(self, what: str) -> RecordError:
        return RecordError(f"the {what} is longer than the model's {self.max_length} tokens (--long error).")

    def encode_words(self, sentences: Sequence[Sequence[str]], long: Long = "window") -> list[Features | RecordError]:
        """Encode sentences that are words already; each window says which token begins which word.

        The edge of a window may cut a word of many pieces; a word without any (a zero-width space) begins nowhere.
        """
        space = " " if self.tells_spaces() else ""
        spaced = [[space + word for word in words] for words in sentences]
        features = []
        for encoding in self.backend.encode_batch(spaced, is_pretokenized=True, add_special_tokens=False):
            words = encoding.word_ids
            pairs = zip(words, [None, *words], strict=False)
            beginnings = [-1 if word is None or word == before else word for word, before in pairs]
            features.append(self._marked(encoding, beginnings, long))
        return features

    def encode_marked(self, texts: Sequence[str], mark: int, long: Long = "window") -> list[Features | RecordError]:
        """Encode texts that hold a certain token, such as a mask; the words of a window number its places, from 0."""
        features = []
        for encoding in self.backend.encode_batch(list(texts), add_special_tokens=False):
            number = itertools.count()
            ordinals = [next(number) if token == mark else -1 for token in encoding.ids]
            features.append(self._marked(encoding, ordinals, long))
        return features

    def _marked(self, encoding: "Encoding", words: list[int], long: Long) -> Features | RecordError:
        """Windows of a text that has no special tokens yet; words: as `Window.words`, of the whole text."""
        size = self.max_length - self.backend.num_special_tokens_to_add(False)
        if len(encoding) > size and long == "error":
            return self._too_long("text")
        pieces = self._cut(encoding, size, long)
        windows = [self._framed(piece, words=words[start : start + len(piece)]) for start, piece in pieces]
        return Features(windows, truncated=long == "truncate" and len(words) > size)

    def encode_contexts(self, pairs: Sequence[tuple[str, str]], long: Long = "window") -> list[Features | RecordError]:
        """Encode questions with contexts. Only the context is cut into windows; each has its tokens' offsets."""
        bare = self.backend.encode_batch([text for pair in pairs for text in pair], add_special_tokens=False)
        size = self.max_length - self.backend.num_special_tokens_to_add(True)
        features: list[Features | RecordError] = []
        for question, context, (_, text) in zip(bare[::2], bare[1::2], pairs, strict=True):
            is_cut = len(question) > size // 2
            if is_cut and long != "truncate":
                fault = f"the question has {len(question)} tokens; {size // 2} leave room for its context."
                features.append(RecordError(fault))
                continue
            question.truncate(size // 2)
            offsets, room = without_spaces(context.offsets, text), size - len(question)
            if len(context) > room and long == "error":
                features.append(self._too_long("context"))
                continue
            windows = []
            for start, piece in self._cut(context, room, long):
                window = self._framed(question, piece)
                before = len(self._frames[1].ids[0]) + len(question) + len(self._frames[1].ids[1])
                window.offsets = np.full((len(window.ids), 2), -1)
                window.offsets[before : before + len(piece)] = offsets[start : start + len(piece)]
                windows.append(window)
            is_cut |= long == "truncate" and len(offsets) > room
            features.append(Features(windows, truncated=is_cut))
        return features


def encode_each(
    encode: Callable[[list[Item]], Sequence[Features | RecordError]], items: list[Item]
) -> list[Features | RecordError]:
    """`encode(items)`; an item on which the library panics, which no `except Exception` catches, gives a RecordError.

    A pattern in tokenizer.json that goes back over the text without end does so (Onig: retry-limit-in-match over). What
    Rust quotes in a message, in backticks, may be the text, which no error repeats.
    """
    try:
        return list(encode(items))
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        if len(items) == 1:
            return [RecordError(f"the tokenizer fails on this record ({str(error).partition('`')[0].strip()})")]
        half = len(items) // 2
        return encode_each(encode, items[:half]) + encode_each(encode, items[half:])


@cache
def _spaces() -> Flags:
    return np.array([unicodedata.category(chr(code)) in UNSEEN for code in range(LAST_SPACE + 2)])


def without_spaces(offsets: Sequence[tuple[int, int]], text: str) -> Array:
    """(N, 2): parts of a text without invisible characters around them, such as a space that a token begins with."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    is_space = _spaces()[np.minimum(codes, LAST_SPACE + 1)] | (codes == NO_SPACE)
    is_space = np.append(is_space, False)  # Nothing follows the last character.
    starts, ends = np.array(offsets, np.int64).reshape(-1, 2).T.copy()
    while (is_early := is_space[starts] & (starts < ends)).any():
        starts += is_early
    while (is_late := is_space[ends - 1] & (starts < ends)).any():
        ends -= is_late
    return np.stack([starts, ends], 1)


def _shares(encodings: "list[Encoding]", size: int) -> list[int]:
    """Split the tokens of a window among one or two texts: the shorter of a pair stays whole up to half of it."""
    if len(encodings) == 1:
        return [size]
    first, second = map(len, encodings)
    half = size // 2
    if first <= half:
        return [max(first, 1), size - first]
    if second <= half:
        return [size - second, max(second, 1)]
    return [half, size - half]


class NoTokenizer(Tokenizer):
    """A tokenizer for where no model is opened: it takes every text, and finds one piece in each."""

    def __init__(self) -> None:
        self.max_length, self.keeps_end = ENDLESS, False
        self.mask = "[MASK]", 0  # BERT's
        self.padding = self.unknown = None  # nothing is encoded or looked up

    def encode(self, *texts: Any, **options: Any) -> list[Features | RecordError]:
        """One window of one piece for each of the texts, whatever they are."""
        return [Features([Window([0])]) for _ in texts[0]]

    encode_words = encode_contexts = encode_marked = encode
