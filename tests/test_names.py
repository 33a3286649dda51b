"""Variables bear the noun that they stand for, not a word that could be anything."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bertcli"
EMPTY = {"own", "given", "found", "place", "kind"}


def variables(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_variable_has_an_empty_name(file: Path) -> None:
    assert not EMPTY & variables(ast.parse(file.read_text(encoding="utf-8")))
