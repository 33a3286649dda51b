"""The exact text of an evaluation on a terminal."""

import io
from dataclasses import replace
from textwrap import dedent

from rich.console import Console

from bertcli.cli.tables import render_evaluation
from bertcli.data.records import Record
from bertcli.evaluation import Comparison, Difference, Evaluation, Interval, collect, compare, scores
from bertcli.tasks.texts import Example, Mark
from tests.evaluation.test_evaluate import SENTIMENT, outcomes, task_for

DIFFERENCE = Difference(0.1, Interval(0.0, 0.2), 0.05)


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
        model
         records                        3
         calibrated, temperature   2.0000

        with 95 % bootstrap intervals
                        value     from       to
        ────────────────────────────────────────
         accuracy      0.6667   0.0000   1.0000
         macro_f1      0.6667   0.0000   1.0000
         micro_f1      0.6667   0.0000   1.0000
         weighted_f1   0.6667   0.0000   1.0000
         mcc           0.5000   0.0000   1.0000
         log_loss      1.4861   0.1269   4.0182

        compared with OLD: 0 fixed, 1 broken, McNemar's p 1.0000
                       difference      from       to        p
        ──────────────────────────────────────────────────────
         accuracy         -0.3333   -1.0000   0.0000   0.6114
         macro_f1         -0.3333   -1.0000   0.0000   0.6114
         micro_f1         -0.3333   -1.0000   0.0000   0.6114
         weighted_f1      -0.3333   -1.0000   0.0000   0.6114
         mcc              -0.5000   -1.0000   0.0000   1.0000
         log_loss          1.3333    0.0000   4.0000   0.6114

        per_class
                    precision   recall       f1   support
        ──────────────────────────────────────────────────
         negative      0.5000   1.0000   0.6667         1
         positive      1.0000   0.5000   0.6667         2

        by length in tokens
                   accuracy   records
        ──────────────────────────────
         1 to 16     0.6667         3

        reliability of scores: ECE 0.4567
                        mean score    right   texts
        ────────────────────────────────────────────
         0.67 to 0.73       0.7311   1.0000       1
         0.87 to 0.93       0.8808   1.0000       1
         0.93 to 1.00       0.9820   0.0000       1

        only texts that score at least
                precision   recall       f1
        ────────────────────────────────────
         0.50      0.6667   0.6667   0.6667
         0.60      0.6667   0.6667   0.6667
         0.70      0.6667   0.6667   0.6667
         0.80      0.5000   0.3333   0.4000
         0.90      0.0000   0.0000   0.0000
         0.95      0.0000   0.0000   0.0000
         0.99           -   0.0000   0.0000

        confusion: rows gold, columns predicted
                    negative   positive
        ────────────────────────────────
         negative          1          0
         positive          1          1

        broken: 1
         dev.jsonl:2  0.9820  positive → negative  t1

        surest mistakes (--errors FILE lists all): 1
         dev.jsonl:2  0.9820  positive → negative  t1
        """
    )


def test_mistakes_are_a_line_each_with_entities_instead_of_tags_and_the_question():
    tagged = Example(
        Record(0, {}, 4, "a.conll"), "Tim Cook in\nBerlin", ["B-PER", "I-PER", "O", "B-LOC"], ["O"] * 4, False, 0.9,
        0.9,
        gold_marks=(Mark(0, 8, "PER"), Mark(12, 18, "LOC")),
    )  # fmt: skip
    asked = Example(Record(0, {}, 1, "q.json"), "word " * 99, ["5", "five", "5"], "", False, 0.4, 0.4, "How many?")
    evaluation = Evaluation("t", "m", "f1", {}, 2, [], [tagged, asked])
    assert rendered(evaluation).splitlines()[-2:] == [
        " a.conll:4  0.9000  PER Tim Cook, LOC Berlin → none  Tim Cook in Berlin",
        " q.json:1  0.4000  5, five → none  How many?  word word word word word word word word wor…",
    ]


def test_a_p_value_is_never_shown_as_zero():
    for p, shown in ((1e-4, "p 0.0001"), (4e-5, "p under 0.0001")):
        found = Evaluation("t", "m", "f1", {}, 2, [], comparison=Comparison("OLD", {"f1": DIFFERENCE}, mcnemar_p=p))
        assert f"0 fixed, 0 broken, McNemar's {shown}\n" in rendered(found)
