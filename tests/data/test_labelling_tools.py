"""Labelling tools: every record, span and offset of their exports, and what is written for them read back the same."""

import io
import json
import lzma
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.data.formats import INPUT, load
from bertcli.data.readers import Shard, read
from bertcli.data.records import Record
from bertcli.errors import RecordError, UsageError

DATA = Path(__file__).parents[3] / "shared" / "data" / "open" / "label_tools"
NEVER = "an array that is never closed; the export is not whole"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real exports are not there")
Spans = list[tuple[int, int, str]]


def spans(record: Record) -> Spans:
    return [(entity["start"], entity["end"], entity["type"]) for entity in record.fields["entities"]]


def lines(path: Path) -> list[dict[str, Any]]:
    data = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().splitlines()]


def loaded(records: Any, items: list[Any], **options: Any) -> list[Record]:
    """The records of JSON lines with these items."""
    read_records: list[Record] = records(
        "".join(json.dumps(item) + "\n" for item in items).encode(), "a.jsonl", **options
    )
    return read_records


# -- doccano


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"text": "Tim", "label": [[0, 3, "PER"]], "id": 7}, {"id": 7, "entities": [(0, 3, "PER")]}),
        ({"text": "Tim", "labels": [[0, 3, "PER"]]}, {"entities": [(0, 3, "PER")]}),
        ({"text": "Tim", "labels": ["a", "b"]}, {"label": ["a", "b"]}),
        ({"text": "Tim", "label": []}, {"entities": [], "label": []}),
        ({"text": "Tim", "entities": [[0, 3, "PER"]], "cats": []}, {"entities": [(0, 3, "PER")], "label": []}),
        ({"text": "Tim", "annotations": [{"label": 2, "user": 1}]}, {"label": [2]}),
        (
            {"text": "Tim", "annotations": [{"label": 2, "start_offset": 0, "end_offset": 3, "user": 1}]},
            {"entities": [(0, 3, "2")]},
        ),
        ({"text": "Tim", "label": "a"}, {"label": "a"}),
        ({"text": "Tim", "entities": [], "relations": []}, {"entities": [], "relations": []}),
    ],
)
def test_doccano(records: Any, item: dict[str, Any], expected: dict[str, Any]) -> None:
    (record,) = loaded(records, [item], input_format="doccano")
    fields = dict(record.fields)
    if "entities" in fields:
        fields["entities"] = spans(record)
    assert record.fault is None and fields == {"text": "Tim", **expected}


def test_what_is_no_label_of_doccano_is_a_fault_of_its_record(records: Any) -> None:
    first, second = loaded(
        records, [{"text": "a", "label": [[0, 1]]}, {"text": "b", "label": ["c"]}], input_format="doccano"
    )
    assert first.fault == "item 1 of 'label' is neither a class nor a span of doccano's" and first.line == 1
    assert second.fields == {"text": "b", "label": ["c"]}


@needs_data
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("doccano_es/sample.jsonl", "label"),
        ("doccano/sequence_labeling_example_overlapping.jsonl", "label"),
        ("doccano_transformer/labeling_text_label.jsonl", "labels"),
    ],
)
def test_doccano_exports(name: str, field: str) -> None:
    items, records = lines(DATA / name), list(read([str(DATA / name)]))
    assert [spans(record) for record in records] == [[tuple(label) for label in item[field]] for item in items]
    assert [record.fields["text"] for record in records] == [item["text"] for item in items]


@needs_data
def test_doccano_exports_of_the_first_generation() -> None:
    name = DATA / "doccano_transformer" / "labeling.jsonl"
    for item, record in zip(lines(name), read([str(name)]), strict=True):
        labels = item["annotations"]
        assert spans(record) == [(one["start_offset"], one["end_offset"], str(one["label"])) for one in labels]
        assert [entity["user"] for entity in record.fields["entities"]] == [one["user"] for one in labels]
    name = DATA / "doccano_old" / "download_text_classification.jsonl"
    assert [record.fields["label"] for record in read([str(name)])] == [[1], [2], [2]]
    array = read([str(DATA / "doccano" / "text_classification_example.json")], input_format="doccano")
    assert [record.fields["label"] for record in array][1] == ["positive", "negative"]


# -- Prodigy


def test_prodigy_answers(records: Any) -> None:
    task = {"text": "Tim", "spans": [{"start": 0, "end": 3, "label": "PER", "source": "m"}]}
    binary = {"text": "Tim", "label": "A", "spans": []}
    choice = {"text": "Tim", "options": [{"id": "A"}, {"id": "B"}], "accept": ["B"]}
    answered = [
        {**item, "answer": answer} for item in (task, binary, choice) for answer in ("accept", "reject", "ignore")
    ]
    found = loaded(records, [*answered, task])
    labels = [record.fields.get("label") for record in found]
    assert labels == [None, None, None, ["A"], [], "A", ["B"], [], None, None]
    assert [record.unlabelled for record in found] == [
        None, "rejected by the annotator", "ignored by the annotator", None, None, "ignored by the annotator",
        None, None, "ignored by the annotator", None,
    ]  # fmt: skip
    assert found[0].fields["entities"] == [{"start": 0, "end": 3, "type": "PER", "source": "m"}]
    assert ["entities" in record.fields for record in found] == [True, *[False] * 8, True]
    (fault, other) = loaded(records, [{**task, "answer": "maybe"}, {**task, "spans": [{}]}], input_format="prodigy")
    assert fault.fault == "its 'answer' is none of Prodigy's: accept, reject, ignore"
    assert other.fault == "item 1 of 'spans' is no span of Prodigy's, which has start, end and label"


@pytest.mark.parametrize("spans", [5, "x", {"start": 0}])
def test_what_is_no_list_of_spans_is_a_fault_of_its_task(records: Any, spans: Any) -> None:
    (record,) = loaded(records, [{"text": "Tim", "spans": spans}], input_format="prodigy")
    assert record.fault == "item 1 of 'spans' is no span of Prodigy's, which has start, end and label"


@needs_data
@pytest.mark.parametrize("path", sorted(DATA.glob("prodigy/*.jsonl.xz")), ids=lambda path: path.name)
def test_prodigy_exports(path: Path) -> None:
    for item, record in zip(lines(path), read([str(path)]), strict=True):
        if item["answer"] == "ignore":
            assert record.unlabelled == "ignored by the annotator"
        elif "label" in item:
            assert record.fields["label"] == ([item["label"]] if item["answer"] == "accept" else [])
        else:
            labelled = item.get("spans", [])
            assert spans(record) == [(span["start"], span["end"], span["label"]) for span in labelled]
            for span in labelled:
                assert item["text"][span["start"] : span["end"]] == span.get(
                    "text", item["text"][span["start"] : span["end"]]
                )


# -- Label Studio


def region(start: int, end: int, label: str, text: str | None = None) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": [label]} | ({} if text is None else {"text": text})
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value}


def choice(name: str, *choices: str) -> dict[str, Any]:
    return {"from_name": name, "to_name": "text", "type": "choices", "value": {"choices": list(choices)}}


def task(*annotations: Any, **more: Any) -> dict[str, Any]:
    return {
        "id": 5,
        "data": {"text": "😀 Tim"},
        "annotations": [{"result": list(result)} for result in annotations],
        **more,
    }


def test_a_label_studio_span_of_another_text_of_the_task_says_so(records: Any) -> None:
    item = task([region(0, 4, "LOC", "Rome"), region(2, 5, "PER", "Tim")])
    item["data"]["title"] = "Rome"
    (record,) = records(json.dumps([item]).encode(), "a.json")
    assert [entity["text"] for entity in record.fields["entities"]] == ["Rome", "Tim"]


def test_label_studio_tasks(records: Any) -> None:
    cancelled = {"annotations": [{"was_cancelled": True, "result": [choice("a", "b")]}]}
    rectangle = {"type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": ["Car"]}}
    tasks = [
        task([region(2, 5, "PER")], [choice("topic", "a", "b")]),
        task([region(3, 6, "PER", "Tim")]),  # as before 2022, in UTF-16
        task([]),
        task([choice("topic", "a"), choice("tone", "b"), rectangle]),
        task(),
        {**task(), **cancelled},
    ]
    content = json.dumps(tasks, indent=1).encode()
    notes: list[str] = []
    found = records(content, "a.json", note=notes.append)
    assert "read as label-studio" in notes[0]
    data = {"id": 5, "text": "😀 Tim"}
    person = {"entities": [{"start": 2, "end": 5, "type": "PER"}]}
    assert [record.fields for record in found] == [
        {**data, **person}, {**data, "label": ["a", "b"]}, {**data, **person}, {**data, "entities": []},
        {**data, "topic": ["a"], "tone": ["b"], "results": [rectangle]}, data, data,
    ]  # fmt: skip
    assert [record.unlabelled for record in found[-3:]] == [None, "not annotated yet", "skipped by the annotator"]
    second = content.decode().split("\n").index(" {", 2) + 1
    assert [record.line for record in found[:3]] == [2, 2, second]
    assert [record.fields for record in records(json.dumps(tasks).encode(), "a.json")] == [r.fields for r in found]


def test_label_studio_rows(records: Any) -> None:
    row = {"text": "Tim", "id": 1, "annotator": 1, "annotation_id": 2, "lead_time": 0.5}
    span = {"start": 0, "end": 3, "text": "Tim", "labels": ["PER", "X"]}
    rows = [{**row, "label": [span]}, {**row, "label": "good"}, {**row, "label": {"choices": ["a", "b"]}}, row]
    both = [(0, 3, "PER"), (0, 3, "X")]
    found = records(json.dumps(rows).encode(), "a.json")
    assert spans(found[0]) == both and "label" not in found[0].fields
    assert [record.fields.get("label") for record in found[1:]] == ["good", ["a", "b"], None]
    assert found[3].fields["entities"] == []
    cell = json.dumps([span]).replace('"', '""')
    header = ["text", "id", "label", "annotator", "annotation_id", "lead_time"]
    cells = [header, ["Tim", "1", f'"{cell}"', "1", "2", "0.5"], ["Tim", "1", "good", "1", "3", "0.5"]]
    for separator, name in ((",", "a.csv"), ("\t", "a.tsv")):
        found = records("\n".join(map(separator.join, cells)).encode(), name)
        assert spans(found[0]) == both and found[1].fields["label"] == "good"


@pytest.mark.parametrize("cell", ['[{"a": ' + "[" * 99_999, '[{"a": "\\ud800"}]', '[{"a": NaN}]', "[{"])
def test_a_cell_that_is_no_json_is_text(records: Any, cell: str) -> None:
    quoted = cell.replace('"', '""')
    (record,) = records(f'text,annotation_id,lead_time,label\nTim,1,2,"{quoted}"\n'.encode(), "a.csv")
    assert record.fields["label"] == cell


def test_what_is_no_list_of_annotations_has_none(records: Any) -> None:
    found = loaded(records, [task(annotations=5), task(annotations=[{"result": 5}])])
    assert [record.unlabelled for record in found] == ["not annotated yet", None]


def test_data_with_the_name_of_a_control_is_kept(records: Any) -> None:
    data = {"text": "Tim", "topic": 1, "label": "old"}
    item = task([choice("topic", "a"), choice("tone", "b")], [choice("topic", "a")], data=data)
    two, one = (record.fields for record in loaded(records, [item]))
    assert two == {"id": 5, "text": "Tim", "input_topic": 1, "label": "old", "topic": ["a"], "tone": ["b"]}
    assert one == {"id": 5, "text": "Tim", "topic": 1, "input_label": "old", "label": ["a"]}


def test_a_field_with_the_name_of_labels_is_kept(records: Any) -> None:
    doccano = {"text": "Tim", "labels": [[0, 3, "PER"]], "entities": "mine", "cats": ["a"], "label": "old"}
    prodigy = {"text": "Tim", "spans": [{"start": 0, "end": 3, "label": "PER"}], "accept": ["a"]}
    prodigy |= {"answer": "accept", "entities": "mine", "label": "old"}
    for item, name in ((doccano, "doccano"), (prodigy, "prodigy")):
        (record,) = loaded(records, [item], input_format=name)
        assert record.fields["input_entities"] == "mine" and record.fields["input_label"] == "old"
        assert spans(record) == [(0, 3, "PER")] and record.fields["label"] == ["a"]
    row = {"annotation_id": 1, "lead_time": 2, "text": "Tim", "entities": "mine"}
    (record,) = loaded(records, [row])
    assert record.fields["input_entities"] == "mine" and record.fields["entities"] == []


@needs_data
def test_label_studio_exports() -> None:
    (record,) = read([str(DATA / "label_studio" / "test_export_csv_csv_test2.json")])
    (label,) = record.fields["label"]
    assert label.startswith('Yes " "" \n \t \t \u0430') and record.fields["title"] == "TAN BAI"
    first, second = read([str(DATA / "label_studio" / "test_export_csv_csv_test.json")])
    assert first.fields["results"][0]["value"]["rectanglelabels"] == ["Car"] and second.fields["id"] == 2


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        (
            b'[{"data": {}, "annotations": []}, 3, [1], {"data": {}}]',
            {2: "a JSON number, not an object", 3: "a JSON array, not an object"},
        ),
        (
            b'[\n{"data": {}, "annotations": []},\n{"data": {]\n]\n',
            {2: "not JSON (Expecting property name enclosed in double quotes at column 11)", 3: NEVER},
        ),
        (b'[\n{"data": {"a": "]"}, "annotations": []},\n{"data": {}', {2: NEVER}),
        (b'[{"data": {}, "annotations": []}]\n[{"data": {}}]\n', {}),
    ],
)
def test_what_is_no_task_is_a_fault_in_its_place(records: Any, content: bytes, faults: dict[int, str]) -> None:
    found = records(content, "a.json", input_format="label-studio")
    assert {i: record.fault for i, record in enumerate(found, 1) if record.fault} == faults


# -- CLUENER


def test_cluener(tmp_path: Path) -> None:
    label = {"name": {"叶老桂": [[2, 4], [6, 8]]}, "address": {"😀": [[0, 0]]}}
    rows = [
        {"text": "😀:叶老桂、叶老桂", "label": label, "id": 1},
        {"text": "无", "label": {}},
        {"text": "无"},
        {"text": "叶", "label": {"name": {"叶": [[0]]}}},
        {"text": "叶", "label": {"name": ["叶"]}},
    ]
    (tmp_path / "a.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, empty, bare, *faults = read([str(tmp_path / "a.json")])
    assert spans(first) == [(2, 5, "name"), (6, 9, "name"), (0, 1, "address")]
    assert [first.fields["text"][e["start"] : e["end"]] for e in first.fields["entities"]] == ["叶老桂", "叶老桂", "😀"]
    assert first.fields["id"] == 1 and empty.fields == {"text": "无", "entities": []} and bare.fields == {"text": "无"}
    assert [record.fault for record in faults] == [
        "a span of '叶' is not [first, last]",
        "its 'label' is not {type: {text: [[first, last]]}}, as CLUENER has it",
    ]


# -- brat


def document(folder: Path, text: str, ann: str, name: str = "a") -> Record:
    (folder / f"{name}.txt").write_bytes(text.encode())
    (folder / f"{name}.ann").write_bytes(ann.encode())
    (record,) = read([str(folder / f"{name}.ann")])
    return record


def test_brat(tmp_path: Path) -> None:
    text = "😀 Tim\r\nCook met\nAnn and Bob Lee.\n"
    ann = "T1\tPER 2 5;7 11\tTim Cook\nT2\tPER 16 19;28 31\tAnn Lee\n"
    ann += "#1\tAnnotatorNotes T1\tsure?\nR1\tmet Arg1:T1 Arg2:T2\n"
    record = document(tmp_path, text, ann)
    assert record.fields == {
        "text": text,
        "brat_document": str(tmp_path / "a"),
        "entities": [
            {"id": "T1", "start": 2, "end": 11, "type": "PER"},
            {"id": "T2", "start": 16, "end": 31, "type": "PER", "fragments": [[16, 19], [28, 31]]},
        ],
        "annotations": ["#1\tAnnotatorNotes T1\tsure?", "R1\tmet Arg1:T1 Arg2:T2"],
    }
    (tmp_path / "a.ann").unlink()
    (record,) = read([str(tmp_path / "a.txt")], input_format="brat")
    assert record.fields["text"] == text and record.unlabelled == f"there is no {tmp_path / 'a.ann'}"


def test_brat_counts_a_byte_order_mark(tmp_path: Path) -> None:
    record = document(tmp_path, "\ufeffTim", "T1\tPER 1 4\tTim\n")
    assert record.fault is None and record.fields["text"] == "\ufeffTim" and spans(record) == [(1, 4, "PER")]


def test_brat_parts_in_any_order(tmp_path: Path) -> None:
    record = document(tmp_path, "abc def", "T1\tPER 4 7;0 3\tdef abc\n")
    assert record.fields["entities"] == [
        {"id": "T1", "start": 0, "end": 7, "type": "PER", "fragments": [[4, 7], [0, 3]]}
    ]
    assert "no annotation of brat's" in str(document(tmp_path, "abc", f"T1\tPER {'0' * 5000} 3\tabc\n").fault)


@pytest.mark.parametrize(
    ("ann", "fault"),
    [
        ("T1\tPER 0 3\tTim\nT2\tPER 1 3\tTim\n", "the text at 1 3 is not the one that T2 repeats"),
        ("\nT1 PER 0 3 Tim\n", "no annotation of brat's; write ID<TAB>TYPE START END<TAB>TEXT"),
    ],
)
def test_a_broken_annotation_is_told_with_its_line(tmp_path: Path, ann: str, fault: str) -> None:
    record = document(tmp_path, "Tim", ann)
    assert (record.fault, record.line) == (fault, 2)


def test_brat_needs_both_files(tmp_path: Path) -> None:
    (tmp_path / "a.ann").write_text("")
    (record,) = read([str(tmp_path / "a.ann")])
    assert record.fault == f"there is no {tmp_path / 'a.txt'} with the text; put it there"
    with pytest.raises(UsageError, match=r"NAME\.txt with NAME\.ann"):
        list(read(["-"], input_format="brat"))


@needs_data
@pytest.mark.parametrize("path", sorted(DATA.glob("brat/*.ann")), ids=lambda path: path.name)
def test_brat_documents(path: Path) -> None:
    text = path.with_suffix(".txt").read_bytes().decode()
    (record,) = read([str(path)])
    bound = [line.split("\t") for line in path.read_bytes().decode().split("\n") if line.startswith("T")]
    assert record.fields["text"] == text
    assert [f"{kind} {start} {end}" for start, end, kind in spans(record)] == [line[1] for line in bound]
    assert [text[start:end] for start, end, _ in spans(record)] == [line[2] for line in bound]
    rest = [line for line in path.read_bytes().decode().split("\n") if line and not line.startswith("T")]
    assert record.fields.get("annotations", []) == rest


# -- WebAnno

HEAD = "#FORMAT=WebAnno TSV 3.3\n#T_SP=webanno.custom.Span|value\n\n\n"


def webanno(records: Any, text: str) -> list[Any]:
    found = records((HEAD + text).encode(), "a.tsv")
    return [record.fault or (record.fields["text"], spans(record)) for record in found]


def test_webanno_offsets_are_utf16_of_the_document(records: Any) -> None:
    first = "#Text=I 😊 Rome \\\\ \\u00e9\n1-1\t0-1\tI\t_\t\n1-2\t2-4\t😊\tX\t\n1-3\t5-9\tRome\tLOC\t\n"
    second = "#Text=Go\n2-1\t15-17\tGo\t_\t\n2-1.1\t16-17\to\tPART\t\n"
    assert webanno(records, f"{first}\n{second}") == [
        ("I 😊 Rome \\ é", [(2, 3, "X"), (4, 8, "LOC")]),
        ("Go", [(1, 2, "PART")]),
    ]


def test_webanno_spans_over_sentences_make_one_record(records: Any) -> None:
    text = (
        "#Text=a\n1-1\t0-1\ta\tX[1]|Y[2]\t\n\n#Text=b\n2-1\t2-3\tb\tY[2]\t\n\n#Text=c\n3-1\t4-5\tc\t*\t\n\n#Text=d\n#Text=e\n"
        "4-1\t6-7\td\tP\\[1\\]\t\n4-2\t8-9\te\t_\t\n"
    )
    assert webanno(records, text) == [
        ("a\nb", [(0, 1, "X"), (0, 3, "Y")]),
        ("c", [(0, 1, "Span")]),
        ("d\ne", [(0, 1, "P[1]")]),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("1-1\t0-2\ta\t_\t\n", "the text at 0-2 is not this token"),
        ("1-1\t0-1\ta\n", "no token of WebAnno's: 3 columns of 4, or no START-END in the second"),
        (f"1-1\t{'9' * 5000}-6\ta\t_\t\n", "no token of WebAnno's: 5 columns of 4, or no START-END in the second"),
        ("1-1\t0\ta\t_\t\n", "no token of WebAnno's: 5 columns of 4, or no START-END in the second"),
    ],
)
def test_a_broken_token_is_a_fault_of_its_sentence(records: Any, line: str, fault: str) -> None:
    good = "#Text=b\n2-1\t2-3\tb\tX\t\n"
    assert webanno(records, f"#Text=a\n{line}\n{good}") == [fault, ("b", [(0, 1, "X")])]


@pytest.mark.parametrize(("first", "second", "gap"), [(5, 0, -6), (0, 20_000_000, 19_999_999)])
def test_sentences_that_cannot_follow_one_another_are_a_fault(records: Any, first: int, second: int, gap: int) -> None:
    text = f"#Text=a\n1-1\t{first}-{first + 1}\ta\tX[1]\t\n\n#Text=b\n2-1\t{second}-{second + 1}\tb\tX[1]\t\n\n"
    fault = f"the sentence begins {gap} characters after the one before, with which it shares an annotation"
    assert webanno(records, text) == [fault]


def test_what_is_no_webanno_3(records: Any) -> None:
    with pytest.raises(UsageError, match=r"a\.tsv:1: no WebAnno TSV 3, which begins with #FORMAT=WebAnno TSV 3"):
        records(b" # webanno.custom.Span | f1\n#id=1\n#text=A\n1-1\tA\t_\t\n", "a.tsv")


@needs_data
@pytest.mark.parametrize("path", sorted(DATA.glob("webanno_tsv/GUM*.tsv")), ids=lambda path: path.name)
def test_webanno_documents(path: Path) -> None:
    """The entities are those that the column, read by itself, puts on tokens, which GUM parts by single spaces."""
    rows = [line.split("\t") for line in path.read_text("utf-8").split("\n") if re.match(r"\d", line)]
    tokens: dict[str, list[str]] = {}
    for row in rows:
        for value in row[3].split("|") if row[3] != "_" else []:
            tokens.setdefault(value if "[" in value else f"{value} at {row[0]}", []).append(row[2])
    found = [
        (kind, record.fields["text"][start:end]) for record in read([str(path)]) for start, end, kind in spans(record)
    ]
    assert sorted(found) == sorted((re.split(r"\[| at ", name)[0], " ".join(words)) for name, words in tokens.items())


@needs_data
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CrossSentenceSpanWithFeatureValue", [("He loves her .\nShe loves him not .", "PERSON")]),
        ("SubMultiTokenSpanWithoutFeatureValue3", [("his i", "Span"), ("s a te", "Span")]),
        (
            "TokenBoundedStackedSpanWithFeatureValue",
            [(w, "NE") for w in ("This", "is", "a", "test", ".") for _ in "ab"],
        ),
        ("MultiTokenStackedSpanWithFeatureValue", [("This is a test .", "PERSON"), ("This is a test .", "LOCATION")]),
        ("TokenBoundedStackedLookAlike", [(w, f"NOTSTACKED[{i}]") for i, w in enumerate("This is a test .".split())]),
        ("TokenAttachedAnnotationsWithValues", []),
        ("MultiTokenChain", []),
        ("MultiTokenSlotFeature", [("This", "SimpleLinkHost"), ("is a", "SimpleSpan"), ("test .", "SimpleSpan")]),
    ],
)
def test_webanno_references(name: str, expected: list[tuple[str, str]]) -> None:
    (record,) = read([str(DATA / "webanno_tsv" / f"test{name}_reference.tsv")])
    assert [(record.fields["text"][start:end], kind) for start, end, kind in spans(record)] == expected


# -- out and in


def unpacked(folder: Path, archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # from Python 3.11.4 on
        tar.extractall(folder)
    return sorted(map(str, folder.rglob("*.ann")))


def round_trip(folder: Path, name: str, results: list[dict[str, Any]]) -> list[Record]:
    """What is read of what was written; of Label Studio's predictions an annotator has made annotations."""
    formatter = load("output", name)()
    parts = [*map(formatter.add, results), formatter.end()]
    if name == "brat":
        return [record for path in unpacked(folder, b"".join(parts)) for record in read([path])]
    (folder / "out.json").write_text("".join(parts).replace('"predictions": [{', '"annotations": [{'), "utf-8")
    return list(read([str(folder / "out.json")], input_format=name))


@needs_data
@pytest.mark.parametrize("name", ["doccano", "prodigy", "label-studio", "brat"])
def test_all_exports_are_the_same_after_a_round_trip(tmp_path: Path, name: str) -> None:
    paths = [
        *DATA.glob("prodigy/*.xz"),
        *DATA.glob("brat/*.ann"),
        *DATA.glob("webanno_tsv/GUM*.tsv"),
        *DATA.glob("doccano_es/*.jsonl"),
    ]
    all_records = [record.fields for path in sorted(paths) for record in read([str(path)])]
    results = [
        {"text": fields["text"], "entities": fields["entities"]} for fields in all_records if "entities" in fields
    ]
    back = round_trip(tmp_path, name, results)
    assert len(results) == 1199 and len(back) == len(results)
    for result, record in zip(results, back, strict=True):
        assert record.fields["text"] == result["text"] and spans(record) == [
            (entity["start"], entity["end"], entity["type"]) for entity in result["entities"]
        ]


@given(
    text=st.text(st.sampled_from('aé😀 \n\r\t"\\|[]{},'), min_size=1, max_size=30),
    cuts=st.lists(st.tuples(st.integers(0, 29), st.integers(1, 9), st.sampled_from(["PER", "é-1"])), max_size=4),
    name=st.sampled_from(["doccano", "prodigy", "label-studio", "brat"]),
)
def test_any_span_of_any_text_survives(
    tmp_path_factory: pytest.TempPathFactory, text: str, cuts: list[tuple[int, int, str]], name: str
) -> None:
    wanted = [
        (start, end, kind) for start, length, kind in cuts
        if (end := min(len(text), start + length)) > start and not {text[start], text[end - 1]} & {"\n", "\r"}
    ]  # fmt: skip
    entities = [{"start": start, "end": end, "type": kind, "text": text[start:end]} for start, end, kind in wanted]
    (record,) = round_trip(tmp_path_factory.mktemp("out"), name, [{"text": text, "entities": entities}])
    assert record.fault is None and record.fields["text"] == text and spans(record) == wanted


def test_classes_survive(tmp_path: Path) -> None:
    for name in ("doccano", "prodigy", "label-studio"):
        results = [
            {"text": "a", "n": 1, "label": "x", "score": 0.5},
            {"text": "b", "labels": ["x", "y"], "label_scores": [0.9, 0.8]},
        ]
        found = round_trip(tmp_path, name, results)
        assert [record.fields["label"] for record in found] == [["x"], ["x", "y"]] and found[0].fields["n"] == 1


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"text": "a", "similarity": 0.5}, "only results with entities or labels are for labelling tools"),
        ({"text": "a", "entities": [[0, 1, "X"]]}, "only results with entities or labels are for labelling tools"),
        ({"text": "a", "labels": [1]}, "only results with entities or labels are for labelling tools"),
        ({"text": 1, "label": "a"}, "field 'text' is no text"),
        ({"label": "a"}, "no field 'text'"),
    ],
)
def test_what_is_not_for_labelling_tools(result: dict[str, Any], message: str) -> None:
    for tool in ("doccano", "prodigy", "label-studio", "brat"):
        with pytest.raises(RecordError, match=message):
            load("output", tool)().add(result)
    with pytest.raises(RecordError, match="brat's types have no white space: 'a b'; rename it"):
        load("output", "brat")().add({"text": "a", "entities": [{"start": 0, "end": 1, "type": "a b"}]})


# -- recognition and parts


def test_other_data_is_read_as_it_is(records: Any) -> None:
    items = [
        {"text": "a", "label": ["b"]}, {"text": "a", "labels": ["b"]}, {"text": "a", "answer": "accept"}, {"text": "a"},
        {"text": "a", "entities": [[0, 1, "X"]]}, {"text": "a", "spans": [[0, 1]]}, {"data": {"text": "a"}},
    ]  # fmt: skip
    notes: list[str] = []
    assert [record.fields for record in loaded(records, items, note=notes.append)] == items and notes == []
    tool = {"text": "a", "label": [[0, 1, "X"]]}
    found = loaded(records, [*items, tool], note=notes.append)
    assert spans(found[-1]) == [(0, 1, "X")] and "is read as doccano" in notes[0]
    assert loaded(records, [tool], input_format="jsonl")[0].fields == tool


@pytest.mark.parametrize("indent", [None, 1])
def test_shards_of_an_array_are_the_whole(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([task([choice("a", str(i))]) for i in range(20)], indent=indent))
    whole = [record.fields for record in read([str(path)])]
    parts = [record.fields for i in range(1, 6) for record in read([str(path)], shard=Shard(i, 5))]
    assert len(whole) == 20 and parts == whole


def test_an_item_of_an_array_has_a_bound(records: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertcli.data.formats.jsonl.MAX_LINE", 1000)
    item = json.dumps({"data": {"text": ["a"] * 1000}, "annotations": []}, indent=0)
    good, bad = records(f'[{{"data": {{}}, "annotations": []}},\n{item}]'.encode(), "a.json")
    assert good.fault is None and bad.fault.startswith("an item longer than") and bad.line == 2


def test_jsonl_reads_lines_as_before(records: Any) -> None:
    assert (
        INPUT["jsonl"].is_by_line and records(b'{"a": 1}\n\n[1]\n', "a.jsonl")[1].fault == "a JSON array, not an object"
    )
