"""What a GPU pads, every task computes as if it were not there: answers of padded batches against unpadded ones."""

import json
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from bertcli.data.records import Record
from bertcli.inference import Request
from bertcli.inference.session import open_session
from bertcli.inference.stream import result, stream
from bertcli.pretrained import make_config, new_module
from bertcli.tasks.options import Options

TEXTS = ["good film", "a very lovely plot was not bad", "dull", "the actor is the film " * 3, "poor scene " * 40]


def answers(path: Path, task: str, records: list[Record], multiple: int) -> list[Any]:
    session = open_session(Request(str(path), task, "pytorch", "cpu", "fp32"), Options(all_scores=task == "classify"))
    session.backend.multiple = multiple
    session.backend.reduce = None if multiple == 1 else session.task.reduce_tensors  # as on a GPU
    outcomes = chain.from_iterable(stream(session.task, session.backend, records))
    return [result(session.task, outcome) for outcome in outcomes]


@pytest.mark.parametrize(
    ("task", "head"),
    [("classify", "SequenceClassification"), ("ner", "TokenClassification"), ("qa", "QuestionAnswering"),
     ("embed", ""), ("fill-mask", "MaskedLM")],
)  # fmt: skip
@pytest.mark.parametrize("family", ["bert", "mpnet"])  # mpnet's positions are counted from the padding
def test_padding_changes_no_answer(task: str, head: str, family: str, tiny_model: Path, tmp_path: Path) -> None:
    config = json.loads((tiny_model / "config.json").read_text())
    pad = {"pad_token_id": 0, "max_position_embeddings": 65} if family == "mpnet" else {}
    config |= {"model_type": family, "architectures": None, **pad}
    new_module(make_config(**config), head).save_pretrained(tmp_path)
    for file in tiny_model.glob("token*"):
        shutil.copy(file, tmp_path)
    mask = " [MASK]" * (task == "fill-mask")
    question = {"question": "what is it"} if task == "qa" else {}
    records = [Record(i, {"text": text + mask, "context": text, **question}) for i, text in enumerate(TEXTS)]
    plain, padded = (answers(tmp_path, task, records, multiple) for multiple in (1, 16))
    assert [set(row) for row in plain] == [set(row) for row in padded]
    assert numbers(plain) == pytest.approx(numbers(padded), abs=2e-5)
    assert words(plain) == words(padded)


def numbers(value: Any) -> list[float]:
    """All numbers in a JSON value, in order."""
    if isinstance(value, dict | list):
        return [number for part in (value.values() if isinstance(value, dict) else value) for number in numbers(part)]
    return [value] if isinstance(value, int | float) else []


def words(value: Any) -> list[str]:
    """All texts in it."""
    if isinstance(value, dict | list):
        return [text for part in (value.values() if isinstance(value, dict) else value) for text in words(part)]
    return [value] if isinstance(value, str) else []
