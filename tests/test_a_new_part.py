"""A format, a backend and a command are added as CONTRIBUTING.md says, in a copy of the package, and work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bertcli"
FILES = {
    "data/formats/pipes.py": '''
"""Text and label with a pipe between."""

from bertcli.data.formats import BaseFormatter
from bertcli.data.records import Record
from bertcli.errors import RecordError


def read(source, columns):
    for number, line in source.texts():
        if isinstance(line, RecordError):
            yield Record(line=number, fault=str(line))
        else:
            text, _, label = line.partition("|")
            yield Record(line=number, fields={"text": text, "gold": label})


class Formatter(BaseFormatter):
    def add(self, result, record=None):
        return f"{result['text']}|{result['label']}\\n"
''',
    "backends/twice.py": '''
"""ONNX Runtime, each batch twice."""

from bertcli.backends import onnx


class Backend(onnx.Backend):
    name = "twice"

    def run(self, batch):
        super().run(batch)
        return super().run(batch)
''',
    "cli/commands/hello.py": '''
"""bertcli hello: greet somebody."""

from dataclasses import dataclass

from bertcli.cli.options import command
from bertcli.cli.terminal import Messages, print_line
from bertcli.errors import Exit
from bertcli.option import option

EXAMPLES = "bertcli hello --name Ann"


@dataclass(frozen=True, kw_only=True)
class Hello:
    name: str = option("you", "Whom to greet.")


@command("name", EXAMPLES)
def hello(messages: Messages, options: Hello) -> int:
    """Greet somebody."""
    print_line(f"hello, {options.name}")
    return Exit.OK
''',
}
ENTRIES = (  # file, the line before which an entry comes, the entry
    ("data/formats/__init__.py", "OUTPUT = {\n", 'INPUT["pipes"] = Format("pipes.read", is_by_line=True)\n'),
    ("data/formats/__init__.py", "FORMATS = {", 'OUTPUT["pipes"] = Format("pipes.Formatter")\n'),
    ("cli/commands/predict.py", '    "rich", "jsonl"', '    "pipes",\n'),
    ("inference/measure.py", "WORDS = (", 'ENGINES["twice"] = "onnxruntime"\n'),
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    target = folder / "bertcli"
    shutil.copytree(PACKAGE, target, ignore=shutil.ignore_patterns("__pycache__", "builtin"))
    (target / "builtin").symlink_to(PACKAGE / "builtin")
    for name, text in FILES.items():
        (target / name).write_text(text.lstrip(), "utf-8")
    for name, line, entry in ENTRIES:
        before = (target / name).read_text("utf-8")
        assert before.count(line) == 1
        (target / name).write_text(before.replace(line, entry + line), "utf-8")
    (folder / "films.pipes").write_text("a gripping film|positive\ndull|negative\nfine|positive\n")
    return folder


def bertcli(folder: Path, line: str, **environment: str) -> str:
    variables = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-m", "bertcli", *line.split()]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_format_is_read_and_written(copy: Path) -> None:
    labelled = (copy / "films.pipes").read_text()
    assert bertcli(copy, "predict films.pipes --format pipes") == labelled
    assert bertcli(copy, "predict films.pipes --format pipes --shard 2/2") == labelled.splitlines(keepends=True)[2]
    bertcli(copy, "predict films.pipes -o out.pipes")
    assert (copy / "out.pipes").read_text() == labelled
    assert '"accuracy": 1.0' in bertcli(copy, "evaluate films.pipes --label-field gold")


def test_a_backend_is_a_choice(copy: Path) -> None:
    assert bertcli(copy, "predict films.pipes --backend twice") == bertcli(copy, "predict films.pipes")
    assert '"backend": "twice"' in bertcli(copy, "bench films.pipes --backend twice --precision int8")


def test_a_command_is_in_the_help_and_completed(copy: Path) -> None:
    assert "hello       greet somebody" in bertcli(copy, "--help")
    assert bertcli(copy, "hello --name Ann") == "hello, Ann\n"
    completing = {"_BERTCLI_COMPLETE": "bash_complete", "COMP_WORDS": "bertcli he", "COMP_CWORD": "1"}
    assert bertcli(copy, "", **completing) == "plain,hello\n"
