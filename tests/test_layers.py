"""Who may import whom, and what must not be imported at all: the architecture of the package, checked."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bertcli"
BASE = {"errors"}
PLAIN = {
    "pretrained", "safety", "arrays", "records", "model", "tokenizer", "tokenizer_files", "device",
    "registry", "option", "errors",
}  # fmt: skip
MODELS = PLAIN | {"tasks", "backends", "metrics"}
MAY_IMPORT = {
    "cli": PLAIN | {
        "cli", "inference", "evaluation", "training", "pretraining", "export", "explain", "checking", "tasks", "data",
        "report",
    },
    "report": {"arrays", "report", "evaluation", "tasks", "data", "errors"},
    "pretraining": MODELS | {"data", "pretraining", "training", "words"},
    "training": MODELS | {"exits", "data", "training", "export", "inference"},
    "evaluation": MODELS | {"data", "evaluation", "inference"},
    "inference": MODELS | {"inference"},
    "export": MODELS | {"exits", "data", "export", "inference"},
    "explain": MODELS | {"explain", "export", "inference", "words"},
    "checking": MODELS | {"checking", "training"},
    "tasks": BASE | {"arrays", "tasks", "tokenizer", "metrics", "model", "registry", "records", "option"},
    "backends": {"arrays", "backends", "device", "model", "pretrained", "errors"},
    "metrics": {"arrays", "metrics", "errors"},
    "data": {"data", "records", "registry", "errors"},
    "tokenizer": {"arrays", "words", "errors"}, "words": {"arrays"},
    "tokenizer_files": BASE | {"tokenizer", "pretrained", "safety"},
    "model": BASE | {"safety"}, "pretrained": BASE | {"safety"}, "safety": BASE, "device": BASE, "registry": BASE,
    "exits": BASE | {"safety"}, "errors": set(), "arrays": set(), "option": set(),
}  # fmt: skip
ONLY_IN = {
    "click": ("cli",),
    "rich": ("cli", "data"),
    "onnxruntime": ("backends", "export", "inference"),
    "openvino": ("backends",),
    "ray": ("inference",),
    "torch": (
        "exits",
        "backends",
        "device",
        "pretrained",
        "tasks",
        "training",
        "pretraining",
        "export",
        "explain",
        "inference",
    ),
    "transformers": ("pretrained", "pretraining"),
    "sklearn": (),
    "scipy": (),
    "rjieba": ("pretraining",),
    "jinja2": ("report",),
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer(module: str) -> str:
    """The layer of `bertcli.data.records.Record` is records: a plain type that every layer may name."""
    parts = module.split(".")[1:]
    return "records" if parts[:2] == ["data", "records"] else parts[0] if parts else ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_layer_may(file: Path) -> None:
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    for module in imports(file):
        top = module.split(".")[0]
        if top == "bertcli":
            assert layer(module) in MAY_IMPORT[own] | {"", "__version__"}, f"{own} must not import {module}"
        assert top not in ONLY_IN or own in ONLY_IN[top], f"{own} must not import {module}"


def loaded_by(code: str, stdin: str = "") -> set[str]:
    """The top-level modules in memory after running `code` in a new interpreter."""
    script = f"{code}\nimport sys; print('MODULES', *sorted({{m.split('.')[0] for m in sys.modules}}), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], input=stdin, capture_output=True, text=True, check=True)
    return set(done.stderr.partition("MODULES")[2].split())


HEAVY = {"torch", "transformers", "onnxruntime", "numpy", "sklearn", "rich", "yaml", "tokenizers", "accelerate", "onnx"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["predict", "--help"],
        ["finetune", "--help"],
        ["tokenizer", "train", "--help"],
        ["predict", "--nope"],
    ],
)
def test_help_and_usage_errors_import_nothing_heavy(arguments: list[str]) -> None:
    assert not HEAVY & loaded_by(f"from bertcli.cli.main import run; run({arguments})")


def test_completion_imports_nothing_heavy() -> None:
    code = """
import os; os.environ |= {"_BERTCLI_COMPLETE": "bash_complete", "COMP_WORDS": "bertcli predict --ba", "COMP_CWORD": "2"}
from bertcli.cli.main import cli
try: cli.main(prog_name="bertcli")
except SystemExit: pass"""
    assert not HEAVY & loaded_by(code)


def test_predict_on_onnx_imports_neither_torch_nor_transformers() -> None:
    modules = loaded_by("from bertcli.cli.main import run; assert run(['predict']) == 0", stdin="a gripping film\n")
    assert "onnxruntime" in modules
    assert (
        not {"torch", "transformers", "sklearn", "rich", "yaml", "accelerate", "onnx", "huggingface_hub", "jinja2"}
        & modules
    )
