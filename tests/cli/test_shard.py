"""bertcli predict --shard: what all shards print, one after the other, is what one run prints."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tests.cli.conftest import Run

FILES = ["a.jsonl", "b.csv", "c.txt.gz", "d.txt"]


@pytest.fixture
def files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "good"}\n\n{"text": 1}\nnot json\n' * 9)
    (tmp_path / "b.csv").write_bytes(b"text,n\n" + b'"a dull\nmess",1\nshort\n' * 9)
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"good\n\xff\nbad\n"))
    (tmp_path / "d.txt").write_bytes(b"good\n\xff\nbad")


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.usefixtures("files")
def test_the_shards_of_several_files_join_to_one_run(bertcli: Run, count: int) -> None:
    whole = bertcli("predict", *FILES, expect=3).stdout
    shards = [["predict", *FILES, "--shard", f"{i}/{count}", "-q"] for i in range(1, count + 1)]
    assert b"".join(bertcli(*shard, expect=3).stdout for shard in shards) == whole


@pytest.mark.usefixtures("files")
def test_the_tables_of_shards_join_to_one_table(bertcli: Run) -> None:
    whole = bertcli("predict", "b.csv", "--format", "csv", expect=3).stdout
    shards = [bertcli("predict", "b.csv", "--format", "csv", "--shard", f"{i}/2", expect=3).stdout for i in (1, 2)]
    assert b"".join(shards) == whole
    assert whole.count(b"text,n,label") == shards[0].count(b"text,n,label") == 1


@pytest.mark.parametrize("names", [["a.csv"], ["b.csv", "a.csv"]])
def test_the_first_result_of_all_names_the_columns_of_each_shard(
    bertcli: Run, tmp_path: Path, names: list[str]
) -> None:
    (tmp_path / "a.csv").write_text("text,the_number_of_the_row\ngood,1\nbad,2\n")  # the header is more than a shard
    (tmp_path / "b.csv").write_text("the_number_of_the_row,text\n3,good\n4,bad\n")
    command = ["predict", *names, "--format", "csv"]
    whole = bertcli(*command).stdout
    assert b"".join(bertcli(*command, "--shard", f"{i}/3").stdout for i in (1, 2, 3)) == whole


def test_the_documents_of_shards_have_names_of_their_own(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "e.txt").write_text("Rome\nParis\nBerlin\n")
    shards = [bertcli("predict", "-t", "ner", "e.txt", "--format", "brat", "--shard", f"{i}/2").stdout for i in (1, 2)]
    with tarfile.open(fileobj=io.BytesIO(b"".join(shards)), ignore_zeros=True) as archive:
        names = archive.getnames()
    assert names == [f"00000{i}.{suffix}" for i in (1, 2, 3) for suffix in ("txt", "ann")]


def test_a_shard_of_stdin_or_of_nothing_is_a_usage_error(bertcli: Run) -> None:
    assert b"--shard needs regular files" in bertcli("predict", "--shard", "1/2", stdin=b"good\n", expect=2).stderr
    assert b"write I/N with I from 1 to N" in bertcli("predict", "--shard", "3/2", stdin=b"good\n", expect=2).stderr
