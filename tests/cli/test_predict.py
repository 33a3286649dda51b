"""bertcli predict with the embedded model, as users call it: output, exit codes, bad input, pipes and signals."""

import gzip
import json
import os
import random
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMAND, Run

GOOD, BAD = b"a gripping film\n", b"a dull mess\n"
JSONL = ["--input-format", "jsonl"]


def results(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def labels(output: bytes) -> list[str | None]:
    return [result.get("label") for result in results(output)]


def test_lines_from_stdin(bertcli: Run) -> None:
    done = bertcli("predict", stdin=GOOD + BAD)
    first, second = results(done.stdout)
    assert (first["text"], first["label"]) == ("a gripping film", "positive")
    assert (second["text"], second["label"]) == ("a dull mess", "negative")
    assert list(first) == ["text", "label", "score"] and 0.5 < first["score"] <= 1
    assert done.stderr == b""


def test_every_input_field_is_passed_through_and_a_label_is_not_overwritten(bertcli: Run) -> None:
    line = json.dumps({"id": 7, "a": {"b": "a gripping film"}, "label": "gold", "n": None}).encode()
    (result,) = results(bertcli("predict", "--input-format", "jsonl", "--text-field", "a.b", stdin=line).stdout)
    score = result.pop("score")
    assert result == {"id": 7, "a": {"b": "a gripping film"}, "input_label": "gold", "n": None, "label": "positive"}
    assert score > 0.5


def test_top_k_all_scores_and_threshold(bertcli: Run) -> None:
    (result,) = results(bertcli("predict", "--top-k", "3", "--all-scores", "--threshold", "1", stdin=GOOD).stdout)
    assert result["label"] is None  # nothing reaches a score of exactly 1
    assert [entry["label"] for entry in result["top"]] == ["positive", "negative", "neutral"]
    assert result["scores"] == {entry["label"]: entry["score"] for entry in result["top"]}
    assert sum(result["scores"].values()) == pytest.approx(1, abs=2e-6)


def test_files_of_several_formats_in_order_and_places_of_faults(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(GOOD)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a dull mess"}\nnot json\n'))
    (tmp_path / "c.csv").write_bytes(b'text,n\r\n"a gripping\nfilm",1\r\n')
    done = bertcli("predict", "a.txt", "b.jsonl.gz", "c.csv", expect=3)
    assert labels(done.stdout) == ["positive", "negative", None, "positive"]
    error = results(done.stdout)[2]
    assert (error["index"], error["file"], error["line"]) == (2, "b.jsonl.gz", 2)
    assert error["error"]["message"].startswith("not JSON")
    assert b"1 of 4 records failed; the first: b.jsonl.gz:2: not JSON" in done.stderr


@pytest.mark.parametrize(
    ("stdin", "arguments", "expected", "code"),
    [
        (b"", [], [], 0),
        (b"\n", [], ["any"], 0),
        (b"good\n\n\nbad", [], ["positive", "any", "any", "negative"], 0),
        (b"good\r\nbad\r\n", [], ["positive", "negative"], 0),
        (b"\xef\xbb\xbfgood\n", [], ["positive"], 0),
        (b"good\n\xff\xfe\nbad\n", [], ["positive", None, "negative"], 3),
        (b"go\x00od\nbad\n", [], ["any", "negative"], 0),
        (b'{"text": "good"}\n{"text": \n{"text": "bad"}', JSONL, ["positive", None, "negative"], 3),
        (b'{"text": "good"}\n{"other": 1}\n{"text": 5}\n', JSONL, ["positive", None, None], 3),
        ((b"g" * 999 + b" ") * 1000, [], ["any"], 0),
    ],
    ids=["empty", "blank", "blanks", "crlf", "bom", "utf8", "nul", "json", "field", "1MB"],
)  # fmt: skip
def test_bad_input_is_normal_input(
    bertcli: Run, stdin: bytes, arguments: list[str], expected: list[str | None], code: int
) -> None:
    got = labels(bertcli("predict", *arguments, stdin=stdin, expect=code).stdout)
    assert len(got) == len(expected)
    assert all(label is not None if want == "any" else label == want for label, want in zip(got, expected, strict=True))


def test_a_long_text_is_windowed_and_says_so_unless_told_otherwise(bertcli: Run) -> None:
    text = b"good " * 2000 + b"\n"
    assert results(bertcli("predict", stdin=text).stdout)[0]["windows"] == 21
    assert results(bertcli("predict", "--long", "truncate", stdin=text).stdout)[0]["truncated"] is True
    (error,) = results(bertcli("predict", "--long", "error", stdin=text, expect=3).stdout)
    assert "longer than the model's 128 tokens" in error["error"]["message"]


def test_on_error_skip_leaves_out_and_fail_ends(bertcli: Run) -> None:
    stdin = b"good\n\xff\nbad\n"
    assert labels(bertcli("predict", "--on-error", "skip", stdin=stdin, expect=3).stdout) == ["positive", "negative"]
    failed = bertcli("predict", "--on-error", "fail", stdin=stdin, expect=1)
    assert labels(failed.stdout) == ["positive"]
    assert failed.stderr.startswith(b"bertcli: stdin:2: invalid UTF-8 at byte 1")


def test_a_result_that_the_format_cannot_hold_is_a_bad_record_as_others(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n', encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "bad", "id": 1}\n', encoding="utf-8")
    run = ("predict", "a.jsonl", "b.jsonl", "--format", "csv", "--on-error")
    header, good, *errors = bertcli(*run, "record", expect=3).stdout.decode().splitlines()
    assert len(errors) == 1 and "b.jsonl:1: its field 'id' is no column of this csv" in errors[0]
    assert bertcli(*run, "skip", expect=3).stdout.decode().splitlines() == [header, good]
    failed = bertcli(*run, "fail", expect=1)
    assert failed.stderr.startswith(b"bertcli: b.jsonl:1: its field 'id' is no column of this csv")
    assert failed.stdout.decode().splitlines() == [header, good]


def test_tables_have_a_header_and_an_error_column(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_bytes(b'id\ttext\n1\ta "gripping" film\n2\n')
    done = bertcli("predict", "in.tsv", "--format", "tsv", expect=3)
    header, first, second = done.stdout.decode().splitlines()
    assert header.split("\t") == ["id", "text", "label", "score", "windows", "truncated", "unknown", "error"]
    assert first.split("\t")[:3] == ["1", 'a "gripping" film', "positive"]
    assert "line 3: " in second.split("\t")[-1]


def test_a_table_without_a_result_has_the_header_of_any_other(bertcli: Run, tmp_path: Path) -> None:
    """A job whose input is empty one day breaks nothing that reads all days together."""
    (tmp_path / "none.csv").write_text("id,text,label\n")
    (tmp_path / "bad.csv").write_text("id,text,label\n7\n")
    header = "id,text,input_label,label,score,windows,truncated,unknown,error\n"
    assert bertcli("predict", "none.csv", "--format", "csv").stdout.decode() == header
    failed = bertcli("predict", "bad.csv", "--format", "csv", expect=3).stdout.decode()
    assert failed == f"{header},,,,,,,,line 2: 1 fields in a table of 3 columns\n"
    shards = [bertcli("predict", "none.csv", "--format", "csv", "--shard", f"{i}/99").stdout for i in (1, 2)]
    assert shards == [header.encode(), b""]  # the first is shorter than the header of the input


def test_a_table_without_the_text_column_is_one_usage_error(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"sentence\ngood\nbad\n")
    done = bertcli("predict", "in.csv", expect=2)
    assert done.stderr == b"bertcli: in.csv: no field 'text' (the record has: sentence); --text-field names another.\n"


def test_output_to_a_file_is_complete_or_absent(bertcli: Run, tmp_path: Path) -> None:
    bertcli("predict", "-o", "out.csv", stdin=GOOD)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").startswith("text,label,score,")
    bertcli("predict", "-o", "new.jsonl", "--on-error", "fail", stdin=b"good\n\xff\n", expect=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv"]


def test_a_record_is_the_same_whatever_its_batch_and_its_place(bertcli: Run) -> None:
    words = ["good", "bad", "film", "plot", "never", "dull", "great", "the", "acting", "utterly"]
    chance = random.Random(0)
    texts = [" ".join(chance.choices(words, k=chance.randint(1, 25))) for _ in range(300)]
    one = bertcli("predict", "--batch-tokens", "1", stdin="\n".join(texts).encode()).stdout.splitlines()
    many = bertcli("predict", "--batch-tokens", "4096", stdin="\n".join(texts).encode()).stdout.splitlines()
    shuffled = sorted(range(300), key=lambda _: chance.random())
    mixed = bertcli("predict", stdin="\n".join(texts[i] for i in shuffled).encode()).stdout.splitlines()
    assert one == many
    assert [one[i] for i in shuffled] == mixed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(bertcli: Run) -> None:
    done = bertcli("predict", "-o", "/dev/full", stdin=GOOD, expect=1)
    assert done.stderr == b"bertcli: cannot write to /dev/full: No space left on device; 0 records were written\n"


@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_no_engine_leaves_an_id_of_its_telemetry_at_home(bertcli: Run, tmp_path: Path, backend: str) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(backend, backend))
    (tmp_path / "home").mkdir()
    bertcli("predict", "--backend", backend, stdin=GOOD, HOME=str(tmp_path / "home"), XDG_CACHE_HOME="")
    assert not list((tmp_path / "home").rglob("*"))


def test_a_reader_that_leaves_kills_quietly(tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_bytes(GOOD * 3000)
    shell = f"{' '.join(COMMAND)} predict {tmp_path}/many.txt 2> {tmp_path}/err | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=60, check=True)
    assert done.stdout.splitlines()[1] == b"141"  # 128 + SIGPIPE
    assert (tmp_path / "err").read_bytes() == b""


def start(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*COMMAND, "predict", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def line_of(process: "subprocess.Popen[bytes]") -> bytes:
    """The next line of stdout, or a failure after 30 seconds."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 30)[0], "no result came although its record is complete"
    return process.stdout.readline()


def test_a_result_comes_before_the_next_record(tmp_path: Path) -> None:
    with start() as process:
        assert process.stdin is not None
        for text, label in ((GOOD, "positive"), (BAD, "negative")):
            process.stdin.write(text)
            process.stdin.flush()
            assert json.loads(line_of(process))["label"] == label
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_what_is_finished_written(signum: int, code: int) -> None:
    with start() as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(GOOD)
        process.stdin.flush()
        assert b"positive" in line_of(process)
        time.sleep(0.05)
        os.kill(process.pid, signum)
        assert process.wait(30) == code
        assert b"Traceback" not in process.stderr.read()


def test_config_file_environment_and_flag_in_that_order(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("predict:\n  top-k: 2\n  all_scores: true\nencoding: utf-8\n", encoding="utf-8")
    (from_file,) = results(bertcli("predict", "--config", "c.yaml", stdin=GOOD).stdout)
    assert len(from_file["top"]) == 2 and "scores" in from_file
    (from_environment,) = results(bertcli("predict", "--config", "c.yaml", stdin=GOOD, BERTCLI_TOP_K="1").stdout)
    assert len(from_environment["top"]) == 1
    (from_flag,) = results(bertcli("predict", "--top-k", "2", stdin=GOOD, BERTCLI_PREDICT_TOP_K="1").stdout)
    assert len(from_flag["top"]) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("topk: 2", b"c.yaml: unknown key 'topk'; did you mean 'top-k'?"),
        ("- 1", b"c.yaml: the file must hold `option: value` lines."),
        ("a: [", b"c.yaml: not YAML"),
        ("predict: 3", b"c.yaml: 'predict' holds no options."),
        ("device: tpu", b"Invalid value for '--device': 'tpu' is not one of"),
    ],
)
def test_a_config_file_that_cannot_be_used_exits_2(bertcli: Run, tmp_path: Path, content: str, message: bytes) -> None:
    (tmp_path / "c.yaml").write_text(content, encoding="utf-8")
    assert message in bertcli("predict", "--config", "c.yaml", expect=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "no-such-file"], b"bertcli: cannot read no-such-file: no such file. For a text: echo no"),
        (["predict", "."], b"there is no file in .; name files, directories or quoted patterns."),
        (["predict", "--nope"], b"No such option"),
        (["predict", "-m", "no/such"], b"bertcli: 'no/such' is neither a directory nor a model on the Hub"),
        (["predict", "-t", "sentimnet"], b"no task is called 'sentimnet'"),
        (["predict", "--precision", "bf16"], b"no model.safetensors; this needs the weights"),
        (["predict", "--device", "cuda"], b"device 'cuda' is not available"),
        (["predict", "--encoding", "klingon"], b"no encoding 'klingon'"),
        (["predcit"], b"No such command 'predcit'"),
    ],
)  # fmt: skip
def test_wrong_usage_exits_2_with_one_sentence(bertcli: Run, arguments: list[str], message: bytes) -> None:
    done = bertcli(*arguments, stdin=GOOD, expect=2)
    assert message in done.stderr
    assert done.stdout == b""


def test_verbose_says_what_was_chosen_and_why_and_quiet_says_nothing(bertcli: Run) -> None:
    verbose = bertcli("predict", "-v", stdin=GOOD).stderr.decode()
    assert "text-classification with the embedded model: onnx int8 on cpu" in verbose
    assert bertcli("predict", "-q", stdin=b"\xff\n", expect=3).stderr == b""
