"""The completion scripts are what the program prints, and what they call answers."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from bertcli import registry
from tests.cli.conftest import COMMAND, Run

COMPLETIONS = Path(__file__).parents[2] / "completions"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_committed_script_is_what_the_program_prints(bertcli: Run, shell: str) -> None:
    assert bertcli("completion", shell).stdout == (COMPLETIONS / f"bertcli.{shell}").read_bytes()


def complete(bertcli: Run, words: str, index: int) -> list[str]:
    env = {"_BERTCLI_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(index)}
    return [line.partition(",")[2] for line in bertcli(**env).stdout.decode().split()]


def test_commands_are_completed(bertcli: Run) -> None:
    assert complete(bertcli, "bertcli ", 1) == registry.names("cli/commands")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("predict --backe", ["--backend"]),
        ("predict --backend o", ["onnx", "openvino"]),
        ("predict -t text", ["text-classification"]),
        ("predict --format = js", ["jsonl"]),
        ("predict --backend =", ["auto", "onnx", "openvino", "pytorch"]),
        ("evaluate --map-labels labels.", ["labels."]),  # the shell goes on, with files
        ("pretrain --words w", ["w"]),
    ],
)
def test_options_and_values_are_completed(bertcli: Run, words: str, expected: list[str]) -> None:
    assert complete(bertcli, f"bertcli {words}", words.count(" ") + 1) == expected


def test_a_value_after_a_sign_is_completed_with_its_option(bertcli: Run) -> None:
    """For zsh and fish, to which that is one word."""
    env = {"_BERTCLI_COMPLETE": "zsh_complete", "COMP_WORDS": "bertcli predict --format=js", "COMP_CWORD": "2"}
    assert bertcli(**env).stdout.splitlines() == [b"plain", b"--format=jsonl", b"_"]
    env = {"_BERTCLI_COMPLETE": "fish_complete", "COMP_WORDS": "bertcli predict", "COMP_CWORD": "--format=js"}
    assert b"--format=jsonl" in bertcli(**env).stdout


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not there")
def test_fish_names_files_after_a_sign(tmp_path: Path) -> None:
    (tmp_path / "one.jsonl").touch()
    (tmp_path / "bertcli").write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n')
    (tmp_path / "bertcli").chmod(0o755)
    lines = ["bertcli predict --output=on", "bertcli predict --output on", "bertcli predict on"]
    script = "".join(f"; complete -C '{line}'" for line in lines)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {COMPLETIONS / 'bertcli.fish'}{script}"],
        cwd=tmp_path, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [b"--output=one.jsonl", b"one.jsonl", b"one.jsonl"]


def test_an_unknown_shell_is_a_usage_error(bertcli: Run) -> None:
    assert b"'powershell' is not one of" in bertcli("completion", "powershell", expect=2).stderr
