"""Chinese words: cut by jieba or a list, joined again exactly, and marked in the text."""

import lzma
import pickle
import sys
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.errors import UsageError
from bertcli.pretraining.encoding import Cut, inner, open_segmenter

DATA = Path(__file__).parents[3] / "shared" / "data" / "open"


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Cut:
    path = tmp_path_factory.mktemp("words") / "list.txt"
    path.write_text("\ufeff北京 34 ns\n北京大学\t7\n\n大学生\n学生\n", encoding="utf-8")
    return open_segmenter(str(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("北京大学生", ["北京大学", "生"]),
        ("在北京大街", ["在", "北京", "大", "街"]),
        ("北京大", ["北京", "大"]),
        ("大学生学生", ["大学生", "学生"]),
        ("", []),
    ],
)
def test_the_longest_word_from_the_left(listed: Cut, text: str, expected: list[str]) -> None:
    assert listed(text) == expected
    assert pickle.loads(pickle.dumps(listed))(text) == expected


@given(st.text("北京大学生a \uff0c"))
def test_the_pieces_are_the_text(listed: Cut, text: str) -> None:
    assert "".join(listed(text)) == text


def test_inner_marks_what_continues_a_word(listed: Cut) -> None:
    text = "Hi 北京大学\uff0cAB大学生\U00020000北京"
    marks = "".join("^" if continues else "." for continues in inner(text, listed))
    assert marks == "....^^^....^^..^"
    assert inner("", listed).shape == (0,)


def test_only_ideographs_are_cut() -> None:
    seen = []
    inner("abc 中文、カナ한글 中", lambda text: seen.append(text) or [text])
    assert seen == ["中文", "中"]


def test_jieba_cuts_words() -> None:
    pytest.importorskip("rjieba")
    cut = open_segmenter("jieba")
    assert cut("我来到北京清华大学") == ["我", "来到", "北京", "清华大学"]
    assert list(inner("我来到北京", cut)) == [False, False, True, False, True]


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
def test_jieba_loses_no_character_of_wikipedia() -> None:
    pytest.importorskip("rjieba")
    cut = open_segmenter("jieba")
    with lzma.open(DATA / "wiki_zh" / "zhwiki-hans-sample.txt.xz", "rt", encoding="utf-8") as file:
        lines = list(islice(file, 2000))
    assert all("".join(cut(line)) == line for line in lines)
    shares = [inner(line, cut).mean() for line in lines if len(line) > 100]
    assert 0.2 < sum(shares) / len(shares) < 0.5


def test_without_jieba_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(UsageError) as raised:
        open_segmenter("jieba")
    wanted = "the segmenter jieba is not installed; pip install 'bertcli[zh]', or name a file with a word a line."
    assert str(raised.value) == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the word list {path}: No such file or directory; the built-in one is `jieba`."),
        ("北京\n大学\n".encode() + b"\xff\n", "{path}:3: invalid UTF-8 in the word list; convert it with iconv."),
        (b" \n\n", "{path}: there is no word in the list."),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as raised:
        open_segmenter(str(path))
    assert str(raised.value) == message.format(path=path)
