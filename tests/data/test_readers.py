"""Readers: every format, every encoding, and every kind of broken input."""

import bz2
import codecs
import gzip
import io
import lzma
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from bertcli.data import formats, streams
from bertcli.data.formats.labelling import ROW
from bertcli.data.readers import read
from bertcli.data.records import Header, Record
from bertcli.errors import BertcliError, UsageError


class Stdin:
    """A stdin in memory."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)

    def fileno(self) -> int:
        raise io.UnsupportedOperation


def texts(found: list[Record]) -> list[str]:
    return [record.fault or record.fields["text"] for record in found]


# -- lines


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"\na\n\n", ["", "a", ""]),
        (b"\r\n", [""]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b"\xef\xbb\xbf", []),
        (b"a\rb\r\r\nc\r", ["a\rb\r", "c\r"]),
        ("a\u2028b\x0bc\x0cd\x85e\x1cf\n".encode(), ["a\u2028b\x0bc\x0cd\x85e\x1cf"]),
        (b"a\x00b\n", ["a\x00b"]),
        (b' "a\tb" \n', [' "a\tb" ']),
        (b"a" * 1_000_000 + b"\nb\n", ["a" * 1_000_000, "b"]),
    ],
)
def test_lines(records: Any, content: bytes, expected: list[str]) -> None:
    assert texts(records(content)) == expected


def test_invalid_utf8_spoils_its_line_only(records: Any) -> None:
    found = records(b"a\nb\xff\nc\n\xed\xa0\x80\n")
    fault = "invalid UTF-8 at byte {} of the line; --encoding names another encoding"
    assert texts(found) == ["a", fault.format(2), "c", fault.format(1)]
    assert [record.line for record in found] == [1, 2, 3, 4]


def test_a_line_beyond_the_limit_is_one_fault(records: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_LINE", 1 << 20)
    monkeypatch.setattr(streams, "READ_SIZE", 1000)
    content = b"a\n" + b"x" * (1 << 20) + b"\n" + b"y" * (3 << 20) + b"\nb\n" + b"z" * ((1 << 20) + 1)
    assert [text[:30] for text in texts(records(content))] == [
        "a",
        "x" * 30,
        "a line longer than 1 MiB",
        "b",
        "a line longer than 1 MiB",
    ]


def test_index_counts_all_inputs_and_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("a\nb\n")
    (tmp_path / "c.jsonl").write_text('\n{"text": "d"}\n')
    monkeypatch.setattr(sys, "stdin", Stdin(b"c\n"))
    found = list(read([str(tmp_path / "a.txt"), "-", str(tmp_path / "c.jsonl")]))
    assert [(r.index, r.line, r.fields["text"]) for r in found] == [(0, 1, "a"), (1, 2, "b"), (2, 1, "c"), (3, 2, "d")]
    assert [r.location for r in found[1:]] == [f"{tmp_path}/a.txt:2", "stdin:1", f"{tmp_path}/c.jsonl:2"]


def test_no_path_is_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(b'{"text": "a"}'))
    assert texts(list(read([], input_format="jsonl"))) == ["a"]


def test_a_file_called_as_stdin_is_another(tmp_path: Path) -> None:
    (tmp_path / "-").touch()
    script = "from bertcli.data.readers import read; print(sum(1 for _ in read(['-'])))"
    lines = b"line\n" * 400_000
    done = subprocess.run([sys.executable, "-c", script], input=lines, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == b"400000\n"


def test_a_closed_stdin_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="stdin is closed"):
        list(read([]))


# -- paths, formats, encodings


def test_every_path_is_checked_before_the_first_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    with pytest.raises(UsageError, match=r"^cannot read .*/b.txt: No such file or directory$"):
        read([str(tmp_path / "a.txt"), str(tmp_path / "b.txt")])
    with pytest.raises(UsageError, match="it is a directory; name the files in it"):
        read([str(tmp_path)])
    with pytest.raises(UsageError, match="cannot read"):
        read(["a\0b"])
    with pytest.raises(UsageError, match=r"^cannot read .*/a.txt/: Not a directory$"):
        read([f"{tmp_path}/a.txt/"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch(mode=0)
    with pytest.raises(UsageError, match="Permission denied"):
        read([str(tmp_path / "a.txt")])


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.touch()
    found = read([str(path)])
    path.unlink()
    with pytest.raises(UsageError, match="No such file"):
        next(found)


@pytest.mark.parametrize(("name", "header"), [("a.txt", b""), ("a.csv", b"text\n")])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path, name: str, header: bytes, encoding: str) -> None:
    path = tmp_path / name
    path.write_bytes(header + b"a line\n" * 100_000)
    rest = read([str(path)], encoding=encoding)
    read_before = next(rest)
    os.truncate(path, 10)
    *whole, last = rest
    assert {record.fields["text"] for record in [read_before, *whole]} == {"a line"}  # and no part of one
    assert last.fault == "cannot read on (it became shorter while it was read); the rest of this input is lost"


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"a line\n" * 100_000)
    rest = read([str(path)])
    next(rest)
    with path.open("ab") as file:
        file.write(b"another")
    assert texts(list(rest))[-2:] == ["a line", "another"]


@pytest.mark.parametrize(
    ("content", "columns", "expected"),
    [
        ("id,text\n", None, [["id", "text"]]),
        ("id,text\n7,a\n8\n", None, [["id", "text"]]),
        ("", ["a", "b"], [["a", "b"]]),
        ("", None, []),
        (",".join(sorted(ROW)) + "\n", None, []),  # Label Studio's, of which records with other fields are made
    ],
)
def test_the_header_of_a_table_is_told(
    tmp_path: Path, content: str, columns: list[str] | None, expected: list[list[str]]
) -> None:
    headers: list[Header] = []
    (tmp_path / "a.csv").write_text(content)
    list(read([str(tmp_path / "a.csv")], columns=columns, headed=headers.append))
    assert [header.names for header in headers] == expected


def test_unknown_format_and_encoding() -> None:
    names = "arrow, brat, cluener, conll, csv, doccano, document, jsonl, label-studio, lines, parquet, prodigy, squad, "
    names += "tsv, webanno"
    with pytest.raises(UsageError, match=f"no input format 'xml'; there are: {names}"):
        read([], input_format="xml")
    for encoding in ("nope", "base64", "idna", "undefined", "a\0b"):
        with pytest.raises(UsageError, match="no encoding"):
            read([], encoding=encoding)


def test_formats_by_extension() -> None:
    names = ["a.jsonl", "a.NDJSON.gz", "a.json", "a.csv.xz", "a.tab", "a.txt.bz2", "a", "a.gz", "-", "a.CoNLLU"]
    found = [formats.by_extension("input", name) for name in names]
    assert found == ["jsonl", "jsonl", "jsonl", "csv", "tsv", "lines", None, None, None, "conll"]
    names = "arrow, brat, conll, csv, doccano, jsonl, label-studio, npy, parquet, prodigy, rich, tsv"
    assert ", ".join(formats.OUTPUT) == names


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_compressed(records: Any, suffix: str, module: Any) -> None:
    whole = module.compress(b"text\na\n") + module.compress(b"b\n")
    assert texts(records(whole, f"a.tsv{suffix}")) == ["a", "b"]
    for broken in (whole[:-4], b"not an archive"):
        *_, last = records(broken, f"a.txt{suffix}")
        assert last.fault.startswith("cannot read on (")
        assert last.fault.endswith("); the rest of this input is lost")
    *good, fault = records(module.compress(b"a\n" * 50_000)[:-1], f"a.txt{suffix}")
    assert {record.fields["text"] for record in good} <= {"a"}
    assert fault.fault.startswith("cannot read on (")


def test_flipped_bytes_in_an_archive_never_escape(records: Any) -> None:
    for module, suffix in ((gzip, ".gz"), (bz2, ".bz2"), (lzma, ".xz")):
        whole = bytearray(module.compress(os.urandom(300) + b"\n" * 50))  # type: ignore[attr-defined]
        for place in range(0, len(whole), 7):
            flipped = whole.copy()
            flipped[place] ^= 0x41
            records(bytes(flipped), f"a.txt{suffix}")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig", "UTF8"])
def test_encodings(records: Any, encoding: str) -> None:
    content = 'text,n\r\n"é\nü, ",1\r\n\r\nâ,2'
    found = records(content.encode(encoding), "a.csv", encoding=encoding)
    assert [(r.line, r.fields) for r in found] == [(2, {"text": "é\nü, ", "n": "1"}), (5, {"text": "â", "n": "2"})]
    assert texts(records("é\nü\n".encode(encoding), encoding=encoding)) == ["é", "ü"]


def test_a_multibyte_encoding_is_not_split_inside_a_character(records: Any) -> None:
    text = "表" * 50_000 + "਀"  # U+0A00 holds the byte of a line feed in UTF-16
    assert texts(records(text.encode("utf-16"), encoding="utf-16")) == [text]
    assert texts(records((b"\x95\x5c" * 40_000) + b"\n", encoding="shift_jis")) == ["表" * 40_000]


def test_faults_of_other_encodings(records: Any) -> None:
    lone = "é\n".encode("utf-16-le") + b"b\0\x00\xd8c\0\n\0" + "d".encode("utf-16-le") + b"x"
    fault = "invalid utf-16-le at character 2 of the line; --encoding names another encoding"
    assert texts(records(lone, encoding="utf-16-le")) == ["é", fault, fault]
    assert texts(records(b"a\n\xc3\n", encoding="ascii"))[0] == "a"
    assert "does not start with BOM" in texts(records(b"a\n", encoding="utf-16"))[0]


# -- streaming


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("lines", [b"a\n", b"b\n"]),
        ("jsonl", [b'{"text": "a"}\n', b'{"text": "b"}\n']),
        ("csv", [b"text\n", b'"a"\n', b"b\n"]),
        ("tsv", [b"text\n", b"a\n", b"b\n"]),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_record_comes_as_soon_as_its_line(tmp_path: Path, name: str, lines: list[bytes], encoding: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    may_go_on = threading.Semaphore(0)

    def feed() -> None:
        with pipe.open("wb", buffering=0) as stream:
            for line in lines:
                stream.write(line)
                if line[0] not in b"t":
                    may_go_on.acquire(timeout=10)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    found = []
    for record in read([str(pipe)], input_format=name, encoding=encoding):
        found.append(record.fields["text"])  # were it to wait for the next line, this would take the 10 s
        assert feeder.is_alive()
        may_go_on.release()
    assert found == ["a", "b"]


def test_a_thread_that_waits_for_stdin_does_not_break_the_exit() -> None:
    program = (
        "import threading, time; from bertcli.data.readers import read\n"
        "threading.Thread(target=lambda: list(read([])), daemon=True).start(); time.sleep(0.3)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_reading_imports_nothing_heavy() -> None:
    program = (
        "import sys; from bertcli.data import readers, writers; next(readers.read([]))\n"
        "print({'csv', 'gzip', 'lzma', 'bz2', 'rich', 'numpy', 'tempfile', 'json.tool'} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", program], input=b"a\n", capture_output=True, check=True)
    assert run.stdout == b"set()\n"


# -- anything at all

pieces = st.sampled_from(
    [b"\n", b"\r\n", b'"', b",", b"\t", b"{", b'{"a": 1}', b"\xff", b"\xef\xbb\xbf", b"\0", b"[", b"a"]
)
anything = st.binary(max_size=60) | st.lists(pieces, max_size=30).map(b"".join)


def _read(content: bytes, name: str, **options: Any) -> list[Record]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        return list(read([str(path)], **options))


@settings(max_examples=150)
@given(anything, st.sampled_from(["utf-8", "latin-1", "utf-16-le", "utf-7", "gb18030", "shift_jis"]))
def test_lines_are_counted_whatever_the_bytes(content: bytes, encoding: str) -> None:
    try:
        found = _read(content, "a.txt", encoding=encoding)
    except UsageError as error:
        assert "no text" in str(error)  # it begins as an image or an archive does
        reject()
    if encoding in ("utf-8", "latin-1"):
        body = content.removeprefix(codecs.BOM_UTF8) if encoding == "utf-8" else content
        assert len(found) == body.count(b"\n") + bool(body and not body.endswith(b"\n"))
    assert [record.index for record in found] == [*range(len(found))]


@settings(max_examples=150)
@given(
    anything,
    st.sampled_from(["a.jsonl", "a.csv", "a.tsv", "a.json", "a.txt.gz", "a.csv.xz", "a.bz2"]),
    st.none() | st.just(["a", "b"]),
)
def test_no_bytes_break_a_reader(content: bytes, name: str, columns: list[str] | None) -> None:
    try:
        found = _read(content, name, columns=columns)
    except BertcliError as error:
        assert str(error)
        return
    for record in found:
        assert "\n" not in (record.fault or "")
