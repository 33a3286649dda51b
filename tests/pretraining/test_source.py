"""Raw text as documents: where they begin and end, what is left out, and which files a name stands for."""

import bz2
import gzip
import lzma
import os
from pathlib import Path
from typing import Any

import pytest

from bertcli.errors import RecordError, UsageError
from bertcli.pretraining import source
from bertcli.pretraining.source import Document, Source, expand

DATA = Path(__file__).parents[3] / "shared" / "data" / "open"
TEXT = b"\xef\xbb\xbf\n one \r\ntwo\n\n \t\r\n\xe3\x80\x80three\n"


def found(path: Path, content: bytes, **options: Any) -> list[tuple[int, list[str]] | str]:
    """Documents as (line, lines), faults as their message, both without the directory."""
    path.write_bytes(content)
    items = list(Source([], **options).read(str(path)))
    assert all(item.source == str(path) for item in items if isinstance(item, Document))
    return [
        (item.line, item.lines) if isinstance(item, Document) else str(item).removeprefix(f"{path.parent}/")
        for item in items
    ]


@pytest.mark.parametrize(
    ("per", "expected"),
    [
        ("blank-line", [(2, ["one", "two"]), (6, ["three"])]),
        ("line", [(2, ["one"]), (3, ["two"]), (6, ["three"])]),
        ("file", [(2, ["one", "two", "three"])]),
    ],
)
def test_plain_text_is_parted_as_asked(tmp_path: Path, per: str, expected: Any) -> None:
    assert found(tmp_path / "a.txt", TEXT, document_per=per) == expected


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_compressed_text_is_read(tmp_path: Path, suffix: str, compress: Any) -> None:
    assert found(tmp_path / f"a{suffix}", compress.compress(TEXT)) == [(2, ["one", "two"]), (6, ["three"])]


def test_an_empty_file_has_no_documents(tmp_path: Path) -> None:
    assert found(tmp_path / "a.txt", b"") == found(tmp_path / "b.txt", b"\n \n") == []


def test_a_broken_line_is_left_out_of_its_document(tmp_path: Path) -> None:
    fault = "a.txt:2: invalid UTF-8 at byte 2 of the line; --encoding names another encoding"
    assert found(tmp_path / "a.txt", b"one\nx\xff\ntwo\n") == [fault, (1, ["one", "two"])]


def test_another_encoding(tmp_path: Path) -> None:
    assert found(tmp_path / "a.txt", "é\n\nü\n".encode("utf-16"), encoding="utf-16") == [(1, ["é"]), (3, ["ü"])]
    with pytest.raises(UsageError, match="no encoding 'utf-99'"):
        next(Source([], encoding="utf-99").read(str(tmp_path / "a.txt")))


def test_a_broken_archive_is_a_fault_after_what_could_be_read(tmp_path: Path) -> None:
    text = b"".join(b"%d\n" % i for i in range(100_000))
    *_, fault, document = found(tmp_path / "a.txt.gz", gzip.compress(text)[:-20_000])
    assert isinstance(fault, str) and "the rest of this input is lost" in fault
    assert document[0] == 1 and document[1][:2] == ["0", "1"]


@pytest.mark.parametrize(("name", "content"), [("a.bin", b"\x7fELF\0\0text\n"), ("a.gz", gzip.compress(b"a\n\0"))])
def test_a_binary_file_is_one_fault(tmp_path: Path, name: str, content: bytes) -> None:
    expected = f"{name}:1: a binary file (NUL bytes); --encoding names an encoding that has them"
    assert found(tmp_path / name, content) == [expected]


def test_what_is_no_text_in_any_encoding_is_one_fault(tmp_path: Path) -> None:
    expected = "a.pdf:1: PDF, no text; `pdftotext "
    for encoding in ("utf-8", "latin-1", "gb18030"):
        (fault,) = found(tmp_path / "a.pdf", b"%PDF-1.4\n\xe4\xf6\n", encoding=encoding)
        assert str(fault).startswith(expected)


def test_a_nul_far_into_the_text_is_a_character(tmp_path: Path) -> None:
    assert found(tmp_path / "a.txt", b"a\n" * 5000 + b"b\0b") == [(1, ["a"] * 5000 + ["b\0b"])]


def test_each_jsonl_record_is_a_document(tmp_path: Path) -> None:
    lines = [
        b'{"text": "one\\r\\n\\n two"}',
        b'{"text": 3}',
        b"{",
        b'{"body": "x"}',
        b'{"text": " "}',
        b'{"text": "z"}',
    ]
    assert found(tmp_path / "a.jsonl", b"\n".join(lines), document_per="file") == [
        (1, ["one", "two"]),
        "a.jsonl:2: field 'text' is no text; --text-field names another.",
        "a.jsonl:3: not JSON (Expecting property name enclosed in double quotes at column 2)",
        "a.jsonl:4: no field 'text' (the record has: body); --text-field names another.",
        (6, ["z"]),
    ]


def test_a_field_of_csv_and_tsv(tmp_path: Path) -> None:
    csv = b'id,body\n1,"one\n\ntwo"\n2,three\n'
    assert found(tmp_path / "a.csv", csv, text_field="body") == [(2, ["one", "two"]), (5, ["three"])]
    assert found(tmp_path / "a.tsv", b"id\tbody\n1\tone\n", text_field="body") == [(2, ["one"])]


def test_a_very_long_document_is_cut_between_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LARGEST", 6)
    expected = [(1, ["aaa", "bbb"]), (4, ["cccccccc"]), (5, ["d"])]
    assert found(tmp_path / "a.txt", b"aaa\nbbb\n\ncccccccc\nd\n", document_per="file") == expected


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden", ".git/d.txt", "odd[1].txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["b.txt", "a.txt"], ["b.txt", "a.txt"]),
        (["."], ["a.txt", "b.txt", "odd[1].txt", "sub/c.txt"]),
        (["[ab].txt"], ["a.txt", "b.txt"]),
        (["**/*.txt"], ["a.txt", "b.txt", "odd[1].txt", "sub/c.txt"]),
        (["s*"], ["sub/c.txt"]),
        (["odd[1].txt"], ["odd[1].txt"]),
        ([".hidden", "sub", "sub/../sub/c.txt"], [".hidden", "sub/c.txt"]),
    ],
)
def test_names_stand_for_files_each_once(tree: Path, paths: list[str], expected: list[str]) -> None:
    assert expand(paths) == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("-", "a corpus is read more than once, which stdin cannot be; write it to a file and name that."),
        ("none.txt", "cannot read none.txt: No such file or directory"),
        ("*.csv", r"no file matches '\*.csv'; name files, directories or quoted patterns."),
        ("empty", "there is no file in empty; name files, directories or quoted patterns."),
        ("pipe", "pipe is a pipe or a device, and a corpus is read more than once; write it to a file."),
        ("a\0b", "cannot read a\0b: .*null"),
    ],
)
def test_a_name_without_a_file_is_a_usage_error(tree: Path, path: str, message: str) -> None:
    (tree / "empty").mkdir()
    os.mkfifo("pipe")
    with pytest.raises(UsageError, match=message):
        expand([path])


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
def test_wikipedia_articles_are_as_many_as_their_titles() -> None:
    items = list(Source([]).read(str(DATA / "wiki_zh" / "zhwiki-hant-sample.txt.xz")))
    assert len(items) == len((DATA / "wiki_zh" / "zhwiki-hant-sample.titles.tsv").read_bytes().splitlines())
    assert not any(isinstance(item, RecordError) for item in items)


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data sets are not here")
def test_a_novel_has_no_marks_of_its_file_in_its_text() -> None:
    (novel,) = Source([], document_per="file").read(str(DATA / "novels_en" / "Doyle_Hound_1902.txt.xz"))
    assert isinstance(novel, Document)
    assert all(line and line == line.strip() and "\ufeff" not in line for line in novel.lines)
