"""Text to ids: as the tokenizers library has them, whatever the text; sentences without loss; where words begin."""

import json
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from bertcli import words as known_words
from bertcli.pretraining import encoding
from bertcli.pretraining.encoding import Encoder, sentences
from bertcli.pretraining.vocabulary import SPECIAL
from bertcli.words import IDEOGRAPHS

PIECES = """a b A hello ab zz é \u03c3 ς ##a ##b ##é ##zz ##\u03c3 ! , . ' - [ ] # ## UNK SEP MASK sep mask 中 文 我
 ##文 \uff0c 。 ½ \u0301 ##\u0301 ไทย ##ก 👩 ##👩 1 ##1 _ \U0002b820 ##\U0002b820 豈""".split()
# Where tokenizers differ: spaces, marks, case that changes the length, what is removed, split or neither.
NASTY = [
    *"abAé!,.'-[]#_1 中文我\uff0c。·…—“”½\u03c3ςΣİßﬁ豈",
    *(f" {name} " for name in SPECIAL),
    *("\u0301", "\u0338", "\u200d", "\u200b", "\ufeff", "\u00ad", "\u00a0", "\u2028", "\u3000", "\u0085", "\r", "\t"),
    *("\x00", "\x1f", "\x7f", "\ufffd", "\ufffe", "\ue000", "\U000e0041", "\u0e01", "ไทย", "👩\u200d👩", "한"),
    *("\U0002b820", "\U0002b91f", "\U0002b920", "\U0002f800", "\ufa0e", "≠", "\u037e", "\u1100\u1161"),
    *("\uff21", "hello", "a" * 99),
]
TEXTS = st.lists(st.one_of(st.sampled_from(NASTY), st.characters(exclude_categories=["Cs"])), max_size=30).map(
    lambda found: "".join(found).replace("\n", "")
)


def word_piece(**options: bool | None) -> Tokenizer:
    made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate([*SPECIAL, *PIECES])}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(**options)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(list(SPECIAL))
    return made


KINDS = {
    "uncased": word_piece(lowercase=True),
    "cased": word_piece(lowercase=False),
    "accents": word_piece(lowercase=True, strip_accents=False),
    "no-ideographs": word_piece(lowercase=True, handle_chinese_chars=False),
    "unclean": word_piece(lowercase=False, clean_text=False),
}
ENCODERS = {kind: Encoder(made.to_str()) for kind, made in KINDS.items()}


def expected(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[list[int], list[bool], list[int]]:
    """Ids, word starts and lengths as the library has them, special tokens being text."""
    own = Tokenizer.from_str(tokenizer.to_str())
    own.encode_special_tokens = True
    found = [own.encode(text, add_special_tokens=False) for text in texts]
    starts = [
        word != before for one in found for word, before in zip(one.word_ids, [None, *one.word_ids], strict=False)
    ]
    return [token for one in found for token in one.ids], starts, [len(one) for one in found]


def encoded(encoder: Encoder, texts: Sequence[str]) -> tuple[list[int], list[bool], list[int]]:
    found = encoder.encode(texts)
    assert found.starts.dtype == bool and len(found.ids) == len(found.starts) == found.lengths.sum()
    return found.ids.tolist(), found.starts.tolist(), found.lengths.tolist()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80)
@given(st.lists(TEXTS, max_size=4))
@example([])
@example([""])
@example(["", "a", "", "\u200b", "b", ""])
@example(["[SEP] [PAD][MASK]", "[UNK]"])
@example(["!\u0301a", "≠\u0338", "b" * 101, "a\rb", "a\U0002b820b"])
@example(["ΛΣ'Λ ΛΣ. Σ", "ΔΣ!"])
def test_ids_and_word_starts_are_the_library_s(kind: str, texts: list[str]) -> None:
    assert encoded(ENCODERS[kind], texts) == expected(KINDS[kind], texts)


@pytest.mark.parametrize("kind", ["uncased", "cased"])
def test_every_common_character_beside_words(kind: str) -> None:
    edges = [ord(edge) + i for edge in IDEOGRAPHS if edge not in "[]+-" for i in (-1, 0, 1)]
    points = {*range(0x500), *range(0x2000, 0x2100), *range(0x3000, 0x3100), *range(0xFE00, 0x10000), *edges} - {10}
    text = "".join(f"a{chr(point)}b " for point in sorted(points))
    assert encoded(ENCODERS[kind], [text]) == expected(KINDS[kind], [text])


def test_a_full_cache_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_words, "CACHED", 20)
    encoder = Encoder(KINDS["uncased"].to_str())
    numbers = random.Random(0)
    for _ in range(50):
        texts = ["".join(numbers.choices("ab é,", k=12)) for _ in range(3)]
        assert encoded(encoder, texts) == expected(KINDS["uncased"], texts)
        assert encoder.words is not None and encoder.words.characters <= 20 + 36


def test_added_tokens_that_are_not_special_are_found_across_words() -> None:
    made = word_piece(lowercase=True)
    made.add_tokens([AddedToken("a, b")])
    texts = ["hello a, b", "a,b"]
    assert encoded(Encoder(made.to_str()), texts)[0] == expected(made, texts)[0]
    assert len(PIECES) + len(SPECIAL) in encoded(Encoder(made.to_str()), texts)[0]


def test_another_prefix_of_continuing_pieces() -> None:
    made = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "b": 2}, unk_token="[UNK]", continuing_subword_prefix=""))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    assert encoded(Encoder(made.to_str()), ["ab a"]) == ([1, 2, 1], [True, False, True], [3])


@pytest.mark.parametrize(("size", "dtype"), [(1 << 16, "<u2"), ((1 << 16) + 1, "<u4")])
def test_ids_of_16_bits_where_the_vocabulary_allows(size: int, dtype: str) -> None:
    with_gaps = models.WordPiece({"[UNK]": 0, "a": size - 1}, unk_token="[UNK]")
    assert Encoder(Tokenizer(with_gaps).to_str()).dtype == dtype


# Other tokenizers.


@pytest.fixture(scope="module")
def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["hello, don't 我在北京 café"] * 9, trainer)
    return made


@settings(max_examples=30)
@given(texts=st.lists(TEXTS, max_size=4))
def test_byte_level_ids_are_the_library_s(byte_level: Tokenizer, texts: list[str]) -> None:
    # A sentence comes with its own spaces, of which the library would put one before each.
    spaced = [text if text[:1] in ("", " ") else f" {text}" for text in texts]
    ids, starts, lengths = encoded(Encoder(byte_level.to_str()), spaced)
    wanted, least, wanted_lengths = expected(byte_level, texts)
    assert (ids, lengths) == (wanted, wanted_lengths)
    assert not (np.array(least, bool) & ~np.array(starts, bool)).any()


def words(tokenizer: Tokenizer, text: str, segmenter: str | None = None) -> list[str]:
    """The text cut where words begin, without the spaces around them."""
    own = Tokenizer.from_str(tokenizer.to_str())
    own.encode_special_tokens = True
    offsets = own.encode(text, add_special_tokens=False).offsets
    _, starts, _ = encoded(Encoder(tokenizer.to_str(), segmenter), [text])
    begins = [begin for (begin, _), start in zip(offsets, starts, strict=True) if start]
    found = [text[begin:end].strip() for begin, end in zip(begins, [*begins[1:], len(text)], strict=True)]
    return [word for word in found if word]


def test_a_byte_level_word_ends_before_punctuation(byte_level: Tokenizer) -> None:
    assert words(byte_level, " hello, <s> café?!") == ["hello", ",", "<", "s", ">", "café", "?", "!"]


@pytest.mark.parametrize("add_prefix_space", [True, False])
def test_the_sentences_of_a_document_make_its_text(byte_level: Tokenizer, add_prefix_space: bool) -> None:
    made = Tokenizer.from_str(byte_level.to_str())
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)])
    lines = ["I went home. The café was  shut!\tNot good.", "So?", "It is.Is it? 我在北京。你好"]
    encoder = Encoder(made.to_str())
    ids, _, _ = encoded(encoder, encoder.split(lines))
    assert len(encoder.split(lines)) > len(lines)
    assert ids == made.encode("\n".join(lines), add_special_tokens=False).ids


def test_other_tokenizers_are_given_sentences_without_the_space_between() -> None:
    assert Encoder(KINDS["cased"].to_str()).split(["It is. Is it? "]) == ["It is.", "Is it?"]


@pytest.fixture
def unigram() -> Tokenizer:
    pieces = [
        ("<s>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        *((piece, -5.0) for piece in "▁ h e o , 我 在 北 京 s < > /".split()),
    ]
    made = Tokenizer(models.Unigram([*pieces, ("▁he", -3.0), ("北京", -3.0)], 2, False))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.add_special_tokens(["<s>", "</s>", "<unk>"])
    return made


def test_a_sentence_piece_word_is_no_whole_sentence(unigram: Tokenizer) -> None:
    assert words(unigram, "heo,heo 我在北京,") == ["heo", ",", "heo", "我", "在", "北京", ","]


def test_a_spelt_out_special_token_is_text(unigram: Tokenizer) -> None:
    ids, _, _ = encoded(Encoder(unigram.to_str()), ["he</s><s>he", "<unk>"])
    assert not {0, 1} & set(ids)
    assert unigram.token_to_id("/") in ids


# Words of Chinese.


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("words") / "list.txt"
    path.write_text("中文\n文我\n我在\n北京\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def listed_encoders(listed: str) -> list[tuple[Tokenizer, Encoder]]:
    return [(made, Encoder(made.to_str(), listed)) for made in (KINDS["uncased"], KINDS["cased"])]


@settings(max_examples=30)
@given(texts=st.lists(TEXTS, max_size=4))
def test_a_segmenter_takes_word_starts_from_ideographs_only(
    listed_encoders: list[tuple[Tokenizer, Encoder]], texts: list[str]
) -> None:
    for made, encoder in listed_encoders:
        ids, starts, lengths = encoded(encoder, texts)
        wanted_ids, wanted, wanted_lengths = expected(made, texts)
        assert (ids, lengths) == (wanted_ids, wanted_lengths)
        inside = {made.token_to_id("文"), made.token_to_id("我")}
        assert all(
            start == before or (before and token in inside)
            for start, before, token in zip(starts, wanted, ids, strict=True)
        )


def test_chinese_words_are_marked(listed: str) -> None:
    assert words(KINDS["uncased"], "我中文 文我,hello,中\uff0c文", listed) == [
        *("我", "中文", "文我", ",", "hello", ",", "中", "\uff0c", "文"),
    ]  # fmt: skip


def test_chinese_words_for_byte_level_tokens(byte_level: Tokenizer, listed: str) -> None:
    bytes_alone = json.loads(byte_level.to_str())
    bytes_alone["model"]["merges"] = []
    made = Tokenizer.from_str(json.dumps(bytes_alone))
    assert words(made, " 我在北京中文", listed) == ["我在", "北京", "中文"]
    assert words(made, " 我在北京a", None) == ["我", "在", "北", "京", "a"]


# Sentences.


def test_sentences_of_languages() -> None:
    assert sentences("He went. Mr. J. Smith came!") == ["He went.", "Mr. J. Smith came!"]
    assert sentences("我在北京。你呢\uff1f好") == ["我在北京。", "你呢\uff1f", "好"]
    assert sentences(" \u3000 ") == sentences("") == []


SPACES = "".join(chr(point) for point in range(0x3001) if chr(point).isspace() and point != 10)


@settings(max_examples=80)
@given(st.text(st.sampled_from("aA1.!?'\")。\uff1f中é👩" + SPACES), max_size=40))
@example("Plan B\u00a0. c")
@example("A\u2028. c\u3000D\u3000. e")
def test_sentences_lose_nothing_and_break_nowhere(text: str) -> None:
    found = sentences(text)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(sentence and sentence == sentence.strip() for sentence in found)


@pytest.mark.parametrize("unit", ["He went to town. ", "我在北京。"])
def test_a_long_line_is_cut_at_its_sentences(unit: str) -> None:
    assert sentences(unit * 3000) == [unit.strip()] * 3000


def test_a_long_sentence_is_cut_at_spaces_if_it_has_any() -> None:
    found = sentences("word " * 3000)
    assert " ".join(found) == ("word " * 3000).strip()
    assert {word for sentence in found for word in sentence.split()} == {"word"}
    assert [*map(len, sentences("x" * (2 * encoding.LONG + 3)))] == [encoding.LONG, encoding.LONG, 3]
