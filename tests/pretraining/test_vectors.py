"""Word vectors: which lines match, which are faults, and what comes of another width."""

import gzip
import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models

from bertcli.errors import UsageError
from bertcli.pretraining.new_model import fit, ids_of_words, read
from bertcli.tokenizer import Tokenizer

VOCABULARY = {"[PAD]": 0, "<unk>": 1, "the": 2, "film": 3, "##s": 4, "The": 5, "中": 6, "#": 7, "\u00a0x": 8}
GLOVE = "the 1 2\n. . . 3 4\n[PAD] 1 1\n<unk> 1 1\n##s 1 1\nThe 5 6\n中 7 -8e-1\nzoo 9 9\n# 0 1\nthe 3 3\n"


def loaded(path: Path, content: bytes, lowercase: bool = True) -> tuple[list[int], list[list[float]]]:
    path.write_bytes(content)
    ids, vectors = read(str(path), VOCABULARY, lowercase=lowercase)
    assert (ids.dtype, vectors.dtype) == (np.int64, np.float32)
    return ids.tolist(), vectors.tolist()


def test_words_of_the_vocabulary_each_by_its_first_line(tmp_path: Path) -> None:
    ids, vectors = loaded(tmp_path / "a.txt", GLOVE.encode())
    assert ids == [2, 6, 7]
    assert vectors == [[1, 2], [7, pytest.approx(-0.8)], [0, 1]]
    assert loaded(tmp_path / "a.txt", GLOVE.encode(), lowercase=False)[0] == [2, 5, 6, 7]


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress), ("", bytes)])
def test_word2vec_text(tmp_path: Path, suffix: str, pack: Any) -> None:
    content = b"2 3\nFilm 1 2 3 \n\xff\xfe 1 2 3 \n\n\xc2\xa0x 4 5 6\n"
    assert loaded(tmp_path / f"a{suffix}", pack(content)) == ([3, 8], [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("cat", "cafe", "decoder"),
    [("Ġcat", "Ġcaf\u00c3\u00a9", decoders.ByteLevel()), ("▁cat", "▁café", decoders.Metaspace())],
)
def test_a_word_is_the_piece_that_follows_a_space(cat: str, cafe: str, decoder: Any) -> None:
    backend = tokenizers.Tokenizer(models.BPE({"cat": 0, cat: 1, cafe: 2, "at": 3}, []))
    backend.decoder = decoder
    ids = ids_of_words(Tokenizer(backend, 9))
    assert [ids[word] for word in ("cat", "café", "at")] == [1, 2, 3]


@pytest.mark.parametrize("first", [b"2 2\n", b""])
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path, first: bytes) -> None:
    content = b"\xef\xbb\xbf" + first + b"the 1 2\nfilm 3 4\n"
    assert loaded(tmp_path / "a.txt", content)[1] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"the 1 2\nfilm 1\n", "{path}:2: 1 fields after the word, not 2{text}."),
        (b"the 1 2\nfilm 1 2 3\n", "{path}:2: 3 fields after the word, not 2{text}."),
        (b"9 3\nfilm 1 2\n", "{path}:2: 2 fields after the word, not 3{text}."),
        (b"the\n", "{path}:1: 0 fields after the word, not the width of a vector{text}."),
        (b"the 1 b\n", "{path}:1: not a vector (could not convert string to float: b'b')."),
        (b"the 1 nan\n", "{path}:1: a number that is not finite."),
        (b"the 1 1e99\n", "{path}:1: a number that is not finite."),
        (b"zoo 1 2\n", "{path}: none of its words is in the vocabulary; are they of the same language and case?"),
        (b"", "{path}: none of its words is in the vocabulary; are they of the same language and case?"),
        (b"2 2\nthe \0\0\x80?\0\0\0@film ", "{path}:2: 1 fields after the word, not 2{text}."),  # word2vec's binary
        (None, "cannot read the vectors {path}: No such file or directory."),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        read(str(path), VOCABULARY, lowercase=True)
    text = "; gensim's save_word2vec_format makes text of vectors"
    assert str(raised.value) == message.format(path=path, text=text)


@pytest.mark.parametrize(
    "content", [b"not gzip", gzip.compress(b"the 1 2\n" * 9999)[:-9], b"\x1f\x8b\x08\0\0\0\0\0\0\0xx"]
)
def test_a_broken_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(UsageError, match=r"cannot read the vectors .*a\.gz: "):
        read(str(tmp_path / "a.gz"), VOCABULARY, lowercase=True)


@pytest.fixture
def vectors() -> np.ndarray:
    generator = np.random.default_rng(0)
    return (generator.normal(size=(500, 6)) * [9, 1, 5, 3, 0.1, 7] + 2).astype(np.float32)


def fitted(vectors: np.ndarray, width: int) -> np.ndarray:
    result = fit(vectors, width, 0.02, np.random.default_rng(1))
    assert result.shape == (len(vectors), width) and result.dtype == np.float32
    return result


def test_the_same_width_is_centred_and_scaled(vectors: np.ndarray) -> None:
    result = fitted(vectors, 6)
    centred = vectors - vectors.mean(axis=0)
    np.testing.assert_allclose(result, centred * (0.02 / centred.std()), rtol=1e-4, atol=1e-7)


def test_fewer_columns_are_the_principal_components(vectors: np.ndarray) -> None:
    from sklearn.decomposition import PCA

    result = fitted(vectors, 3)
    wanted = PCA(3).fit_transform(vectors)
    np.testing.assert_allclose(abs(result), abs(wanted) * (0.02 / wanted.std()), rtol=1e-3, atol=1e-6)
    assert result.std() == pytest.approx(0.02)


def test_more_columns_are_noise_of_the_same_deviation(vectors: np.ndarray) -> None:
    result = fitted(vectors, 10)
    np.testing.assert_array_equal(result[:, :6], fitted(vectors, 6))
    assert result[:, 6:].std() == pytest.approx(0.02, rel=0.05)
    np.testing.assert_array_equal(result, fitted(vectors, 10))


def test_a_single_vector_gives_no_nan() -> None:
    assert not fitted(np.ones((1, 4), np.float32), 2).any()
