"""JSON lines and tables in, well-formed and broken."""

import json
from pathlib import Path
from typing import Any

import pytest

from bertcli.data import streams
from bertcli.data.readers import read
from bertcli.data.records import Record
from bertcli.errors import UsageError


def shown(found: list[Record]) -> list[Any]:
    """Fields, or the fault, of each record."""
    return [record.fault or record.fields for record in found]


def texts(found: list[Record]) -> list[str]:
    return [record.fault or record.fields["text"] for record in found]


# -- JSON lines


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"text": "a", "n": 1.0, "m": 10, "x": null}', {"text": "a", "n": 1.0, "m": 10, "x": None}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"{}", {}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"text": "a"', "not JSON (Expecting ',' delimiter at column 13)"),
        (b"abc", "not JSON (Expecting value at column 1)"),
        (b'{"a": 1} x', "not JSON (Extra data at column 10)"),
        (b'{"a": "\x00"}', "not JSON (Invalid control character at column 8)"),
        (b"[1]", "a JSON array, not an object"),
        (b'"a"', "a JSON string, not an object"),
        (b"1", "a JSON number, not an object"),
        (b"true", "a JSON boolean, not an object"),
        (b"null", "a JSON null, not an object"),
        (b'{"a": NaN}', "not JSON (NaN is not a JSON number; use null)"),
        (b'{"a": -Infinity}', "not JSON (-Infinity is not a JSON number; use null)"),
        (b'{"a": [1e999]}', "not usable JSON (the number 1e999 is too large)"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not usable JSON (a number with too many digits)"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not usable JSON (nested too deeply)"),
        (b'{"a": ["\\uD800"]}', "not usable JSON (half of a surrogate pair, which no UTF-8 text can hold)"),
        (b'{"\\udc00": 1}', "not usable JSON (half of a surrogate pair, which no UTF-8 text can hold)"),
        (b'{"a": "\xff"}', "invalid UTF-8 at byte 8 of the line; --encoding names another encoding"),
        (b"\x0c", "not JSON (Expecting value at column 1)"),
    ],
)
def test_jsonl(records: Any, line: bytes, expected: Any) -> None:
    found = records(b'{"b": 1}\n \t\r\n' + line + b'\r\n{"c": 1}', "a.jsonl")
    assert shown(found) == [{"b": 1}, expected, {"c": 1}]
    assert [record.line for record in found] == [1, 3, 4]


@pytest.mark.parametrize("content", [b'[\n{"a": 1}\n]', b'\n{\n"a": 1\n}', b'[{"a": 1}]'])
def test_a_json_document_is_told_from_json_lines(records: Any, content: bytes) -> None:
    with pytest.raises(UsageError, match=r"in.json:\d: .*bertcli reads one JSON object a line: .*jq -c"):
        records(content, "in.json")
    assert records(content, "in.json", input_format="jsonl")[0].fault


def test_json_lines_under_a_json_name(records: Any) -> None:
    assert shown(records(b'{"a": 1}\n[\n', "in.json")) == [{"a": 1}, "not JSON (Expecting value at column 2)"]
    assert records(b"", "in.json") == []


# -- tables


def test_csv_quoting(records: Any) -> None:
    content = b'\xef\xbb\xbftext,label\r\n"a ""b"", c\r\nd\ne",x\r\n\r\n,\r\n"\x00",y'
    found = records(content, "a.csv")
    assert shown(found) == [
        {"text": 'a "b", c\r\nd\ne', "label": "x"},
        {"text": "", "label": ""},
        {"text": "\x00", "label": "y"},
    ]
    assert [record.line for record in found] == [2, 6, 7]


def test_tsv_has_no_quoting(records: Any) -> None:
    found = records(b'text\tlabel\n"a\tx\r\n\nb"c\r\td\n', "a.tsv")
    assert shown(found) == [{"text": '"a', "label": "x"}, {"text": 'b"c\r', "label": "d"}]
    assert [record.line for record in found] == [2, 4]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_rows_of_another_length(records: Any, name: str) -> None:
    comma = b"," if name == "a.csv" else b"\t"
    found = records(b"a,b\n1,2,3\n1\n1,2\n".replace(b",", comma), name)
    fault = "{} fields in a table of 2 columns"
    assert shown(found) == [fault.format(3), fault.format(1), {"a": "1", "b": "2"}]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_blank_line_in_one_column_is_an_empty_value(records: Any, name: str) -> None:
    assert texts(records(b"\ntext\na\n\nb\n", name)) == ["a", "", "b"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_headers(records: Any, name: str) -> None:
    comma = b"," if name == "a.csv" else b"\t"
    assert records(b"", name) == records(b"text\n", name) == []
    with pytest.raises(UsageError, match=r"a.[ct]sv:1: the header: column 2 has no name; give it one"):
        records(b"a,,b\n".replace(b",", comma), name)
    with pytest.raises(UsageError, match="two columns are called 'a'; rename one"):
        records(b"a,b,a\n".replace(b",", comma), name)
    for content in (b"x,0,,The sailors rode.\n", b"good,good,1\n"):  # as CoLA and STS-B have it, without a header
        with pytest.raises(UsageError, match="if it is one, and name all columns with --columns"):
            records(content.replace(b",", comma), name)
    with pytest.raises(UsageError, match="the header cannot be read: invalid UTF-8 at byte 3"):
        records(b"a,\xff\n".replace(b",", comma), name)


def test_columns_replace_the_header(records: Any) -> None:
    assert shown(records(b"1\t2\n", "a.tsv", columns=["a", "b"])) == [{"a": "1", "b": "2"}]
    assert shown(records(b"1\n\n", "a.csv", columns=["a"])) == [{"a": "1"}, {"a": ""}]
    with pytest.raises(UsageError, match="two columns are called 'a'"):
        read(["-"], input_format="csv", columns=["a", "a"])
    with pytest.raises(UsageError, match="no column is named"):
        read(["-"], input_format="csv", columns=[])
    with pytest.raises(UsageError, match="column names are for csv, tsv and conll, not lines"):
        read(["-"], columns=["a"])


def test_csv_faults_spoil_their_row_only(records: Any) -> None:
    content = b'a,b\n1,"x\xff\n\xfe y"\n2,"x"y\n3,x\ry\n4,ok\n5,"never\nclosed\n'
    found = records(content, "a.csv")
    assert [(r.line, r.fault or r.fields) for r in found] == [
        (2, "invalid UTF-8 at byte 5 of the line; --encoding names another encoding"),
        (4, "not CSV (',' expected after '\"')"),
        (5, "not CSV (a carriage return outside quotes)"),
        (6, {"a": "4", "b": "ok"}),
        (7, "not CSV (a quote is opened and never closed); lines 7 to 8 are lost with it"),
    ]


def test_a_quote_that_another_row_closes_says_which_lines_are_in_it(records: Any) -> None:
    found = records(b'a,b\n1,"x\n2,y\n3,"z\n4,ok\n', "a.csv")
    assert [(r.line, r.fault or r.fields) for r in found] == [
        (2, "not CSV (',' expected after '\"'); lines 2 to 4 are lost with it"),
        (5, {"a": "4", "b": "ok"}),
    ]


def test_csv_large_fields(records: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(records(b'a\n"' + b"x" * 1_000_000 + b'"\n', "a.csv")[0].fields["a"]) == 1_000_000
    monkeypatch.setattr(streams, "MAX_LINE", 1000)
    found = records(b"a,b\n" + b"x" * 2000 + b",y\n1,2\n" + b'"open' + b"\nrow,z" * 200 + b"\n", "a.csv")
    assert found[0].fault == "a line longer than 0 MiB"
    assert found[1].fields == {"a": "1", "b": "2"}
    assert found[2].fault == "a row longer than 0 MiB (is a quote never closed?); lines 4 to 170 are lost with it"
    assert found[3].fields == {"a": "row", "b": "z"}  # it goes on after the row that was given up


# -- SQuAD's JSON


def squad(*paragraphs: object) -> bytes:
    return json.dumps({"data": [{"paragraphs": list(paragraphs)}]}).encode()


def test_half_a_surrogate_pair_is_a_fault_of_one_question(records: Any) -> None:
    qas = [{"question": text} for text in ("who", "w\ud800")]
    first, second = records(squad({"context": "c", "qas": qas}), "a.json", input_format="squad")
    assert (first.fields, first.fault) == ({"question": "who", "context": "c"}, None)
    assert (second.line, second.fault) == (
        2,
        "not usable JSON (half of a surrogate pair, which no UTF-8 text can hold)",
    )


def test_a_document_is_refused_before_its_first_question(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(squad({"context": "c", "qas": [{"question": "who"}]}, {"context": "c"}))
    found = read([str(tmp_path / "a.json")], input_format="squad")
    with pytest.raises(UsageError, match=r"a\.json: not SQuAD's JSON \(no list 'qas' where one belongs\)\."):
        next(iter(found))


def test_a_number_that_cannot_be_used_is_a_fault_of_its_question_alone(tmp_path: Path) -> None:
    questions = [f'{{"id": {number}, "question": "q", "answers": []}}' for number in ("1", "21e999", "9" * 5000, "NaN")]
    paragraph = f'{{"context": "c", "qas": [{", ".join(questions)}]}}'
    document = f'{{"version": 21e999, "data": [{{"title": Infinity, "paragraphs": [{paragraph}]}}]}}'
    (tmp_path / "squad.json").write_text(document, encoding="utf-8")
    first, *others = read([str(tmp_path / "squad.json")])
    assert first.fields == {"id": 1, "question": "q", "answers": [], "context": "c"}
    assert [(record.line, record.fault) for record in others] == [
        (2, "not usable JSON (the number 21e999 is too large)"),
        (3, "not usable JSON (a number with too many digits)"),
        (4, "not JSON (NaN is not a JSON number; use null)"),
    ]


@pytest.mark.parametrize(
    ("content", "is_told"), [(b"good\rbad\r", True), (b"good\r\nbad\r\n", False), (b"good", False), (b"", False)]
)
def test_a_text_of_carriage_returns_alone_is_one_record_and_says_so(
    tmp_path: Path, content: bytes, is_told: bool
) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    notes: list[str] = []
    list(read([str(tmp_path / "a.txt")], note=notes.append))
    told = f"{tmp_path / 'a.txt'}: a carriage return alone ends no line: `tr '\\r' '\\n'` makes it one"
    assert notes == [told] * is_told
