"""Parquet and Arrow: what a table has comes out of it, goes back into one, and stands the same in JSON."""

import datetime
import json
import math
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bertcli.data.readers import Shard, read
from bertcli.data.records import error_result, json_text, merged
from bertcli.data.writers import open_writer
from bertcli.errors import BertcliError, UsageError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not here")
parquet = pytest.importorskip("pyarrow.parquet")

N = 10
EXAMPLE = {"label": "", "score": 0.5}


def table(size: int = N) -> Any:
    """Columns of the types that are easily lost."""
    moment = 1_600_000_000_123_456_789
    columns = {
        "text": pa.array([f"film {i}" if i % 4 else None for i in range(size)]),
        "id": pa.array(range(size), pa.int32()),
        "lang": pa.array([["en", "de", None][i % 3] for i in range(size)]).dictionary_encode(),
        "raw": pa.array([bytes([255, i]) for i in range(size)]),
        "when": pa.array([moment + i for i in range(size)], pa.timestamp("ns", "UTC")),
        "local": pa.array([moment] * size, pa.timestamp("ns")),
        "day": pa.array([datetime.date(2020, 2, 29)] * size),
        "took": pa.array([1500] * size, pa.duration("ms")),
        "price": pa.array([Decimal("1.50")] * size),
        "x": pa.array([[math.nan, math.inf, -0.5][i % 3] for i in range(size)], pa.float32()),
        "none": pa.nulls(size),
        "vector": pa.array([[0.5, i] for i in range(size)], pa.list_(pa.float32(), 2)),
        "body": pa.array([{"title": f"t{i}", "at": moment} for i in range(size)],
                         pa.struct([("title", pa.string()), ("at", pa.timestamp("ns"))])),
        "map": pa.array([[("k", i)] for i in range(size)], pa.map_(pa.string(), pa.int64())),
        "label": pa.array(range(size)),
    }  # fmt: skip
    return pa.table(columns, metadata={"made by": "a test"})


FIRST = (
    '{"text": null, "id": 0, "lang": "en", "raw": "/wA=", "when": "2020-09-13 12:26:40.123456789Z", '
    '"local": "2020-09-13 12:26:40.123456789", "day": "2020-02-29", "took": 1500, "price": 1.50, "x": "NaN", '
    '"none": null, "vector": [0.5, 0.0], "body": {"title": "t0", "at": "2020-09-13 12:26:40.123456789"}, '
    '"map": [["k", 0]], "label": 0}'
)


def write(path: Path, content: Any, **options: Any) -> str:
    if path.suffix == ".parquet":
        parquet.write_table(content, path, **options)
    else:
        make = pa.ipc.new_stream if path.suffix == ".arrows" else pa.ipc.new_file
        with make(path, content.schema) as writer:
            writer.write_table(content, options.get("row_group_size"))
    return str(path)


def load(path: Path) -> Any:
    return parquet.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_file(path).read_all()


def label(paths: list[str], out: Path, window: int = 3, **options: Any) -> Any:
    """What predict does: a result for each record that has a text, an error for the others."""
    with open_writer(str(out), example=EXAMPLE, run={}, **options) as writer:
        for number, record in enumerate(writer.journal.rest(read(paths))):
            writer.journal.add(record, None)
            if record.fault or not isinstance(record.fields["text"], str):
                writer.write_error(record.fault or "no text", record)
            else:
                writer.write(merged(record.fields, {"label": "good", "score": 0.5}), record)
            if number % window == window - 1:
                writer.flush()
    return load(out)


# -- in


@pytest.mark.parametrize("name", ["a.parquet", "a.pq", "a.arrow", "a.feather", "a.arrows"])
def test_a_row_is_a_record_whose_values_are_json(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.pq":
        parquet.write_table(table(), path, row_group_size=4)
    else:
        write(path, table(), row_group_size=4)
    records = list(read([str(path)]))
    assert [record.line for record in records] == list(range(1, N + 1))
    assert json_text(records[0].fields) == FIRST
    assert [record.fields["x"] for record in records[:3]] == ["NaN", "Infinity", -0.5]


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.arrows"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_shards_share_no_row_and_miss_none(tmp_path: Path, name: str, count: int) -> None:
    paths = [write(tmp_path / name, table(), row_group_size=4), write(tmp_path / f"b{name}", table(3))]
    (tmp_path / "c.txt").write_text("x\ny\n")
    paths.append(str(tmp_path / "c.txt"))
    shards = [list(read(paths, shard=Shard(i, count))) for i in range(1, count + 1)]
    assert [record.fields for shard in shards for record in shard] == [record.fields for record in read(paths)]
    if count == 3:
        assert all(shards)  # rows count, not row groups


def test_a_text_that_is_no_utf8_is_a_fault_of_its_row(tmp_path: Path) -> None:
    broken = pa.array([b"a", b"b\xff", None], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, broken.buffers())
    records = list(read([write(tmp_path / "a.parquet", pa.table({"text": text, "id": [1, 2, 3]}))]))
    assert [record.fault for record in records] == [None, "field 'text': invalid UTF-8 at byte 2", None]
    out = label([str(tmp_path / "a.parquet")], tmp_path / "out.parquet")
    assert out["id"].to_pylist() == [1, 2, 3]  # the row itself is not lost
    assert out["error"].to_pylist()[1] == "line 2: field 'text': invalid UTF-8 at byte 2"


def test_times_are_text_in_any_type(tmp_path: Path) -> None:
    times = pa.array([datetime.datetime(2020, 1, 1)], pa.timestamp("us"))
    union = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [times])
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), times)
    view = pa.array([times.to_pylist()], pa.list_view(times.type))
    (record,) = read([write(tmp_path / "a.arrow", pa.table({"union": union, "runs": runs, "view": view}))])
    assert json_text(list(record.fields.values())) == '["{0}", "{0}", ["{0}"]]'.replace("{0}", "2020-01-01 00:00:00")


def test_rows_of_a_broken_row_group_are_faults_and_the_others_are_read(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.parquet", table(), row_group_size=4, compression="gzip", use_dictionary=False))
    column = parquet.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    begin = column.data_page_offset
    data[begin : begin + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    records = list(read([str(path)]))
    assert [bool(record.fault) for record in records] == [False] * 4 + [True] * 4 + [False] * 2
    assert [record.line for record in records] == list(range(1, N + 1))
    assert all(record.fault.startswith("cannot be read (") for record in records[4:8] if record.fault)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1", r"a.parquet: cannot be read as Parquet \(.*a file that was cut has lost its end"),
        ("a.parquet", b"", "cannot be read as Parquet"),
        ("a.parquet", b"text\ngood\n", "cannot be read as Parquet"),
        ("a.arrow", b"ARROW1\0\0", "cannot be read as Arrow"),
        ("a.arrow", b"text\ngood\n", "cannot be read as Arrow"),
        ("a.parquet.gz", b"", "Parquet may be compressed inside, so it is read uncompressed; unpack it first"),
        ("a.arrow.xz", b"", "Arrow may be compressed inside, so it is read uncompressed; unpack it first"),
        ("a", b"PAR1\x15" + bytes(99), "--input-format parquet reads it"),
    ],
)
def test_what_is_no_table_is_a_usage_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        list(read([str(tmp_path / name)]))


def test_two_columns_of_one_name_are_a_usage_error(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pytest.raises(UsageError, match="two columns are called 'text'; rename one"):
        list(read([write(tmp_path / "a.parquet", twice)]))


def test_an_arrow_stream_that_breaks_off_is_a_fault_at_its_end(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.arrows", table(), row_group_size=4))
    path.write_bytes(path.read_bytes()[:-3000])
    *good, last = read([str(path)])
    assert [record.fault for record in good] == [None] * len(good)
    assert last.fault and last.fault.endswith("; the rest of this input is lost")


@pytest.mark.parametrize(
    ("found", "broken"),
    [
        (struct.pack("<3i", 0, 1000, 2001), struct.pack("<3i", 0, 1000, 2**30)),  # a text ends far behind its column
        (struct.pack("<3i", 0, 333, 777), struct.pack("<3i", 0, 2**30, 777)),  # so does a list beside no UTF-8
        (struct.pack("<q", 2), struct.pack("<q", 2**40)),  # a batch has more rows than its columns
    ],
    ids=["text", "list", "rows"],
)
@pytest.mark.parametrize("name", ["a.arrow", "a.arrows"])
def test_what_leads_out_of_the_memory_is_a_fault(tmp_path: Path, name: str, found: bytes, broken: bytes) -> None:
    """pyarrow would read there, and the process end by SIGSEGV or SIGABRT."""
    odd = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"b\xff"], pa.binary()).buffers())
    inner = pa.StructArray.from_arrays([odd, pa.array([[1] * 333, [2] * 444])], ["odd", "list"])
    path = Path(write(tmp_path / name, pa.table({"text": ["a" * 1000, "b" * 1001], "inner": inner})))
    data = path.read_bytes()
    assert [record.fault for record in read([str(path)])] == [None, "field 'inner': invalid UTF-8 at byte 2"]
    assert found in data
    path.write_bytes(data.replace(found, broken, 1))
    (record,) = read([str(path)])
    assert record.fault and record.fault.startswith("cannot be read (")
    assert record.fault.endswith("; the rest of this input is lost")


def test_text_that_is_no_utf8_is_looked_for_in_any_column(tmp_path: Path) -> None:
    """Its batch is no broken one, however deep it is."""
    text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"a", b"b\xff"], pa.binary()).buffers())
    offsets, first = pa.array([0, 1, 2], pa.int32()), pa.array([0, 0], pa.int8())
    columns = {
        "list": pa.ListArray.from_arrays(offsets, text),
        "map": pa.MapArray.from_arrays(offsets, pa.array(["k", "k"]), text),
        "union": pa.UnionArray.from_sparse(first, [text]),
        "dictionary": pa.DictionaryArray.from_arrays(pa.array([0, 1]), text),
        "fixed": pa.FixedSizeListArray.from_arrays(text, 1),
        "view": pa.ListViewArray.from_arrays(offsets[:2], pa.array([1, 1], pa.int32()), text),
        "struct": pa.StructArray.from_arrays([text], ["t"]),
    }
    for name, column in columns.items():
        path = write(tmp_path / f"{name}.arrow", pa.table({name: column}))
        assert [record.fault for record in read([path])] == [None, f"field '{name}': invalid UTF-8 at byte 2"]


@pytest.mark.parametrize("name", ["a.arrow", "a.arrows"])
def test_categories_of_polars_are_read_and_written(tmp_path: Path, name: str) -> None:
    """Their dictionary is of views, with which pyarrow can do nothing but cast it."""
    names = pa.array(["x", "y"], pa.string_view())
    column = pa.DictionaryArray.from_arrays(pa.array([1, 0, None, 1], pa.uint32()), names)
    path = write(tmp_path / name, pa.table({"text": ["a", "b", "c", None], "label": column}))
    assert [record.fields["label"] for record in read([path])] == ["y", "x", None, "y"]
    for out in ("out.parquet", "out.arrow"):
        assert label([path], tmp_path / out)["input_label"].to_pylist() == ["y", "x", None, "y"]


def test_a_uuid_is_text(tmp_path: Path) -> None:
    raw = bytes(range(16))
    path = write(tmp_path / "a.parquet", pa.table({"id": pa.array([raw, None], pa.uuid())}))
    assert [record.fields["id"] for record in read([path])] == ["00010203-0405-0607-0809-0a0b0c0d0e0f", None]


def test_classes_that_datasets_has_named_have_their_names(tmp_path: Path) -> None:
    """Their numbers may be others to a model; what is written keeps them."""
    named = {"names": ["pos", "neg"], "_type": "ClassLabel"}
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": named,
        "tags": {"feature": named, "_type": "List"},
        "old": [named],
        "body": {"a": named},
    }
    columns = {"text": ["a", "b", "c"], "label": [0, 1, -1], "tags": [[1, 0], [], None], "old": [[1], [0], []]}
    content = pa.table(columns | {"body": [{"a": 1}] * 3})
    for noted in (json.dumps({"info": {"features": features}}), "[]", "{", '{"info": null}'):
        path = write(tmp_path / "a.parquet", content.replace_schema_metadata({"huggingface": noted}))
        rows = [record.fields for record in read([path])]
        if "ClassLabel" not in noted:
            assert rows == content.to_pylist()
            continue
        assert [row["label"] for row in rows] == ["pos", "neg", None]
        assert [row["tags"] for row in rows] == [["neg", "pos"], [], None]
        assert [row["old"] for row in rows] == [["neg"], ["pos"], []] and rows[0]["body"] == {"a": 1}
        assert label([path], tmp_path / "out.parquet")["input_label"].to_pylist() == [0, 1, -1]


# -- out


def test_pandas_takes_no_result_for_the_index_that_had_its_name(tmp_path: Path) -> None:
    for index in ("label", "text"):
        noted = json.dumps({"index_columns": [index], "columns": []})
        content = pa.table({"text": ["a"], index if index == "label" else "n": ["x"]})
        path = write(tmp_path / "a.parquet", content.replace_schema_metadata({"pandas": noted, "made by": "a test"}))
        metadata = label([path], tmp_path / f"{index}.parquet").schema.metadata
        assert metadata[b"made by"] == b"a test" and (b"pandas" in metadata) is (index == "text")


@pytest.mark.parametrize("name", ["out.parquet", "out.arrow"])
@pytest.mark.parametrize("source", ["a.parquet", "a.arrow"])
def test_all_columns_survive_with_their_types(tmp_path: Path, source: str, name: str) -> None:
    path = write(tmp_path / source, table(), row_group_size=4)
    before, after = load(Path(path)), label([path], tmp_path / name)
    assert after.column_names == [*table().column_names[:-1], "input_label", *EXAMPLE, "error"]
    assert after.schema.metadata[b"made by"] == b"a test"
    for field in before.schema:
        column = after["input_label" if field.name == "label" else field.name]
        assert column.type == field.type
        # nothing equals NaN, and dictionaries may differ
        assert str(column.combine_chunks()) == str(before[field.name].combine_chunks()) or field.name == "lang"
    assert after["lang"].to_pylist() == before["lang"].to_pylist()
    assert after["error"].to_pylist()[:2] == ["line 1: no text", None]
    assert after["label"].to_pylist()[:2] == [None, "good"]


@pytest.mark.parametrize("name", ["out.parquet", "out.arrow"])
def test_windows_do_not_show_in_the_file(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "a.parquet", table(), row_group_size=4)
    for window in (1, 2, 100):
        label([path], tmp_path / f"{window}{name}", window)
    assert len({(tmp_path / f"{window}{name}").read_bytes() for window in (1, 2, 100)}) == 1


@pytest.mark.parametrize("stop", [1, 5, 9, 10])
def test_a_run_that_stops_goes_on_to_the_same_bytes(tmp_path: Path, stop: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("bertcli.data.formats.table_writer.ROWS", 4)
    path = write(tmp_path / "a.parquet", table(), row_group_size=4)
    label([path], tmp_path / "whole.parquet")
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt), open_writer(str(out), example=EXAMPLE, run={}) as writer:
        for number, record in enumerate(writer.journal.rest(read([path])), 1):
            writer.journal.add(record, None)
            if record.fields["text"]:
                writer.write(merged(record.fields, {"label": "good", "score": 0.5}), record)
            else:
                writer.write_error("no text", record)
            writer.flush()
            if number == stop:
                raise KeyboardInterrupt
    assert not out.exists()
    label([path], out, resume=True)
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert parquet.ParquetFile(out).num_row_groups == 3
    assert sorted(file.name for file in tmp_path.iterdir() if "out" in file.name) == [
        "out.parquet",
        "out.parquet.resume",
    ]


def test_a_run_killed_while_the_file_is_made_goes_on(tmp_path: Path, monkeypatch: Any) -> None:
    path = write(tmp_path / "a.parquet", table())
    label([path], tmp_path / "whole.parquet")
    out = tmp_path / "out.parquet"

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bertcli.data.formats.table_writer._cast", kill)
        with pytest.raises(KeyboardInterrupt):
            label([path], out)
    assert not out.exists() and (tmp_path / "out.parquet.part").exists()
    label([path], out, resume=True)
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert not (tmp_path / "out.parquet.part").exists()


def test_other_results_get_the_types_of_their_values(tmp_path: Path) -> None:
    results: list[dict[str, Any]] = [
        {"text": "a", "n": 1, "meta": {}, "tags": []},
        {"text": "b", "n": 2.5, "meta": {"a": 1}, "tags": ["x"], "late": True},
        {"text": "c", "n": None, "meta": {"b": [{}]}},
    ]
    with open_writer(str(tmp_path / "a.parquet"), example={"embedding": [0.5]}) as writer:
        for result in results:
            writer.write(result)
        writer.write({"text": "d", "embedding": [0.25, 0.5]})
        writer.write({"text": "e", "n": "one"})
        writer.write({"text": "f", "n": 1 << 63})
        writer.write(error_result(6, 7, "broken"))
        writer.write(error_result(7, 8, "broken", file="\udcff.txt"))
        assert writer.failures == 2
    rows = load(tmp_path / "a.parquet")
    assert rows.schema.field("embedding").type == pa.list_(pa.field("element", pa.float32()))
    assert rows.column_names == ["text", "n", "meta", "tags", "late", "embedding", "error"]
    assert rows["n"].to_pylist() == [1.0, 2.5, *[None] * 6]
    assert rows["meta"].to_pylist()[:3] == [None, {"a": 1, "b": None}, {"a": None, "b": [None]}]
    assert rows["tags"].to_pylist()[:2] == [[], ["x"]]
    errors = rows["error"].to_pylist()
    assert errors[4].startswith("line 5: its field 'n' does not fit into the column of this table (")
    assert errors[4].endswith("; use --format jsonl") and errors[5].startswith("line 6: its field 'n' does not fit")
    assert errors[6:] == ["line 7: broken", "\\udcff.txt:8: broken"]


@pytest.mark.parametrize("name", ["string_view", "run_end_encoded"])
def test_rows_that_are_left_out_leave_columns_of_any_type(tmp_path: Path, name: str) -> None:
    """As of polars, whose text is of views, with --on-error skip."""
    type_ = {"string_view": pa.string_view(), "run_end_encoded": pa.run_end_encoded(pa.int32(), pa.string())}[name]
    source = write(tmp_path / "a.arrow", pa.table({"text": ["a", "b", "c"], "more": pa.array(["x", "x", None], type_)}))
    with open_writer(str(tmp_path / "out.arrow"), example=EXAMPLE) as writer:
        for record in [record for record in read([source]) if record.line != 2]:
            writer.write(merged(record.fields, EXAMPLE), record)
    with pa.ipc.open_file(tmp_path / "out.arrow") as file:
        assert file.read_all().select(["text", "more"]) == pa.table(
            {"text": ["a", "c"], "more": pa.array(["x", None], type_)}
        )


def test_files_of_other_columns_are_one_table_where_their_types_can_be_joined(tmp_path: Path) -> None:
    first = write(tmp_path / "a.parquet", pa.table({"text": ["a"], "n": pa.array([1], pa.int32())}))
    second = write(tmp_path / "b.parquet", pa.table({"n": [2.5], "text": ["b"], "more": [b"x"]}))
    third = write(tmp_path / "c.parquet", pa.table({"text": ["c"], "n": ["three"]}))
    (tmp_path / "d.jsonl").write_text('{"text": "d", "n": 4}\n')
    rows = label([first, second, third, str(tmp_path / "d.jsonl")], tmp_path / "out.parquet")
    assert rows.column_names == ["text", "n", "more", *EXAMPLE, "error"]
    assert rows["n"].to_pylist() == [1.0, 2.5, None, 4.0]
    assert rows["more"].to_pylist() == [None, b"x", None, None]
    assert "does not fit into one table with those before" in rows["error"].to_pylist()[2]


def test_no_digit_is_lost_where_integers_and_floats_meet(tmp_path: Path) -> None:
    large = (1 << 53) + 1
    with open_writer(str(tmp_path / "a.parquet"), run={}) as writer:
        for result in [{"n": large, "m": 0.5}, {"n": 0.5}, {"m": large}, {"n": large + 1, "m": 2}]:
            writer.write(result)
        assert writer.failures == 2
    rows = load(tmp_path / "a.parquet")
    assert (rows["n"].to_pylist(), rows["m"].to_pylist()) == ([large, None, None, large + 1], [0.5, None, None, 2.0])
    assert "(it has integers that no float has)" in rows["error"].to_pylist()[1]
    with (
        pytest.raises(BertcliError, match="values do not fit into one column"),
        open_writer(str(tmp_path / "b.parquet")) as writer,
    ):
        for result in [{"deep": {"n": large}}, {"deep": {"n": 0.5}}]:
            writer.write(result)
    first = write(tmp_path / "c.parquet", pa.table({"text": ["a"], "n": [1]}))
    second = write(tmp_path / "d.parquet", pa.table({"text": ["b"], "n": [0.5]}))
    assert (
        "(n: int64 would lose digits as double)"
        in label([first, second], tmp_path / "out.parquet")["error"].to_pylist()[1]
    )


def test_a_dictionary_that_grows_is_one_in_a_file(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("bertcli.data.formats.table_writer.ROWS", 2)
    words = pa.array(["a", "b", "c", "a", "d", "b"]).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string()))
    content = pa.table(
        {"text": words, "size": pa.DictionaryArray.from_arrays([0, 1, 0, 1, 0, 1], ["s", "l"], ordered=True)}
    )
    path = write(tmp_path / "a.arrow", content)
    rows = label([path], tmp_path / "out.arrow", 1)
    assert rows.schema.field("text").type == words.type and rows["text"].to_pylist() == words.to_pylist()
    assert rows.schema.field("size").type == content.schema.field("size").type
    assert rows["size"].chunk(2).dictionary.to_pylist() == ["s", "l"]


def test_a_type_that_a_format_lacks_is_a_usage_error(tmp_path: Path) -> None:
    content = pa.table({"text": ["a"], "span": pa.array([pa.MonthDayNano([1, 2, 3])])})
    path = write(tmp_path / "a.arrow", content)
    with pytest.raises(UsageError, match=r"parquet cannot hold a column of the input \(.*; -o FILE.jsonl can"):
        label([path], tmp_path / "out.parquet")
    assert label([path], tmp_path / "out.arrow")["span"].to_pylist() == content["span"].to_pylist()
    union = pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])])
    path = write(tmp_path / "b.arrow", content.append_column("union", union))
    with pytest.raises(UsageError, match="arrow cannot hold a column of the input"):
        label([path], tmp_path / "none.arrow")


def test_a_table_needs_a_file(tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("parquet", "arrow"):
        with pytest.raises(UsageError, match=f"{name} says at its end what is in it, so it is written to a file: -o"):
            open_writer(None, name)
    with pytest.raises(UsageError, match=r"parquet is written to a regular file, uncompressed; .*a.parquet.gz is none"):
        open_writer(str(tmp_path / "a.parquet.gz"), run={})
    assert not list(tmp_path.iterdir())


def test_nothing_written_is_a_table_without_rows(tmp_path: Path) -> None:
    with open_writer(str(tmp_path / "a.parquet"), example=EXAMPLE):
        pass
    assert load(tmp_path / "a.parquet").schema.names == ["label", "score", "error"]


def test_without_pyarrow_there_is_a_sentence(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    message = r"^Parquet and Arrow need pyarrow, which is not installed: pip install 'bertcli\[parquet\]'\.$"
    with pytest.raises(UsageError, match=message):
        list(read([str(tmp_path / "a.parquet")]))
    with pytest.raises(UsageError, match=message):
        open_writer(str(tmp_path / "out.parquet"))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_column_without_a_name_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text(",text\n0,good\n")  # the index of pandas
    with open_writer(str(tmp_path / name)) as writer:
        for record in read([str(tmp_path / "a.csv")]):
            writer.write(record.fields)
    (again,) = read([str(tmp_path / name)])
    assert again.fields == {"": "0", "text": "good", "error": None}


def test_a_decimal_without_a_scale_is_an_integer(tmp_path: Path) -> None:
    columns = {"n": pa.array([Decimal(7)], pa.decimal128(38, 0)), "x": pa.array([Decimal(7)], pa.decimal128(9, 1))}
    (record,) = read([write(tmp_path / "a.parquet", pa.table(columns))])
    assert json_text(record.fields) == '{"n": 7, "x": 7.0}' and type(record.fields["n"]) is int


def test_a_decimal_that_parquet_has_not_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.arrow", pa.table({"x": pa.array([Decimal("1E+3")], pa.decimal128(10, -2))}))
    (record,) = read([path])
    with pytest.raises(UsageError, match="parquet cannot hold a column"), open_writer(str(tmp_path / "b.parquet")) as w:
        w.write(record.fields, record)
