"""The exact text of an evaluation on a terminal."""

import io
from dataclasses import replace
from textwrap import dedent

from rich.console import Console

from bertcli.cli.scorecard import render_evaluation
from bertcli.engine.compare import compare
from bertcli.engine.evaluate import collect, scores
from tests.engine.test_evaluate import SENTIMENT, outcomes, task_for


def rendered(evaluation):
    console = Console(width=90, file=io.StringIO())
    render_evaluation(console, evaluation)
    return "".join(line.rstrip() + "\n" for line in console.file.getvalue().splitlines())


def test_all_of_it():
    task = task_for({**SENTIMENT, "calibration": {"temperature": 2.0, "records": 4}})
    old, new = (
        collect(task, outcomes(("negative", [4, 0]), ("positive", second), ("positive", [0, 2])))
        for second in ([0, 8], [8, 0])
    )
    evaluation = scores(task, new, "model")
    comparison = compare(task, new.gold, evaluation, scores(task, old).outcomes, "OLD")
    text = rendered(replace(evaluation, comparison=comparison))
    assert text == dedent(
        """\
        """
    )
