"""predict --redact as users run it: formats, windows, bad records, kills and shards; nothing of the text beside it."""

import csv
import io
import json
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Run
from tests.cli.test_resume import killed

TEXT = "Angela Merkel is in Berlin. Write to tim@apple.com."
MASKED = "[PER] is in [LOC]. Write to [EMAIL]."
SECRET = "Xanthippe"
REDACT = ("predict", "-t", "ner", "--redact")
KEY = {"KEY": "0123456789abcdef"}
HASH = ("--redact-as", "hash", "--redact-key", "env:KEY")


def test_the_text_is_masked_and_nothing_else_is_said(bertcli: Run) -> None:
    done = bertcli(*REDACT, stdin=f"{TEXT}\n\n".encode())
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"text": MASKED}, {"text": ""}]
    assert done.stderr == b""


def test_what_was_replaced_is_listed_when_asked_for(bertcli: Run) -> None:
    text = f"\U0001f600 {TEXT}"
    (line,) = bertcli(*REDACT, "--redact-list", "--offset-unit", "utf8", stdin=f"{text}\n".encode()).stdout.splitlines()
    result, raw = json.loads(line), text.encode()
    assert result["text"] == f"\U0001f600 {MASKED}"
    assert [(e["type"], e["replacement"], "score" in e) for e in result["redacted"]] == [
        ("PER", "[PER]", True), ("LOC", "[LOC]", True), ("EMAIL", "[EMAIL]", False),
    ]  # fmt: skip
    assert all(raw[e["start"] : e["end"]].decode() == e["text"] for e in result["redacted"])


def test_every_format_holds_the_text_and_the_fields_that_were_named(bertcli: Run) -> None:
    table = f'id,comment,from\n1,"{TEXT}",{SECRET}\n2,"a, b",{SECRET}\n'.encode()
    options = (*REDACT, "--text-field", "comment", "--redact-keep", "id", "--input-format", "csv")
    written = bertcli(*options, "--format", "csv", stdin=table).stdout.decode()
    assert list(csv.reader(io.StringIO(written))) == [
        ["id", "comment", "windows", "truncated", "unknown", "error"],
        ["1", MASKED, "", "", "", ""],
        ["2", "a, b", "", "", "", ""],
    ]
    assert bertcli(*options, "--format", "tsv", stdin=table).stdout.splitlines()[1] == f"1\t{MASKED}\t\t\t\t".encode()
    shown = bertcli(*options, "--format", "rich", stdin=table).stdout.decode()
    assert f"comment={MASKED}" in shown and SECRET not in shown
    for other in ("conll", "parquet", "doccano"):
        done = bertcli(*options, "--format", other, stdin=table, expect=2)
        assert f"{other} holds more of a record than its results; --redact takes rich, jsonl".encode() in done.stderr


def test_tokens_become_a_text(bertcli: Run) -> None:
    record = {"tokens": "Tim Cook is in Berlin .".split(), "tags": ["O"] * 6, "n": 1}
    done = bertcli(*REDACT, stdin=json.dumps(record).encode() + b"\n")
    assert json.loads(done.stdout) == {"n": 1, "text": "[PER] is in [LOC] ."}


def test_a_long_text_is_redacted_to_its_end(bertcli: Run) -> None:
    filler = "the weather was fine and nothing happened at all . " * 60
    (line,) = bertcli(*REDACT, stdin=f"{TEXT} {filler}{TEXT}\n".encode()).stdout.splitlines()
    result = json.loads(line)
    assert result["windows"] > 1
    assert result["text"] == f"{MASKED} {filler}{MASKED}"
    assert b"--long truncate would leave" in bertcli(*REDACT, "--long", "truncate", expect=2).stderr


BAD = (
    b'{"text": 1, "name": "SECRET"}', b'{"texts": "SECRET"}', b'{"text": "SECRET', b'["SECRET"]', b'"SECRET"',
    b'{"text": "SECRET \xff"}', b'{"text": "SECRET \\ud800"}', b'{"text": ["SECRET"]}', b'{"tokens": "SECRET"}',
    b'{"tokens": ["SECRET", 1]}', b'{"text": "SECRET", "n": 1e999}', b'{"text": {"SECRET": 1}}', b"SECRET",
)  # fmt: skip


@pytest.mark.parametrize("output_format", ["jsonl", "csv", "rich"])
def test_an_error_record_and_what_is_said_of_it_hold_nothing_of_the_text(output_format: str, bertcli: Run) -> None:
    lines = b"\n".join([b'{"text": "fine"}', *BAD, b""]).replace(b"SECRET", SECRET.encode())
    done = bertcli(*REDACT, "-v", "--input-format", "jsonl", "--format", output_format, stdin=lines, expect=3)
    assert SECRET.encode() not in done.stdout + done.stderr
    assert b"fine" in done.stdout and f"{len(BAD)} of {len(BAD) + 1} records failed".encode() in done.stderr


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 lines with 20 names, and 280 addresses that come again."""
    names = [
        f"{first} {last}" for first in "Tim Anna Paul Maria John".split() for last in "Cook Smith Berg Novak".split()
    ]
    lines = [f"{names[i * i % 20]} wrote to box{i % 280}@example.org from Berlin ." for i in range(600)]
    path = tmp_path_factory.mktemp("letters") / "in.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["out.jsonl", "out.tsv.gz"])
def test_pseudonyms_are_the_same_after_a_kill(name: str, letters: Path, tmp_path: Path, bertcli: Run) -> None:
    options = (*REDACT, "--redact-as", "pseudonym", letters, "-q")
    bertcli(*options, "-o", f"whole-{name}")
    side = tmp_path / f"{name}.resume"
    for marks in (1, 2):
        command = [*COMMAND, *map(str, options), "-o", str(tmp_path / name), "--resume"]
        codes = [killed(command, side, marks, signal.SIGKILL)]
        assert codes == [-9] or name.endswith("gz")  # an archive is written in blocks, of which this is one
    bertcli(*options, "-o", name, "--resume")
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert b"EMAIL" not in side.read_bytes()  # no digest of a name stays
    if name == "out.jsonl":
        lines = [json.loads(line)["text"] for line in (tmp_path / name).read_text().splitlines()]
        assert lines[0] == "PER_1 wrote to EMAIL_1 from LOC_1 ."
        numbers = [line.split("EMAIL_")[1].split()[0] for line in lines]
        assert numbers == [str(i % 280 + 1) for i in range(600)]


def test_the_shards_of_a_hash_join_to_one_run_and_pseudonyms_have_none(letters: Path, bertcli: Run) -> None:
    whole = bertcli(*REDACT, *HASH, letters, **KEY).stdout
    shards = [bertcli(*REDACT, *HASH, letters, "--shard", f"{i}/3", **KEY).stdout for i in (1, 2, 3)]
    assert b"".join(shards) == whole
    done = bertcli(*REDACT, "--redact-as", "pseudonym", letters, "--shard", "1/3", expect=2)
    assert b"pseudonyms are numbered through the whole input, not in parts of it; take --redact-as hash" in done.stderr


def test_another_key_is_not_gone_on_with(letters: Path, tmp_path: Path, bertcli: Run) -> None:
    options = (*REDACT, *HASH, letters, "-o", "out.jsonl", "--resume", "-q")
    bertcli(*options, **KEY)
    kept = (tmp_path / "out.jsonl.resume").read_text()
    assert KEY["KEY"] not in kept
    said = bertcli(*options, KEY="another key of 16 bytes", expect=2).stderr.decode()
    assert "cannot resume" in said and "the key was" in said
    assert (tmp_path / "out.jsonl.resume").read_text() == kept


def test_a_task_without_entities_is_refused(bertcli: Run) -> None:
    done = bertcli("predict", "--redact", stdin=b"good\n", expect=2)
    assert b"--redact means nothing to text-classification; leave it out." in done.stderr
    done = bertcli("predict", "-t", "ner", "--redact-as", "hash", stdin=b"good\n", expect=2)
    assert b"--redact-as does nothing without --redact" in done.stderr and not done.stdout


@pytest.mark.parametrize("options", [(), ("--redact-keep", "id"), ("--redact-list",)])
def test_a_table_without_results_has_the_columns_that_they_would_have(
    bertcli: Run, tmp_path: Path, options: tuple[str, ...]
) -> None:
    def header(rows: str, *more: str, expect: int = 0) -> bytes:
        (tmp_path / "a.csv").write_text(f"text,id,lang\n{rows}")
        command = (*REDACT, "--redact-rules", "email", *options, "a.csv", "--format", "csv")
        return bertcli(*command, *more, expect=expect).stdout.partition(b"\n")[0]

    assert header("") == header("", "--shard", "1/2") == header("1,2\n", expect=3) == header("Tim,7,en\n")
