"""Tokenising: equal to transformers, whole long texts and pairs in windows, nothing cut silently."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli import tokenizer_files
from bertcli.arrays import Features
from bertcli.errors import ModelError, RecordError
from bertcli.tokenizer import Text, Tokenizer, encode_each, without_spaces

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij", "##b", "##c", "good", "bad"]
CLS, SEP = WORDS.index("[CLS]"), WORDS.index("[SEP]")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    return folder


def load(directory: Path, length: int = 512) -> Tokenizer:
    return tokenizer_files.load(directory, {"max_position_embeddings": length, "model_type": "bert"})


def encode(directory: Path, text: Text, length: int) -> Features:
    (features,) = load(directory, length).encode([text])
    assert isinstance(features, Features)
    return features


def test_a_directory_with_only_vocab_txt_gives_the_ids_of_transformers(directory: Path) -> None:
    from transformers import BertTokenizer

    texts = ["Good BAD", "héllo a,b.", "中文 a", "x\ty\u200b\x00z", "", "[MASK] a", "abc" * 50]
    wanted = BertTokenizer(str(directory / "vocab.txt"))(texts)["input_ids"]
    assert [f.windows[0].ids for f in load(directory).encode(texts) if isinstance(f, Features)] == wanted


def test_tokenizer_config_decides_the_case(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join([*WORDS, "Good"]), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}), encoding="utf-8")
    assert encode(tmp_path, "Good good", 512).windows[0].ids == [CLS, WORDS.index("bad") + 1, WORDS.index("good"), SEP]


@given(st.text("abcdefghij ", max_size=300), st.integers(8, 40))
def test_windows_cover_every_token_in_order_and_fit(directory: Path, text: str, length: int) -> None:
    tokens = load(directory).backend.encode(text, add_special_tokens=False).ids
    features = encode(directory, text, length)
    covered: list[int] = []
    for window in features.windows:
        assert len(window.ids) <= length and window.ids[0] == CLS and window.ids[-1] == SEP
        body = window.ids[1:-1]
        stride = (length - 2) // 4 if covered else 0
        assert covered[len(covered) - stride :] == body[:stride]
        covered += body[stride:]
    assert covered == tokens


@given(st.text("abcdefghij ", max_size=200), st.text("abcdefghij ", max_size=200), st.integers(12, 40))
def test_windows_of_a_pair_hold_every_token_of_both_texts(directory: Path, a: str, b: str, length: int) -> None:
    backend = load(directory).backend
    seen: tuple[set[int], set[int]] = (set(), set())
    for window in encode(directory, (a, b), length).windows:
        assert len(window.ids) <= length and window.type_ids is not None
        for token, segment in zip(window.ids, window.type_ids, strict=True):
            seen[segment].add(token)
    for text, tokens in zip((a, b), seen, strict=True):
        assert set(backend.encode(text, add_special_tokens=False).ids) <= tokens


def test_long_texts_are_cut_or_refused_only_when_asked_and_it_is_said(directory: Path) -> None:
    (cut,) = load(directory, 10).encode(["a " * 50], "truncate")
    assert isinstance(cut, Features) and cut.truncated and len(cut.windows) == 1 and len(cut.windows[0].ids) == 10
    (refused,) = load(directory, 10).encode(["a " * 50], "error")
    assert isinstance(refused, RecordError) and "10 tokens" in str(refused)
    assert len(encode(directory, "a " * 50, 10).windows) == 8


def test_positions_of_roberta_begin_after_the_padding_id(directory: Path) -> None:
    config = {"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}
    assert tokenizer_files.load(directory, config).max_length == 512


def test_a_huge_model_max_length_means_none(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(
        '{"model_max_length": 1000000000000000019884624838656}', encoding="utf-8"
    )
    assert load(tmp_path, 64).max_length == 64


def test_a_directory_without_a_tokenizer_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer.json or vocab.txt"):
        load(tmp_path)


def test_a_broken_tokenizer_json_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="not a tokenizer file"):
        load(tmp_path)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer as RoBERTa's: a space belongs to the word after it, and to a mask after it."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own = tokenizers.Tokenizer(models.BPE())
    own.pre_tokenizer, own.decoder = bytes_of, decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", tokenizers.AddedToken("<mask>", lstrip=True, special=True)]
    alphabet = bytes_of.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)  # type: ignore[arg-type]
    own.train_from_iterator(["a good film and a good plot was good"] * 9, trainer)
    own.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    folder = tmp_path_factory.mktemp("roberta")
    own.save(str(folder / "tokenizer.json"))
    return folder


def test_words_of_a_byte_level_tokenizer_have_their_space(byte_level: Path) -> None:
    own = load(byte_level)
    (features,) = own.encode_words([["good", "good", "film"]])
    assert isinstance(features, Features)
    spaced = own.backend.encode(" good good film").ids
    assert features.windows[0].ids == spaced and spaced != own.backend.encode("goodgoodfilm").ids
    assert [word for word in features.windows[0].words or [] if word >= 0] == [0, 1, 2]


@pytest.mark.parametrize("text", ["a <mask> film<mask>", "<mask>", "good<mask> <mask> plot"])
def test_marks_are_counted_in_the_text_as_it_is(byte_level: Path, text: str) -> None:
    own = load(byte_level)
    token, mask = own.mask
    (features,) = own.encode_marked([text], mask)
    assert isinstance(features, Features)
    (window,) = features.windows
    assert window.ids == own.backend.encode(text).ids
    assert [word for word in window.words or [] if word >= 0] == list(range(text.count(token)))
    assert [i for i, word in zip(window.ids, window.words or [], strict=True) if word >= 0] == [mask] * text.count(
        token
    )


def spelling(name: str) -> Any:
    """A tokenizer that spells words letter by letter, in one of the ways in which spaces become pieces."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors

    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = sorted({*bytes_of.alphabet(), *"▁abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnop")})
    vocabulary = {piece: i for i, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *letters])}
    if name == "word pieces":
        made = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="<unk>", max_input_chars_per_word=99))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        made.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 0))
        return made
    made = tokenizers.Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    if name == "metaspace":
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 0))
        return made
    made.pre_tokenizer = bytes_of
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), name == "trimmed bytes", False)
    return made


@pytest.mark.parametrize("name", ["word pieces", "metaspace", "trimmed bytes", "bytes with spaces"])
@pytest.mark.parametrize("length", [64, 16])
def test_offsets_in_a_context_are_those_of_the_words(name: str, length: int) -> None:
    context = "i live in a  big city. tim cook\u00e9 is a man"
    made = Tokenizer(spelling(name), length)
    (features,) = made.encode_contexts([("who", context)])
    assert isinstance(features, Features)
    assert (len(features.windows) > 1) == (length == 16)
    alone = {(start, end) for start, end in made.backend.encode(context, add_special_tokens=False).offsets}
    begins: set[int] = set()
    for window in features.windows:
        assert window.offsets is not None
        offsets = [(start, end) for start, end in window.offsets.tolist() if end >= 0]
        assert not any(context[start:end] != context[start:end].strip() for start, end in offsets)
        for start, end in offsets:
            assert any(a <= start and end <= b and not context[a:b].strip(context[start:end] + " ") for a, b in alone)
        begins |= {start for start, end in offsets if end > start}
    words = [match.start() for match in re.finditer(r"[a-z\u00e9]+", context)]
    assert begins >= set(words)  # words of one letter too


def test_what_rust_quotes_when_it_panics_is_not_repeated() -> None:
    class PanicException(BaseException):
        """As Rust's bindings raise it."""

    def encode(texts: list[str]) -> list[Features | RecordError]:
        if "bad" in texts:
            raise PanicException("byte index 1 is not a char boundary; it is inside 'b' (bytes 0..2) of `bad`")
        return [Features([]) for _ in texts]

    first, fault, last = encode_each(encode, ["a", "bad", "b"])
    assert (first, last) == (Features([]), Features([]))
    assert str(fault).endswith("a char boundary; it is inside 'b' (bytes 0..2) of)")


def test_a_part_of_a_text_loses_what_nobody_sees_around_it() -> None:
    text = "\ufefffilm \u200bgo\u200bod\u00ad\u3000\x00"
    parts = without_spaces([(0, 5), (5, 12), (5, 15), (6, 7)], text)
    assert parts.tolist() == [[1, 5], [7, 12], [7, 12], [7, 7]]
