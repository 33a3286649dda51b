"""Shards: whatever the file and the number, they share no record and miss none."""

import bz2
import gzip
import io
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli.data.readers import ReadOptions, Shard, count_before, parse_shard, read
from bertcli.data.records import Record
from bertcli.data.writers import open_writer
from bertcli.errors import UsageError

PIECES = [b"a", b'"', b",", b"\t", b"\n", b"\n", b"\n\n", b"\r\n", b"\r", b" ", b"\xff", b"\xef\xbb\xbf", b'{"a": 1}',
          b"# text = b\n", b"-DOCSTART-\n", "é\u2028".encode()]  # fmt: skip
content = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
NAMES = ["a.txt", "a.jsonl", "a.csv", "a.tsv", "a.conll", "a.txt.gz", "a.jsonl.bz2"]


def shown(records: Any) -> list[tuple[Any, ...]]:
    return [(Path(record.source).name, record.line, record.fault, record.fields) for record in records]


def write(path: Path, data: bytes) -> None:
    pack = {".gz": gzip.compress, ".bz2": bz2.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(data))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from(NAMES), content), min_size=1, max_size=3), st.integers(1, 12), st.data())
def test_the_shards_of_any_files_are_the_whole(files: list[tuple[str, bytes]], count: int, data: Any) -> None:
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8", "latin-1", "utf-16"]))
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, f"{i}{name}")) for i, (name, _) in enumerate(files)]
        for path, (_, bytes_) in zip(paths, files, strict=True):
            write(Path(path), bytes_)
        options: dict[str, Any] = {"encoding": encoding}
        if any(Path(path).suffix in (".csv", ".tsv", ".conll") for path in paths):
            options["columns"] = ["x", "y"]
        whole = shown(read(paths, **options))
        found: list[tuple[Any, ...]] = []
        for number in range(1, count + 1):
            shard = Shard(number, count)
            assert count_before(paths, shard, ReadOptions(**options)) == len(found)
            found += shown(read(paths, shard=shard, **options))
    assert found == whole


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_shard_of_a_table_knows_its_header(tmp_path: Path, name: str) -> None:
    separator = "," if name == "a.csv" else "\t"
    rows = [f'x{i}{separator}"q{i}"' for i in range(20)]
    (tmp_path / name).write_text("\n".join([f"text{separator}n", *rows]))
    found = [record.fields["text"] for i in (1, 2, 3) for record in read([str(tmp_path / name)], shard=Shard(i, 3))]
    assert found == [f"x{i}" for i in range(20)]


def test_whole_files_go_where_they_begin(tmp_path: Path) -> None:
    document = {"data": [{"paragraphs": [{"context": "c", "qas": [{"id": "1", "question": "q"}] * 3}]}]}
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(document))
    paths = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert [len(list(read(paths, shard=Shard(i, 4)))) for i in (1, 2, 3, 4)] == [3, 0, 3, 0]
    (tmp_path / "c.txt").touch()
    found = [list(read([str(tmp_path / "c.txt")], input_format="document", shard=Shard(i, 2))) for i in (1, 2)]
    assert sorted(map(len, found)) == [0, 1]  # an empty document is a record


def test_a_shard_reads_only_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_bytes(b"".join(b"%07d\n" % i for i in range(100_000)))
    (record,) = [r for i, r in enumerate(read([str(tmp_path / "a.txt")], shard=Shard(9, 10))) if i == 0]
    assert (record.fields, record.line, record.index) == ({"text": "0080000"}, 80_001, 0)
    monkeypatch.setattr("bertcli.data.streams.Path", Checked.path)
    assert sum(1 for _ in read([str(tmp_path / "a.txt")], shard=Shard(9, 10))) == 10_000
    assert Checked.least >= 640_000 - 1


class Checked(io.BufferedReader):
    """Notes the first byte that was looked for."""

    least = 10**9

    @staticmethod
    def path(name: str) -> SimpleNamespace:
        return SimpleNamespace(open=lambda mode, buffering: Checked(io.FileIO(name)))

    def seek(self, offset: int, whence: int = 0) -> int:
        Checked.least = min(Checked.least, offset)
        return super().seek(offset, whence)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2", ""])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"write I/N with I from 1 to N, as in 1/8"):
        parse_shard(text)


def test_stdin_has_no_shards() -> None:
    with pytest.raises(UsageError, match="needs regular files, whose size is known; stdin is none"):
        read(["-"], shard=Shard(1, 2))


def test_a_table_that_continues_has_no_header(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    with open_writer(str(path), first_index=lambda: 7, has_files=True) as writer:
        writer.write({"a": 1})
        writer.write_error("bad", Record(1, line=5, source="b"))
    assert path.read_bytes() == b"1,\n,b:5: bad\n"


@pytest.mark.parametrize(("first", "header"), [({"b": 1, "a": 2}, b"b,a,error\n"), ({}, b"error\n"), (None, b"")])
def test_a_first_shard_without_a_result_has_the_columns_of_all(
    tmp_path: Path, first: dict[str, int] | None, header: bytes
) -> None:
    with open_writer(str(tmp_path / "a.csv"), first_result=first):
        pass
    assert (tmp_path / "a.csv").read_bytes() == header
