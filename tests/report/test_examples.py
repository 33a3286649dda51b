"""Texts cut where marks begin and end."""

from bertcli.report import Piece, Tag, pieces
from bertcli.tasks.texts import Mark
from tests.report.conftest import example


def cut(text: str, gold: list[Mark], predicted: list[Mark], right: bool = False) -> list[Piece]:
    marks = {"gold_marks": tuple(gold), "predicted_marks": tuple(predicted)}
    return pieces(example(text, 1, gold=None, predicted=None, right=right, **marks))


def test_a_mark_is_right_wrong_or_missed() -> None:
    text = "Tim met Ann in Bonn"
    gold = [Mark(0, 3, "PER"), Mark(8, 11, "PER")]
    predicted = [Mark(0, 3, "PER", 0.9), Mark(15, 19, "LOC", 0.5)]
    assert cut(text, gold, predicted) == [
        Piece("Tim", "found", "right", (Tag("right", "PER"),)),
        Piece(" met ", "", "", ()),
        Piece("Ann", "missed", "", (Tag("missed", "PER"),)),
        Piece(" in ", "", "", ()),
        Piece("Bonn", "", "wrong", (Tag("wrong", "LOC"),)),
    ]


def test_another_type_in_the_same_place_is_wrong_and_missed() -> None:
    both = (Tag("wrong", "LOC"), Tag("missed", "PER"))
    assert cut("Ann", [Mark(0, 3, "PER")], [Mark(0, 3, "LOC", 0.5)]) == [Piece("Ann", "missed", "wrong", both)]


def test_marks_that_overlap_are_cut_at_each_border() -> None:
    parts = cut("abcdef", [Mark(0, 4, "X")], [Mark(2, 6, "X", 0.5)])
    assert [(piece.text, piece.gold, piece.predicted) for piece in parts] == [
        ("ab", "missed", ""), ("cd", "missed", "wrong"), ("ef", "", "wrong")
    ]  # fmt: skip


def test_of_several_gold_answers_one_is_enough() -> None:
    gold = [Mark(3, 9, "answer"), Mark(0, 9, "answer")]
    parts = cut("in Berlin", gold, [Mark(3, 9, "answer", 0.9)], right=True)
    assert [(piece.text, piece.gold, piece.predicted) for piece in parts] == [
        ("in ", "found", ""),
        ("Berlin", "found", "right"),
    ]


def test_a_text_without_marks_is_one_piece_and_an_empty_one_none() -> None:
    assert cut("abc", [], []) == [Piece("abc", "", "", ())]
    assert cut("", [], []) == []
