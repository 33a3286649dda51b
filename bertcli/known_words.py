"""Token ids of plain English text, word by word: each word goes through the library once, then its ids are known.

BERT's tokenizer treats every word by itself, and text repeats its words. Words that were seen take a seventh of the
library's time. Other text than printable ASCII, or with what may be a special token, is left to the library
(google-research/bert tokenization.py has the rules).
"""

import re
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers

KINDS = ("BertNormalizer", "BertPreTokenizer", "WordPiece")
PRINTABLE = "\t\n\r" + "".join(map(chr, range(0x20, 0x7F)))
WORD = re.compile(r"[0-9A-Za-z]+|\S")  # a mark is a word of its own
LONGEST = 20  # characters of a word that is kept
KEPT = 1 << 16  # words, 10 to 30 MB; then they are learned anew


class KnownWords(dict[str, list[int]]):
    """The ids of the words that were seen.

    backend: a tokenizer of BERT's parts that neither pads nor truncates. Raises ValueError for another, also where its
    special tokens are not before and after the text.
    """

    def __init__(self, backend: "tokenizers.Tokenizer") -> None:
        parts = (backend.normalizer, backend.pre_tokenizer, backend.model)
        if tuple(type(part).__name__ for part in parts) != KINDS:
            raise ValueError("not a tokenizer of BERT's parts")
        if backend.model.token_to_id(backend.model.unk_token) is None:
            raise ValueError("no token for a word that is not known")
        self.word_ids = word_encoder(backend)
        one = backend.encode("a")
        begin = one.special_tokens_mask.index(0)
        self.before, self.after = one.ids[:begin], one.ids[begin + 1 :]
        if backend.encode("").ids != self.before + self.after:
            raise ValueError("special tokens that are not only before and after the text")
        self.plain = re.compile(f"[{re.escape(_plain(backend))}]+")

    def encode(self, text: str) -> list[int] | None:
        """The ids with those of the special tokens; None where the text is for the library."""
        if not self.plain.fullmatch(text):
            return None
        return [*self.before, *chain.from_iterable(map(self.__getitem__, WORD.findall(text))), *self.after]

    def __missing__(self, word: str) -> list[int]:
        ids = self.word_ids(word)
        if len(word) <= LONGEST:
            if len(self) >= KEPT:
                self.clear()
            self[word] = ids
        return ids


def word_encoder(backend: "tokenizers.Tokenizer") -> Callable[[str], list[int]]:
    """A function that gives the ids of a word, with a tokenizer of BERT's parts."""
    model, lowercase = backend.model, backend.normalizer.lowercase

    def encode(word: str) -> list[int]:
        if word.isascii() and word.isalnum():  # normalising is lower-casing; the model alone takes a third of the time
            return [token.id for token in model.tokenize(word.lower() if lowercase else word)]
        ids: list[int] = backend.encode(word, add_special_tokens=False).ids
        return ids

    return encode


def _plain(backend: "tokenizers.Tokenizer") -> str:
    """The characters of plain text: printable ASCII but for those that may begin a token that was added.

    Such a token is found anywhere in a text, in any case and with any accents. Raises ValueError where one is found
    between any two words.
    """
    contents = [token.content for token in backend.get_added_tokens_decoder().values()]
    forms = [*contents, *(backend.normalizer.normalize_str(content).strip() for content in contents)]
    if "" in forms:
        raise ValueError("an added token that is white space")
    begins = "".join(form[0] for form in forms)
    plain = set(PRINTABLE) - set(begins.lower()) - set(begins.upper())
    if not plain:
        raise ValueError("an added token for each character")
    return "".join(sorted(plain))
