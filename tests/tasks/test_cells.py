"""What a label in a cell of a table is, whoever wrote the table."""

from pathlib import Path
from typing import Any

import pytest

from bertcli import tokenizer_files
from bertcli.data.records import Record
from bertcli.errors import RecordError
from bertcli.tasks.base import from_cell
from bertcli.tasks.options import Options
from bertcli.tasks.text_classification import Task


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('["x", "y"]', ["x", "y"]),
        ("['x', \"it's\"]", ["x", "it's"]),
        ("{'text': ['a'], 'answer_start': [0]}", {"text": ["a"], "answer_start": [0]}),
        ("['x','y z']", ["x", "y z"]),
        ("[(0, 3, 'PER')]", [[0, 3, "PER"]]),
        *((text, text) for text in ("[positive]", "{'a'}", "[nan]", "[" * 9999)),
        ("[positive", "[positive"),
        ("\\N", None),
        ("\\n", "\\n"),
        (0.5, 0.5),
    ],
)
def test_a_cell_is_what_was_written(cell: Any, value: Any) -> None:
    assert from_cell(cell) == value


@pytest.mark.parametrize("cell", ["['x' 'y']", "[0 1]", "[0. 1.]", "{'text': array(['a'], dtype=object)}"])
def test_an_array_of_numpy_is_a_fault_of_its_record_alone(tiny_model: Path, cell: str) -> None:
    config = {"id2label": {"0": "x", "1": "y"}, "max_position_embeddings": 64}
    task = Task(tokenizer_files.load(tiny_model, config), config, Options())
    with pytest.raises(RecordError, match="array as NumPy prints it"):
        task.label_fields(Record(fields={"text": "a", "label": cell}))
    assert task.label_fields(Record(fields={"text": "a", "label": "['x']"})) == {"label": ["x"]}
