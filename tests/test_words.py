"""Known words: the ids of the library, which gets all other text; and the table of hashes, whatever collides in it."""

import csv
import lzma
import string
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

from bertcli import words
from bertcli.words import HashedWords, HashTable, KnownWords

SHARED = Path(__file__).parents[2] / "shared" / "data"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = [*SPECIAL, *"aBcde1'", "##b", "##c", "##1", "good", "bad", "Good", "good-", "co", "##vid"]


def tokenizer(words: list[str], lowercase: bool = True) -> tokenizers.Tokenizer:
    return BertWordPieceTokenizer({word: i for i, word in enumerate(words)}, lowercase=lowercase)._tokenizer


@settings(max_examples=500)
@given(st.text(st.characters(max_codepoint=0x7F) | st.sampled_from(" aB'é中\u200b"), max_size=80), st.booleans())
def test_ids_are_the_librarys_or_none(text: str, lowercase: bool) -> None:
    library = tokenizer(PIECES, lowercase)
    known = KnownWords(library)
    plain = text and set(text) <= set("\t\n\r" + string.printable[:95]) - {"["}
    for _ in range(2):  # the second time nothing is new
        assert known.encode(text) == (library.encode(text).ids if plain else None)


def test_text_with_the_beginning_of_an_added_token_is_the_librarys() -> None:
    library = tokenizer(PIECES)
    library.add_tokens(["Covid 19", "\u00c9a"])  # without its accent, "ea"
    known = KnownWords(library)
    for text in ("bad covid 19 a", "good ea"):
        assert max(library.encode(text).ids) >= len(PIECES)
        assert known.encode(text) is None
    assert known.encode("bad a") == library.encode("bad a").ids


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "KEPT", 3)
    library = tokenizer(PIECES)
    known = KnownWords(library)
    text = f"a b c d e good bad {'a' * 65} a b"
    assert known.encode(text) == library.encode(text).ids
    assert len(known) <= 3 and "a" * 65 not in known


def test_other_tokenizers_are_refused() -> None:
    def refused(library: tokenizers.Tokenizer) -> str:
        with pytest.raises(ValueError) as caught:
            KnownWords(library)
        return str(caught.value)

    assert refused(tokenizers.Tokenizer(tokenizers.models.BPE())) == "not a tokenizer of BERT's parts"
    without = tokenizer([word for word in PIECES if word != "[UNK]"])
    assert refused(without) == "no token for a word that is not known"
    spaced = tokenizer(PIECES)
    spaced.add_tokens(["\n"])  # which normalises to a space, and is found at every one
    assert refused(spaced) == "an added token that is white space"
    full = tokenizer(PIECES)
    full.add_tokens([chr(code) for code in range(0x21, 0x7F)])
    full.add_tokens([" a", tokenizers.AddedToken("\ta", normalized=False), "\na", "\ra"])
    assert refused(full) == "an added token for each character"
    twice = tokenizer(PIECES)
    twice.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP] $A", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    assert refused(twice) == "special tokens that are not only before and after the text"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data sets are not here")
@pytest.mark.parametrize("cased", [False, True])
def test_real_texts(cased: bool) -> None:
    file = SHARED / "open" / "bert" / f"bert-base-{'cased' if cased else 'uncased'}-vocab.txt"
    library = tokenizer(file.read_text(encoding="utf-8").splitlines(), not cased)
    known = KnownWords(library)
    with lzma.open(SHARED / "open" / "banking77" / "test.csv.xz", "rt", encoding="utf-8", newline="") as rows:
        texts = [row["text"] for row in csv.DictReader(rows)]
    found = [known.encode(text) for text in texts]
    assert sum(ids is not None for ids in found) > 0.9 * len(texts)
    for text, ids in zip(texts, found, strict=True):
        assert ids in (None, library.encode(text).ids)


# Hashes of whole arrays.


def test_entries_are_found_by_hash_and_nothing_else() -> None:
    table = HashTable()
    numbers = np.random.default_rng(0).integers(1 << 64, size=20_000, dtype=np.uint64)
    parts = [numbers[:1], numbers[1:500], numbers[500:9_000], numbers[9_000:10_000]]  # it grows in between
    for part in parts:
        table.add(part)
    assert table.find(numbers).tolist() == [*range(10_000), *[-1] * 10_000]


def test_hashes_of_one_slot_are_parted() -> None:
    table = HashTable()
    alike = np.arange(300, dtype=np.uint64) + np.uint64(2**64 - 200)  # the last slots of all, and the first
    table.add(alike[:150])
    assert table.find(alike).tolist() == [*range(150), *[-1] * 150]
    table.add(alike[150:])
    assert table.find(alike).tolist() == list(range(300))


def test_each_word_is_encoded_once() -> None:
    asked: list[str] = []
    cache = HashedWords(lambda word: asked.append(word) or [len(word)], ideographs=True)
    for _ in range(2):
        ids, lengths = cache.encode(["a bc, a", "", "中文bc"])
        assert (ids.tolist(), lengths.tolist()) == ([1, 2, 1, 1, 1, 1, 2], [4, 0, 3])
    assert sorted(asked) == [",", "a", "bc", "中", "文"]
