"""A task is one folder: a toy task, written into a copy of the package, works with every command without another edit.

The toy says how many vowels a text has, even or odd: a head of two classes that knows nothing of text classification.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "bertcli"
TASK = '''
"""Whether a text has an even number of vowels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bertcli.arrays import Features
from bertcli.data.records import Record, lookup
from bertcli.errors import RecordError
from bertcli.tasks.base import BaseTask
from bertcli.tasks.labels import Decision, label_config
from bertcli.tasks.texts import Example

ALIASES = ("vowels",)
NAMES = ("odd", "even")


class Task(BaseTask):
    """Any encoder with a sequence head."""

    head = "SequenceClassification"
    labelled_by = ({"parity"},)
    directions = {"hits": 1}

    @classmethod
    def decide(cls, settings: Any, base: Any, records: Sequence[Record]) -> Decision:
        return Decision("vowel_parity", NAMES, "two outcomes", "always these", config=label_config(NAMES))

    def combine(self, features: Features, outputs: Sequence[Mapping[str, Any]]) -> Any:
        return outputs[0]["logits"]

    def decode(self, record: Record, prediction: Any) -> dict[str, Any]:
        return {"parity": NAMES[int(prediction.argmax())]}

    def label_fields(self, record: Record) -> dict[str, Any]:
        return {"text": record.fields["text"], "parity": lookup(record.fields, "parity", "the field")}

    def label(self, record: Record) -> int:
        value = lookup(record.fields, "parity", "the field")
        if value not in NAMES:
            raise RecordError(f"parity {value!r} is neither odd nor even.")
        return NAMES.index(value)

    def label_names(self, gold: int) -> list[str]:
        return [NAMES[gold]]

    def metrics(self, gold: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
        return {"hits": float(np.mean([int(p.argmax()) == g for g, p in zip(gold, predictions, strict=True)]))}

    def examples(self, records: Sequence[Record], gold: Sequence[Any], predictions: Sequence[Any]) -> list[Example]:
        answers = [NAMES[int(prediction.argmax())] for prediction in predictions]
        triples = zip(records, gold, answers, strict=True)
        return [Example(r, r.fields["text"], NAMES[g], answer, answer == NAMES[g]) for r, g, answer in triples]
'''
TRAINING = '''
"""How parity is learnt."""

import torch
from torch.nn import functional

from bertcli.tasks.training import BaseTraining


class Training(BaseTraining):
    """One of two classes."""

    def targets(self, examples, gold):
        return torch.tensor(gold)

    def loss(self, outputs, targets, mask=None):
        return functional.cross_entropy(outputs["logits"].float(), targets, reduction="sum")
'''
EXPLAIN = '''
"""What decides a parity."""

from bertcli.tasks.explaining import BaseExplaining, Row, Target


class Explaining(BaseExplaining):
    """The likelier outcome."""

    def require(self, target):
        pass

    def targets(self, record, features, outputs, target):
        best = int(outputs[0]["logits"].argmax())
        return [Target(("odd", "even")[best], (Row("logits", best, ((0, None, 1.0),)),))]
'''


class Program:
    """bertcli with one more task, in a directory with some data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        task = folder / "copy" / "bertcli" / "tasks" / "vowel_parity"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE, folder / "copy" / "bertcli", ignore=ignored, symlinks=True)
        task.mkdir()
        for name, text in (("__init__.py", TASK), ("training.py", TRAINING), ("explain.py", EXPLAIN)):
            (task / name).write_text(text.lstrip(), encoding="utf-8")

    def run(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """Its stdout; the exit code is checked."""
        variables = {**os.environ, "PYTHONPATH": str(self.folder / "copy"), "OMP_NUM_THREADS": "1", **environment}
        done = subprocess.run(
            [sys.executable, "-m", "bertcli", *arguments], cwd=self.folder, env=variables, capture_output=True,
            text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("toy")
    rows = [
        {"text": text, "parity": ("even", "odd")[sum(text.count(vowel) for vowel in "aeiou") % 2]}
        for text in ("good film", "bad plot", "a scene", "the actor", "poor", "dull plot", "fine", "great film") * 4
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "base").symlink_to(tiny_model)
    program = Program(folder)
    options = "--device cpu --threads 1 --epochs 2 --precision fp32".split()
    program.run("finetune", "-t", "vowels", "-m", "base", "--train", "data.jsonl", "--dev", "data.jsonl", "-o", "out",
                *options)  # fmt: skip
    yield program


def test_it_is_a_choice_of_task_in_help_and_completion(program: Program) -> None:
    assert "qa or vowels; else the model's." in " ".join(program.run("predict", "--help").split())
    words = {"_BERTCLI_COMPLETE": "bash_complete", "COMP_WORDS": "bertcli predict -t vow", "COMP_CWORD": "3"}
    assert "vowel-parity" in program.run(**words)


def test_it_is_trained_with_a_card_and_files_for_onnx(program: Program) -> None:
    out = program.folder / "out"
    assert json.loads((out / "config.json").read_text())["id2label"] == {"0": "odd", "1": "even"}
    assert (out / "onnx" / "model_quantized.onnx").is_file()
    assert "vowel parity" in (out / "README.md").read_text().replace("_", " ")
    program.run("export", "out", "-t", "vowel-parity", "--calibrate", "data.jsonl")


def test_it_predicts_and_evaluates(program: Program) -> None:
    lines = program.run("predict", "-t", "vowels", "-m", "out", "data.jsonl").splitlines()
    results = [json.loads(line) for line in lines]
    assert len(results) == 32 and all(result["parity"] in ("odd", "even") for result in results)
    found = json.loads(program.run("evaluate", "-t", "vowels", "-m", "out", "data.jsonl", "--errors", "wrong.jsonl"))
    wrong = (program.folder / "wrong.jsonl").read_text().splitlines()
    assert found["records"] == 32 and found["hits"] == 1 - len(wrong) / 32


def test_its_data_is_checked_and_its_decisions_explained(program: Program) -> None:
    report = json.loads(program.run("check", "data.jsonl", "--json"))
    assert report["task"] == "vowel-parity" and report["labels"]["odd"]["train"] + report["labels"]["even"]["train"]
    (program.folder / "bad.jsonl").write_text('{"text": "good film", "parity": "both"}\n' * 2)
    assert "bad-label" in program.run("check", "bad.jsonl", "--json", code=1)
    explained = json.loads(program.run("explain", "-t", "vowels", "-m", "out", "a good film"))
    assert explained["explanations"][0]["target"] in ("odd", "even")
