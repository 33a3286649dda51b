"""Chains, odd input, outputs that are in the way: nothing is lost or replaced, and the next step is named."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMAND, Run

LONG = "good film " * 600


def results(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_our_own_output_is_good_input(bertcli: Run, tmp_path: Path, name: str) -> None:
    suffix = Path(name).suffix
    rows = [{"id": 1, "text": "good"}, {"id": 2, "text": LONG}, {"id": 3, "text": "bad"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bertcli("predict", "in.jsonl", "-o", name)
    bertcli("predict", name, "-o", f"b{suffix}")
    bertcli("predict", f"b{suffix}", "-o", "c.jsonl")
    first, long, last = results((tmp_path / "c.jsonl").read_bytes())
    for record, label in ((first, "positive"), (last, "negative")):
        assert record["label"] == record["input_label"] == record["input_input_label"] == label
        assert "windows" not in record and "error" not in record
    assert long["text"] == LONG and str(long["input_windows"]) == str(long["windows"]) == "13"


def test_a_field_with_the_name_of_a_result_is_kept_whatever_else_there_is(bertcli: Run) -> None:
    line = b'{"text": "good", "score": 1.50, "input_score": -0, "windows": 7, "error": "old"}\n'
    text = bertcli("predict", stdin=line).stdout.decode()
    assert text.startswith('{"text": "good", "input_input_score": 1.50, "input_score": -0, "input_windows": 7, ')
    assert json.loads(text).keys() == {
        "text", "input_input_score", "input_score", "input_windows", "input_error", "label", "score"
    }  # fmt: skip


@pytest.mark.parametrize("command", [["predict", "in.jsonl"], ["predict"], ["explain", "--input", "in.jsonl"]])
def test_stdout_is_not_what_is_read(tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"text": "good"}\n')
    with file.open("rb") as stdin, file.open("ab") as stdout:
        done = subprocess.run(
            [*COMMAND, *command], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, cwd=tmp_path, check=False
        )
    assert done.returncode == 2 and b": it is the input, and stdout is redirected into it" in done.stderr
    assert file.read_text() == '{"text": "good"}\n'


def test_a_killed_run_is_not_begun_anew_by_mistake(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("good film\n" * 3000 + "bad\n" * 100)
    part, side = tmp_path / "out.jsonl.part", tmp_path / "out.jsonl.resume"
    with subprocess.Popen([*COMMAND, "predict", "in.txt", "-o", "out.jsonl"], cwd=tmp_path) as process:
        while not (side.exists() and side.read_bytes().count(b"\n") > 1):
            assert process.poll() is None
        process.kill()
    left = part.read_bytes(), side.read_bytes()
    for command in (["predict", "in.txt", "-o", "out.jsonl"], ["evaluate", "in.txt", "--errors", "out.jsonl"]):
        done = bertcli(*command, expect=2)
        assert (
            b"out.jsonl is unfinished: " in done.stderr and b"--resume goes on with it, --force begins" in done.stderr
        )
        assert (part.read_bytes(), side.read_bytes()) == left
    bertcli("predict", "in.txt", "-o", "out.jsonl", "--force")
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 3100 and not part.exists() and not side.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--errors", "x.npy"], b"--errors x.npy: the list is JSONL, TSV or CSV"),
        (["--errors", "x.conll"], b"--errors x.conll: the list is JSONL, TSV or CSV"),
        (["--errors", "x.html"], b"no output format has the ending .html"),
        (["--errors", "x.html", "--report", "x.html"], b"--errors and --report both name x.html"),
        (["--errors", "x.jsonl", "--report", "./x.jsonl"], b"--errors and --report both name ./x.jsonl"),
        (["--errors", "link.csv", "--report", "x.csv"], b"both name x.csv"),
        (["--errors", "in.jsonl"], b"--errors in.jsonl: it is the input"),
        (["--errors", "old.jsonl", "--compare", "old.jsonl"], b"--errors old.jsonl: it is the input"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_the_run(
    bertcli: Run, tmp_path: Path, options: list[str], message: bytes
) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "good", "label": "negative"}\n')
    (tmp_path / "old.jsonl").write_text("{}")
    (tmp_path / "link.csv").symlink_to(tmp_path / "x.csv")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.exists()}
    assert message in bertcli("evaluate", "in.jsonl", *options, expect=2).stderr
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.exists()} == before


def test_an_unknown_ending_of_an_output_is_refused(bertcli: Run, tmp_path: Path) -> None:
    done = bertcli("predict", "-o", "out.jsnol", stdin=b"good\n", expect=2)
    assert b"no output format has the ending .jsnol; --format says which: arrow, brat, conll, csv" in done.stderr
    bertcli("predict", "-o", "out.txt", "--format", "jsonl", stdin=b"good\n")
    bertcli("predict", "-o", "part.7", stdin=b"good\n")
    assert (tmp_path / "out.txt").read_bytes() == (tmp_path / "part.7").read_bytes()


@pytest.mark.parametrize(
    ("stdin", "expected", "name"),
    [
        (b'{"text": "good", "id": 7}\n', {"text": "good", "id": 7}, b"jsonl"),
        (b"id,text\n7,good\n", {"text": "good", "id": "7"}, b"csv"),
        (b"id\ttext\n7\tgood\n", {"text": "good", "id": "7"}, b"tsv"),
        (b"good, text\n", {"text": "good, text"}, b""),
        (b"good,text\n", {"text": "good,text"}, b""),
    ],
)
def test_what_stdin_is_shows_in_its_first_line(
    bertcli: Run, stdin: bytes, expected: dict[str, Any], name: bytes
) -> None:
    done = bertcli("predict", "-v", stdin=stdin)
    (result,) = results(done.stdout)
    assert result.items() >= expected.items() and result["label"] == "positive"
    assert (b"stdin is read as " + name + b", as its first line looks; --input-format lines" in done.stderr) is bool(
        name
    )
    (raw,) = results(bertcli("predict", "--input-format", "lines", stdin=stdin).stdout)[-1:]
    assert raw.keys() == {"text", "label", "score"}


def test_binaries_are_refused_by_their_first_bytes(bertcli: Run) -> None:
    for stdin, message in (
        (b"\x1f\x8b\x08\x00abc", b"stdin: gzip"),
        (b"%PDF-1.4\n", b"stdin: PDF"),
        (b"PK\x03\x04", b"zip"),
    ):
        done = bertcli("predict", stdin=stdin, expect=2)
        assert message in done.stderr and not done.stdout


@pytest.mark.parametrize(
    "option", ["--question", "--text-field", "--mask", "--columns", "--delimiter", "-t", "--pair-field"]
)
def test_an_option_that_is_no_text_is_a_sentence(tmp_path: Path, option: str) -> None:
    command = [*map(os.fsencode, COMMAND), b"predict", option.encode(), b"who \xff"]
    done = subprocess.run(command, input=b"hi\n", capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 2 and b"is no UTF-8 at character 5; write it in UTF-8." in done.stderr
    done = subprocess.run([*command, b"\xff.txt"], capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 2 and b"internal error" not in done.stderr


def test_a_file_may_be_called_anything(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.txt")
    (tmp_path / name).write_text("good\n")
    done = subprocess.run([*COMMAND, "predict", name, "-o", name + ".jsonl"], cwd=tmp_path, check=False)
    assert done.returncode == 0 and (tmp_path / (name + ".jsonl")).exists()


@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        ("text_field: body\nno-normalize: true", ["-t", "embed"], None),
        ("columns: [text, id]\ninput-format: csv\n", [], {"id": "yes"}),
        ("columns: text, id\ninput-format: csv\n", [], {"id": "yes"}),
        (
            "task: qa\nquestion: yes\ntop_k:\nlong: window\ninput_format: lines",
            [],
            {"text": "good,yes", "question": "yes"},
        ),
        ("all-scores: yes\ninput_format: lines", [], {"text": "good,yes"}),
    ],
)
def test_config_files_say_lists_and_refusals_as_people_write_them(
    bertcli: Run, tmp_path: Path, content: str, arguments: list[str], expected: dict[str, str] | None
) -> None:
    (tmp_path / "c.yaml").write_text(content)
    if expected is None:  # an option of that task alone
        assert b"c.yaml" not in bertcli("predict", *arguments, "--config", "c.yaml").stderr
    else:
        (result,) = results(bertcli("predict", "--config", "c.yaml", stdin=b"good,yes\n").stdout)
        assert result.items() >= expected.items() and ("scores" in result) is ("all-scores" in content)


def test_config_files_with_one_value_for_many_and_many_for_one(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("fail_under: accuracy=1\n")
    (tmp_path / "in.tsv").write_text("text\tlabel\ngood\tnegative\n")
    bertcli("evaluate", "in.tsv", "--config", "c.yaml", expect=4)
    (tmp_path / "c.yaml").write_text("top_k: [1]\n")
    assert b"c.yaml: 'top_k' cannot be ['1']" in bertcli("predict", "--config", "c.yaml", expect=2).stderr
    (tmp_path / "c.yaml").write_text("question: {a: 1}\n")
    assert b"is no text" in bertcli("predict", "--config", "c.yaml", expect=2).stderr


def test_blanks_after_commas_are_not_part_of_names(bertcli: Run) -> None:
    (result,) = results(bertcli("predict", "--input-format", "csv", "--columns", "id, text", stdin=b"7,good\n").stdout)
    assert result["id"] == "7" and result["label"] == "positive"


def test_delimiters(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text^id\ngood, yes^7\n")
    (result,) = results(bertcli("predict", "a.csv", "--delimiter", "^").stdout)
    assert result["id"] == "7" and result["text"] == "good, yes"
    assert b"--delimiter '||': write one character" in bertcli("predict", "a.csv", "--delimiter", "||", expect=2).stderr
    (tmp_path / "a.csv").write_text("text^id\ngood^7\n")
    assert b"--delimiter says what parts the columns of CSV" in bertcli("predict", "a.csv", expect=2).stderr


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "Rome\tB-LOC\n\nParis\tB-LOC\n", b"--input-format conll reads tokens and tags."),
        ("a.tsv", "0\tdull\n1\tgood\n", b"--columns names the columns of a file without a header;"),
        ("a.tsv", '"text"\t"label"\n"good"\t"x"\n', b"--input-format csv reads what is in quotation marks."),
        ("a.csv", "0,It's dull.\n1,good\n", b"--columns names the columns of a file without a header;"),
        ("a.csv", "label,body\n1,good\n", b"(the record has: label, body); --text-field names another.\n"),
    ],
)
def test_a_first_row_that_is_no_header_says_the_way(
    bertcli: Run, tmp_path: Path, name: str, text: str, message: bytes
) -> None:
    (tmp_path / name).write_text(text)
    assert message in bertcli("predict", name, expect=2).stderr


def test_columns_in_lines_of_text_say_the_way(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good\t1\n")
    message = b"--label-field names another. --input-format tsv or conll reads the columns between tabs.\n"
    assert bertcli("evaluate", "a.txt", expect=2).stderr.endswith(message)


def test_a_misspelt_variable_is_reported(bertcli: Run) -> None:
    done = bertcli("predict", stdin=b"good\n", BERTCLI_TOPK="1", BERTCLI_EVALUATE_REPORT="x", BERTCLI_DEBUG="1")
    assert done.stderr == b"bertcli: BERTCLI_TOPK sets no option; did you mean BERTCLI_TOP_K?\n"
    assert not bertcli("predict", "-q", stdin=b"good\n", BERTCLI_NOPE="1").stderr
