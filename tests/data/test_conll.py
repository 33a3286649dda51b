"""CoNLL in and out."""

from pathlib import Path
from typing import Any

import pytest

from bertcli.data.readers import read
from bertcli.data.streams import LONE_RETURN
from bertcli.data.writers import open_writer
from bertcli.errors import RecordError

DATA = Path(__file__).parents[3] / "shared" / "data" / "open"


def fields(tmp_path: Path, text: str, **options: object) -> list[object]:
    (tmp_path / "a.conll").write_bytes(text.encode())
    return [record.fault or record.fields for record in read([str(tmp_path / "a.conll")], **options)]  # type: ignore[arg-type]


def both(tokens: str, tags: str) -> dict[str, list[str]]:
    return {"tokens": tokens.split(), "tags": tags.split()}


def test_conll_u_plus_names_its_columns(records: Any) -> None:
    content = b"# global.columns = ID FORM UPOS NE\n1\tAnn\tPROPN\tB-PER\n2-3\tdu\t_\t_\n2\tde\tADP\tO\n3\tle\tDET\tO\n"
    (record,) = records(content, "a.conllup")
    assert record.fields == both("Ann de le", "B-PER O O")
    (record,) = records(content, "a.conllup", columns=["id", "tokens", "tags", "x"])
    assert record.fields == both("Ann de le", "PROPN ADP DET")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Rome\tB-LOC\n.\tO\n\n\nHi\tO", [both("Rome .", "B-LOC O"), both("Hi", "O")]),
        ("-DOCSTART- -X- O O\n\nRome NNP B-NP B-LOC\n", [both("Rome", "B-LOC")]),
        ("a\r\nb\r\n\r\nc\r\n", [{"tokens": ["a", "b"]}, {"tokens": ["c"]}]),
        ("# O\n1 O\n", [both("# 1", "O O")]),
        ("#\tO\n", [both("#", "O")]),
        ("# sent_id = 1\n1\tRome\tB-LOC\t-\t-\n2\t.\tO\t-\t-\n", [both("Rome .", "B-LOC O")]),
        ("\ufeffRome\tO\n", [both("Rome", "O")]),
        ("\u200b\tO\n\ufeff\tO\n", [{"tokens": ["\u200b", "\ufeff"], "tags": ["O", "O"]}]),
        ("a\tO\nb\n\nc\tO\n", ["1 columns where the sentence has 2", both("c", "O")]),
        ("# NN B-NP O\n1 CD I-NP B-ORG\n", [both("# 1", "O B-ORG")]),  # a token, for it has as many columns
        ("# NN B-NP O\n", [both("#", "O")]),
        ("# text = Hi you\nHi NN B-NP O\n\n# newdoc id = 3\n\nyou NN B-NP O\n", [both("Hi", "O"), both("you", "O")]),
        ("#tag\na\tO\nb\tO\n", ["1 columns where the sentence has 2"]),  # a lost tag, no comment
        ("a\tO\n# b\nc\tO\n", ["1 columns where the sentence has 2"]),
        (
            "Hi NN O\n\n1 CD B-LOC\n\n1 CD O\n2 CD B-LOC\n",
            [both("Hi", "O"), both("1", "B-LOC"), both("1 2", "O B-LOC")],
        ),
        ("1\tHi\tO\t-\n2\t.\tO\t-\n\n3\tyou\tO\t-\n", [both("Hi .", "O O"), both("you", "O")]),
        ("a\tO\n-DOCSTART-\tO\nb\tO\n", [both("a", "O"), both("b", "O")]),
        ("-DOCSTART-x\tO\n", [both("-DOCSTART-x", "O")]),
        ("1\u00a0000 CD O\n", [{"tokens": ["1\u00a0000"], "tags": ["O"]}]),
        ("0\tHi\tO\n1\tAnn\tB-PER\n\n0\tyou\tO\n", [both("Hi Ann", "O B-PER"), both("you", "O")]),
        ("Ann\tB-PER\t\nis\tO\t\n\nin\tO\t\n", [both("Ann is", "B-PER O"), both("in", "O")]),
        ("a\tNN\t\nb\tNN\tB-LOC\n", [{"tokens": ["a", "b"], "tags": ["", "B-LOC"]}]),  # "" is as good as O
        ("a\t\nb\t\n", [{"tokens": ["a", "b"], "tags": ["", ""]}]),
        ("Ann\tB-PER\ris\tO\r\r", [LONE_RETURN]),
        (
            "#begin document (b/1); part 000\nb 0 Hi O\n\n#end document\n#begin document (b/2)\nb 0 you O\n",
            [both("b", "O"), both("b", "O")],
        ),
        (
            "#begin document (b/1); part 000\n"
            "b/1  0  0  In  IN  (S*  -  -  -  A  *  *  -\n"
            "b/1  0  1  New  NN  (NP*  -  -  -  A  (GPE*  *  (0\n"
            "b/1  0  2  York  NN  *)  -  -  -  A  *)  *  0)\n"
            "b/1  0  3  today  NN  *)  -  -  -  A  (DATE)  *  -\n"
            "b/1  0  4  .  .  *)  -  -  -  A  *  *  -\n\n#end document\n",
            [both("In New York today .", "O B-GPE I-GPE B-DATE O")],
        ),
        (
            "1\tIt\tit\tPRON\t_\t_\t2\tsubj\t_\t_\n2\tis\tbe\tAUX\t_\t_\t0\troot\t_\t_\n",
            [both("It is", "PRON AUX")],
        ),
    ],
)
def test_sentences(tmp_path: Path, text: str, expected: list[object]) -> None:
    assert fields(tmp_path, text) == expected


def test_a_byte_that_does_not_decode_is_a_fault_of_its_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_bytes(b"a\tO\n\xff\tO\n\nb\tO\n")
    one, other = read([str(tmp_path / "a.conll")])
    assert one.line == 2 and one.fault == "invalid UTF-8 at byte 1 of the line; --encoding names another encoding"
    assert other.fields == both("b", "O") and other.line == 4


def test_every_token_knows_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("# text = a b\na\tO\nb\tO\n\n\nc\tO\nd\tO\n")
    records = list(read([str(tmp_path / "a.conll")]))
    error = RecordError("one", [(0, "one"), (1, "two")])
    file = tmp_path / "a.conll"
    assert records[0].listed(error) == [f"{file}:2: one", f"{file}:3: two"]
    assert records[1].listed(error) == [f"{file}:6: one", f"{file}:7: two"]
    (tmp_path / "a.jsonl").write_text('{"tokens": ["a", "b"]}\n')
    (record,) = read([str(tmp_path / "a.jsonl")])
    assert record.listed(error) == [f"{tmp_path / 'a.jsonl'}:1: one", f"{tmp_path / 'a.jsonl'}:1: two"]


def test_all_broken_lines_of_a_sentence_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("a\tO\nb\nc\tO\nd\tO\tx\ne\n")
    (record,) = read([str(tmp_path / "a.conll")])
    assert record.line == 2 and record.fault == "1 columns where the sentence has 2 (and line 4, 5)"


def test_columns_by_name(tmp_path: Path) -> None:
    assert fields(tmp_path, "B-LOC x Rome\n", columns=["tags", "pos", "tokens"]) == [both("Rome", "B-LOC")]
    assert "names 1" in str(fields(tmp_path, "B-LOC Rome\n", columns=["tokens"])[0])


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    sentences = [both("Rome # .", "B-LOC O O"), both("x", "O")]
    with open_writer(str(tmp_path / "a.conll")) as writer:
        for result in sentences:
            writer.write(result)
    assert [record.fields for record in read([str(tmp_path / "a.conll")])] == sentences
    with open_writer(str(tmp_path / "b.conll")) as writer:
        writer.write({"tokens": ["a\tb"], "tags": ["O"]})
        writer.write({"text": "no tokens"})
    assert writer.failures == 2
    assert (tmp_path / "b.conll").read_text().count("# ") == 2


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
@pytest.mark.parametrize(
    ("file", "sentences", "found"),
    [
        ("wnut17/wnut17train.conll.xz", 3394, 1975),
        ("wnut17/emerging.dev.conll", 1009, 836),
        ("wnut17/emerging.test.annotated", 1287, 1079),
        ("btc/btc.train.xz", 6338, None),
        ("btc/btc.dev", 1001, None),
        ("btc/btc.test.xz", 2001, 4376),
        ("uner_en_ewt/en_ewt-ud-test.iob2.xz", 2077, None),
        ("uner_zh_gsdsimp/zh_gsdsimp-ud-test.iob2", 500, None),
    ],
)
def test_real_files_have_their_published_counts(file: str, sentences: int, found: int | None) -> None:
    from bertcli.metrics.entities import spans

    path = next(path for path in (DATA / file, DATA / f"{file}.xz") if path.is_file())
    records = list(read([str(path)], input_format="conll"))
    assert not [record.location for record in records if record.fault]
    assert len(records) == sentences
    if found is not None:
        assert sum(len(spans(record.fields["tags"])) for record in records) == found


def test_other_white_space_is_a_token(records: Any) -> None:
    found = records("\u2028\n\na b\n\u00a0\n".encode(), "a.conll")
    assert found[0].fields == {"tokens": ["\u2028"]}
    assert found[1].fault == "2 columns where the sentence has 1"  # as the one before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1-2\tdu\tX\n1\tde\tO\n2\tle\tO\n", ["de le"]),
        ("1\tI\tO\n1.1\tam\tO\n2\tsleep\tO\n\n1-2\tdu\tX\n1\tde\tO\n2\tle\tO\n", ["I sleep", "de le"]),
        ("0.1\tam\tO\n1\tI\tO\n", ["I"]),
        ("# a\tb\tc\n#x\ty\tz\n#\n1\tI\tO\n# within\tit\tO\n2\tsleep\tO\n", ["I sleep"]),
        ("# id f5\tdomain=en\na _ _ B-PER\n", ["a"]),
        ("# id f5 domain=en\na _ _ B-PER\n", ["a"]),  # as many columns, but its last is no tag
        ("# id f5\tdomain=en\na\tB-PER\n", ["a"]),
        ("# id f5\tdomain=en\n\na\tB-PER\n", ["a"]),
        ("# _ _ O\na _ _ B-PER\n", ["# a"]),
        ("#\tO\na\tO\n", ["# a"]),
        ("a\tO\n#\tO\n", ["a #"]),
        ("#tag NN\na DT\n", ["#tag a"]),
        ("# # O\n1 CD O\n", ["# 1"]),
        ("#\n#a\nb\n", ["# #a b"]),
        ("1\tI\tO\n\n1-2\tdu\tX\n", ["I", "a sentence without a word: only ranges and empty nodes"]),
    ],
)
def test_ranges_and_comments_are_no_tokens(tmp_path: Path, text: str, expected: list[str]) -> None:
    shown = [item if isinstance(item, str) else " ".join(item["tokens"]) for item in fields(tmp_path, text)]  # type: ignore[index]
    assert shown == expected


def test_a_fault_is_at_the_line_of_its_token(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("# c\n1-2\tdu\t_\n1\tde\tO\n2\tle\tO\n\n1\tla\tO\n")
    first, second = read([str(tmp_path / "a.conll")])
    error = RecordError("bad", [(0, "bad"), (1, "bad")])
    assert [location.rpartition(":")[2] for location, _ in first.located(error)] == ["3", "4"]
    assert second.location.endswith(":6")
