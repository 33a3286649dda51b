"""The exact text of rendered metrics."""

import io
import subprocess
import sys
from textwrap import dedent

import numpy as np
import pytest
from rich.console import Console

from bertcli.cli.tables import render
from bertcli.metrics import classification


def rendered(metrics, title="title", width=80, **settings):
    """What render prints, without the spaces that end rich's lines."""
    console = Console(width=width, file=io.StringIO(), **settings)
    render(console, metrics, title)
    return "".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines())


def confusion(labels, matrix):
    return {"confusion": {"labels": labels, "matrix": matrix}}


def test_single_label():
    scores = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.3, 0.7, 0]])
    metrics = classification.single_label([0, 1, 1], scores, ["negative", "positive", "neutral"])
    assert rendered(metrics, "dev.jsonl: 3 records") == dedent(
        """\
        dev.jsonl: 3 records
         accuracy      0.6667
         macro_f1      0.6667
         micro_f1      0.6667
         weighted_f1   0.6667
         mcc           0.5000
         log_loss      0.6905

        per_class
                    precision   recall       f1   support
        ──────────────────────────────────────────────────
         negative      0.5000   1.0000   0.6667         1
         positive      1.0000   0.5000   0.6667         2
         neutral            -        -        -         0

        confusion: rows gold, columns predicted
                    negative   positive   neutral
        ──────────────────────────────────────────
         negative          1          0         0
         positive          1          1         0
         neutral           0          0         0
        """
    )


def test_multi_label():
    metrics = classification.multi_label([[0], []], np.array([[0.9, 0.1], [0.6, 0.1]]), ["art", "food"], 0.5)
    assert rendered(metrics) == dedent(
        """\
        title
         subset_accuracy   0.5000
         macro_f1          0.6667
         micro_f1          0.6667
         weighted_f1       0.6667
         samples_f1        0.5000
         map               1.0000
         map_labels             1
         hamming_loss      0.2500
         threshold         0.5000

        per_class
                precision   recall       f1   support   average_precision
        ──────────────────────────────────────────────────────────────────
         art       0.5000   1.0000   0.6667         1              1.0000
         food           -        -        -         0                   -
        """
    )


def test_any_shape_of_metrics():
    metrics = {
        "by_length": {"short": 0.5, "long": None},
        "scheme": "IOB2",
        "exact_match": 0.25,
        "nothing": {},
        "types": {"PER": {"f1": 1.0}, "LOC": {"f1": 0.5, "support": 2}, 3: {}},
        "sizes": [1, 2],
    }
    assert rendered(metrics) == dedent(
        """\
        title
         scheme          IOB2
         exact_match   0.2500
         sizes         [1, 2]

        by_length
         short   0.5000
         long         -

        types
                   f1   support
        ────────────────────────
         PER   1.0000         -
         LOC   0.5000         2
         3          -         -
        """
    )


def test_columns_are_numbered_where_their_names_do_not_fit():
    labels = ["quite a long label", "another long label", "and a third long label"]
    assert rendered(confusion(labels, [[5, 0, 1], [10, 20, 0], [0, 0, 7]]), width=60) == dedent(
        """\
        title

        confusion: rows gold, columns predicted
                                     0    1   2
        ────────────────────────────────────────
         0 quite a long label        5    0   1
         1 another long label       10   20   0
         2 and a third long label    0    0   7
        """
    )


def test_many_classes_show_their_greatest_errors():
    matrix = np.diag(np.full(31, 9))
    matrix[3, 4], matrix[4, 3] = 7, 8
    labels = [f"class {i}" for i in range(31)]
    assert rendered(confusion(labels, matrix.tolist()), width=1000) == dedent(
        """\
        title

        confusion: the most frequent errors among 31 classes
         gold      predicted   count
        ─────────────────────────────
         class 4   class 3         8
         class 3   class 4         7
        """
    )


def test_at_most_ten_errors_in_the_order_of_the_labels():
    lines = rendered(confusion([str(i) for i in range(31)], np.ones((31, 31), int).tolist())).splitlines()
    assert [line.split() for line in lines[5:]] == [["0", str(i), "1"] for i in range(1, 11)]


@pytest.mark.parametrize("size", [2, 12, 28, 30, 60])
def test_nothing_is_wider_than_the_terminal_and_no_number_is_cut(size):
    counts = np.arange(size * size).reshape(size, size) + 1000
    labels = [f"{i} " + "long " * 10 for i in range(size)]
    table = {
        label: {"precision": 0.1234, "recall": 0.1234, "f1": 0.1234, "support": 123456, "ap": 0.1234}
        for label in labels
    }
    text = rendered({"accuracy": 0.5, "per_class": table} | confusion(labels, counts.tolist()))
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("0.1234   0.1234   0.1234    123456   0.1234") == size
    assert str(counts[-1, -2]) in text  # the most frequent error


def test_the_diagonal_stands_out():
    shown = rendered(confusion(["a", "b"], [[3, 1], [0, 4]]), force_terminal=True, color_system="standard")
    assert shown.count("\x1b[1;32m") == 2
    assert "\x1b[1;32m3\x1b[0m" in shown
    assert "\x1b[2m0\x1b[0m" in shown


def test_a_label_is_shown_as_it_is_but_cannot_control_the_terminal():
    labels = ["[red]x[/red]", "a\x1b[31m\nb"]
    shown = rendered(confusion(labels, [[1, 0], [0, 1]]), "[bold]t[/bold]", force_terminal=True, color_system=None)
    assert "[red]x[/red]" in shown
    assert "a\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}b" in shown
    assert shown.startswith("[bold]t[/bold]\n")
    assert "\x1b" not in shown


def test_rich_is_not_imported_before_it_is_used():
    code = "import bertcli.cli.commands.evaluate, sys; print('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_long_value_leaves_its_name_on_a_narrow_terminal() -> None:
    assert rendered({"reason": "it has ONNX files, and they run on the CPU", "precision": "int8"}, width=40) == (
        "title\n reason          it has ONNX files, and\n                    they run on the CPU\n"
        " precision                         int8\n"
    )
    names = rendered({"per_class": {"negative": {"precision": 1.0, "recall": 0.5, "f1": 0.6667}}}, width=30)
    assert names.endswith("\n nega…   1.00…   0.5…   0.66…\n")
