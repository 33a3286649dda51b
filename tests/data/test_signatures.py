"""What is no text is told by its first bytes, and refused with the next step."""

import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bertcli.data.readers import read
from bertcli.data.streams import SIGNATURES, no_text
from bertcli.errors import RecordError, UsageError
from bertcli.pretraining.source import Source


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as whole:
        for name in names:
            whole.writestr(name, "x")
    return file.getvalue()


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as whole:
        whole.addfile(tarfile.TarInfo("a.txt"))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "name", "step"),
    [
        (gzip.compress(b"good\n"), "gzip", "zcat a.x"),
        (lzma.compress(b"good\n"), "xz", "xz -dc a.x"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "Zstandard", "zstd -dc a.x"),
        (b"BZh91AY&SY\x00", "bzip2", "bzip2 -dc a.x"),
        (archive("a.txt"), "a zip archive", "unzip -p a.x"),
        (archive("[Content_Types].xml", "word/document.xml"), "a Word document", "convert-to txt"),
        (archive("[Content_Types].xml", "xl/workbook.xml"), "an Excel workbook", "convert-to csv"),
        (b"PAR1\x15\x04\x15\x10", "Parquet", "--input-format parquet"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF", "pdftotext a.x"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\x00", "a document of an older Office", "as text or CSV"),
        (b"SQLite format 3\x00", "an SQLite database", "sqlite3 -csv"),
        (tar(), "a tar archive", "tar -xOf a.x"),
        (bytes(range(256)) * 2, "binary data", "bertcli reads texts"),
    ],
)
def test_what_is_no_text_is_named_with_the_next_step(tmp_path: Path, content: bytes, name: str, step: str) -> None:
    (tmp_path / "a.x").write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read([str(tmp_path / "a.x")])
    assert f"a.x: {name}, no text; " in str(refused.value)
    assert step in str(refused.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    "text", ["BZh is a name", "PAR1 is a name", "PK", "ORC", "Obj", "café %PDF-", "a\0b\n", "\x1b[0m"]
)
def test_text_is_text(text: str) -> None:
    assert no_text((text + "\n").encode() * 20, "-") is None


def test_no_signature_hides_another() -> None:
    for signature in SIGNATURES:
        begin = b"BZh9" if signature.name == "bzip2" else bytes(signature.offset)
        assert str(no_text(begin + signature.magic + b"\x00\xff" * 9, "-")).startswith(signature.name)


def test_a_tar_archive_is_known_under_its_compression(records: Any) -> None:
    with pytest.raises(UsageError, match="a tar archive, no text; `tar -xOf "):
        records(gzip.compress(tar()), "a.tar.gz")


def test_an_explicit_format_makes_it_faults_of_lines(records: Any) -> None:
    (only,) = records(gzip.compress(b"good", mtime=0), "a", input_format="lines")
    assert "; it is gzip, no text; `zcat " in only.fault


def test_a_corpus_leaves_it_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"%PDF-1.7\n")
    (only,) = Source([]).read(str(tmp_path / "a.txt"))
    assert isinstance(only, RecordError) and "a.txt:1: PDF, no text" in str(only)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json"])
def test_utf16_is_a_fault_of_each_line_under_any_name(records: Any, name: str, encoding: str) -> None:
    content = '{"text": "good"}\n{"text": "bad"}\n'.encode(encoding)
    faults = [record.fault for record in records(content, name)]
    assert faults[:2] == [f"{encoding.upper()}, as its first bytes say; --encoding {encoding} reads it"] * 2
    assert [r.fault for r in records(content, name, encoding=encoding)] == [None, None]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", ["Привет, мир\n", "一部很好的电影\n不好\n", "καλή\n", "अच्छी फिल्म\n", "หนังดี\n"])
def test_utf16_without_a_mark_is_told_in_other_scripts(records: Any, text: str, encoding: str) -> None:
    faults = {record.fault for record in records(text.encode(encoding), "a.txt")}
    assert faults == {f"{encoding.upper()}, as its first bytes say; --encoding {encoding} reads it"}
    assert not any(record.fault for record in records(text.encode() + b"\0", "a.txt"))


def test_a_nul_alone_makes_no_other_encoding(records: Any) -> None:
    assert [record.fault for record in records(b"\0\na\0b\n", "a.txt")] == [None, None]


@pytest.mark.parametrize(
    ("text", "encoding", "is_chinese"),
    [
        ("这部电影很好看", "gb18030", True),
        ('{"text": "不好"}', "gb18030", True),
        ("菜很好吃,送得也快", "gb18030", True),
        ("编号,评论,标签", "gb18030", True),
        ("번호,리뷰,라벨,내용,제목", "euc-kr", False),
        ("café, naïve, Größe", "latin-1", False),
        ("Привет, мир", "cp1251", False),
        ("안녕하세요 반갑습니다", "euc-kr", False),
        ("今日はいい天気です", "shift-jis", False),
    ],
)
def test_bytes_that_look_chinese_are_told_how_to_be_read(
    records: Any, text: str, encoding: str, is_chinese: bool
) -> None:
    (only,) = records(text.encode(encoding), "a.txt")
    assert only.fault.startswith("invalid UTF-8 at byte ")
    assert ("--encoding gb18030" in only.fault) is is_chinese
