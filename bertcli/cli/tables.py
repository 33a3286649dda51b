"""Metrics as tables for people. Knows the shapes of values, not the metrics: those of a new task need no edit here.

A number is a row of the first table; `{"labels": [...], "matrix": [[...]]}` is a confusion matrix, rows gold, columns
predicted; any other mapping is a table of its own. rich is imported inside the functions, for it is slow to load.
Try: bertcli info --format rich
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bertcli.data.terminal import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

MATRIX_CLASSES = 30  # the most that a matrix shows; the eye finds nothing in a larger one
PAIRS = 10
LABEL_CELLS = 30  # the width at which a label is cut
WIDEST = 10_000  # cells: asks rich how wide a table would like to be


def render(console: "Console", metrics: Mapping[str, Any], title: str) -> None:
    """Print numbers, tables and matrices, in this order, those of a shape in the order of `metrics`."""
    tables = {name: value for name, value in metrics.items() if isinstance(value, Mapping) and value}
    numbers = {name: value for name, value in metrics.items() if not isinstance(value, Mapping)}
    matrices = {name: value for name, value in tables.items() if value.keys() == {"labels", "matrix"}}
    blocks = [(title, _values(numbers))]
    blocks += [(name, _table(value)) for name, value in tables.items() if name not in matrices]
    for name, value in matrices.items():
        caption, table = _confusion(console, **value)
        blocks.append((f"{name}: {caption}", table))
    for i, (name, table) in enumerate(blocks):
        if i:
            console.print()
        console.print(plain(name, style="bold"))
        console.print(table)


def _table(value: Mapping[str, Any]) -> "Table":
    """A row per entry: its columns where each entry is a mapping of them, else its value alone."""
    rows = [row for row in value.values() if isinstance(row, Mapping)]
    if len(rows) < len(value):
        return _values(value)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = _empty(["", *columns])
    for label, row in value.items():
        table.add_row(_label(label), *(_cell(row.get(column)) for column in columns))
    return table


def _values(values: Mapping[str, Any]) -> "Table":
    table = _empty(["", ""])
    table.show_header = False
    for name, value in values.items():
        table.add_row(_label(name), _cell(value))
    return table


def _confusion(console: "Console", labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> tuple[str, "Table"]:
    """The first that fits, with its caption: names over the columns, numbers over them, the most frequent errors."""
    if len(labels) <= MATRIX_CLASSES:
        numbers = [str(i) for i in range(len(labels))]
        numbered = [f"{i} {label}" for i, label in enumerate(labels)]
        for rows, columns in ((labels, labels), (numbered, numbers)):
            table = _empty(["", *columns])
            for i, (label, counts) in enumerate(zip(rows, matrix, strict=True)):
                styles = ["bold green" if i == j else "" if count else "dim" for j, count in enumerate(counts)]
                cells = [plain(str(count), style=style) for count, style in zip(counts, styles, strict=True)]
                table.add_row(_label(label), *cells)
            wish = console.measure(table, options=console.options.update(max_width=WIDEST))
            if wish.maximum <= console.width:
                return "rows gold, columns predicted", table
    size = range(len(labels))
    errors = [(matrix[i][j], i, j) for i in size for j in size if i != j and matrix[i][j]]
    errors.sort(key=lambda error: -error[0])
    table = _empty(["gold", "predicted", "count"])
    table.columns[1].justify = "left"
    for count, i, j in errors[:PAIRS]:
        table.add_row(_label(labels[i]), _label(labels[j]), _cell(count))
    return f"the most frequent errors among {len(labels)} classes", table


def _empty(columns: Sequence[str]) -> "Table":
    """A table without rows; the first column holds names, and is what gives way on a narrow terminal."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for i, column in enumerate(columns):
        table.add_column(_label(column), justify="right" if i else "left", no_wrap=bool(i))
    return table


def _cell(value: Any) -> "Text":
    return plain("-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value))


def _label(name: object) -> "Text":
    text = plain(str(name))
    text.truncate(LABEL_CELLS, overflow="ellipsis")
    return text


def plain(text: str, style: str = "") -> "Text":
    """One line of text as it is: neither rich's markup nor a terminal's control codes in a label are obeyed."""
    from rich.text import Text

    return Text(visible(text, mask=True), style, no_wrap=True, overflow="ellipsis")
