"""What a terminal gets, and what happens without one: nothing of a text is obeyed, and a closed stream is no fault."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bertcli.data import visible
from tests.cli.conftest import COMMAND, Run

EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202egood\u2066"
CONTROLS = [character.encode() for character in ("\x1b", "\x07", "\x9b", "\u202e", "\u2066")]


def on_a_terminal(
    arguments: Sequence[str | Path], stdin: bytes = b"", streams: str = "12", **env: str
) -> tuple[int, bytes]:
    """The exit code, and what a terminal got of the streams 1, 2 that are on it; the others are dropped."""
    master, slave = pty.openpty()
    ends = {number: slave if number in streams else subprocess.DEVNULL for number in "12"}
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=ends["1"], stderr=ends["2"], env={**os.environ, "HF_HUB_OFFLINE": "1", **env},
    )  # fmt: skip
    os.close(slave)
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    return process.wait(timeout=120), shown


def test_lines_of_json_stay_json_where_they_are_made_visible() -> None:
    line = json.dumps({"text": EVIL}, ensure_ascii=False) + "\n"
    shown = visible(line, lines=True)
    assert json.loads(shown) == {"text": EVIL} and shown.endswith("\n") and "\u202e" not in shown
    assert visible("a\tb\nc \x1b", lines=True) == "a\tb\nc \\u001b"


@pytest.mark.parametrize("output_format", ["jsonl", "tsv", "csv", "rich"])
def test_results_on_a_terminal_are_seen_not_obeyed(output_format: str) -> None:
    record = json.dumps({"text": f"good {EVIL}", f"f{EVIL}": EVIL}).encode()
    arguments = ["predict", "--input-format", "jsonl", "-f", output_format]
    code, shown = on_a_terminal(arguments, record, "1", TERM="dumb")
    assert code == 0 and b"title" in shown, shown
    assert not any(control in shown for control in CONTROLS)


def test_data_in_pipes_is_as_it_was(bertcli: Run) -> None:
    record = json.dumps({"text": EVIL}).encode()
    done = bertcli("predict", "--input-format", "jsonl", "-f", "tsv", stdin=record)
    assert EVIL.encode() in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", f"no{EVIL}file"],
        ["predict", "--text-field", f"a{EVIL}"],
        ["predict", f"--no-{EVIL}"],
        ["evaluate", "-m", f"no{EVIL}"],
    ],
)
def test_names_of_files_and_fields_on_stderr_are_seen_not_obeyed(arguments: list[str]) -> None:
    code, shown = on_a_terminal(arguments, b"b\nc\n", "2", TERM="dumb")
    assert code != 0 and b"title" in shown, shown
    assert not any(control in shown for control in CONTROLS)


def closed(arguments: Sequence[str], closing: str, stdin: bytes = b"good\n") -> "subprocess.CompletedProcess[bytes]":
    """A run by a shell that closes a stream first."""
    command = ["sh", "-c", f'exec "$@" {closing}', "sh", *COMMAND, *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=120, check=False)


def test_a_closed_stderr_costs_no_result(tmp_path: Path) -> None:
    done = closed(["predict", "-v"], "2>&-")
    assert done.returncode == 0 and json.loads(done.stdout)["label"] == "positive"
    out = tmp_path / "out.jsonl"
    assert closed(["predict", "-v", "-o", str(out)], "2>&-", b"good\n\xff\n").returncode == 3
    assert [json.loads(line)["line" if i else "label"] for i, line in enumerate(out.read_bytes().splitlines())] == [
        "positive", 2,
    ]  # fmt: skip


def test_a_reader_of_stderr_that_is_gone_costs_no_result() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "predict", "-v"], input=b"good\n", stdout=subprocess.PIPE, stderr=write, timeout=120, check=False
    )
    os.close(write)
    assert done.returncode == 0 and b"positive" in done.stdout


@pytest.mark.parametrize("arguments", [["predict"], ["predict", "-f", "rich"], ["info"], ["info", "-f", "rich"]])
def test_a_closed_stdout_is_a_sentence(arguments: list[str]) -> None:
    done = closed(arguments, ">&-")
    assert (done.returncode, done.stderr) == (1, b"bertcli: cannot write to stdout: it is closed\n")


def test_a_file_is_written_without_any_stream(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    (tmp_path / "in.txt").write_bytes(b"good\n")
    assert closed(["predict", str(tmp_path / "in.txt"), "-o", str(out)], "<&- >&- 2>&-").returncode == 0
    assert json.loads(out.read_bytes())["label"] == "positive"


def test_tables_in_ascii(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text(
        '{"text": "good", "label": "positive"}\n{"text": "b\u00e4d", "label": "negative"}\n'
    )
    for arguments in (["evaluate", "dev.jsonl", "-f", "rich"], ["info", "-f", "rich"], ["predict", "--help"]):
        done = bertcli(*arguments, PYTHONIOENCODING="ascii")
        assert done.stdout.isascii() and done.stdout


def test_a_dumb_terminal_gets_no_escape_sequence(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "good"}\n')
    for arguments in (["predict", "-v", tmp_path / "in.jsonl"], ["info"]):
        code, shown = on_a_terminal(arguments, TERM="dumb")
        assert code == 0 and b"\x1b" not in shown and shown


def test_ctrl_c_within_an_import_ends_the_run_without_a_word() -> None:
    interrupted = """
import signal, sys
from bertcli.cli import main
def load(*names):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise ImportError("initialization failed")
main.registry.load = load
sys.argv = ["bertcli", "predict"]
main.main()
"""
    done = subprocess.run([sys.executable, "-c", interrupted], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")
