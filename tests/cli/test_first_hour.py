"""What a person types in the first hour: each mistake has its next step, and each wait says what is waited for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bertcli.cli.main import run
from bertcli.cli.progress import RecordCount
from bertcli.cli.terminal import Messages
from bertcli.data.records import Record
from tests.cli.conftest import COMMAND, Run
from tests.cli.test_terminal import on_a_terminal

ROWS = [("good lovely film", "positive"), ("bad awful plot", "negative")] * 20


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.jsonl"
    file.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in ROWS), "utf-8")
    return file


@pytest.mark.parametrize(
    ("arguments", "step"),
    [
        (["predcit"], "Did you mean 'predict'?"),
        (["help"], "'bertcli --help' lists the commands, 'bertcli COMMAND --help' the options of one."),
        (["train"], "'bertcli finetune' trains on labelled data, 'bertcli pretrain' on raw text."),
        (["xyzzy"], "'bertcli --help' lists the commands."),
        (["predict", "some text"], "For a text: echo 'some text' | bertcli predict"),
        (["predict", "好看"], "cannot read 好看: no such file. For a text: echo '好看' | bertcli predict"),
        (["predict", "long " * 60], f"For a text: echo '{'long ' * 12}…' | bertcli predict"),
        (["predict", "reviews.txt"], "cannot read reviews.txt: No such file or directory"),
        (["finetune", "data.jsonl"], "Labelled data has an option: --train data.jsonl"),
        (["finetune", "data.jsonl", "-m", "M", "-o", "x"], "Labelled data has an option: --train data.jsonl"),
    ],
)
def test_what_is_typed_first_has_a_next_step(bertcli: Run, data: Path, arguments: list[str], step: str) -> None:
    assert bertcli(*arguments, expect=2).stderr.decode().endswith(f"{step}\n")


def test_explain_of_a_file_s_name_says_so_and_that_it_loads(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", str(data), "-v", "-f", "jsonl"]) == 0
    said = capfd.readouterr().err
    assert f"{data} is explained as a text; --input {data} reads the file." in said and "loading torch" in said


def test_a_terminal_as_stdin_is_announced() -> None:
    script = f"import pty; raise SystemExit(pty.spawn([{sys.executable!r}, '-m', 'bertcli', 'predict']) >> 8)"
    done = subprocess.run(
        [sys.executable, "-c", script], input=b"good\n\x04", capture_output=True, timeout=120, check=False
    )
    assert b"reading from the terminal; Ctrl-D ends" in done.stdout and b"positive" in done.stdout


def test_a_wrong_label_field_is_one_mistake(
    data: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "model")
    assert run(["finetune", "--train", str(data), "-m", str(tiny_model), "-o", out, "--label-field", "gold"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 5 and lines[0].endswith("the data has 40 faults:") and lines[-1] == "and 37 more of the same."
    for command in (["evaluate"], ["calibrate", "-o", out]):
        assert run([*command, str(data), "--label-field", "gold"]) == 2
        said = capfd.readouterr().err
        assert "none of the first 16 records can be scored" in said and "--label-field" in said
        assert len(said.splitlines()) == 1


def test_a_base_without_a_head_fails_at_the_first_records(
    data: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(data), "-m", str(tiny_model)]) == 2
    assert "records can be scored" in capfd.readouterr().err


def test_usage_errors_of_finetune_come_before_torch(data: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    cases = [
        ["--train", "nope.jsonl", "-m", str(tiny_model), "-o", "x"],
        ["--train", str(data), "-m", str(tmp_path), "-o", "x"],
        ["--train", str(data), "-m", str(tiny_model), "-o", str(tmp_path / "full")],
        ["--train", str(data), "-m", str(tiny_model), "-o", "x", "--resume", "--lr", "much"],
    ]
    script = "import sys; from bertcli.cli.main import run; print(run(sys.argv[1:]), 'torch' in sys.modules)"
    for case in cases:
        done = subprocess.run([sys.executable, "-c", script, "finetune", *case], capture_output=True, check=False)
        assert done.stdout.split() == [b"2", b"False"], (case, done.stderr)


def test_aliases_and_paths_are_completed(bertcli: Run) -> None:
    def completed(words: str) -> list[str]:
        env = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split())), "_BERTCLI_COMPLETE": "bash_complete"}
        return bertcli(**env).stdout.decode().splitlines()

    assert {"plain,ner", "plain,qa", "plain,embed"} <= set(completed("bertcli predict -t "))
    for words in ("predict -m", "finetune --train", "finetune --dev", "predict --config", "evaluate --compare"):
        assert completed(f"bertcli {words} ") == ["file,"]
    shown = " ".join(bertcli("predict", "--help").stdout.decode().split())
    assert "classify, embed, mask, ner or qa; else the model's." in shown


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (0, "51 records  5 records/s  51%, 0:10 left"),  # a terminal that does not know its size
        (80, "51 records  5 records/s  51%, 0:10 left"),
        (30, "51 records  5 records/s  51%,"),  # a line that wraps would stay, and the next come below it
    ],
)
def test_progress_has_a_count_a_speed_and_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], columns: int, line: str
) -> None:
    file = tmp_path / "in.txt"
    file.write_text("a\n" * 99 + "a", "utf-8")
    monkeypatch.setattr(Messages, "draws", True)
    monkeypatch.setattr("bertcli.cli.progress.os.get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    clock = iter([0.0, 10.0])
    monkeypatch.setattr("bertcli.cli.progress.time.monotonic", lambda: next(clock))
    with RecordCount(Messages(), [str(file)]) as counter:
        for number in range(1, 52):
            counter.count(Record(number - 1, {"text": "a"}, number, str(file)))
        counter.show()
    shown = capfd.readouterr().err
    assert shown == f"\r{line}\r"


def test_predict_into_a_file_shows_progress_on_a_terminal_and_nowhere_else(tmp_path: Path, bertcli: Run) -> None:
    (tmp_path / "in.txt").write_text("good\n" * 50, "utf-8")
    arguments = ["predict", tmp_path / "in.txt", "-o", tmp_path / "out.jsonl", "--force"]
    code, shown = on_a_terminal(arguments, streams="2", TERM="xterm")
    assert code == 0 and b"50 records" in shown
    assert bertcli(*arguments).stderr == b""
    code, shown = on_a_terminal(["predict", tmp_path / "in.txt", "-o", tmp_path / "b.jsonl"], streams="2", TERM="dumb")
    assert code == 0 and b"\r5" not in shown and b"\x1b" not in shown


def test_results_in_a_file_leave_the_terminal_to_progress_and_those_in_a_pipe_do_not(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("good\n" * 50, "utf-8")
    command = f"{' '.join(COMMAND)} predict {tmp_path / 'in.txt'}"
    for rest, is_shown in (("> out.jsonl", True), ("| cat > out.jsonl", False), ("-v | cat > out.jsonl", True)):
        script = f"import pty; raise SystemExit(pty.spawn(['sh', '-c', {f'cd {tmp_path}; {command} {rest}'!r}]) >> 8)"
        env = {**os.environ, "TERM": "xterm"}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120, check=True, env=env)
        assert (b"\r50 records" in done.stdout) == is_shown, (rest, done.stdout)
        assert (tmp_path / "out.jsonl").read_bytes().count(b"\n") == 50


def test_check_and_calibrate_show_progress_on_a_terminal(data: Path, tmp_path: Path) -> None:
    for arguments in (["check", data, "-f", "lines"], ["calibrate", data, "-o", tmp_path / "copy", "-f", "json"]):
        _, shown = on_a_terminal(arguments, streams="2", TERM="xterm")
        assert b" records/s" in shown, arguments


def test_the_headline_comes_last_after_many_classes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from bertcli.cli.tables import render_evaluation
    from bertcli.evaluation import Evaluation

    classes = {f"class {i}": {"precision": 1.0} for i in range(77)}
    evaluation = Evaluation(
        task="text-classification", model="m", metric="accuracy", metrics={"accuracy": 0.5, "classes": classes},
        records=4, faults=[], examples=[], tokens=[1] * 4,
    )  # fmt: skip
    render_evaluation(Console(width=80), evaluation)
    assert capfd.readouterr().out.splitlines()[-1] == "accuracy 0.5000 on 4 records"


def test_ctrl_c_says_what_will_happen(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("good\n" * 2_000_000, "utf-8")
    words = [*COMMAND, "predict", str(tmp_path / "in.txt"), "-o", str(tmp_path / "out.jsonl"), "--threads", "1"]
    script = f"""
import os, pty, signal, sys, time
pid, master = pty.fork()
if pid == 0:
    os.execv({words[0]!r}, {words!r})
shown = b""
while b" records/s" not in shown:
    shown += os.read(master, 65536)
os.write(master, b"\\x03")
try:
    while part := os.read(master, 65536):
        shown += part
except OSError:
    pass
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120, check=False)
    assert done.returncode == 130
    assert b"stopping with the results that are finished; --resume goes on with those of -o FILE" in done.stdout
    assert b"Ctrl-C again: at once" in done.stdout
