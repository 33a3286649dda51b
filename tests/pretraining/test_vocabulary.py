"""A trained vocabulary: BERT's special tokens and alphabet, the same each time, opened alike by everyone."""

import lzma
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from bertcli import tokenizer_files as face
from bertcli.errors import UsageError
from bertcli.pretraining.vocabulary import SPECIAL, save, train

DATA = Path(__file__).parents[3] / "shared" / "data" / "open"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
TEXTS = ["The film is good, the plot is not.", "Café: a good plot!", "我看电影\uff0c电影好。"] * 3
ALPHABET = sorted("the film is good, plot not. café: a good plot!我看电影\uff0c好。".replace(" ", "").replace("é", "e"))


def wikipedia(name: str, lines: int) -> list[str]:
    with lzma.open(DATA / name, "rt", encoding="utf-8") as file:
        return [line.strip() for line in islice(file, lines)]


def test_the_pieces_of_a_small_text() -> None:
    vocabulary = train(TEXTS, 60, lowercase=True).get_vocab()
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    single = sorted(set(ALPHABET))
    inside = [f"##{character}" for character in single if character.isascii() and character.isalpha()]
    assert pieces[: 5 + len(single) + len(inside)] == [*SPECIAL, *single, *inside]
    assert sorted(vocabulary.values()) == list(range(60))


def test_case_and_accents() -> None:
    assert train(TEXTS, 60, lowercase=True).encode("CAFÉ", add_special_tokens=False).ids
    cased = train(TEXTS, 60, lowercase=False)
    assert {"T", "C", "é"} <= set(cased.get_vocab())
    assert cased.encode("É", add_special_tokens=False).tokens == ["[UNK]"]


def test_an_encoding_has_the_special_tokens_and_chinese_in_characters() -> None:
    made = train(TEXTS, 60, lowercase=True)
    pair = made.encode("电影", "plot")
    assert pair.tokens[:4] == ["[CLS]", "电", "影", "[SEP]"] and pair.tokens[-1] == "[SEP]"
    assert pair.type_ids == [0, 0, 0, 0] + [1] * (len(pair) - 4)
    assert made.decode(made.encode("The plot").ids) == "the plot"
    assert made.encode("[MASK]", add_special_tokens=False).ids == [4]


def test_a_word_of_over_100_characters_takes_no_time_and_teaches_no_pieces() -> None:
    texts = ["ab " + "cd" * 50, "é" + "fg" * 50, "hi" * 250_000] * 2
    vocabulary = train(texts, 34, lowercase=True).get_vocab()
    letters = {piece.removeprefix("##") for piece in vocabulary if piece not in SPECIAL}
    assert {piece for piece in letters if len(piece) > 1} >= {"ab", "cd"}
    assert {piece for piece in letters if {*piece} & {*"efghi"}} == {*"efghi"}


SCRIPT = """
from bertcli.pretraining.vocabulary import save, train
import sys; from pathlib import Path
texts = [f"{i * 7919 % 99991:x}" for i in range(2000)] * 2
save(train(texts, 500, lowercase=True), Path(sys.argv[1]), lowercase=True)"""


def test_two_processes_write_the_same_file(tmp_path: Path) -> None:
    for name in "ab":
        subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / name)], check=True)
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "b/tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    ("texts", "size", "message"),
    [
        ([], 10, "there is no text to train a vocabulary on."),
        ([" \t", "\u200b"], 10, "there is no text to train a vocabulary on."),
        (["abc"], 10, "--vocab-size 10 is too small: special tokens and alphabet alone need 11."),
        (
            ["ab ab"], 30, "the text yields 10 pieces, not --vocab-size 30; ask for 10 or fewer, or give more text.",
        ),
    ],
)  # fmt: skip
def test_a_size_that_the_text_does_not_allow(texts: list[str], size: int, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        train(texts, size, lowercase=True)
    assert str(raised.value) == message


def test_the_size_that_is_advised_is_the_one_that_works() -> None:
    assert train(["ab ab"], 10, lowercase=True).get_vocab_size() == 10
    assert train(["abc"], 11, lowercase=True).get_vocab_size() == 11


def test_an_iterator_is_refused() -> None:
    with pytest.raises(TypeError, match="gone through twice"):
        train(iter(TEXTS), 60, lowercase=True)


def test_the_rarest_characters_are_no_alphabet() -> None:
    common = "".join(chr(0x4E00 + i) for i in range(300)) * 40
    vocabulary = train([common, "龘"], 305, lowercase=True).get_vocab()
    assert "龘" not in vocabulary and len(vocabulary) == 305


def test_the_fault_of_a_text_comes_out_as_it_is() -> None:
    class Broken:
        def __iter__(self):
            yield "a text"
            raise UsageError("not readable")

    with pytest.raises(UsageError, match="not readable"):
        train(Broken(), 30, lowercase=True)


@pytest.mark.parametrize("lowercase", [True, False])
def test_transformers_and_bertcli_agree_on_ids(tmp_path: Path, lowercase: bool) -> None:
    from transformers import AutoTokenizer, BertTokenizer

    made = train(TEXTS, 60, lowercase=lowercase)
    save(made, tmp_path, lowercase=lowercase)
    texts = ["The Café is good; not.", "我看电影\uff0cThe film", "[MASK] x\u200b\ty", ""]
    wanted = [encoding.ids for encoding in made.encode_batch(texts)]
    opened = AutoTokenizer.from_pretrained(tmp_path)
    mine = face.load(tmp_path, {})
    assert opened(texts)["input_ids"] == wanted
    assert BertTokenizer.from_pretrained(tmp_path)(texts)["input_ids"] == wanted
    assert [features.windows[0].ids for features in mine.encode(texts)] == wanted
    assert (opened.model_max_length, mine.max_length, opened.mask_token) == (512, 512, "[MASK]")
    (tmp_path / "tokenizer.json").unlink()  # vocab.txt and the settings say the same
    assert [features.windows[0].ids for features in face.load(tmp_path, {}).encode(texts)] == wanted


@needs_data
def test_english_words_are_pieces() -> None:
    texts = wikipedia("wiki_en/enwiki2015-part1.txt.xz", 2000)
    made = train(texts, 3000, lowercase=True)
    assert {"the", "and", "first", "##ing", "##ed"} <= set(made.get_vocab())
    assert sum(made.encode(text).ids.count(1) for text in texts[:200]) < 20


@needs_data
def test_chinese_characters_are_pieces() -> None:
    texts = wikipedia("wiki_zh/zhwiki-hant-sample.txt.xz", 1000)
    made = train(texts, 4000, lowercase=True)
    assert not any(len(piece) > 1 and "\u4e00" <= piece[-1] <= "\u9fff" for piece in made.get_vocab())
    unknown = [made.encode(text).ids.count(1) / max(len(text), 1) for text in texts]
    assert sum(unknown) / len(unknown) < 0.001
