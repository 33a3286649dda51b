"""Token ids of plain English text, word by word: each word goes through the library once, then its ids are known.

BERT's tokenizer treats every word by itself, and text repeats its words. This takes an eighth of the library's time;
anything but printable ASCII is left to the library (google-research/bert tokenization.py has the rules).
"""

import re
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tokenizers

KINDS = ("BertNormalizer", "BertPreTokenizer", "WordPiece")
PRINTABLE = "\t\n\r" + "".join(map(chr, range(0x20, 0x7F)))
WORD = re.compile(r"[0-9A-Za-z]+|[!-/:-@\[-`{-~]")  # a mark is a word of its own
LONGEST = 64  # characters of a word that is kept
KEPT = 1 << 16  # words, 15 MB; then they are learned anew


class KnownWords(dict[str, list[int]]):
    """The ids of the words that were seen. backend: a tokenizer of BERT's kind, see `is_bert`."""

    def __init__(self, backend: "tokenizers.Tokenizer") -> None:
        self.backend = backend
        one = backend.encode("a")
        begin = one.special_tokens_mask.index(0)
        self.before, self.after = one.ids[:begin], one.ids[begin + 1 :]
        # A token that was added to the vocabulary is found anywhere in a text, in any case and with any accents: with
        # its first character a text is not plain.
        contents = [token.content for token in backend.get_added_tokens_decoder().values()]
        forms = [*contents, *(backend.normalizer.normalize_str(content).strip() for content in contents)]
        added = "".join(form[:1] for form in forms)
        plain = set(PRINTABLE) - set(added.lower()) - set(added.upper())
        self.plain = re.compile(f"[{re.escape(''.join(sorted(plain)))}]*")

    def encode(self, text: str) -> list[int] | None:
        """The ids with those of the special tokens; None where the text is for the library."""
        if not self.plain.fullmatch(text):
            return None
        return [*self.before, *chain.from_iterable(map(self.__getitem__, WORD.findall(text))), *self.after]

    def __missing__(self, word: str) -> list[int]:
        ids: list[int] = self.backend.encode(word, add_special_tokens=False).ids
        if len(word) <= LONGEST:
            if len(self) >= KEPT:
                self.clear()
            self[word] = ids
        return ids


def is_bert(backend: "tokenizers.Tokenizer") -> bool:
    """Whether the tokenizer is made of BERT's parts, and has a token for a word that it does not know."""
    parts = (backend.normalizer, backend.pre_tokenizer, backend.model)
    if tuple(type(part).__name__ for part in parts) != KINDS:
        return False
    return backend.token_to_id(backend.model.unk_token) is not None
