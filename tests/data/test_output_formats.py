"""The exact output of every format."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from bertcli.data.formats import csv
from bertcli.data.formats.rich import Formatter as RichFormatter
from bertcli.data.records import Record, describe, error_result, is_error
from bertcli.data.writers import open_writer
from bertcli.errors import BertcliError

GOOD = {"text": "a film", "label": "positive", "score": 0.998}
BAD = error_result(1, 2, "no field 'text'")


# -- jsonl


def test_jsonl(written: Any) -> None:
    assert written([GOOD, BAD, {"text": "é\n\u2028"}], "out.jsonl").decode() == (
        '{"text": "a film", "label": "positive", "score": 0.998}\n'
        '{"index": 1, "line": 2, "error": {"type": "RecordError", "message": "no field \'text\'"}}\n'
        '{"text": "é\\n\u2028"}\n'
    )
    assert written([], "out.jsonl") == b""


def test_jsonl_lone_surrogates_are_escaped(written: Any) -> None:
    line = written([{"text": 'é \\\ud800"', "\udfff": 1}], "out.jsonl")
    assert line == '{"text": "é \\\\\\ud800\\"", "\\udfff": 1}\n'.encode()
    assert json.loads(line) == {"text": 'é \\\ud800"', "\udfff": 1}


def test_what_json_cannot_hold_is_an_error_in_its_place(tmp_path: Path) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    path = tmp_path / "out.jsonl"
    with open_writer(str(path)) as writer:
        writer.write({"score": float("nan")}, Record(6, {}, 9))
        writer.write({"deep": deep}, Record(7, {}, 10))
        writer.write(GOOD)
    first, second, third = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["index"], first["line"]) == (6, 9)
    assert first["error"]["message"].startswith("its result is not JSON (Out of range float values")
    assert "recursion" in second["error"]["message"]
    assert third == GOOD
    assert writer.failures == 2


# -- tables


def test_csv(written: Any) -> None:
    results = [
        {"text": 'a "b", c\r\nd', "label": None, "score": 0.5, "top": [{"label": "é"}], "ok": True},
        {"text": " e", "label": "x", "score": 1e-07, "top": {}, "ok": 3},
        BAD,
        {"text": "short"},
    ]
    assert written(results, "out.csv").decode() == (
        "text,label,score,top,ok,error\n"
        '"a ""b"", c\r\nd",,0.5,"[{""label"": ""é""}]",true,\n'
        " e,x,1e-07,{},3,\n"
        ",,,,,line 2: no field 'text'\n"
        "short,,,,,\n"
    )


def test_tsv(written: Any) -> None:
    results = [{"text": 'a\tb\r\n"c"', "label": "x"}, {"text": "\ud800", "label": ["y"]}]
    assert written(results, "out.tsv") == b'text\tlabel\terror\na\\tb\\r\\n"c"\tx\t\n\\ud800\t["y"]\t\n'


@pytest.mark.parametrize("name", ["out.csv", "out.tsv"])
def test_errors_before_the_columns_are_known(written: Any, name: str) -> None:
    comma = "," if name == "out.csv" else "\t"
    place = error_result(0, 1, "bad", file="in.txt")
    assert written([place, BAD, GOOD], name).decode().replace(comma, ",") == (
        "text,label,score,error\n,,,in.txt:1: bad\n,,,line 2: no field 'text'\na film,positive,0.998,\n"
    )
    assert written([place], name) == b"error\nin.txt:1: bad\n"
    assert written([], name) == b""


def test_a_table_that_never_begins_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv, "MAX_HELD", 3)
    with pytest.raises(BertcliError, match=r"the first 3 records all failed \(line 2: no field 'text'\)"):  # noqa: SIM117
        with open_writer(str(tmp_path / "out.csv")) as writer:
            for result in [BAD] * 5:
                writer.write(result)
    assert not list(tmp_path.iterdir())


def test_a_field_that_is_no_column_is_an_error_in_its_place(tmp_path: Path) -> None:
    with open_writer(str(tmp_path / "out.csv"), optional=["windows"]) as writer:
        writer.write({"text": "a", "label": "x"})
        writer.write({"text": "b", "label": "x", "windows": 3})
        writer.write({"text": "c", "label": "x", "extra": 1}, Record(2, {}, 7))
        writer.write({"text": "d", "label": "x", "extra": 1})
        writer.write({"text": "e", "label": "y"})
    message = (
        "its field 'extra' is no column of this csv (the first record gave: text, label, windows); use --format jsonl"
    )
    assert (tmp_path / "out.csv").read_text() == (
        f'text,label,windows,error\na,x,,\nb,x,3,\n,,,"line 7: {message}"\n,,,"line 4: {message}"\ne,y,,\n'
    )
    assert writer.failures == 2


def test_a_result_called_error(tmp_path: Path) -> None:
    """How far a predicted number is off, in evaluate --errors: it is in the column of its name."""
    with open_writer(str(tmp_path / "out.csv")) as writer:
        writer.write({"text": "a", "error": "", "label": "x"})
        writer.write({"text": "b", "error": 0.5, "label": "x"})
        writer.write(BAD)
    assert (tmp_path / "out.csv").read_text() == (f"text,label,error\na,x,\nb,x,0.5\n,,{describe(BAD)}\n")
    assert writer.failures == 0


def test_error_results() -> None:
    assert error_result(3, 4, "m", file="f") == {
        "index": 3,
        "file": "f",
        "line": 4,
        "error": {"type": "RecordError", "message": "m"},
    }
    assert describe(error_result(3, 4, "m", file="f")) == "f:4: m"
    assert is_error(BAD)
    assert not is_error({**BAD, "text": "a"})
    assert not is_error({"error": "x"})


# -- rich


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the rich format prints for one result, 60 cells wide; on a terminal with `colour`."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm-256color")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def run(result: dict[str, Any], colour: bool = False) -> str:
        return RichFormatter(Terminal() if colour else None).add(result)

    return run


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (GOOD, "positive  99.8% ████████  a film"),
        ({"text": "a", "text_pair": "b", "label": "entailment", "score": 0.5}, "entailment  50.0% ████      a | b"),
        ({"text": "a", "label": "x", "score": 7.25}, "x        7.25  a"),
        ({"text": "a", "label": None, "score": 0.3}, "none      30.0% ██        a"),
        ({"text": "a", "answer": "b", "label": "x", "score": 0.5}, "x         50.0% ████      a  answer=b"),
        (
            {
                "text": "a",
                "label": "x",
                "score": 0.9,
                "top": [{"label": "x", "score": 0.9}, {"label": "y", "score": 0.1}],
            },
            "x         90.0% ███████   y 10.0%  a",
        ),
        ({"text": "a", "scores": {"x": 0.9, "y": 0.1}}, "x         90.0% ███████   y 10.0%  a"),
        ({"text": "a", "labels": ["x", "y"], "label_scores": [0.9, 0.6]}, "x         90.0% ███████   y 60.0%  a"),
        ({"text": "a", "labels": [{"label": "x", "score": 0.9}]}, "x         90.0% ███████   a"),
        ({"text": "a", "labels": [], "label_scores": []}, "none      a"),
        ({"text": "a", "score": 3.2}, "     3.2  a"),
        ({"id": 3, "meta": {"a": [1.5]}, "p": 0.123456}, '  id=3  meta={"a": [1.5]}  p=0.1235'),
        ({"text": "[red]a[/red] :smile:"}, "[red]a[/red] :smile:"),
        ({"text": "a\x1b[2J\x07\r\nb\x9b\u202e\ud800"}, "a\\x1b[2J\\x07\\r\\nb\\x9b\\u202e\\ud800"),
        ({"\x1b": {"\x1b": "\x7f"}}, '  \\x1b={"\\u001b": "\\x7f"}'),
        ({"text": "👩\u200d🚀 می\u200cکنم 日\u3000本"}, "👩\u200d🚀 می\u200cکنم 日\u3000本"),
        ({"text": "x" * 1_000_000}, "x" * 59 + "…"),
        ({"text": "日" * 100}, "日" * 29 + " …"),
        (BAD, "error  line 2: no field 'text'"),
        (error_result(0, 1, "\x1b" + "m" * 99), "error  line 1: \\x1b" + "m" * 99),
        ({}, ""),
        (
            {
                "question": "who",
                "context": "long ago it was, as all know, the old king",
                "answer": "king",
                "start": 38,
                "end": 42,
                "score": 0.5,
                "answers": [],
            },
            "  50.0% ████      king  who  … it was, as all know, the old…",
        ),
        (
            {"text": "a b", "question": "who", "answer": "", "start": None, "end": None, "score": 1.0},
            " 100.0% ████████  no answer  who  a b",
        ),
        (
            {
                "text": "a [MASK]",
                "masks": [[{"token": "b", "score": 0.75}, {"token": "c", "score": 0.25}]],
                "filled": "a b",
            },
            "b 75.0%  c 25.0%  a [MASK]  filled=a b",
        ),
        ({"top": [], "labels": 3, "score": True, "label": 1}, "  top=[]  labels=3  score=true  label=1"),
    ],
)
def test_rich(line: Any, result: dict[str, Any], expected: str) -> None:
    printed = line(result)
    assert [part.rstrip() for part in printed.split("\n")] == [expected, ""]


TWICE = "😀 Paris Hilton, not Paris, "


def in_offset_unit(text: str, place: int, unit: str) -> int:
    return len(text[:place].encode(unit)) // {"utf-8": 1, "utf-16-le": 2, "utf-32-le": 4}[unit]


UNITS = pytest.mark.parametrize("unit", ["utf-8", "utf-16-le", "utf-32-le"])


@UNITS
def test_rich_marks_each_entity_where_it_is_and_all_of_them(line: Any, unit: str) -> None:
    text = TWICE * 4
    own = [i * len(TWICE) + TWICE.rindex("Paris") for i in range(4)]
    entities = [{"type": "LOC", "text": "Paris", "start": in_offset_unit(text, i, unit), "score": 0.9} for i in own]
    assert line({"text": text, "entities": entities}) == "😀 Paris Hilton, not Paris LOC, " * 4 + "\n"  # 60 wide
    assert line({"text": "a b a", "entities": [{"type": "X", "text": "a"}] * 2}) == "a X b a X\n"
    coloured = line({"text": TWICE, "entities": entities[:1]}, colour=True)
    assert coloured == "😀 Paris Hilton, not \x1b[1;34mParis\x1b[0m\x1b[2;34m LOC\x1b[0m, \n"


@UNITS
def test_rich_shows_an_answer_where_it_is(line: Any, unit: str) -> None:
    context = "😀é aaa, a"
    start = in_offset_unit(context, 8, unit)
    shown = line({"question": "q", "context": context, "answer": "a", "start": start, "score": 0.5}, colour=True)
    assert shown.endswith("\x1b[2m😀é aaa, \x1b[0m\x1b[32ma\x1b[0m\n")


def test_rich_colours(line: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert line(GOOD, colour=True).startswith("\x1b[1;32mpositive\x1b[0m")
    assert line(BAD, colour=True) == "\x1b[31merror  line 2: no field 'text'\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in line(BAD, colour=True)
    assert "32m" not in line(GOOD, colour=True)


def test_rich_labels_keep_their_colour_and_column() -> None:
    formatter = RichFormatter(None)
    first = formatter.add({"text": "a", "label": "a long label", "score": 1})
    second = formatter.add({"text": "b", "label": "short", "score": 0})
    assert (first, second) == ("a long label 100.0% ████████  a\n", "short          0.0%           b\n")


def test_what_rich_cannot_show_is_an_error(written: Any) -> None:
    shown = written([{"text": "a", "meta": [float("nan")]}], "out", output_format="rich")
    assert shown.startswith(b"error  line 1: its result is not JSON")
