"""evaluate --predictions: what another system said is scored as a model's answers are, and no model is opened."""

import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

SHARED = Path(__file__).parents[3] / "shared" / "data"
GOLD = "id,text,label\n1,a,pos\n2,b,neg\n3,c,neg\n"
IOB2 = "Tim B-PER\nCook I-PER\nin O\nBerlin B-LOC\n\nRome B-LOC\n"
SQUAD = {
    "data": [{"paragraphs": [{"context": "Ada Lovelace lived in London.", "qas": [
        {"id": "a", "question": "Who?", "answers": [{"text": "Ada Lovelace", "answer_start": 0}]},
        {"id": "b", "question": "Where?", "answers": [{"text": "London", "answer_start": 22}]},
        {"id": "c", "question": "When?", "answers": [], "is_impossible": True},
    ]}]}],
}  # fmt: skip


def write(folder: Path, **files: str) -> None:
    """`gold_csv=...` is the file gold.csv."""
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")


def metrics(done: Any) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "pos\npos\nneg\n"),
        ("p.csv", "text,label\na,pos\nb,pos\nc,neg\n"),
        ("p.jsonl", '{"label": "pos"}\n{"label": "pos"}\n{"label": "neg"}\n'),
    ],
)
def test_labels_are_joined_by_their_order(bertcli: Run, tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, gold_csv=GOLD, **{name: text})
    shown = metrics(bertcli("evaluate", "gold.csv", "--predictions", name))
    assert shown["confusion"] == {"labels": ["neg", "pos"], "matrix": [[1, 1], [0, 1]]}
    assert shown["predictions"] == {"missing": 0, "surplus": 0}
    assert not {"log_loss", "reliability", "curve"} & shown.keys()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", '{"3": "neg", "9": "pos",\n "1": "pos"}'),
        ("p.jsonl", '{"id": 9, "x": "pos"}\n{"id": 1, "x": "pos"}\n{"id": 3, "x": "neg"}\n'),
        ("p.tsv", "id\tx\n1\tpos\n9\tneg\n3\tneg\n"),
    ],
)
def test_missing_and_surplus_ids_are_counted(bertcli: Run, tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, gold_csv=GOLD, **{name: text})
    done = bertcli("evaluate", "gold.csv", "--predictions", name, "--id-field", "id", expect=3)
    assert (metrics(done)["records"], metrics(done)["accuracy"]) == (2, 1.0)
    assert metrics(done)["predictions"] == {"missing": 1, "surplus": 1}
    assert done.stderr.decode() == (
        f"bertcli: {name}: records without a prediction: 1, by id 2.\n"
        f"bertcli: {name}: predictions without a record: 1, by id 9.\n"
    )


def test_our_own_output_scores_as_the_model_does(bertcli: Run, tmp_path: Path) -> None:
    rows = "text\tlabel\na gripping film\tpositive\na dull mess\tnegative\nutterly boring\tpositive\n"
    rows += "The meeting is at 3pm\tneutral\n"
    write(tmp_path, dev_tsv=rows)
    direct = metrics(bertcli("evaluate", "dev.tsv"))
    (tmp_path / "direct.json").write_text(json.dumps(direct))
    for name in ("own.jsonl", "own.csv", "own.tsv"):
        bertcli("predict", "dev.tsv", "-o", name)
        stated = metrics(bertcli("evaluate", "dev.tsv", "--predictions", name, "--compare", "direct.json"))
        assert stated["outcomes"]["data"] == direct["outcomes"]["data"]
        assert stated["comparison"]["differences"]["accuracy"]["value"] == 0
        for metric in ("accuracy", "macro_f1", "mcc", "per_class", "confusion"):
            assert stated[metric] == direct[metric]


@pytest.mark.parametrize(
    ("gold", "text", "said"),
    [
        ("text,label\na,0\nb,1\n", "pos\nneg\n", "the data has 0, 1, the predictions neg, pos; --map-labels 0=LABEL,…"),
        ('{"text":"Tim","entities":[[0,3,"PER"]]}\n', '{"entities":[[0,3,"PERSON"]]}\n', "the data has PER, the"),
    ],
)
def test_labels_of_which_no_one_is_in_both_are_named(
    bertcli: Run, tmp_path: Path, gold: str, text: str, said: str
) -> None:
    name, other = ("gold.csv", "p.txt") if gold.startswith("text") else ("gold.jsonl", "p.jsonl")
    (tmp_path / name).write_text(gold)
    (tmp_path / other).write_text(text)
    done = bertcli("evaluate", name, "--predictions", other)
    assert done.stderr.decode().startswith(f"bertcli: no label is in both: {said}")


def test_mistakes_pages_and_gates_are_as_of_a_model(bertcli: Run, tmp_path: Path) -> None:
    write(tmp_path, gold_csv=GOLD, p_txt="pos\npos\nneg\n")
    bertcli(
        "evaluate", "gold.csv", "--predictions", "p.txt", "--errors", "wrong.jsonl", "--report", "page.html",
        "--fail-under", "accuracy=0.9", expect=4,
    )  # fmt: skip
    (mistake,) = [json.loads(line) for line in (tmp_path / "wrong.jsonl").read_text().splitlines()]
    assert (mistake["id"], mistake["gold"], mistake["predicted"]) == ("2", "neg", "pos")
    assert "score" not in mistake and "p.txt" in (tmp_path / "page.html").read_text()
    write(tmp_path, p_jsonl='{"label": "pos"}\n')
    done = bertcli("evaluate", "gold.csv", "--predictions", "p.jsonl", "--errors", "p.jsonl", expect=2)
    assert b"--errors p.jsonl: it is the input, and is not replaced" in done.stderr
    done = bertcli("evaluate", "gold.csv", "--predictions", "p.txt", "--fail-under", "log_loss=1", expect=2)
    assert b"no metric is called 'log_loss'" in done.stderr


def test_several_labels_and_numbers(bertcli: Run, tmp_path: Path) -> None:
    write(
        tmp_path, sets_csv='text,label\na,"x,y"\nb,\n', sets_jsonl='{"labels": ["y"]}\n{"labels": []}\n',
        numbers_tsv="text\tlabel\na\t4\nb\t2.5\n", numbers_txt="3\n2.5\n",
        whole_tsv="text\tlabel\na\t4\nb\t2\n", whole_jsonl='{"text": "a", "label": 4, "score": 3.5}\n' * 2,
    )  # fmt: skip
    shown = metrics(bertcli("evaluate", "sets.csv", "--predictions", "sets.jsonl"))
    assert (shown["subset_accuracy"], shown["per_class"]["x"]["recall"]) == (0.5, 0) and "map" not in shown
    assert metrics(bertcli("evaluate", "numbers.tsv", "--predictions", "numbers.txt"))["mae"] == 0.5
    done = bertcli("evaluate", "whole.tsv", "--predictions", "whole.jsonl", expect=2)
    assert b"may be the number in 'label' or that in 'score'; --prediction-field says which" in done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.conll", "Tim B-PER\nCook I-PER\nin O\nBerlin O\n\nRome I-LOC\n"),
        ("p.iob", "Tim B-PER B-PER\nCook I-PER I-PER\nin O O\nBerlin B-LOC O\n\nRome B-LOC S-LOC\n"),
        ("p.csv", "tags\nB-PER I-PER O O\nB-LOC\n"),
        ("p.jsonl", '{"entities": [{"start": 0, "end": 8, "type": "PER"}]}\n{"entities": [[0, 4, "LOC"]]}\n'),
    ],
)
def test_entities_as_tags_or_places_in_the_text(bertcli: Run, tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path, gold_conll=IOB2, **{name: text})
    shown = metrics(bertcli("evaluate", "gold.conll", "--predictions", name))
    assert (shown["precision"], shown["recall"], shown["token_accuracy"]) == (1, 2 / 3, 0.8)


def test_one_file_with_both_columns_and_another_that_is_not_told(bertcli: Run, tmp_path: Path) -> None:
    write(tmp_path, both_conll="Tim B-PER B-PER\nRome B-LOC O\n", both_csv="text,label,guess\na,x,x\nb,y,x\n")
    both = ("evaluate", "both.conll", "--predictions", "both.conll")
    assert metrics(bertcli(*both, "--columns", "tokens,tags,guess"))["recall"] == 0.5
    (tmp_path / "both.txt").write_bytes((tmp_path / "both.conll").read_bytes())
    both_txt = ("evaluate", "both.txt", "--predictions", "both.txt", "--input-format", "conll")
    assert metrics(bertcli(*both_txt, "--columns", "tokens,tags,guess"))["recall"] == 0.5
    assert b"it is the labelled data too; --prediction-field says which" in bertcli(*both, expect=2).stderr
    csv = ("evaluate", "both.csv", "--predictions", "both.csv", "--prediction-field", "guess")
    assert metrics(bertcli(*csv))["accuracy"] == 0.5


def test_a_stated_entity_that_no_words_make_up_is_wrong(bertcli: Run, tmp_path: Path) -> None:
    write(
        tmp_path, gold_jsonl='{"text": "in Berlin", "entities": [[3, 9, "LOC"]]}\n',
        p_jsonl='{"entities": [[3, 9, "LOC"], [3, 5, "PER"]]}\n',
    )  # fmt: skip
    shown = metrics(bertcli("evaluate", "gold.jsonl", "--predictions", "p.jsonl"))
    assert (shown["precision"], shown["recall"], shown["outcomes"]["right"]) == (0.5, 1, [0])


def test_places_count_in_the_text_that_comes_with_them(bertcli: Run, tmp_path: Path) -> None:
    write(
        tmp_path, gold_conll="Tim B-PER\n, O\nRome B-LOC\n\n$5 O\n",
        p_jsonl='{"text": "Tim, Rome", "entities": [[0, 3, "PER"], [5, 9, "LOC"]]}\n{"text": "$5", "entities": []}\n',
    )  # fmt: skip
    shown = metrics(bertcli("evaluate", "gold.conll", "--predictions", "p.jsonl"))
    assert (shown["records"], shown["f1"]) == (2, 1)


def test_answers_as_squads_scripts_take_them(bertcli: Run, tmp_path: Path) -> None:
    said = {"a": "Lovelace", "b": "the london", "c": ""}
    write(tmp_path, gold_json=json.dumps(SQUAD), p_json=json.dumps(said))
    shown = metrics(bertcli("evaluate", "gold.json", "--predictions", "p.json"))
    assert (shown["exact_match"], shown["f1"]) == (2 / 3, (2 / 3 + 2) / 3)
    assert shown["questions"]["unanswerable"] == {"exact_match": 1, "f1": 1, "count": 1}
    write(tmp_path, p_jsonl="".join(json.dumps({"id": i, "answer": said[i]}) + "\n" for i in "cab"))
    again = metrics(bertcli("evaluate", "gold.json", "--predictions", "p.jsonl", "--id-field", "id"))
    assert again == shown


def test_one_question_of_all_records(bertcli: Run, tmp_path: Path) -> None:
    write(tmp_path, q_jsonl='{"text": "Bob is in Berlin", "answers": ["Berlin"]}\n', p_jsonl='{"answer": "Bob"}\n')
    command = ("evaluate", "-t", "qa", "q.jsonl", "--predictions", "p.jsonl")
    assert metrics(bertcli(*command, "--question", "Where?"))["exact_match"] == 0.0


def test_masks_and_similarities(bertcli: Run, tmp_path: Path) -> None:
    write(
        tmp_path, masks_jsonl='{"text": "a [MASK] of [MASK]", "label": ["Glass", "milk"]}\n',
        guesses_jsonl='{"masks": [[{"token": "cup", "score": 0.6}, {"token": "glass", "score": 0.3}], "milk"]}\n',
        pairs_tsv="a\tb\tlabel\nx\ty\t1\nu\tv\t3\n", cosines_txt="0.1\n0.9\n",
    )  # fmt: skip
    shown = metrics(bertcli("evaluate", "-t", "mask", "masks.jsonl", "--predictions", "guesses.jsonl"))
    assert (shown["accuracy"], shown["mrr"]) == (0.5, 0.75) and not {"reliability", "curve"} & shown.keys()
    (tmp_path / "masks.jsonl").write_text('{"text": "a <mask> of <mask>", "label": ["Glass", "milk"]}\n')
    command = ("evaluate", "-t", "mask", "masks.jsonl", "--predictions", "guesses.jsonl")
    assert metrics(bertcli(*command, "--mask", "<mask>"))["mrr"] == 0.75
    assert b"no [MASK] in the text" in bertcli(*command, expect=2).stderr
    fields = ("--text-field", "a", "--pair-field", "b")
    shown = metrics(bertcli("evaluate", "-t", "embed", "pairs.tsv", *fields, "--predictions", "cosines.txt"))
    assert shown["spearman"] == 1


def test_an_id_that_is_twice_in_one_object_is_refused(bertcli: Run, tmp_path: Path) -> None:
    """As on two lines: JSON's own reader takes the last."""
    write(tmp_path, gold_csv=GOLD, p_json='{"1": "pos", "2": {"a": 1, "a": 2}, "1": "neg"}')
    done = bertcli("evaluate", "gold.csv", "--predictions", "p.json", expect=2)
    assert b"p.json:1: a second prediction for id '1'; keep one." in done.stderr


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ('{"label": "pos"}\n', (), "p.jsonl has predictions for 1 records, and there are 3, so they cannot be joined"),
        (
            '{"id": 7, "label": "pos"}\n',
            ("--id-field", "id"),
            "the records have ids such as 1, 2, 3, the predictions 7",
        ),
        (
            "\n".join(f'{{"id": {i}, "label": "pos"}}' for i in (2, 1, 3)),
            (),
            "has the records' ids in another order; --id-field id joins them by these.",
        ),
        ('{"id": 1, "x": "a"}\n' * 2, ("--id-field", "id"), "p.jsonl:2: a second prediction for id '1'; keep one."),
        ('{"label": "pos"}\n', ("--id-field", "label"), "gold.csv:4: a second record with id 'neg'; --id-field names"),
        (
            '{"n": 1, "x": "a"}\n',
            ("--id-field", "id"),
            "no field 'id' (the record has: n, x); --id-field names another",
        ),
        ('{"a": "x", "b": 1}\n' * 3, (), "no field 'label' (the record has: a, b); --prediction-field names another."),
        ('{"text": "z", "label": "pos"}\n' * 3, (), "p.jsonl:1: its prediction is of another text, 'z'; --id-field"),
        ("[]\n" * 3, (), "gold.csv:2: p.jsonl:1: a JSON array, not an object"),
        (r'{"id": 1, "x": "\ud800"}', ("--id-field", "id"), "p.jsonl:1: not usable JSON (half of a surrogate pair"),
        ("", ("-m", "x"), "--predictions p.jsonl: no model is opened; leave out --model."),
        ("", ("--threshold", "0.3"), "--predictions p.jsonl: no model is opened; leave out --threshold."),
    ],
)
def test_what_cannot_be_scored_says_why(
    bertcli: Run, tmp_path: Path, text: str, options: tuple[str, ...], message: str
) -> None:
    write(tmp_path, gold_csv=GOLD, p_jsonl=text)
    assert message in bertcli("evaluate", "gold.csv", "--predictions", "p.jsonl", *options, expect=2).stderr.decode()


def test_one_bad_prediction_is_a_fault_and_the_rest_is_scored(bertcli: Run, tmp_path: Path) -> None:
    error = {"index": 1, "line": 3, "error": {"type": "RecordError", "message": "too long"}}
    write(tmp_path, gold_csv=GOLD, p_jsonl=f'{{"label": "pos"}}\n{json.dumps(error)}\n{{"label": null}}\n')
    done = bertcli("evaluate", "gold.csv", "--predictions", "p.jsonl", expect=3)
    assert metrics(done)["records"] == 1
    assert done.stderr.decode() == (
        "bertcli: gold.csv:3: p.jsonl:2: an error, not a prediction: too long\n"
        "bertcli: gold.csv:4: p.jsonl:3: the label None is neither text nor an integer.\n"
    )
    write(tmp_path, p_csv="text,label,error\na,pos,\n,,line 3: too long\nc,neg,\n")
    done = bertcli("evaluate", "gold.csv", "--predictions", "p.csv", expect=3)
    assert done.stderr == b"bertcli: gold.csv:3: p.csv:3: an error, not a prediction: line 3: too long\n"


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data is not here")
def test_the_gold_answers_of_squad_are_right(bertcli: Run, tmp_path: Path) -> None:
    packed = (SHARED / "open" / "squad" / "dev-v1.1.json.xz").read_bytes()
    document = json.loads(lzma.decompress(packed))
    questions = [q for article in document["data"] for part in article["paragraphs"] for q in part["qas"]]
    said = {question["id"]: question["answers"][-1]["text"] for question in questions}
    write(tmp_path, gold_json=json.dumps(document), said_json=json.dumps(said))
    shown = metrics(bertcli("evaluate", "gold.json", "--predictions", "said.json"))
    assert (shown["records"], shown["exact_match"]) == (10_570, 1)
    assert shown["f1"] == pytest.approx(10_569 / 10_570)  # one answer is ".", which shares no word with itself


@pytest.mark.parametrize(
    "text", ["1.000e+00\n0.000e+00\n1.000e+00\n", '{"label": 1.0}\n{"label": 0.0}\n{"label": 1}\n']
)
def test_classes_that_numpy_wrote_as_floats_are_classes(bertcli: Run, tmp_path: Path, text: str) -> None:
    name = "p.jsonl" if text.startswith("{") else "p.txt"
    write(tmp_path, gold_csv="text,label\na,1\nb,0\nc,0\n", **{name: text})
    shown = metrics(bertcli("evaluate", "gold.csv", "--predictions", name))
    assert shown["confusion"] == {"labels": ["0", "1"], "matrix": [[1, 1], [0, 1]]}
    (tmp_path / name).write_text(text.replace("0.0", "0.5"))
    assert "rmse" in metrics(bertcli("evaluate", "gold.csv", "--predictions", name))
