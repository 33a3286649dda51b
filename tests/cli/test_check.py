"""bertcli check: every planted fault in its place, nothing on clean data, the same verdict as finetune's."""

import json
import os
import re
import shutil
import signal
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from bertcli.cli.main import run
from bertcli.data.readers import read
from bertcli.errors import UsageError
from bertcli.model import resolve
from bertcli.tasks.text_classification import PRINTED
from bertcli.training.settings import Settings
from tests.checking import planted
from tests.cli.conftest import COMMAND, Run
from tests.test_layers import loaded_by


@pytest.fixture(scope="session")
def syllables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's tokenizer that knows all words of the planted data, and at most 64 tokens; no weights."""
    path = tmp_path_factory.mktemp("models") / "syllables"
    path.mkdir()
    pieces = [f"{mark}{a}{b}" for mark in ("", "##") for a in "bcdfghklmnprstv" for b in "aeiou"]
    letters = [mark + letter for mark in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (path / "vocab.txt").write_text("\n".join([*special, *pieces, *letters, ".", "!"]) + "\n")
    (path / "config.json").write_text('{"max_position_embeddings": 64}')
    return path


def found(stdout: bytes) -> list[tuple[str, str]]:
    """The code and place of each finding."""
    return [(kind["code"], own["place"]) for kind in json.loads(stdout)["findings"] for own in kind["places"]]


def test_each_of_30_faults_in_10000_records_is_found_and_nothing_else(
    bertcli: Run, tmp_path: Path, syllables: Path
) -> None:
    train, dev, faults, in_dev = planted.planted()
    (tmp_path / "train.jsonl").write_bytes(train)
    (tmp_path / "dev.jsonl").write_bytes(dev)
    report = bertcli("check", "--json", "train.jsonl", "--dev", "dev.jsonl", "-m", syllables, expect=1).stdout
    expected = [(code, f"train.jsonl:{line}") for code, line in faults]
    expected += [(code, f"dev.jsonl:{line}") for code, line in in_dev]
    assert len(expected) == 30
    # what follows from them: a leak whose label is another is a conflict too, and dev has none of the rare label
    expected += [("conflicting-label", "dev.jsonl:20"), ("label-not-in-dev", "dev.jsonl")]
    assert sorted(found(report)) == sorted(expected)


def test_a_clean_file_has_no_finding(bertcli: Run, tmp_path: Path, syllables: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(planted.write(planted.lines(planted.clean())))
    (tmp_path / "dev.jsonl").write_bytes(planted.write(planted.lines(planted.clean(300, seed=1))))
    report = json.loads(bertcli("check", "--json", "train.jsonl", "--dev", "dev.jsonl", "-m", syllables).stdout)
    assert (report["errors"], report["warnings"], report["findings"]) == (0, 0, [])
    assert report["records"] == {"train": 10_000, "dev": 300}
    assert report["labels"]["sports"] == {"train": 3_334, "dev": 100}
    assert (report["tokens"]["train"]["limit"], report["tokens"]["train"]["unknown"]) == (64, 0.0)


class Check:
    """`check("train.jsonl", ...)` in a directory: the exit code, and the code and place of each finding."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capture = folder, capture

    def write(self, name: str, content: str | bytes) -> None:
        (self.folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    def __call__(self, *arguments: str | Path) -> tuple[int, list[tuple[str, str]]]:
        code, report = self.report(*arguments)
        return code, found(json.dumps(report).encode())

    def report(self, *arguments: str | Path) -> tuple[int, dict[str, Any]]:
        code = run(["check", "--json", *map(str, arguments)])
        return code, json.loads(self.capture.readouterr().out)


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    monkeypatch.chdir(tmp_path)
    return Check(tmp_path, capsys)


ROWS = [{"text": word, "label": ("bad", "fine")[i % 2]} for i, word in enumerate(planted.WORDS[100:112])]


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_tags_that_break_the_scheme_and_entities_that_are_no_words(check: Check) -> None:
    good = "".join(f"{planted.WORDS[i]} B-PER\n{planted.WORDS[i + 20]} I-PER\nruns O\n\n" for i in range(6))
    check.write("a.conll", good + "Ann I-PER\nruns O\n\nBob B-PER\nand XX\nCy O O\n\nDee B-\n\n")
    assert check("a.conll") == (1, [
        ("unreadable", "a.conll:30"), ("bad-label", "a.conll:32"), ("tag-scheme", "a.conll:25"),
    ])  # fmt: skip
    spans = [(0, 3, "PER"), (8, 12, "LOC"), (8, 14, "LOC"), (8, 20, "LOC"), (15, 20, "LOC")]
    entities = [{"start": start, "end": end, "type": kind} for start, end, kind in spans]
    others = [{"text": f"{a} in Rome", "entities": [[0, len(a), "PER"], [len(a) + 4, len(a) + 8, "LOC"]]}
              for a in planted.WORDS[:6]]  # fmt: skip
    check.write("b.jsonl", jsonl([{"text": "Ann saw Berlin Mitte", "entities": entities}, *others]))
    code, report = check.report("b.jsonl")
    kinds = {kind["code"]: [own["message"] for own in kind["places"]] for kind in report["findings"]}
    assert (code, report["task"]) == (0, "token-classification")
    assert check("b.jsonl", "--problem", "multi") == (1, [("nothing-to-learn", "b.jsonl")])
    assert kinds == {
        "misplaced-entity": ["LOC 8-12 'Berl', in 'Berlin'"],
        "overlapping-entity": ["LOC 8-14 'Berlin'", "LOC 15-20 'Mitte'"],
    }


def test_answers_that_are_not_where_they_are_said_to_be(check: Check, tiny_model: Path) -> None:
    context = "the actor was good in a lovely film"
    answers = [("good", 14), ("good", 3), ("not there", 0), ("goo", 14)]
    rows = [
        {"question": f"how {i}", "context": context, "answers": [{"text": text, "answer_start": start}]}
        for i, (text, start) in enumerate(answers)
    ]
    check.write("a.jsonl", jsonl(rows))
    check.write("b.jsonl", jsonl([{**rows[0], "question": "another"}]))
    code, report = check.report("a.jsonl", "--dev", "b.jsonl", "-m", tiny_model)
    kinds = {kind["code"]: [(p["place"], p["message"]) for p in kind["places"]] for kind in report["findings"]}
    del kinds["unknown-pieces"]
    assert (code, kinds) == (0, {
        "leaked-context": [("b.jsonl:1", "the context of a.jsonl:1: 'another'")],
        "misplaced-answer": [("a.jsonl:2", "1 of 1: 'good'; the nearest is at 14")],
        "lost-answer": [("a.jsonl:3", "1 of 1: 'not there'")],
        "answer-border": [("a.jsonl:4", "'goo' in 'good'")],
    })  # fmt: skip


def test_both_texts_of_a_pair_that_is_encoded_separately_are_counted(check: Check, syllables: Path) -> None:
    check.write("a.jsonl", jsonl([{"a": "ba ☃", "b": "☃ bi bo", "score": 0.5}, {"a": "ba", "b": "bi", "score": 1}]))
    fields = ("--text-field", "a", "--pair-field", "b", "--label-field", "score")
    _, report = check.report("a.jsonl", "-t", "embed", "-m", syllables, *fields)
    assert report["tokens"]["train"] == {"median": 4, "longest": 5, "limit": 64, "over": 0.0, "unknown": 2 / 7}
    messages = [p["message"] for kind in report["findings"] if kind["code"] == "unknown-pieces" for p in kind["places"]]
    assert messages == ["2 of 5 pieces are unknown: ba ☃"]


def test_the_head_that_a_training_replaces_is_no_matter(check: Check, syllables: Path) -> None:
    """DistilBERT's config.json has an activation, which is none of a score; a causal model may learn to fill masks."""
    shutil.copytree(syllables, check.folder / "m")
    config = json.loads((syllables / "config.json").read_text())
    more = {"activation": "gelu", "num_labels": 1, "is_decoder": True}
    (check.folder / "m" / "config.json").write_text(json.dumps({**config, **more}))
    check.write("a.jsonl", jsonl([{"text": f"{mark} [MASK]", "label": mark} for mark in ("ba", "bi")]))
    for task in ("text-classification", "fill-mask"):
        code, report = check.report("a.jsonl", "-t", task, "-m", "m")
        assert (code, report["task"], report["errors"]) == (0, task, 0)


def test_the_length_that_vectors_are_made_of_is_the_limit(check: Check, syllables: Path) -> None:
    shutil.copytree(syllables, check.folder / "m")
    modules = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "pool", "type": "sentence_transformers.models.Pooling"},
    ]
    (check.folder / "m" / "pool").mkdir()
    for name, value in (
        ("modules.json", modules),
        ("pool/config.json", {"pooling_mode": "mean"}),
        ("sentence_bert_config.json", {"max_seq_length": 4, "do_lower_case": True}),
    ):
        (check.folder / "m" / name).write_text(json.dumps(value))
    check.write("a.jsonl", jsonl([{"text": "BA BI BO", "b": "ba", "label": 1}, {"text": "ba", "b": "bi", "label": 2}]))
    _, report = check.report("a.jsonl", "-t", "embed", "-m", "m", "--pair-field", "b")
    assert report["tokens"]["train"] == {"median": 4, "longest": 5, "limit": 4, "over": 0.5, "unknown": 0.0}


def test_labels_that_change_what_all_are_taken_for(check: Check) -> None:
    numbers = [{"text": sentence, "label": i / 4} for i, sentence in enumerate(planted.WORDS[:40])]
    check.write("a.jsonl", jsonl([*numbers, {"text": "the last", "label": "n/a"}]))
    assert check("a.jsonl") == (1, [("bad-label", "a.jsonl:41"), ("mixed-labels", "a.jsonl:41")])
    assert check("a.jsonl", "--problem", "regression") == (1, [("bad-label", "a.jsonl:41")])
    check.write("a.jsonl", jsonl(numbers))
    code, report = check.report("a.jsonl")
    assert (code, report["labels"]) == (0, {
        "least": {"train": 0.0}, "mean": {"train": 4.875}, "greatest": {"train": 9.75},
    })  # fmt: skip


def test_numbers_with_commas_are_no_classes(check: Check) -> None:
    for texts in (["1", "2,5", "0,25"], ["3", "1, 2"]):
        check.write("a.jsonl", jsonl([{"text": word, "label": text} for text in texts for word in planted.WORDS[:9]]))
        code, report = check.report("a.jsonl")
        assert (code, report["findings"][0]["code"]) == (1, "nothing-to-learn")
        assert f"labels such as '{texts[1]}' may be several or" in str(report["findings"])
        for problem in ("single", "multi"):
            assert check.report("a.jsonl", "--problem", problem)[0] == 0


def test_whole_numbers_are_classes_and_said_to_be(check: Check) -> None:
    rows = [{"text": sentence, "label": i % 5} for i, sentence in enumerate(planted.WORDS[:40])]
    check.write("a.jsonl", jsonl(rows))
    code, report = check.report("a.jsonl")
    assert code == 0 and report["problem"] == "single_label_classification"
    assert [(k["code"], k["places"][0]["message"]) for k in report["findings"]] == [
        ("number-labels", "5 whole numbers from 0 to 4")
    ]
    check.write("a.jsonl", jsonl([*rows, {"text": "the last", "label": 2.5}]))
    code, report = check.report("a.jsonl")
    assert (code, report["problem"], report["findings"]) == (0, "regression", [])


def test_texts_in_the_quotation_marks_of_csv(check: Check) -> None:
    rows = [
        '"He said ""go"" and left"\ta',
        '"Quoted," he said, "twice"\tb',
        '""\ta',
        '"Hello."\tb',
        'a ""b"" c\ta',
    ]
    check.write("a.tsv", "text\tlabel\n" + "\n".join(rows) + "\n")
    assert ("quoted-text", "a.tsv:2") in (faults := check("a.tsv")[1])
    assert [code for code, _ in faults].count("quoted-text") == 1


def test_a_label_that_is_null_everywhere_is_a_sentence(check: Check) -> None:
    check.write("a.jsonl", jsonl([{"text": sentence, "label": None} for sentence in planted.WORDS[:4]]))
    code, report = check.report("a.jsonl")
    assert code == 1 and "no training record has a label" in str(report["findings"])


def test_labels_as_other_programs_write_none_or_several(check: Check) -> None:
    labels = ["pos", "neg"] * 12 + ["NA", "null", "NA"]
    rows = [f"{word},{label}\n" for word, label in zip(planted.WORDS, labels, strict=False)]
    check.write("a.csv", "text,label\n" + "".join(rows))
    _, faults = check("a.csv")
    assert [place for code, place in faults if code == "missing-label"] == ["a.csv:26", "a.csv:27"]
    assert "missing-label" not in dict(check("a.csv", "--map-labels", "NA=,null=")[1])
    check.write("a.tsv", "text\tlabel\na\t{x,y}\nb\t[x, y]\nc\tx\nd\ty\n")
    for problem in ("auto", "multi"):
        code, report = check.report("a.tsv", "--problem", problem)
        places = report["findings"][0]["places"]
        assert code == 1 and [place["place"] for place in places] == ["a.tsv:2", "a.tsv:3"]
        assert places[0]["message"] == "the label '{x,y}' is a list as databases print it; write JSON, as by to_json()."
    assert PRINTED.fullmatch("{" + "," * 10**6) is None  # in a time that grows with its length alone


def test_an_excerpt_says_that_it_was_cut(check: Check) -> None:
    rows = [{"text": text, "label": "x"} for text in ("a" * 40, "a" * 40, "b" * 41, "b" * 41)]
    check.write("a.jsonl", jsonl([*rows, {"text": "c", "label": "y"}]))
    (places,) = [kind["places"] for kind in check.report("a.jsonl")[1]["findings"] if kind["code"] == "duplicate"]
    assert [place["message"] for place in places] == [f"as line 1: '{'a' * 40}'", f"as line 3: '{'b' * 39}…'"]


def test_rare_and_uneven_labels_and_numbers_that_are_no_typos(check: Check) -> None:
    rows = [{"text": f"{word} x{i}", "label": label} for label, count in (("class_1", 100), ("class_2", 5), ("odd", 1))
            for i, word in enumerate(planted.WORDS[:count])]  # fmt: skip
    for i, row in enumerate(rows):
        row["text"] += f" {planted.WORDS[i]}"
    check.write("a.jsonl", jsonl(rows))
    assert check("a.jsonl") == (0, [("rare-label", "a.jsonl:106"), ("imbalance", "a.jsonl")])


def test_labels_that_differ_in_marks_with_a_meaning_are_no_typos(check: Check) -> None:
    labels = ("+1", "-1", "C", "C#", "C++", "A-", "1.10", "11.0", "1-10", "very bad")
    rows = [{"text": f"{a} {b}", "label": label} for a, label in zip(planted.WORDS, labels, strict=False)
            for b in planted.WORDS[20:26]]  # fmt: skip
    check.write("a.jsonl", jsonl(rows))
    assert [name for name, _ in check("a.jsonl")[1] if name == "label-typo"] == []
    check.write("a.jsonl", jsonl([*rows, {"text": "one more", "label": "(Very_bad.)"}]))
    assert [place for name, place in check("a.jsonl")[1] if name == "label-typo"] == ["a.jsonl:61"]


def test_vowels_that_are_marks_on_letters_tell_words_apart(check: Check) -> None:
    """Of Hindi and Thai; punctuation and the marks on emoji do not."""
    labels = ("का", "की", "ที่", "ทุ")
    rows = [{"text": f"{label} {word}", "label": label} for label in labels for word in planted.WORDS[:6]]
    check.write("a.jsonl", jsonl([*rows, {"text": "का, ऊ ❤\ufe0f", "label": "का"}, {"text": "का ऊ ❤", "label": "का"}]))
    assert check("a.jsonl") == (0, [("near-duplicate", "a.jsonl:26")])
    check.write("a.jsonl", jsonl([*rows, *rows[6:12], {"text": "one more", "label": "का."}]))
    assert ("label-typo", "a.jsonl:31") in check("a.jsonl")[1]


def test_full_width_and_how_a_letter_is_composed_make_no_other_text_or_label(check: Check) -> None:
    texts = ("ＡＢＣ１２很好", "ABC12很好", "각 영화", unicodedata.normalize("NFD", "각 영화"))
    rows = [{"text": f"{label} {word}", "label": label} for label in ("类Ａ", "B类") for word in planted.WORDS[:6]]
    check.write("a.jsonl", jsonl([*rows, *({"text": text, "label": "B类"} for text in texts)]))
    assert check("a.jsonl") == (0, [("near-duplicate", "a.jsonl:14"), ("near-duplicate", "a.jsonl:16")])
    check.write("a.jsonl", jsonl([*rows, {"text": "one more", "label": "类A"}]))
    assert ("label-typo", "a.jsonl:13") in check("a.jsonl")[1]


@pytest.mark.parametrize(("text", "is_json"), [("json: true", True), ("check:\n  json: no", False)])
def test_json_may_be_asked_for_in_a_config_file(
    check: Check, capsys: pytest.CaptureFixture[str], text: str, is_json: bool
) -> None:
    check.write("a.jsonl", jsonl(ROWS))
    check.write("c.yaml", text)
    run(["check", "a.jsonl", "--config", "c.yaml"])
    assert capsys.readouterr().out.startswith("{") is is_json


BROKEN = {  # what anyone may give it -> the exit code, and the codes of the findings
    "empty": (b"", 1, {"nothing-to-learn"}),
    "one record": (jsonl(ROWS[:1]).encode(), 1, {"nothing-to-learn"}),
    "one label": (jsonl(ROWS[::2]).encode(), 1, {"nothing-to-learn"}),
    "binary": (bytes(range(256)) * 40, 1, {"unreadable", "nothing-to-learn"}),
    "CRLF and BOM": (b"\xef\xbb\xbf" + jsonl(ROWS).replace("\n", "\r\n").encode(), 0, set()),
    "UTF-16": (jsonl(ROWS).encode("utf-16"), 1, {"unreadable", "nothing-to-learn"}),
    "numbers": (jsonl([{**row, "label": len(row["label"])} for row in ROWS]).encode(), 0, set()),
    "no text": (jsonl([{"label": "a"}, *ROWS]).encode(), 1, {"bad-text", "rare-label"}),
    "a huge line": (jsonl([{"text": "long " * 200_000, "label": "bad"}, *ROWS]).encode(), 0, set()),
    "control codes": (jsonl([{"text": "\x1b[31m\x00 red", "label": "bad"}, *ROWS]).encode(), 0, set()),
}  # fmt: skip


@pytest.mark.parametrize(("content", "expect", "codes"), BROKEN.values(), ids=BROKEN)
def test_what_anyone_may_give_it(check: Check, content: bytes, expect: int, codes: set[str]) -> None:
    check.write("a.jsonl", content)
    code, findings = check("a.jsonl")
    assert code == expect and {name for name, _ in findings} - {"near-duplicate"} - codes == set()
    assert codes - {"rare-label"} <= {name for name, _ in findings}


@pytest.mark.parametrize(("content", "expect", "codes"), BROKEN.values(), ids=BROKEN)
def test_finetune_refuses_what_check_calls_an_error_and_nothing_else(
    check: Check, tiny_model: Path, content: bytes, expect: int, codes: set[str]
) -> None:
    from bertcli.training.finetune import read_data

    check.write("a.jsonl", content)
    settings = Settings(model=str(tiny_model), output="out")
    if expect == 0:
        read_data(settings, resolve(str(tiny_model)), read(["a.jsonl"]), None)
        return
    with pytest.raises(UsageError):
        read_data(settings, resolve(str(tiny_model)), read(["a.jsonl"]), None)


def test_a_table_that_cannot_be_read_is_a_finding_and_a_missing_file_a_usage_error(
    check: Check, capsys: pytest.CaptureFixture[str]
) -> None:
    check.write("a.csv", "text,text\na,b\n")
    assert check("a.csv")[1][0] == ("unreadable", "a.csv:1")
    check.write("b.json", '{"data": [{"paragraphs": [{"qas": 1}]}]}')
    assert check("b.json")[1][0] == ("unreadable", "b.json")
    assert run(["check", "none.csv"]) == 2
    assert capsys.readouterr().err == "bertcli: cannot read none.csv: No such file or directory\n"


def test_people_see_each_kind_with_three_places(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    check.write("a.jsonl", jsonl([*ROWS, *[{"text": ""}] * 5, {"text": "\x1b[31m", "label": "bad"}]))
    assert run(["check", "a.jsonl", "--format", "rich"]) == 1
    shown = capsys.readouterr().out
    assert [line.rstrip() for line in shown.splitlines()][-5:] == [
        "  a.jsonl:15: no field 'label' (the record has: text); --label-field names",
        "  another.",
        "  and 2 more",
        "",
        "5 errors, 0 warnings; finetune refuses this data until the errors are mended",
    ]
    assert "\nerror: bad-label (5): the label is missing or is none; mend it, or name its" in shown
    assert max(map(len, shown.splitlines())) <= 80 and "\x1b" not in shown


def test_neither_torch_nor_transformers_is_imported(tmp_path: Path, syllables: Path) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl(ROWS))
    arguments = ["check", str(tmp_path / "a.jsonl"), "-m", str(syllables)]
    modules = loaded_by(f"from bertcli.cli.main import run; assert run({arguments}) == 0")
    assert "tokenizers" in modules
    assert not {"torch", "transformers", "sklearn", "scipy", "onnx", "accelerate", "rich", "yaml"} & modules


@pytest.mark.parametrize("arguments", [["check", "train.jsonl", "-f", "rich"], ["--help"], ["--version"]])
def test_a_reader_that_has_left_kills_quietly(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "good", "label": "pos"}\n')
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *arguments], cwd=tmp_path, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_without_a_terminal_a_fault_is_a_line_as_linters_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b"}\nno json\n', "utf-8")
    assert run(["check", "a.jsonl"]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert any(re.fullmatch(r"a\.jsonl:2: error: no field 'label'.* \[[a-z-]+\]", line) for line in lines)
    assert any(line.startswith("a.jsonl:3: error: not JSON") for line in lines)
