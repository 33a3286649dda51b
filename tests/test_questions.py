"""Nothing outside tasks/ asks which task or problem it is: such a question would be an edit for each new task."""

import ast
from pathlib import Path

import pytest

from bertcli import registry

PACKAGE = Path(__file__).parent.parent / "bertcli"
FILES = sorted(file for file in PACKAGE.rglob("*.py") if "tasks" not in file.relative_to(PACKAGE).parts)
TASKS = {name: registry.load("tasks", name) for name in registry.names("tasks")}
FOLDERS = {name.replace("-", "_") for name in TASKS}
NAMES = {form for name, module in TASKS.items() for form in (name, name.replace("-", "_"), *module.ALIASES)}
NAMES |= {"similarity", "single_label_classification", "multi_label_classification", "regression"}
HEADS = {head for module in TASKS.values() for head in (module.Task.head, *module.Task.more_heads) if head}
CLASSES = ("Task", "tasks.", "Training", "Explaining")


def is_question(node: ast.AST) -> bool:
    """A comparison with a task's or problem's name, a choice by one, or a look at a task's class."""
    values = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str)}
    match node:
        case ast.Compare() | ast.Match():
            return bool(values & (NAMES | HEADS))
        case ast.Dict():
            return any(isinstance(entry, ast.Constant) and entry.value in NAMES for entry in [*node.keys, *node.values])
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass" | "type")):
            return any(name in ast.unparse(node) for name in CLASSES)
        case ast.ImportFrom(module=str(module)):
            return module.startswith("bertcli.tasks.") and module.split(".")[2] in FOLDERS
    return False


def questions(code: str) -> list[str]:
    return [ast.unparse(node) for node in ast.walk(ast.parse(code)) if is_question(node)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_file_outside_tasks_asks_which_task_it_is(file: Path) -> None:
    assert not questions(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "code",
    [
        "if task.name == 'question-answering': pass",
        "if problem in ('regression', 'similarity'): pass",
        "OF_TASK = {'context': 'question-answering'}",
        "isinstance(task, Tagging.Task)",
        "from bertcli.tasks.fill_mask import Task",
    ],
)
def test_each_way_to_ask_is_seen(code: str) -> None:
    assert questions(code)
