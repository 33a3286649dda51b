"""The same promises for input of any name, and what goes out as it came in."""

import lzma
import pickle
import re
from time import perf_counter
from typing import Any

import pytest

from bertcli.data.readers import read
from bertcli.data.records import json_text, lookup, merged, weight
from bertcli.errors import RecordError, UsageError

# -- what its name promises, what its first line says


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        b'{"text": "good"}\n{"text": "caf\xe9"}\n{"text": "bad"}\n',
        b'\n{"text": "caf\xe9"}\n{"text": "bad"}\n',
        b'{"text": "cut\n{"text": "bad"}\n',
        b'{"text": "a",\n{"text": "bad"}\n',
        b'{"text": NaN}\n',
        b'junk\n{"text": "bad"}\n',
        b"",
        b"\n\n",
    ],
)
def test_json_lines_are_read_alike_under_both_names(records: Any, name: str, content: bytes) -> None:
    expected = [(r.line, r.fault, r.fields) for r in records(content, "b.jsonl")]
    assert [(r.line, r.fault, r.fields) for r in records(content, name)] == expected


@pytest.mark.parametrize(
    "content", [b'[\n{"text": "a"}\n]\n', b'[{"text": "a"}]', b'{\n"text": "a"\n}\n', b'{"a": [\n1]}']
)
def test_a_document_in_json_names_the_next_step(records: Any, content: bytes) -> None:
    items = "'.[]'" if content.startswith(b"[") else "."
    with pytest.raises(UsageError, match=rf"a\.json:1: .*one JSON object a line.*`jq -c {re.escape(items)} "):
        records(content, "a.json")


def test_the_next_step_of_a_document_unpacks_it_and_makes_records_of_texts(records: Any) -> None:
    with pytest.raises(UsageError, match=r"`xz -dc /.*/a\.json\.xz \| jq -c '\.\[\]' > a\.jsonl`"):
        records(lzma.compress(b'[{"text": "a"}]'), "a.json.xz")
    with pytest.raises(UsageError, match=r"`jq -c '\.\[\] \| \{text: \.\}' '/.*/a b\.json' > 'a b\.jsonl'`"):
        records(b'[\n"a",\n"b"\n]\n', "a b.json")
    with pytest.raises(UsageError, match=r"`jq -c '\.\[\] \| \{text: \.\[0\]\} \+ \.\[1\]' "):
        records(b'[\n [\n  "Ann",\n  {\n "entities": [[0, 3, "PER"]]\n  }\n ]\n]\n', "spacy.json")


def test_text_that_looks_like_records_is_text_and_said_to_be(records: Any) -> None:
    notes: list[str] = []
    content = b'{"text": "a"}\n'
    assert records(content, "a.txt", note=notes.append)[0].fields == {"text": '{"text": "a"}'}
    assert len(notes) == 1 and notes[0].endswith("; --input-format jsonl reads what it looks like")
    assert records(b"plain, text\n", "a.txt", note=notes.append) and len(notes) == 1
    assert records(content, "a.txt", note=notes.append, input_format="lines") and len(notes) == 1


def test_rows_of_tsv_with_quotation_marks_or_without_a_header_say_the_way(records: Any) -> None:
    found = records(b'text\tlabel\n"one\ntwo"\tx\n', "a.tsv")
    assert found[0].fault == "1 fields in a table of 2 columns; --input-format csv reads what is in quotation marks"
    found = records(b"# file = a\nAnn\tB-PER\n", "a.tsv")
    assert found[0].fault == "2 fields in a table of 1 columns; --columns names those of a file without a header"


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b'{"text": "a", "id": 1}\n', {}, {"text": "a", "id": 1}),
        (b"text,label\na,x\n", {}, {"text": "a", "label": "x"}),
        (b"id\ttext\n1\ta, b\n", {}, {"id": "1", "text": "a, b"}),
        (b'"id"\t"text"\n"1"\t"a, b"\n', {}, {"id": "1", "text": "a, b"}),  # as R's write.table
        (b"text;label\na, b;x\n", {}, {"text": "a, b", "label": "x"}),
        (b"id|text\n1|a, b\n", {}, {"id": "1", "text": "a, b"}),  # as sqlite3 -header
        (b"sep=;\r\nid;text\r\n1;a, b\r\n", {}, {"id": "1", "text": "a, b"}),
        (b"sep=\t\nid\ttext\n1\ta, b\n", {}, {"id": "1", "text": "a, b"}),
        (b"sep=;\nid;body\n1;a\n", {}, {"text": "sep=;"}),
        (b'"question","context"\nq,c\n', {}, {"question": "q", "context": "c"}),
        (b"id,body\n1,a\n", {"text_field": "body"}, {"id": "1", "body": "a"}),
        (b"id,body\n1,a\n", {}, {"text": "id,body"}),
        (b"Good text, I think\n", {}, {"text": "Good text, I think"}),
        (b"{}\n", {}, {"text": "{}"}),
        (b"{not JSON}\n", {}, {"text": "{not JSON}"}),
        (b'{"never closed", he said\n', {}, {"text": '{"never closed", he said'}),
        (b"[1]\n", {}, {"text": "[1]"}),
        (b'["a", he said\n', {}, {"text": '["a", he said'}),
        (b"caf\xe9\n", {}, None),
    ],
)
def test_input_without_a_name_is_told_by_its_first_line(
    records: Any, content: bytes, options: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    notes: list[str] = []
    first = records(content, "data", note=notes.append, **options)[0]
    assert (None if first.fault else first.fields) == expected
    assert len(notes) == (expected is not None and expected.keys() != {"text"})
    assert records(content, "a.txt")[0].fields.keys() <= {"text"}  # whose name says lines
    assert records(content, "data", input_format="lines")[0].fields.keys() <= {"text"}


def test_a_first_line_that_is_broken_json_makes_no_texts_of_the_others(records: Any) -> None:
    first, second = records(b'{"text": "a", "id": 007}\n{"text": "b"}\n', "data")
    assert first.fault and first.fault.startswith("not JSON") and second.fields == {"text": "b"}


@pytest.mark.parametrize(
    ("content", "items"),
    [
        (b'[\n{"text": "a"}\n]\n', "'.[]'"),
        (b'[{"text": "a"}]\n', "'.[]'"),
        (b'{\n"text": "a"\n}\n', "."),
        (b'[["a", {"entities": [[0, 1, "X"]]}]]\n', "'.[] | {text: .[0]} + .[1]'"),
        (b'["a", {"entities": [[0, 1, "X"]]}]\n', "'{text: .[0]} + .[1]'"),
        (b'[["a", "pos"], ["b", "neg"]]\n', "'.[] | {text: .[0], label: .[1]}'"),
        (b'["a", "b"]\n', "'.[] | {text: .}'"),
    ],
)
def test_a_document_without_an_ending_is_no_lines_of_text(records: Any, content: bytes, items: str) -> None:
    with pytest.raises(UsageError, match=rf"data:1: JSON .* no lines of objects; `jq -c {re.escape(items)}` .*"):
        records(content, "data")
    assert len(records(content, "data", input_format="lines")) == content.count(b"\n")


def test_an_array_in_one_line_is_a_document_however_long_it_is(records: Any) -> None:
    with pytest.raises(UsageError, match=r"a.json:1: a JSON array, not an object; .* `jq -c '.\[\]' "):
        records(b"[%s]" % b",".join([b'{"text": "a"}'] * 10_000), "a.json")


def test_squad_without_an_ending_is_questions(records: Any) -> None:
    questions = b'[{"id": 1, "question": "q", "answers": []}]'
    content = b'{"version": 1, "data": [{"paragraphs": [{"context": "c", "qas": %s}]}]}\n' % questions
    (only,) = records(content, "data")
    assert only.fields == {"id": 1, "question": "q", "answers": [], "context": "c"}


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b"text;n\na, b;1\n", {}, {"text": "a, b", "n": "1"}),
        (b"text\tn\na, b\t1\n", {}, {"text": "a, b", "n": "1"}),
        (b"a, b|1\n", {"delimiter": "|", "columns": ["text", "n"]}, {"text": "a, b", "n": "1"}),
        (b"a;1\n", {"columns": ["text", "n"]}, {"text": "a", "n": "1"}),
        (b"1;a, b, c\n", {"columns": ["n", "text"]}, {"n": "1", "text": "a, b, c"}),
        (b"a,b;c\n", {"columns": ["text", "n"]}, {"text": "a", "n": "b;c"}),
        (b"a;b\n", {"columns": ["text"]}, {"text": "a;b"}),
        (b'"a;b"\nx\n', {}, {"a;b": "x"}),
        (b"a;b,c\n1;2,3\n", {}, {"a;b": "1;2", "c": "3"}),
        (b"a;b,c\n1;2,3\n", {"delimiter": ";"}, {"a": "1", "b,c": "2,3"}),
        (b"sep=;\r\na;b,c\r\n1;2,3\r\n", {}, {"a": "1", "b,c": "2,3"}),
        (b"\xef\xbb\xbfsep=\t\n1,2\tgood\n", {"columns": ["n", "text"]}, {"n": "1,2", "text": "good"}),
        (b",text\n0,a\n", {}, {"": "0", "text": "a"}),
    ],
)
def test_what_parts_the_cells_of_csv(
    records: Any, content: bytes, options: dict[str, Any], expected: dict[str, str]
) -> None:
    assert [r.fault or r.fields for r in records(content, "a.csv", **options)] == [expected]


def test_no_way_of_writing_a_table_is_a_dead_end(records: Any) -> None:
    with pytest.raises(UsageError, match=r"column 2 has no name; .*`tail -n \+2`.*--columns"):
        records(b"a,,b\n", "a.csv")
    for name in ("a.csv", "a.tsv"):
        with pytest.raises(UsageError, match=r"`tr '\\r' '\\n'` makes it one"):
            records(b"text,n\ra,1\r".replace(b",", b"," if name == "a.csv" else b"\t"), name)
    (only,) = records(b'{"text": "a"}\r{"text": "b"}\r', "a.jsonl")
    assert "`tr '\\r' '\\n'`" in only.fault
    (only,) = records(b"text^n\n", "a.csv") or records(b"text^n\na^1,b\n", "a.csv")
    assert "--delimiter" in only.fault
    with pytest.raises(UsageError, match="a delimiter is for csv, not lines"):
        read(["-"], delimiter=";")


# -- numbers


@pytest.mark.parametrize(
    "number",
    ["0.1000000000000000055", "1.50", "-0", "-0.0", "1E5", "1e-400", "0.30000000000000004", "12", "1e16", "-7"],
)
def test_numbers_go_out_as_they_came_in(records: Any, number: str) -> None:
    line = f'{{"text": "a", "n": {number}, "deep": [{{"n": [{number}, -1]}}]}}'
    (record,) = records(line.encode(), "a.jsonl")
    assert json_text(record.fields) == line
    assert json_text(pickle.loads(pickle.dumps(record)).fields) == line
    assert record.fields["n"] == float(number)


@pytest.mark.parametrize("line", ["-0", "1.50", "0.5", "7"])
def test_a_number_is_no_record(records: Any, line: str) -> None:
    assert records(line.encode(), "a.jsonl")[0].fault == "a JSON number, not an object"


def test_a_wide_table_is_read_in_linear_time(records: Any) -> None:
    def seconds(columns: int) -> float:
        begin = perf_counter()
        header = ",".join(f"c{i}" for i in range(columns))
        (record,) = records(f"{header}\n{',' * (columns - 1)}\n".encode(), "a.csv")
        assert len(record.fields) == columns
        with pytest.raises(RecordError, match=r"\(the record has: c0, .*, c19 and [\d,]+ more\)"):
            lookup(record.fields, "text", "--text-field")
        return perf_counter() - begin

    seconds(5_000)
    assert min(seconds(80_000) for _ in range(3)) < 100 * min(seconds(5_000) for _ in range(3))  # 256 if quadratic


# -- fields and memory


@pytest.mark.parametrize(
    ("fields", "results", "expected"),
    [
        ({"a": 1}, {"score": 2}, {"a": 1, "score": 2}),
        ({"score": 1}, {"score": 2}, {"input_score": 1, "score": 2}),
        ({"score": 1, "input_score": 3}, {"score": 2}, {"input_input_score": 1, "input_score": 3, "score": 2}),
        ({"input_score": 3, "score": 1}, {"score": 2}, {"input_score": 3, "input_input_score": 1, "score": 2}),
        ({"a": 1, "input_a": 2, "input_input_a": 3}, {"a": 4, "input_a": 5}, None),
        ({"windows": ""}, {"score": 2}, {"input_windows": "", "score": 2}),
        ({"error": "e"}, {"score": 2}, {"input_error": "e", "score": 2}),
        ({"truncated": True, "input_truncated": 1}, {}, {"input_input_truncated": True, "input_truncated": 1}),
    ],
)
def test_no_field_is_lost_under_any_name(
    fields: dict[str, Any], results: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    whole = merged(fields, results)
    assert expected is None or whole == expected
    assert len(whole) == len(fields) + len(results) and whole.items() >= results.items()
    assert [value for name, value in whole.items() if name not in results] == [*fields.values()]


def test_a_record_weighs_as_much_as_it_holds() -> None:
    text = "x" * 1000
    deep: Any = text
    for _ in range(5000):  # deeper than Python may call
        deep = [deep]
    for fields in ({"a": text}, {"a": [text]}, {"a": {"b": {"c": [1, text]}}}, {"a": {text: 1}}, {"a": deep}):
        assert weight(fields) >= 1000
    assert weight({"a": [0] * 1000}) >= 1000
