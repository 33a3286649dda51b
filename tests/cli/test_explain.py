"""bertcli explain: attributions that sum to the score, of every task; attention; errors; what people see."""

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner
from rich.console import Console

from bertcli.cli.main import cli, run
from bertcli.cli.tables import render_explanation
from bertcli.data.records import Record
from bertcli.inference import Request
from bertcli.inference import stream as streams
from bertcli.inference.session import open_session
from bertcli.report import explain_page
from bertcli.tasks.options import Options

SINGLE = {"id2label": {0: "neg", 1: "neutral", 2: "pos"}, "problem_type": "single_label_classification"}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "single": ("SequenceClassification", SINGLE),
    "multi": ("SequenceClassification", {**SINGLE, "problem_type": "multi_label_classification"}),
    "number": ("SequenceClassification", {"num_labels": 1, "problem_type": "regression"}),
    "ner": ("TokenClassification", {"id2label": dict(enumerate(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))}),
    "pos": ("TokenClassification", {"id2label": {0: "NOUN", 1: "VERB"}}),
    "qa": ("QuestionAnswering", {}),
    "embed": ("", {}),
}
TEXT = "the film was not good"
Explain = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of random weights for each kind."""
    folder = tmp_path_factory.mktemp("explain")
    for kind, (head, settings) in KINDS.items():
        torch.manual_seed(2)
        config = transformers.AutoConfig.from_pretrained(tiny_model, **settings)
        module = getattr(transformers, f"AutoModelFor{head}" if head else "AutoModel").from_config(config)
        if kind == "ner":
            module.classifier.bias.data[0] = -5.0  # else every word is O
        module.save_pretrained(folder / kind)
        for file in tiny_model.glob("*token*"):
            shutil.copy(file, folder / kind)
    return {kind: folder / kind for kind in KINDS}


@pytest.fixture
def explain(models: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> Explain:
    """`explain("ner", "some text")`: the results; fails on an exit code other than `expect`."""

    def call(kind: str, *arguments: str, expect: int = 0) -> list[dict[str, Any]]:
        code = run(["explain", "-m", str(models[kind]), "--device", "cpu", "--threads", "1", *arguments])
        captured = capfd.readouterr()
        assert code == expect, captured.err
        return [json.loads(line) for line in captured.out.splitlines()]

    return call


def check(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The sums are right within 1 %; words and tokens say the same; predict, in torch too, finds the same score."""
    for own in result["explanations"]:
        difference = own["value"] - own["baseline_value"]
        for part in ("words", "tokens"):
            total = sum(entry["attribution"] for entry in own[part])
            assert total == pytest.approx(difference, rel=0.01, abs=1e-4)
        assert own["complete"] and own["error"] <= 0.01 and own["sum"] == pytest.approx(difference, rel=0.01)
        assert own["predict_score"] == pytest.approx(own["score"], abs=1e-4)
    return list(result["explanations"])


def test_the_label_that_predict_gives_is_explained(explain: Explain) -> None:
    (result,) = explain("single", TEXT)
    assert list(result) == ["text", "label", "score", "baseline", "weights", "explanations"]
    assert (result["text"], result["baseline"], result["weights"]) == (TEXT, "[MASK]", "model.safetensors")
    (own,) = check(result)
    assert list(own) == [
        "target", "score", "predict_score", "unit", "value", "baseline_value", "sum", "error", "complete", "steps",
        "words", "tokens",
    ]  # fmt: skip
    assert own["target"] == result["label"] and own["score"] == pytest.approx(result["score"], abs=1e-4)
    assert own["score"] == pytest.approx(1 / (1 + np.exp(-own["value"])), abs=1e-5)
    assert [word["text"] for word in own["words"]] == TEXT.split()
    assert [TEXT[word["start"] : word["end"]] for word in own["words"]] == TEXT.split()
    first, last = own["tokens"][0], own["tokens"][-1]
    assert first == {"token": "[CLS]", "start": None, "end": None, "attribution": 0.0} and last["token"] == "[SEP]"


def test_another_label_and_several_labels(explain: Explain) -> None:
    for label in ("neg", "neutral", "pos"):
        (own,) = check(explain("single", TEXT, "--target", label)[0])
        assert own["target"] == label
    (result,) = explain("multi", TEXT)
    assert [own["target"] for own in check(result)] == (result["labels"] or [check(result)[0]["target"]])


def test_a_number_is_explained_as_it_is(explain: Explain) -> None:
    (result,) = explain("number", TEXT)
    (own,) = check(result)
    assert own["unit"] == "value" and own["value"] == pytest.approx(result["score"], abs=1e-4)


def test_a_pair_has_words_of_both_texts(explain: Explain) -> None:
    (result,) = explain("single", "good film", "--pair", "a bad plot")
    (own,) = check(result)
    assert result["text_pair"] == "a bad plot"
    assert [(word["field"], word["text"], word["start"]) for word in own["words"]] == [
        ("text", "good", 0), ("text", "film", 5),
        ("text_pair", "a", 0), ("text_pair", "bad", 2), ("text_pair", "plot", 6),
    ]  # fmt: skip


def test_each_entity_or_the_nearest_word_of_a_type(explain: Explain) -> None:
    (result,) = explain("ner", "the films was awfully good")
    own = check(result)
    assert [(e["target"], e["text"]) for e in own] == [(e["type"], e["text"]) for e in result["entities"]]
    for e, entity in zip(own, result["entities"], strict=True):
        assert e["score"] == pytest.approx(entity["score"], abs=1e-4)
    for kind in ("PER", "LOC"):
        found = check(explain("ner", "the films was awfully good", "--target", kind)[0])
        assert found and {e["target"] for e in found} == {kind}
        assert [word["text"] for word in found[0]["words"]] == ["the", "films", "was", "awfully", "good"]


def test_an_entity_is_as_whole_as_predict_gives_it(explain: Explain) -> None:
    (result,) = explain("ner", "\u2764\ufe0f", "--target", "LOC")
    assert [(one["text"], one["end"]) for one in result["explanations"]] == [("\u2764\ufe0f", 2)]


def test_a_part_of_speech_without_pieces_has_nothing_to_explain(explain: Explain) -> None:
    (result,) = explain("pos", "good \u0301 film", "--target", "VERB")
    assert len(result["entities"]) == 3 and "\u0301" not in [one["text"] for one in check(result)]
    (result,) = explain("pos", "good \u0301 film")
    assert [one["text"] for one in check(result)] == ["good", "film"]


def test_an_answer_has_a_start_and_an_end(explain: Explain) -> None:
    context = "the film was good and the plot bad"
    (result,) = explain("qa", "what was good", "--context", context)
    start, end = check(result)
    assert (start["target"], end["target"]) == ("start", "end")
    assert start["text"] == end["text"] == result["answer"] == context[start["start"] : start["end"]]
    assert {word["field"] for word in start["words"]} == {"question", "context"}
    (accent,) = explain("qa", "what was good", "--context", "good\u0301")
    assert [own["text"] for own in check(accent)] == [accent["answer"]] * 2 == ["good\u0301"] * 2
    (other,) = explain("qa", "what was good", "--context", context, "--target", "the plot")
    assert [own["text"] for own in check(other)] == ["the plot", "the plot"]
    assert explain("qa", "what was good", "--context", context, "--target", "actor", expect=3) == [
        {
            "index": 0,
            "line": 1,
            "error": {"type": "RecordError", "message": "'actor' (--target) is not in the context."},
        }
    ]


def test_attention_is_that_of_transformers_and_its_rows_sum_to_1(explain: Explain, models: dict[str, Path]) -> None:
    (result,) = explain("single", TEXT, "--attention")
    module = transformers.AutoModelForSequenceClassification.from_pretrained(
        models["single"], attn_implementation="eager"
    ).eval()
    batch = transformers.AutoTokenizer.from_pretrained(models["single"])(TEXT, return_tensors="pt")
    with torch.no_grad():
        expected = module(**batch, output_attentions=True).attentions
    (window,) = result["attention"]
    assert window["tokens"] == ["[CLS]", *TEXT.split(), "[SEP]"]
    assert [(m["layer"], m["head"]) for m in window["matrices"]] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for matrix in window["matrices"]:
        weights = np.array(matrix["weights"])
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(weights, expected[matrix["layer"] - 1][0, matrix["head"] - 1].numpy(), atol=2e-6)
    (one,) = explain("single", TEXT, "--attention", "--layer", "2", "--head", "1")
    assert one["attention"][0]["matrices"] == [window["matrices"][2]]


@pytest.mark.parametrize("kind", ["single", "ner", "qa"])
@pytest.mark.parametrize(
    "text", ["", "  ", "中文 good 👩‍👩‍👧‍👦 e\u0301", "good " * 100 + "bad", "<b>good</b>\x1b[31m\u202e"]
)
def test_hard_texts(explain: Explain, kind: str, text: str) -> None:
    arguments = ["what was it", "--context", text] if kind == "qa" else [text]
    (result,) = explain(kind, *arguments)
    for own in check(result):
        field = [word for word in own["words"] if word.get("field") != "question"]
        assert all(text[word["start"] : word["end"]] == word["text"] for word in field)
    assert result.get("windows", 1) == (1 if len(text) < 400 else 2)


def test_a_long_text_is_windowed_cut_or_refused(explain: Explain) -> None:
    long = " ".join(["good"] * 30 + ["bad"] * 70)
    (result,) = explain("single", long)
    (own,) = check(result)
    assert len(own["words"]) == 100 and {token["window"] for token in own["tokens"]} == {1, 2}
    (cut,) = explain("single", long, "--long", "truncate")
    assert cut["truncated"] is True and len(check(cut)[0]["words"]) == 62
    (refused,) = explain("single", long, "--long", "error", expect=3)
    assert refused["error"]["message"] == "the text is longer than the model's 64 tokens (--long error)."


def test_records_come_from_files_as_predict_reads_them(explain: Explain, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text('{"body": "good film", "label": 7}\n{"body": 3}\n{"body": "bad film"}\n')
    first, second, third = explain("single", "--input", str(file), "--text-field", "body", expect=3)
    assert first["body"] == "good film" and first["input_label"] == 7 and third["body"] == "bad film"
    assert second == {
        "index": 1,
        "line": 2,
        "error": {"type": "RecordError", "message": "field 'body' is int, not text."},
    }


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("single", ["a", "--target", "nix"], "unknown label 'nix'; the model's labels are: neg, neutral, pos."),
        ("ner", ["a", "--target", "ORG"], "unknown type 'ORG'; the model's types are: LOC, PER."),
        ("number", ["a", "--target", "x"], "the model gives a number, not a class; leave out --target."),
        ("embed", ["a", "-t", "embed"], "explain shows what decided a class, an entity or an answer"),
        ("single", ["a", "--attention", "--layer", "3"], "the model has 2 layers, counted from 1; --layer 3 is none"),
        ("single", ["a", "--layer", "1"], "--layer and --head choose the weights of --attention or --html"),
        ("single", ["a", "--context", "b"], "--context is for question-answering; this model's task is text-class"),
        ("ner", ["a", "--pair", "b"], "--pair is for text-classification; this model's task is token-class"),
        (
            "qa",
            ["a", "--context", "b", "--question", "c"],
            "with --context TEXT is the question; leave out --question.",
        ),
        ("single", ["a", "b", "--pair", "c"], "--pair needs one TEXT to go with"),
        ("single", ["a", "--input", "b"], "give TEXT or --input, not both."),
        ("single", ["a", "--columns", "x"], "--columns, --delimiter, --encoding and --input-format are of --input"),
        ("single", ["a", "--encoding", "gbk"], "--columns, --delimiter, --encoding and --input-format are of --input"),
        ("single", ["a", "--html", "/no/such/page.html"], "cannot write to /no/such/page.html: No such file"),
    ],
)
def test_wrong_usage(
    models: dict[str, Path], capfd: pytest.CaptureFixture[str], kind: str, arguments: list[str], message: str
) -> None:
    assert run(["explain", "-m", str(models[kind]), "--device", "cpu", *arguments]) == 2
    captured = capfd.readouterr()
    assert captured.out == "" and f"bertcli: {message}" in captured.err


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [("multi", "labels", TEXT), ("ner", "entities", "good fine great bad awful poor dull film plot actor")],
)
def test_a_calibrated_model_scores_as_predict_does(
    models: dict[str, Path], explain: Explain, tmp_path: Path, kind: str, name: str, text: str
) -> None:
    shutil.copytree(models[kind], tmp_path / kind)
    config = json.loads((tmp_path / kind / "config.json").read_text())
    labels = config["id2label"].values()
    config["calibration"] = {"temperature": 2.5, "thresholds": dict.fromkeys(labels, 0.0), "records": 1}
    (tmp_path / kind / "config.json").write_text(json.dumps(config))
    (result,) = explain(kind, text, "-m", str(tmp_path / kind))
    expected = result["label_scores"] if kind == "multi" else [entity["score"] for entity in result[name]]
    assert len(result[name]) == (len(labels) if kind == "multi" else len(expected)) > 0
    for own, score in zip(check(result), expected, strict=True):
        assert own["predict_score"] == pytest.approx(score, abs=1e-6)


def test_a_narrow_terminal(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    options = ["-m", str(models["single"]), "--device", "cpu", "--threads", "1", "-f", "rich"]
    assert run(["explain", "a " * 12 + "supercalifragilisticexpialidocious", *options]) == 0
    rows = [line for line in capfd.readouterr().out.splitlines() if "█" in line]
    assert rows and all(row.startswith("  ") and row.split()[1][0] in "+-" for row in rows)  # none is wrapped


def test_what_people_see(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    hard = "not <b>good</b> \x1b[31m[red]film[/red] 中文"
    options = ["-m", str(models["single"]), "--device", "cpu", "--threads", "1", "-f", "rich", "--attention"]
    assert run(["explain", hard, *options]) == 0
    shown = capfd.readouterr().out
    assert "\x1b" not in shown and max(map(len, shown.splitlines())) <= 80
    headline, text, *_ = shown.splitlines()
    assert headline.split()[0] in ("neg", "neutral", "pos") and "predict: " in headline
    assert "<b>good</b>" in text and "[red]film[/red]" in text
    assert " off in 16 steps: " in shown and "with [MASK] for every piece" in shown
    assert "  1.1 " in shown and "  2.2 " in shown
    assert run(["explain", "good film", *options, "--layer", "1", "--head", "2"]) == 0
    assert "attention of layer 1, head 2: each token looks at" in capfd.readouterr().out


def test_the_page_holds_text_as_data(explain: Explain, tmp_path: Path) -> None:
    text = "good </script><script>alert(1)</script> <!-- film"
    (result,) = explain("single", text, "--html", str(tmp_path / "page.html"))
    assert "attention" not in result
    content = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert content.count("<script") == 2 and content.count("</script>") == 2 and content.count("<!--") == 1
    assert "http:" not in content and "https:" not in content and "src=" not in content
    data = content.partition('id="data">')[2].partition("</script>")[0]
    (kept,) = json.loads(data)
    assert kept["explanations"][0]["words"] == result["explanations"][0]["words"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]


def test_a_failed_run_leaves_no_page(explain: Explain, tmp_path: Path) -> None:
    explain("single", "a", "--attention", "--head", "9", "--html", str(tmp_path / "page.html"), expect=2)
    assert list(tmp_path.iterdir()) == []


def test_only_a_page_of_explanations_is_replaced(explain: Explain, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("precious", encoding="utf-8")
    assert explain("single", "a", "--html", str(page), expect=2) == []
    assert page.read_text(encoding="utf-8") == "precious"
    page.unlink()
    for _ in range(2):
        explain("single", "a", "--html", str(page))


def test_a_page_without_records(tmp_path: Path) -> None:
    with explain_page(str(tmp_path / "page.html")):
        pass
    assert '<script type="application/json" id="data">[]</script>' in (tmp_path / "page.html").read_text()


def test_help_shows_examples() -> None:
    shown = CliRunner().invoke(cli, ["explain", "--help"]).output
    assert 'bertcli explain "a gripping film"' in shown and "arXiv 1703.01365" in shown


def test_the_embedded_model_is_explained_by_its_int8_weights(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "a gripping film", "--device", "cpu"]) == 0
    result = json.loads(capfd.readouterr().out)
    (own,) = result["explanations"]
    assert result["weights"] == "onnx/model_quantized.onnx, dequantised" and own["target"] == "positive"
    assert abs(own["score"] - own["predict_score"]) < 0.005 and own["error"] < 0.01
    assert max(own["words"], key=lambda word: float(word["attribution"]))["text"] == "gripping"
    assert [word["text"] for word in own["words"]] == ["a", "gripping", "film"]  # without the spaces before them


def test_a_text_that_leaves_early_has_the_label_and_score_of_predict(capfd: pytest.CaptureFixture[str]) -> None:
    text = "try as i may , i ca n't think of a single good reason to see this movie"
    assert run(["explain", text, "--threads", "1"]) == 0
    explained = json.loads(capfd.readouterr().out)
    (own,) = explained["explanations"]
    session = open_session(Request(threads=1), Options(all_scores=True))
    ((outcome,),) = streams.stream(session.task, session.backend, [Record(0, {"text": text})])
    predicted = streams.result(session.task, outcome)
    assert (explained["label"], explained["score"]) == (predicted["label"], predicted["score"])
    assert (own["target"], own["predict_score"]) == (predicted["label"], predicted["score"])
    assert own["predict_layers"] == predicted["layers"] < session.model.layers
    console = Console(width=80)
    with console.capture() as shown:
        render_explanation(console, explained)
    assert f"predict computed {own['predict_layers']} layers; the sum is of all layers" in shown.get()


def test_words_of_a_script_without_spaces_are_its_pieces(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "这个酒店太差了", "--device", "cpu"]) == 0
    (own,) = json.loads(capfd.readouterr().out)["explanations"]
    assert own["target"] == "negative" and {"酒店", "差"} <= {word["text"] for word in own["words"]}


def test_a_word_beside_ideographs_is_none_of_theirs(explain: Explain, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "这个酒店太差了, 早餐The end", "--device", "cpu", "--threads", "1"]) == 0
    embedded = json.loads(capfd.readouterr().out)["explanations"][0]["words"]
    assert [word["text"] for word in embedded] == ["这个", "酒店", "太", "差", "了", ",", "早餐", "The", "end"]
    for kind, text, number in (
        ("single", "good 中 film 文 bad", 5),
        ("ner", "中good文", 3),
        ("single", "中文 a" * 60, 180),
    ):
        (result,) = explain(kind, text)
        own = check(result)[0]
        spans = [(word["start"], word["end"]) for word in own["words"]]
        assert len(spans) == number and spans == sorted(spans)
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
        for word in own["words"]:
            pieces = [one for one in own["tokens"] if one["end"] and word["start"] <= one["start"] < word["end"]]
            assert word["attribution"] == pytest.approx(sum(one["attribution"] for one in pieces), abs=1e-5)


def test_words_beside_ideographs_are_whole_and_apart(capfd: pytest.CaptureFixture[str]) -> None:
    text = "你好 world 吗 电影 very 好看。真的。"
    assert run(["explain", text, "--device", "cpu"]) == 0
    (own,) = json.loads(capfd.readouterr().out)["explanations"]
    words = [(word["text"], word["start"], word["end"]) for word in own["words"]]
    assert [word for word, _, _ in words if word.isascii() or word == "。"] == ["world", "very", "。", "。"]
    assert "".join(word for word, _, _ in words) == text.replace(" ", "")
    assert all(text[start:end] == word for word, start, end in words)


def test_a_text_may_be_longer_than_the_name_of_a_file(capfd: pytest.CaptureFixture[str]) -> None:
    text = "好" * 200  # 600 bytes; a name has 255 at most
    assert run(["explain", text, "-t", "ner", "--pair", "b"]) == 2
    assert capfd.readouterr().err.startswith("bertcli: --pair is for text-classification;")
    assert run(["explain", text, "--lyer", "3"]) == 2
    assert "No such option '--lyer'." in capfd.readouterr().err


def test_a_text_that_is_the_name_of_a_file_must_be_text_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a\udcff").touch()
    assert run(["explain", "a\udcff"]) == 2
    said = capfd.readouterr().err
    assert said == "bertcli: 'a\\udcff' is no text in UTF-8; --input with --encoding reads others.\n"
