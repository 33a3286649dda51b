"""Archives are read as `xz -dc` and `bzip2 -dc` read them, and what is lost is said."""

import bz2
import lzma
import os
from pathlib import Path
from typing import Any

import pytest

from bertcli.data import compression
from bertcli.data.compression import decompressed
from bertcli.data.readers import read

CASES = Path(__file__).parents[3] / "shared" / "cases"
LOST = "; the rest of this input is lost"
A, B = b'{"text": "a"}\n', b'{"text": "b"}\n'


def shown(records: list[Any]) -> list[Any]:
    return [record.fault or record.fields["text"] for record in records]


@pytest.mark.parametrize("padding", [0, 4, 8, 4 * 50_000])
def test_padding_between_and_after_streams(records: Any, padding: int) -> None:
    whole = lzma.compress(A) + bytes(padding) + lzma.compress(B) + bytes(padding)
    assert shown(records(whole, "a.jsonl.xz")) == ["a", "b"]


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        (bytes(5), "padding that is no multiple of four bytes"),
        (b"junk", "bytes that are no xz after the end of a stream"),
        (bytes(4) + b"\xfd7zX", "bytes that are no xz after the end of a stream"),
        (lzma.compress(B)[:-9], "Compressed file ended before the end-of-stream marker was reached"),
        (lzma.compress(B)[:6] + b"\xff" + lzma.compress(B)[7:], "Corrupt input data"),
    ],
)
def test_a_later_stream_of_xz_that_breaks_is_said(records: Any, rest: bytes, reason: str) -> None:
    first, *others, last = shown(records(lzma.compress(A) + rest, "a.jsonl.xz"))
    assert first == "a" and others in ([], ["b"])  # a stream that lacks only its end has all of its text
    assert last == f"cannot read on ({reason}){LOST}"


def test_a_later_stream_of_bz2_that_breaks_is_said(records: Any) -> None:
    second = bytearray(bz2.compress(B))
    second[10] ^= 0xFF  # the checksum of its block
    for rest in (bytes(second), bz2.compress(B)[:-4], b"junk"):
        first, *_, last = shown(records(bz2.compress(A) + rest, "a.jsonl.bz2"))
        assert first == "a" and last.startswith("cannot read on (") and last.endswith(LOST)
    assert shown(records(bz2.compress(A) + bz2.compress(B) + bytes(7), "a.jsonl.bz2")) == ["a", "b"]


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz"])
def test_no_bytes_are_no_archive(records: Any, ending: str) -> None:
    assert [text.endswith(LOST) for text in shown(records(b"", f"a.jsonl.{ending}"))] == [True]


def test_all_that_comes_before_a_fault_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "CHUNK", 1000)
    text = os.urandom(6000)
    whole = lzma.compress(text)
    for cut, least in ((len(whole) - 30, 6000), (4000, 3800)):
        broken = bytearray(whole)
        broken[cut - 1] ^= 0xFF  # the block's checksum or its index; or the text itself
        (tmp_path / "a.xz").write_bytes(broken)
        stream, got = decompressed(str(tmp_path / "a.xz"), "xz"), b""
        with pytest.raises((lzma.LZMAError, OSError)):
            while piece := stream.read(500):
                got += piece
        assert len(got) >= least and text.startswith(got[:3800])
        with pytest.raises((lzma.LZMAError, OSError)):
            stream.read(1)


@pytest.mark.skipif(not CASES.is_dir(), reason="the small cases are not here")
def test_the_files_of_the_report() -> None:
    assert shown(list(read([str(CASES / "padded.jsonl.xz")]))) == ["good", "bad", "film"]
    first, last = shown(list(read([str(CASES / "second_stream_broken.jsonl.xz")])))
    assert first == "good" and last.endswith(LOST)
