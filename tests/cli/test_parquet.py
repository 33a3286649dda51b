"""Parquet and directories on the command line: the same answers as of JSONL, through shards and kills too."""

import json
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMAND, Run
from tests.cli.test_resume import WORDS, killed

pa = pytest.importorskip("pyarrow", reason="pyarrow is not here")
parquet = pytest.importorskip("pyarrow.parquet")


def write(path: Path, size: int, rows_of_group: int) -> list[dict[str, Any]]:
    """Texts of some words, one of them missing, with a column that JSON would not keep; returns the rows."""
    chance = random.Random(size)
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(1, 9))) for _ in range(size)]
    columns = {
        "id": pa.array(range(size), pa.int16()),
        "review": pa.array([{"text": None if i == 7 else text} for i, text in enumerate(texts)]),
        "label": pa.array(["positive", "negative"] * (size // 2)).dictionary_encode(),
    }
    parquet.write_table(pa.table(columns), path, row_group_size=rows_of_group)
    rows: list[dict[str, Any]] = pa.table(columns).to_pylist()
    return rows


def test_answers_are_those_of_the_same_rows_as_jsonl(bertcli: Run, tmp_path: Path) -> None:
    rows = write(tmp_path / "in.parquet", 20, 8)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["--text-field", "review.text", "-q"]
    of_lines = bertcli("predict", "in.jsonl", *arguments, expect=3).stdout
    assert bertcli("predict", "in.parquet", *arguments, expect=3).stdout == of_lines
    bertcli("predict", "in.parquet", *arguments, "-o", "out.parquet", expect=3)
    out = parquet.read_table(tmp_path / "out.parquet")
    assert out.schema.field("input_label").type == pa.dictionary(pa.int32(), pa.string())
    results = ["label", "score", "windows", "truncated", "unknown", "error"]
    assert out.column_names == ["id", "review", "input_label", *results]
    expected = [json.loads(line) for line in of_lines.splitlines()]
    assert out["score"].to_pylist() == [answer.get("score") for answer in expected]
    assert out["id"].to_pylist() == list(range(20))
    assert out["error"].to_pylist()[7] == "line 8: field 'review.text' is null, not text."


def test_tokens_and_tags_need_no_text(bertcli: Run, tmp_path: Path) -> None:
    rows = {"tokens": [["Tim", "Cook"], ["Rome"]], "tags": [["B-PER", "I-PER"], ["B-LOC"]]}
    parquet.write_table(pa.table(rows), tmp_path / "in.parquet")
    assert json.loads(bertcli("evaluate", "in.parquet", "-t", "ner").stdout)["f1"] == 1
    assert json.loads(bertcli("check", "in.parquet", "--json").stdout)["records"] == {"train": 2}


def test_the_shards_of_a_directory_are_the_whole_and_have_its_schema(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "in" / "more").mkdir(parents=True)
    write(tmp_path / "in" / "b.parquet", 12, 12)
    write(tmp_path / "in" / "more" / "a.parquet", 30, 7)
    arguments = ["predict", "-t", "ner", "in", "--text-field", "review.text", "-q"]
    bertcli(*arguments, "-o", "whole.parquet", expect=3)
    whole = parquet.read_table(tmp_path / "whole.parquet")
    for i in (1, 2, 3):  # no text has an entity
        bertcli(*arguments, "-o", f"{i}.parquet", "--shard", f"{i}/3", expect=0 if i == 3 else 3)
    parts = [parquet.read_table(tmp_path / f"{i}.parquet") for i in (1, 2, 3)]
    assert pa.concat_tables(parts).to_pylist() == whole.to_pylist()
    assert all(part.schema == whole.schema for part in parts)
    assert [len(part) for part in parts] == [16, 13, 13]
    assert whole["error"].to_pylist().count("in/b.parquet:8: field 'review.text' is null, not text.") == 1


def test_a_run_that_is_killed_and_resumed_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "in.parquet", 3000, 700)
    command = [*COMMAND, "predict", str(tmp_path / "in.parquet"), "--text-field", "review.text", "-q", "-o"]
    assert subprocess.run([*command, str(tmp_path / "whole.parquet")], timeout=120, check=False).returncode == 3
    out = tmp_path / "out.parquet"
    for marks in (1, 2):
        assert killed([*command, str(out), "--resume"], tmp_path / "out.parquet.resume", marks, signal.SIGKILL) == -9
        assert not out.exists()
    assert subprocess.run([*command, str(out), "--resume"], timeout=120, check=False).returncode == 3
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_other_commands_read_it_too(bertcli: Run, tmp_path: Path) -> None:
    write(tmp_path / "dev.parquet", 40, 40)
    scores = json.loads(bertcli("evaluate", "*.parquet", "--text-field", "review.text", expect=3).stdout)
    assert scores["records"] == 39
    checked = bertcli("check", "dev.parquet", "--text-field", "review.text", expect=1).stdout
    assert b"dev.parquet:8: error: field 'review.text' is null, not text." in checked
    bertcli(
        "tokenizer", "train", "dev.parquet", "--text-field", "review.text", "--vocab-size", "60", "-o", "vocabulary"
    )
    assert "wit" in (tmp_path / "vocabulary" / "vocab.txt").read_text().split()
    assert (
        b"no field 'nope' (the record has: id, review, label)"
        in bertcli("predict", "dev.parquet", "--text-field", "nope", expect=2).stderr
    )


def test_an_output_in_the_directory_that_is_read_is_not_read(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "in" / name).write_text("good\n")
    bertcli("predict", "in", "-o", "in/out.jsonl")
    message = bertcli("predict", "in", "-o", "in/out.jsonl", "--force", expect=2).stderr
    assert b"--output in/out.jsonl: it is the input, and is not replaced; name another." in message
    (tmp_path / "link.txt").symlink_to("in/a.txt")
    for output in ("in/a.txt", "link.txt"):
        message = bertcli("predict", "in/a.txt", "-o", output, "-f", "jsonl", "--force", expect=2).stderr
        assert f"--output {output}: it is the input, and is not replaced".encode() in message


def test_a_table_without_rows_has_the_columns_of_any_other(bertcli: Run, tmp_path: Path) -> None:
    """A job whose input is empty one day breaks nothing that reads all days together."""
    schemas = []
    for name, texts, code in (("some", ["Tim"], 0), ("none", [], 0), ("bad", [None], 3)):
        column = pa.array(texts, pa.large_string())
        numbers = pa.array([7] * len(texts), pa.int16())
        table = pa.table({"id": numbers, "text": column, "answer": column}, metadata={"by": "us"})
        parquet.write_table(table, tmp_path / f"{name}.parquet")
        arguments = ["-t", "qa", "--question", "Who?", "-o", f"{name}.arrow"]
        bertcli("predict", f"{name}.parquet", *arguments, expect=code)
        with pa.ipc.open_file(tmp_path / f"{name}.arrow") as file:
            schemas.append(file.schema)
    assert schemas[0].names[:5] == ["id", "text", "input_answer", "question", "answer"]
    assert all(schema.equals(schemas[0], check_metadata=True) for schema in schemas)
