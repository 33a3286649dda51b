"""`bertcli tokenizer train` as a user runs it: files, exit codes, sentences."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Run

FILES = ["tokenizer.json", "tokenizer_config.json", "vocab.txt"]
TEXT = "The film is good.\n\nThe plot is not good.\n我看电影。\n" * 3


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "texts"
    path.mkdir()
    (path / "a.txt").write_text(TEXT, encoding="utf-8")
    return path


def train(bertcli: Run, *arguments: str, expect: int = 0, **env: str) -> tuple[str, str]:
    done = bertcli("tokenizer", "train", *arguments, expect=expect, **env)
    return done.stdout.decode(), done.stderr.decode()


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_directory_of_text_becomes_a_tokenizer(bertcli: Run, corpus: Path, tmp_path: Path) -> None:
    assert train(bertcli, "texts", "--vocab-size", "50", "-o", "new/tok", "-v") == (
        "",
        "training 50 pieces; files: 1\ntokenizer: new/tok\n",
    )
    assert names(tmp_path / "new/tok") == FILES
    pieces = (tmp_path / "new/tok/vocab.txt").read_text(encoding="utf-8").splitlines()
    assert len(pieces) == 50 and pieces[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert json.loads((tmp_path / "new/tok/tokenizer_config.json").read_text())["do_lower_case"] is True


def test_cased(bertcli: Run, corpus: Path, tmp_path: Path) -> None:
    assert train(bertcli, "texts/*.txt", "--vocab-size", "50", "--cased", "-o", "tok") == ("", "")
    assert "T" in (tmp_path / "tok/vocab.txt").read_text(encoding="utf-8").splitlines()


def test_settings_from_the_environment_and_a_file(bertcli: Run, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("text-field: body\ntokenizer:\n  vocab-size: 40\nfinetune:\n  lr: 1\n")
    (corpus / "a.txt").unlink()
    (corpus / "a.jsonl").write_text(json.dumps({"body": TEXT}))
    train(bertcli, "texts", "--config", "c.yaml", BERTCLI_TOKENIZER_OUTPUT="tok")
    assert len((tmp_path / "tok/vocab.txt").read_text(encoding="utf-8").splitlines()) == 40
    (tmp_path / "c.yaml").write_text("vocab-siez: 9\n")
    _, stderr = train(bertcli, "texts", "--config", "c.yaml", "-o", "tok", expect=2)
    assert stderr == "bertcli: c.yaml: unknown key 'vocab-siez'; did you mean 'vocab-size'?\n"


def test_what_is_in_the_directory_is_kept_unless_told_otherwise(bertcli: Run, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok/notes").write_text("mine")
    arguments = ("texts", "--vocab-size", "50", "-o", "tok")
    assert train(bertcli, *arguments, expect=2)[1] == (
        "bertcli: tok is not empty; --overwrite replaces the tokenizer in it.\n"
    )
    (tmp_path / "tok/special_tokens_map.json").write_text('{"mask_token": "<mask>"}')
    (tmp_path / "tok/added_tokens.json").write_text('{"<mask>": 50}')
    (tmp_path / "tok/vocab.model").write_text("fits two patterns")
    (tmp_path / "tok/old.model").mkdir()
    train(bertcli, *arguments, "--overwrite")
    assert names(tmp_path / "tok") == sorted(["notes", "old.model", *FILES])


def test_faults_are_counted_and_the_first_is_named(bertcli: Run, corpus: Path) -> None:
    (corpus / "b.txt").write_bytes(b"good\n\xff\n\xff\n")
    (corpus / "c.bin").write_bytes(b"\0\1")
    arguments = ("texts", "--vocab-size", "50", "-o", "tok", "--overwrite")
    fault = "texts/b.txt:2: invalid UTF-8 at byte 1 of the line; --encoding names another encoding"
    warning = f"bertcli: 3 unreadable lines or records were left out; the first: {fault}\n"
    assert train(bertcli, *arguments) == ("", warning)
    assert train(bertcli, *arguments, "-q") == ("", "")
    failed = train(bertcli, *arguments, "--on-error", "fail", expect=2)
    assert failed == ("", f"bertcli: {fault}; --on-error skip leaves such places out.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none", "--vocab-size", "50", "-o", "tok"], "cannot read none: No such file or directory"),
        (["-", "--vocab-size", "50", "-o", "tok"], "a corpus is read more than once, which stdin cannot be"),
        (["texts", "--vocab-size", "9", "-o", "tok"], "--vocab-size 9 is too small: special tokens and alphabet alone"),
        (["texts", "--vocab-size", "999", "-o", "tok"], "the text yields 50 pieces, not --vocab-size 999; ask for 50"),
        (["texts", "--vocab-size", "50", "-o", "texts/a.txt"], "texts/a.txt is a file; -o takes a directory."),
        (["texts", "--vocab-size", "50", "-o", "tok", "--encoding", "x"], "no encoding 'x'"),
    ],
)
def test_wrong_usage_leaves_nothing(
    bertcli: Run, corpus: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    stdout, stderr = train(bertcli, *arguments, expect=2)
    assert stdout == "" and stderr.startswith(f"bertcli: {message}")
    assert names(tmp_path) == ["texts"]


def test_binary_files_alone_are_no_text(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0")
    _, stderr = train(bertcli, "a.bin", "--vocab-size", "50", "-o", "tok", expect=2)
    assert stderr.splitlines() == [
        "bertcli: there is no text to train a vocabulary on. Faults left out: 1; the first: "
        "a.bin:1: a binary file (NUL bytes); --encoding names an encoding that has them",
    ]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_and_leaves_nothing(tmp_path: Path, signum: int, code: int) -> None:
    words = " ".join(f"{i * 7919 % 99991:b}" for i in range(20_000))
    (tmp_path / "a.txt").write_text(f"{words}\n\n" * 100)  # seconds of training
    command = [*COMMAND, "tokenizer", "train", "a.txt", "--vocab-size", "5000", "-o", "tok", "-v"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"training 5,000 pieces; files: 1\n"
        process.send_signal(signum)
        assert process.wait(timeout=60) == code
    assert names(tmp_path) == ["a.txt"]
