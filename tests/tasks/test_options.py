"""The options that some tasks heed: what each says of them is what its files read, and all others are refused."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertcli import registry
from bertcli.data.records import Record
from bertcli.errors import UsageError
from bertcli.model import Model
from bertcli.tasks import labels
from bertcli.tasks.base import BaseTask
from bertcli.tasks.options import TASK_OPTIONS, Options
from bertcli.tokenizer import NoTokenizer
from bertcli.training.settings import Settings

TASKS = registry.names("tasks")
FOLDER = Path(registry.__file__).parent / "tasks"
SET: dict[str, Any] = {
    "all_scores": True, "language": "zh", "mask": "_", "normalize": False, "null_threshold": 1.0, "offset_unit": "utf8",
    "pair_field": "b", "prompt": "", "question": "who", "redact": True, "scheme": "io", "threshold": 0.5, "top_k": 2,
}  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_a_task_heeds_the_options_that_it_reads(name: str) -> None:
    files = (FOLDER / name.replace("-", "_")).glob("*.py")
    read = TASK_OPTIONS.intersection(*[re.findall(r"options\.(\w+)", "".join(file.read_text() for file in files))])
    assert registry.load("tasks", name).Task.accepts - {"pair_field"} == read - {
        "pair_field"
    }  # the base reads that one


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("option", sorted(TASK_OPTIONS))
def test_an_option_of_other_tasks_is_refused(name: str, option: str) -> None:
    task: type[BaseTask] = registry.load("tasks", name).Task
    options = replace(Options(), **{option: SET[option]})
    if option in task.accepts:
        options.require_accepted(task.accepts, name)
    else:
        flag = option.replace("_", "-")
        with pytest.raises(UsageError, match=f"^--{flag} means nothing to {name}; leave it out.$"):
            task(NoTokenizer(), {}, options)


def test_each_of_them_is_heeded_by_some_task() -> None:
    assert set().union(*(registry.load("tasks", name).Task.accepts for name in TASKS)) == TASK_OPTIONS


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        *((name, {"labels": ("a", "b")}) for name in ("feature-extraction", "fill-mask", "question-answering")),
        ("feature-extraction", {"label_smoothing": 0.1}),
    ],
)
def test_a_setting_of_classes_is_refused_where_none_are_learnt(name: str, setting: dict[str, Any]) -> None:
    flag = next(iter(setting)).replace("_", "-")
    settings = Settings(model=None, output=Path(), pair_field="b", **setting)
    with pytest.raises(UsageError, match=f"^--{flag} .* not learnt here"):
        labels.decide(registry.load("tasks", name).Task, settings, Model(Path(), {}), [Record()])
