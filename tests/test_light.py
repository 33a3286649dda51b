"""The light installation: without the packages of the extras the filter works, and the rest says what it needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HIDDEN = """
import sys
ABSENT = ("torch", "transformers", "accelerate", "onnx", "safetensors", "sentencex", "phonenumbers", "stdnum", "nltk")
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in ABSENT else real(name, package)
"""


@pytest.fixture
def bertcli(tmp_path: Path) -> "Run":
    return Run(tmp_path)


class Run:
    """bertcli where the packages of the extras `torch` and `redact`, and of the tests' peers, cannot be imported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "hidden").mkdir()
        (folder / "hidden" / "sitecustomize.py").write_text(HIDDEN)
        rows = [("a gripping film", "positive"), ("dull and far too long", "negative")] * 20
        rows.append(("a gripping film", "negative"))  # No temperature suits a model that is always right.
        (folder / "dev.jsonl").write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows))
        (folder / "corpus.txt").write_text("a line of text\n" * 20)
        question = {
            "question": "谁?",
            "context": "王小明 (Tim) 在北京",
            "answers": [{"text": "王小明", "answer_start": 0}],
        }
        (folder / "zh.jsonl").write_text(json.dumps(question) + "\n")

    def __call__(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        environment = {**os.environ, "PYTHONPATH": f"{self.folder / 'hidden'}{os.pathsep}{ROOT}"}
        done = subprocess.run(
            [sys.executable, "-m", "bertcli", *arguments], input=stdin, cwd=self.folder, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict"], ["predict", "-t", "ner"], ["predict", "-t", "qa", "--question", "who"], ["info"],
        ["predict", "-t", "ner", "--redact", "--redact-rules", "email,url,ip"], ["evaluate", "-t", "qa", "zh.jsonl"],
        ["evaluate", "dev.jsonl"], ["evaluate", "dev.jsonl", "--report", "page.html"],
        ["check", "dev.jsonl", "--dev", "dev.jsonl"], ["calibrate", "dev.jsonl", "-o", "copy"],
        ["bench", "dev.jsonl", "--threads", "1", "--backend", "onnx"], ["completion", "bash"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_filter_needs_no_torch(bertcli: Run, arguments: list[str]) -> None:
    code, out, errors = bertcli(*arguments, stdin="a gripping film\n")
    assert code == 0 and out, errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["finetune", "--train", "dev.jsonl", "-m", "MODEL", "-o", "out"], ["explain", "a gripping film"],
        ["pretrain", "corpus.txt", "-o", "out"], ["export", "MODEL", "--calibrate", "dev.jsonl"],
        ["predict", "-m", "MODEL", "-t", "embed", "dev.jsonl"], ["predict", "--backend", "pytorch", "dev.jsonl"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_rest_says_what_it_needs(bertcli: Run, tiny_model: Path, arguments: list[str]) -> None:
    code, out, errors = bertcli(*[str(tiny_model) if part == "MODEL" else part for part in arguments])
    assert (code, out) == (2, "") and "pip install 'bertcli[torch]'" in errors and errors.count("\n") == 1, errors


def test_a_gpu_without_torch_is_asked_for_in_vain(bertcli: Run) -> None:
    code, _, errors = bertcli("predict", "--device", "cuda", stdin="a\n")
    assert code == 2 and "needs torch, which is not installed: pip install 'bertcli[torch]'" in errors


@pytest.mark.parametrize(
    ("rules", "lacking", "others"),
    [([], "phone,iban,card", "email,url,ip"), (["--redact-rules", "card"], "card", "none")],
)
def test_rules_without_their_library_are_refused_before_any_output(
    bertcli: Run, rules: list[str], lacking: str, others: str
) -> None:
    code, out, errors = bertcli(
        "predict", "-t", "ner", "--redact", *rules, "-o", "out.jsonl", stdin="+1 201 555 0123\n"
    )
    assert (code, out) == (2, "") and not list(bertcli.folder.glob("out.*"))
    assert errors == (
        f"bertcli: --redact-rules {lacking} need libraries that are not installed: pip install 'bertcli[redact]', "
        f"or go without by --redact-rules {others}.\n"
    )


def test_a_prediction_imports_no_task_but_its_own() -> None:
    code = """
import sys
from bertcli.cli.main import run
assert run(["predict", "-q"]) == 0
print(*sorted(name for name in sys.modules if name.startswith("bertcli.tasks.") and name.endswith("_classification")))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input="a gripping film", capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[1:] == ["bertcli.tasks.text_classification"]
