"""Fine-tuning a random BERT of two layers: every kind of problem, what is refused, and the directory that is left."""

import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import BertConfig

from bertcli import exits, pretrained, tokenizer, tokenizer_files
from bertcli.backends import pytorch
from bertcli.data.records import Record
from bertcli.device import Device
from bertcli.errors import Interrupted, ModelError, RecordError, UsageError
from bertcli.export.int8 import dequantized
from bertcli.inference.session import open_task
from bertcli.model import read, resolve, update
from bertcli.tasks.feature_extraction import Task as Embedding
from bertcli.tasks.labels import Decision, label_config
from bertcli.tasks.options import Options
from bertcli.tasks.question_answering.training import Training as Answering
from bertcli.tasks.text_classification import Task
from bertcli.tasks.text_classification.training import Training
from bertcli.tasks.training import class_weights
from bertcli.training.base_model import open_base
from bertcli.training.finetune import Event, Note, Saved, finetune
from bertcli.training.loop import Eval, Step
from bertcli.training.settings import Settings

DEVICE = Device("cpu", 1, "in a test")
FILLERS = "film plot actor scene the a is was very".split()
Fit = Callable[..., list[Event]]


def records(pairs: list[tuple[str, Any]], source: str = "train.jsonl") -> list[Record]:
    return [Record(i, {"text": text, "label": label}, i + 1, source) for i, (text, label) in enumerate(pairs)]


def sentiment(count: int = 64, names: tuple[Any, Any] = ("neg", "pos"), seed: int = 0) -> list[Record]:
    """Texts of 3 to 9 words, one of which decides the label."""
    chance = random.Random(seed)
    pairs = []
    for i in range(count):
        words = chance.choices(FILLERS, k=chance.randint(2, 8))
        words.insert(chance.randrange(len(words)), ("bad", "good")[i % 2])
        pairs.append((" ".join(words), names[i % 2]))
    return records(pairs)


@pytest.fixture
def fit(tiny_model: Path, tmp_path: Path) -> Fit:
    """Train into tmp_path/out with settings that suit the tiny model; returns the events."""

    def run(train: list[Record], dev: list[Record] | None = None, /, **values: Any) -> list[Event]:
        chosen = {name: values.pop(name) for name in ("resume", "overwrite", "stop", "vocabulary") if name in values}
        defaults: dict[str, Any] = {
            "model": str(tiny_model), "output": str(tmp_path / "out"), "lr": 3e-3, "batch_tokens": 128, "epochs": 3,
            "dropout": 0.0, "precision": "fp32",
        }  # fmt: skip
        return list(finetune(Settings(**{**defaults, **values}), train, dev, DEVICE, **chosen))

    return run


def saved(events: list[Event]) -> Saved:
    assert isinstance(events[-1], Saved)
    return events[-1]


def steps(events: list[Event]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]


def notes(events: list[Event]) -> str:
    return "\n".join(event.message for event in events if isinstance(event, Note))


# It learns.


def test_single_label(fit: Fit) -> None:
    events = fit(sentiment(), sentiment(16, seed=1), epochs=5)
    done = saved(events)
    assert done.metrics is not None and done.metrics["accuracy"] == 1.0
    assert steps(events)[-1].loss < 0.1 < steps(events)[0].loss
    assert "problem: single label classification" in notes(events) and "labels: neg, pos (sorted" in notes(events)
    assert "new weights: classifier.bias, classifier.weight" in notes(events)


def test_a_class_that_may_stand_for_no_label_is_named(fit: Fit) -> None:
    events = fit(sentiment(8, ("NA", "pos")), epochs=1)
    assert "NA: a class, too; where it stands for no label, --map-labels NA= leaves them out" in notes(events)


def test_bf16_learns_too(fit: Fit) -> None:
    done = saved(fit(sentiment(), sentiment(16, seed=1), epochs=5, precision="bf16"))
    assert done.metrics is not None and done.metrics["accuracy"] == 1.0


def test_multi_label(fit: Fit) -> None:
    words = {"good": "praise", "bad": "blame", "plot": "story"}
    chance = random.Random(0)
    texts = [" ".join(chance.sample([*words, "the", "a", "is"], 3)) for _ in range(96)]
    data = records([(text, [words[word] for word in text.split() if word in words]) for text in texts])
    events = fit(data, data, epochs=8, lr=6e-3)
    metrics = saved(events).metrics
    assert metrics is not None and metrics["micro_f1"] > 0.95
    assert "multi label classification (every label is a list)" in notes(events)


def test_regression(fit: Fit) -> None:
    data = sentiment(64, names=("1.000", "4.000"))
    events = fit(data, data, epochs=10, metric="rmse")
    done = saved(events)
    assert done.metrics is not None and done.metrics["rmse"] < 0.5 and done.metrics["pearson"] > 0.9
    reason = "every label is a number with a decimal point; --problem single makes classes of them"
    assert f"regression ({reason})" in notes(events)
    config = json.loads((done.path / "config.json").read_text())
    assert (config["problem_type"], config["id2label"]) == ("regression", {"0": "score"})
    assert "may not come so far" not in notes(events)
    far = fit(sentiment(8, names=("-1234.5", "400.5")), epochs=1, overwrite=True)
    assert "train data: labels are numbers up to 1,234.5; a model begins at 0 and may not come so far" in notes(far)


def test_pairs(fit: Fit) -> None:
    chance = random.Random(0)
    rows = [(chance.choice(["good", "bad"]), chance.choice(["good", "bad"])) for _ in range(128)]
    data = records([(one, None) for one, _ in rows])
    for record, (one, other) in zip(data, rows, strict=True):
        record.fields |= {"other": other, "label": one == other}
    done = saved(fit(data, data, pair_field="other", epochs=20, lr=6e-3))
    assert done.metrics is not None and done.metrics["accuracy"] == 1.0
    assert [*json.loads((done.path / "config.json").read_text())["label2id"]] == ["false", "true"]


def test_a_model_of_pairs_knows_where_the_second_text_was(fit: Fit, tmp_path: Path) -> None:
    data = records([("good", "same"), ("bad", "other")] * 4)
    for record in data:
        record.fields["hint"] = "good bad"
    path = saved(fit(data, pair_field="hint", epochs=1)).path
    task = open_task(Task, read(path), Options())
    assert task.texts(data[0]) == {"text": "good", "text_pair": "good bad"}
    with pytest.raises(RecordError, match="no field 'hint'"):
        task.texts(sentiment(1)[0])
    assert open_task(Embedding, read(path), Options()).options.pair_field is None  # vectors are of single texts
    named = open_task(Task, read(path), Options(pair_field="text"))
    assert named.texts(data[0]) == {"text": "good", "text_pair": "good"}
    again = saved(fit(sentiment(8), model=str(path), output=str(tmp_path / "again"), epochs=1)).path
    assert [*open_task(Task, read(again), Options()).texts(data[0])] == ["text"]


def test_the_average_of_the_weights_is_what_is_scored_and_saved(fit: Fit) -> None:
    plain = saved(fit(sentiment(), sentiment(16, seed=1), epochs=8)).path
    weights = load_file(plain / "model.safetensors")
    done = saved(fit(sentiment(), sentiment(16, seed=1), epochs=8, ema=0.9, overwrite=True))
    averaged = load_file(done.path / "model.safetensors")
    assert done.metrics is not None and done.metrics["accuracy"] == 1.0
    assert not torch.equal(weights["classifier.weight"], averaged["classifier.weight"])


# The directory it leaves.


def test_transformers_opens_the_result_with_the_same_logits(fit: Fit) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    done = saved(fit(sentiment(), sentiment(16, seed=1), epochs=1))
    model = AutoModelForSequenceClassification.from_pretrained(done.path).eval()
    inputs = AutoTokenizer.from_pretrained(done.path)(["a good film", "bad"], padding=True, return_tensors="pt")
    logits = model(**inputs).logits

    config = read(done.path).config
    windows = [f.windows[0].ids for f in tokenizer_files.load(done.path, config).encode(["a good film", "bad"])]  # type: ignore[union-attr]
    assert windows[0] == inputs["input_ids"][0].tolist()
    reopened, new = open_base(read(done.path), "SequenceClassification", {}, None)
    rows = [reopened.eval()(input_ids=torch.tensor([ids])).logits[0] for ids in windows]
    assert not new
    torch.testing.assert_close(torch.stack(rows), logits)
    assert model.config.id2label == {0: "neg", 1: "pos"}


def test_the_files_tell_how_the_model_was_made(fit: Fit, tmp_path: Path) -> None:
    source = tmp_path / "train.jsonl"
    source.write_text("whatever the reader read")
    train = sentiment()
    for record in train:
        record.source = str(source)
    done = saved(fit(train, sentiment(16, seed=1), epochs=2, eval_steps=3))
    names = {path.name for path in done.path.iterdir()}
    assert names == {
        "README.md", "bertcli.yaml", "config.json", "log.jsonl", "metrics.json", "model.safetensors",
        "tokenizer.json", "tokenizer_config.json", "vocab.txt",
    }  # fmt: skip
    document = yaml.safe_load((done.path / "bertcli.yaml").read_text())
    assert document["finetune"]["batch-tokens"] == 128
    facts = document["provenance"]["data"]["train"][str(source)]
    assert facts["records"] == 64 and len(facts["sha256"]) == 64
    numbers = json.loads((done.path / "metrics.json").read_text())
    assert numbers["dev"] == done.metrics and numbers["step"] == done.step
    log = [json.loads(line) for line in (done.path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if entry["event"] == "step"] == [*range(1, log[-1]["step"] + 1)]
    assert len(numbers["history"]) == sum(entry["event"] == "eval" for entry in log)
    card = ModelCard.load(done.path / "README.md")
    assert card.data.pipeline_tag == "text-classification"
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {
        name: value for name, value in done.metrics.items() if isinstance(value, float)
    }
    assert "| 95 % interval |" in card.text
    assert facts["sha256"] in card.text and "Labels in the training data: neg 32 (50.0%), pos 32 (50.0%)." in card.text


def test_a_card_that_was_edited_stays(fit: Fit) -> None:
    path = saved(fit(sentiment())).path
    assert not [event for event in fit(sentiment(), overwrite=True) if isinstance(event, Note) and event.warning]
    (path / "README.md").write_text("My own words.")
    events = fit(sentiment(), overwrite=True)
    assert [event.message for event in events if isinstance(event, Note) and event.warning] == [
        f"{path / 'README.md'} is not as bertcli wrote it and stays; the new one is README.new.md"
    ]
    assert (path / "README.md").read_text() == "My own words."
    assert "how good it is was not measured" in (path / "README.new.md").read_text()


def test_without_dev_the_last_weights_are_saved(fit: Fit) -> None:
    events = fit(sentiment())
    assert saved(events).metrics is None and saved(events).step == steps(events)[-1].step
    assert not any(isinstance(event, Eval) for event in events)


def test_texts_that_are_cut_are_counted(fit: Fit) -> None:
    train = [*sentiment(), *records([("good " * 90, "pos"), ("bad " * 90, "neg")])]
    events = fit(train, sentiment(8), epochs=1)
    warning = next(event for event in events if isinstance(event, Note) and event.warning)
    assert warning.message.startswith("2 of 66 train texts were cut at 64 tokens")
    events = fit(train, train, epochs=1, long="window", overwrite=True)
    assert not any(isinstance(event, Note) and event.warning for event in events)
    assert sum(step.examples for step in steps(events)) > 66


def test_dev_texts_are_read_whole_as_evaluate_reads_them(fit: Fit) -> None:
    """Whatever --long does with those to learn from."""
    dev = records([("bad " * 60 + "good " * 60, "pos"), ("good " * 60 + "bad " * 60, "neg")])
    cut, windowed = (fit(sentiment(), dev, epochs=1, long=long, overwrite=True) for long in ("truncate", "window"))
    assert saved(cut).metrics == saved(windowed).metrics
    assert not any(isinstance(event, Note) and "were cut" in event.message for event in cut)


def test_a_shorter_length_belongs_to_the_model(fit: Fit) -> None:
    done = saved(fit(sentiment(), sentiment(8), epochs=1, max_length=6))
    assert tokenizer_files.load(done.path, read(done.path).config).max_length == 6
    with pytest.raises(UsageError, match=r"--max-length 99: the model takes at most 64 tokens"):
        fit(sentiment(), max_length=99, overwrite=True)


# Labels.


def test_integers_are_sorted_by_value(fit: Fit) -> None:
    data = records([("good", 10), ("bad", 9), ("film", "2")])
    done = saved(fit(data, epochs=1))
    assert json.loads((done.path / "config.json").read_text())["id2label"] == {"0": "2", "1": "9", "2": "10"}


def test_given_labels_set_the_order_and_the_limits(fit: Fit) -> None:
    done = saved(fit(sentiment(), epochs=1, labels=("pos", "neutral", "neg")))
    assert json.loads((done.path / "config.json").read_text())["id2label"] == {"0": "pos", "1": "neutral", "2": "neg"}
    with pytest.raises(UsageError, match=r"train.jsonl:1: unknown label 'neg'"):
        fit(sentiment(), overwrite=True, labels=("pos", "neutral"))


def test_a_classifier_that_is_trained_further_keeps_its_labels(fit: Fit, tmp_path: Path) -> None:
    first = saved(fit(sentiment(), sentiment(16, seed=1), labels=("pos", "neg"), epochs=5))
    again = fit(sentiment(), sentiment(16, seed=1), model=str(first.path), output=str(tmp_path / "more"), lr=1e-5)
    assert "labels: pos, neg (those of the model out)" in notes(again) and "new weights: none" in notes(again)
    evals = [event for event in again if isinstance(event, Eval)]
    assert evals[0].metrics["accuracy"] == 1.0  # at this rate it can only have kept what it knew
    other = fit(sentiment(names=("a", "b")), model=str(first.path), output=str(tmp_path / "other"), epochs=1)
    assert "labels: a, b (sorted" in notes(other)


@pytest.mark.parametrize(
    ("stated", "labels", "head", "new"),
    [
        (["neg", "pos"], ["neg", "pos"], "SequenceClassification", ""),
        (["neg", "pos"], ["0", "1"], "SequenceClassification", ""),
        (["LABEL_0", "LABEL_1"], ["pos", "neg"], "SequenceClassification", ""),
        (["neg", "pos"], ["pos", "neg"], "SequenceClassification", "classifier"),
        (["neg", "pos"], ["ham", "spam"], "SequenceClassification", "classifier"),
        (["neg", "pos"], ["neg", "pos", "odd"], "SequenceClassification", "classifier"),
        (["O", "B-X"], ["O", "B-Y"], "TokenClassification", "classifier"),
        (["O", "B-X"], ["O", "B-X"], "TokenClassification", ""),
        (["1.0"], ["score"], "SequenceClassification", ""),
    ],
)
def test_outputs_are_kept_where_they_mean_the_same(
    tmp_path: Path, stated: list[str], labels: list[str], head: str, new: str
) -> None:
    config = BertConfig(
        vocab_size=31, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        id2label=dict(enumerate(stated)), label2id={label: i for i, label in enumerate(stated)},
    )  # fmt: skip
    before = pretrained.new_module(config, head)
    before.save_pretrained(tmp_path)
    after, names = open_base(read(tmp_path), head, label_config(labels), None)
    assert names == ([f"{new}.bias", f"{new}.weight"] if new else [])
    assert len(labels) != len(stated) or torch.equal(before.classifier.weight, after.classifier.weight) == (not new)
    assert torch.equal(before.bert.embeddings.word_embeddings.weight, after.bert.embeddings.word_embeddings.weight)
    assert list(after.config.id2label.values()) == labels


@pytest.mark.parametrize("has_dev", [True, False])
def test_a_threshold_of_no_answer_belongs_to_the_weights_that_it_was_tuned_for(
    fit: Fit, tiny_model: Path, tmp_path: Path, has_dev: bool
) -> None:
    base = shutil.copytree(tiny_model, tmp_path / "base")
    update(read(base), {"null_threshold": 99.0})
    data = [Record(0, {"question": "plot", "context": "a good film", "answers": ["film"]})]
    done = saved(fit(data, data if has_dev else None, task="question-answering", model=str(base), epochs=1))
    assert "null_threshold" not in json.loads((done.path / "config.json").read_text())
    assert "null_threshold" not in (done.metrics or {})


def test_an_unknown_dev_label_is_refused_with_the_list(fit: Fit) -> None:
    dev = records([("good", "pos"), ("film", "mixed"), ("plot", "odd")], "dev.jsonl")
    with pytest.raises(
        UsageError, match=r"not: mixed, odd\. Known are: neg, pos; --map-labels mixed=,odd= leaves"
    ) as caught:
        fit(sentiment(), dev)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([["a"], ["b", "a"], []], "multi_label_classification"),
        (['["a"]', '["b", "a"]', "[]"], "multi_label_classification"),  # as --format csv writes lists
        ([0.5, 1.25], "regression"),
        (["3.800", "5.000", "-1.5e3"], "regression"),
        (["3.800", "4"], "regression"),
        ([4.5, 3, 5], "regression"),
        (["0.25", "1e-05", "3.", "2E3"], "regression"),
        (["0.25", "nan"], "regression"),
        (["1e5", "e5"], "single_label_classification"),
        ([4.5, 3, "good"], "single_label_classification"),
        ([4.5, None, 3], "regression"),
        ([["a", "b"], None], "multi_label_classification"),
        (["1.5", ""], "regression"),
        ([True, 1.5, False], "single_label_classification"),
        ([0, 1], "single_label_classification"),
        (["1" * 5000, "2"], "single_label_classification"),  # Python reads no integer of so many digits
        (["a,b", "c"], "single_label_classification"),
    ],
)
def test_the_problem_is_told_from_the_labels(tiny_model: Path, values: list[Any], kind: str) -> None:
    settings = Settings(model="m", output="o")
    assert Task.decide(settings, read(tiny_model), records([("", value) for value in values])).problem == kind


# What is refused.


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([], "the training data has no records"),
        (records([("good", "pos"), ("bad", "pos")]), "the training data has no label but 'pos'; two classes"),
        (
            records([("good", []), ("bad", [])]),
            r"no training record has a label that can be a class, the first has \[\];",
        ),
        (
            records([("good", None), ("bad", None)]),
            "no training record has a label that can be a class, the first has None;",
        ),
        (records([("good", 1e300), ("bad", 0.5)]), r"label 1e\+300 is too large; numbers up to 1e\+18 can be learnt"),
        (records([("good", [1, 0, 1]), ("bad", [0, 0, 1])]), r"can be a class, the first has \[1, 0, 1\];"),
        (records([("good", [1, 0]), ("bad", [0, 1])]), "labels are 0 and 1 for each of two classes; write the names"),
        ([Record(0, {"text": "x"}, 7, "f")], r"1 fault:\nf:7: no field 'label' \(the record has: text\)"),
        ([Record(0, {}, 3, "f", fault="not JSON")], "f:3: not JSON"),
        (records([(5, "a"), ("b", "b")]), "train.jsonl:1: field 'text' is int, not text"),  # type: ignore[list-item]
        (records([("a", {"x": 1}), ("b", "b"), ("c", "c")]), r"train.jsonl:1: the label {'x': 1} is neither"),
        (records([("good", "a")] * 3 + [(1, "b")] * 1002), "(?s)1,002 faults.*and 2 more"),  # type: ignore[list-item]
    ],
)
def test_bad_training_data_is_refused(fit: Fit, tmp_path: Path, train: list[Record], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(train)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "fill-mask"])
def test_without_a_base_the_embedded_encoder_is_trained(task: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "text-classification": {}, "fill-mask": {"text": "a good <mask>", "label": "film"},
        "token-classification": {"tokens": ["good", "film"], "label": ["O", "B-WORK"]},
    }[task]  # fmt: skip
    train = [Record(record.index, record.fields | fields, record.line, "t") for record in sentiment(4)]
    output = str(tmp_path / "out")
    settings = Settings(model=None, output=output, task=task, epochs=1, precision="fp32", lr=1e-9)
    events = list(finetune(settings, train, None, DEVICE))
    assert "new weights: " in notes(events) and "encoder" not in notes(events)
    weights = load_file(saved(events).path / "model.safetensors")
    encoder = dequantized(resolve(None, "feature-extraction"), "").state_dict()
    name = "encoder.layer.3.output.dense.weight"
    torch.testing.assert_close(weights[f"bert.{name}"], encoder[name], atol=1e-6, rtol=0)
    assert "embedded model" in (saved(events).path / "README.md").read_text()


def test_an_empty_dev_set_is_refused(fit: Fit) -> None:
    with pytest.raises(UsageError, match="the dev data has no records"):
        fit(sentiment(), [])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, r"--epochs 0: must be at least 1\."),
        ({"warmup": 1.0}, r"--warmup 1.0: must be from 0 to below 1\."),
        ({"metric": "f2"}, r"--metric f2: the evaluation reports accuracy, macro_f1"),
        ({"class_weights": {"neg": 0.0, "pos": 0.0}}, "nothing could be learnt"),
        ({"class_weights": {"meh": 2.0}}, r"no label is called meh; they are: neg, pos\."),
    ],
)
def test_bad_settings_are_refused(fit: Fit, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(sentiment(), sentiment(8), **values)


def test_labels_of_numbers_are_refused(fit: Fit) -> None:
    with pytest.raises(UsageError, match="--labels names classes, which are not learnt here"):
        fit(records([("good", 0.5), ("bad", 1.5)]), labels=("0.5", "1.5"))


@pytest.mark.parametrize("labels", [(0.5, 1.5), (["a"], ["a", "b"])])
def test_only_one_label_of_several_can_be_smoothed(fit: Fit, labels: tuple[Any, Any]) -> None:
    with pytest.raises(UsageError, match="--label-smoothing is for one class a text, not learnt here"):
        fit(records([("good", labels[0]), ("bad", labels[1])]), label_smoothing=0.1)


def test_labels_need_something_between_them(fit: Fit) -> None:
    with pytest.raises(UsageError, match="--label-separator '': write what stands between labels"):
        fit(records([("good", "a"), ("bad", "b")]), label_separator="")


def test_a_metric_needs_dev(fit: Fit) -> None:
    with pytest.raises(UsageError, match="need --dev"):
        fit(sentiment(), patience=1)


def test_an_encoder_with_missing_weights_is_refused(tiny_model: Path, tmp_path: Path, fit: Fit) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (broken / name).write_bytes((tiny_model / name).read_bytes())
    weights = load_file(tiny_model / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "layer.1.output.dense" not in k}, broken / "model.safetensors")
    with pytest.raises(ModelError, match="lacks weights of the encoder"):
        fit(sentiment(), model=str(broken))
    pairs = [Record(i, {"text": "good film", "b": "bad plot", "label": score}) for i, score in enumerate((0.1, 0.9))]
    with pytest.raises(ModelError, match="lacks weights of the encoder"):  # which is the whole model here
        fit(pairs, model=str(broken), task="feature-extraction", pair_field="b")


def test_a_directory_in_use_is_not_overwritten(fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty; --overwrite replaces its model"):
        fit(sentiment())
    # What another model has would be read beside the new one's files, or was made from other weights.
    others = ("onnx/model.onnx", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json",
              "config_sentence_transformers.json", "special_tokens_map.json", "added_tokens.json",
              "exit.safetensors", "model.safetensors.index.json")  # fmt: skip
    for name in others:
        (tmp_path / "out" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("{}")
    fit(sentiment(), overwrite=True, epochs=1)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert [name for name in others if (tmp_path / "out" / name).exists()] == []


def test_a_vocabulary_has_the_pieces_of_whole_texts(fit: Fit, tmp_path: Path) -> None:
    """Also of what training cuts off at --max-length: predict reads it in windows."""
    long = [Record(0, {"text": "good film " * 20 + "awful dull scene"})]
    with pytest.raises(Interrupted):
        fit(sentiment(), vocabulary=long, max_length=8, stop=lambda: signal.SIGINT)
    # The pieces themselves, tens of thousands, are no message.
    with pytest.raises(UsageError, match=r"  the pieces of --vocabulary-from: was '\w{64}', is '\w{64}'\n"):
        fit(sentiment(), vocabulary=[], max_length=8, resume=True)
    done = saved(fit(sentiment(), vocabulary=long, max_length=8, resume=True))
    pieces = tokenizer_files.load(done.path, {}).backend.get_vocab()
    assert {"good", "film", "awful", "dull", "scene"} <= pieces.keys() and "lovely" not in pieces


# Stopping and going on.


def test_a_run_that_was_stopped_and_resumed_is_the_run_that_was_not(fit: Fit, tmp_path: Path) -> None:
    train, dev = sentiment(), sentiment(16, seed=1)
    settings: dict[str, Any] = {"dropout": 0.1, "ema": 0.5, "epochs": 2, "eval_steps": 3}
    whole = saved(fit(train, dev, output=str(tmp_path / "whole"), **settings))
    polls = iter([None] * 5 + [signal.SIGINT])
    with pytest.raises(Interrupted) as caught:
        fit(train, dev, stop=lambda: next(polls), **settings)
    assert caught.value.exit_code == 130
    assert not (tmp_path / "out" / "config.json").exists()
    with pytest.raises(UsageError, match="--resume continues its run"):
        fit(train, dev, **settings)
    with pytest.raises(UsageError, match=r"--lr: was 0\.003, is 0\.1"):
        fit(train, dev, resume=True, **settings, lr=0.1)
    with pytest.raises(UsageError, match=r"train data: was"):
        fit(train[1:], dev, resume=True, **settings)
    events = fit(train, dev, resume=True, **settings)
    assert "resumed after step 6" in notes(events)
    resumed = saved(events)
    ours, theirs = (load_file(run.path / "model.safetensors") for run in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert resumed.metrics == whole.metrics
    logs = [
        [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()] for run in (resumed, whole)
    ]
    clock = {"time": 0, "examples_per_s": 0, "tokens_per_s": 0, "seconds_left": 0}
    assert [entry | clock for entry in logs[0]] == [entry | clock for entry in logs[1]]


def test_resume_begins_where_there_is_nothing_and_does_nothing_where_all_is_done(fit: Fit) -> None:
    events = fit(sentiment(), resume=True, epochs=1)
    assert "nothing to resume: the run begins" in notes(events)
    again = fit(sentiment(), resume=True, epochs=1)
    assert [type(event) for event in again] == [Saved] and saved(again).step == saved(events).step
    with pytest.raises(UsageError, match=r"these differ:\n  epochs: was 1, is 2"):
        fit(sentiment(), resume=True, epochs=2)
    assert saved(fit(sentiment(), resume=True, overwrite=True, epochs=2)).step == 2 * saved(events).step


def test_early_stopping_saves_the_best(fit: Fit) -> None:
    events = fit(sentiment(), sentiment(16, seed=1), epochs=30, patience=2, metric="accuracy", lr=6e-3)
    evals = [event for event in events if isinstance(event, Eval)]
    assert len(evals) < 30 and not evals[-1].best and not evals[-2].best
    assert saved(events).step == evals[-3].step


# Losses.


def test_class_weights() -> None:
    targets = torch.tensor([0, 0, 0, 1])
    names = ["a", "b", "c"]
    assert class_weights(None, targets, names) is None
    balanced = class_weights("balanced", targets, names)
    assert balanced is not None and balanced.tolist() == pytest.approx([4 / 6, 2, 2])
    given = class_weights({"b": 3.0}, targets, names)
    assert given is not None and given.tolist() == [1, 3, 1]
    hot = class_weights("balanced", torch.tensor([[1.0, 0], [1, 1], [1, 0], [0, 0]]), ["a", "b"])
    assert hot is not None and hot.tolist() == pytest.approx([1 / 3, 3])
    every = class_weights("balanced", torch.tensor([[1.0, 0], [1, 0]]), ["a", "b"])
    assert every is not None and every.tolist() == [1 / 2, 2]  # not 0, with which no record would teach it
    with pytest.raises(UsageError, match="this task has no classes"):
        class_weights("balanced", torch.tensor([[0.5]]), [])


def loss_of(problem: str, weights: torch.Tensor | None = None) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss of logits and targets for two labels, or of numbers."""
    labels = ["score"] if problem == "regression" else ["a", "b"]
    config = {"problem_type": problem, "id2label": dict(enumerate(labels))}
    settings = Settings(model="m", output="o")
    task = Task(tokenizer.Tokenizer.__new__(tokenizer.Tokenizer), config, settings.options)
    training = Training(task, Decision(problem, labels, ""), settings)
    training.weights = weights
    return lambda logits, targets: training.loss({"logits": logits}, targets)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_padding_has_no_part_in_the_loss_of_an_answer(smoothing: float) -> None:
    settings = Settings(model="m", output="o", label_smoothing=smoothing)
    training = Answering(None, Decision("answers", [], ""), settings)  # type: ignore[arg-type]
    logits, targets = torch.randn(2, 2, 5, generator=torch.manual_seed(0)), torch.tensor([[1, 2], [0, -100]])
    outputs = {"start_logits": logits[0], "end_logits": logits[1]}
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    expected = sum(
        functional.cross_entropy(logits[side, row, : mask[row].sum()], targets[row, side], label_smoothing=smoothing)
        for row, side in ((0, 0), (0, 1), (1, 0))
    )
    torch.testing.assert_close(training.loss(outputs, targets, mask), expected)


def test_each_loss_is_a_sum_over_examples() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.5]])
    for kind, outputs, targets in (
        ("single_label_classification", logits, torch.tensor([0, 1])),
        ("multi_label_classification", logits, torch.tensor([[1.0, 0], [1, 1]])),
        ("regression", logits[:, :1], torch.tensor([[1.0], [3]])),
    ):
        loss = loss_of(kind)
        parts = [loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(2)]
        torch.testing.assert_close(loss(outputs, targets), torch.stack(parts).sum())
    weighted = loss_of("single_label_classification", torch.tensor([1.0, 3.0]))
    plain = loss_of("single_label_classification")
    torch.testing.assert_close(weighted(logits[1:], torch.tensor([1])), 3 * plain(logits[1:], torch.tensor([1])))


def test_balanced_weights_help_the_rare_class(fit: Fit) -> None:
    rare = [record for i, record in enumerate(sentiment(200)) if i % 2 == 0 or i % 20 == 1]
    first = [saved(fit(rare, rare, epochs=1, lr=1e-3, class_weights=w, overwrite=True)) for w in (None, "balanced")]
    recalls = [done.metrics["per_class"]["pos"]["recall"] for done in first if done.metrics]
    assert recalls[1] > recalls[0]


def test_batches_have_a_mask_only_where_lengths_differ(tiny_model: Path) -> None:
    from bertcli.training.finetune import read_data

    data = read_data(Settings(model="m", output="o"), read(tiny_model), sentiment(), None).splits["train"].examples
    same = np.flatnonzero(data.lengths == data.lengths[0])
    assert set(data.arrays(same, 0)) == {"input_ids"}
    mixed = data.arrays(np.array([data.lengths.argmin(), data.lengths.argmax()]), pad=0)
    assert mixed["attention_mask"].sum(1).tolist() == [data.lengths.min(), data.lengths.max()]
    assert (mixed["input_ids"][mixed["attention_mask"] == 0] == 0).all()
    first = data.ids[data.offsets[3] : data.offsets[4]]
    assert data.arrays(np.array([3]), 0)["input_ids"][0].tolist() == first.tolist()


# An early exit.


def test_both_heads_learn_and_the_second_has_a_file_of_its_own(fit: Fit, tmp_path: Path) -> None:
    done = saved(fit(sentiment(), sentiment(16, seed=1), epochs=5, exit_after=1, ema=0.5))
    assert done.metrics is not None and done.metrics["accuracy"] == 1.0
    assert read(done.path).config["exit_after"] == 1
    assert not any(name.startswith("exit.") for name in load_file(done.path / "model.safetensors"))
    module = pytorch.load(read(done.path), "SequenceClassification")
    exits.load(module, done.path)
    ids = torch.tensor(tokenizer_files.load(done.path, {}).backend.encode("the good plot").ids)[None]
    with torch.no_grad():
        outputs = module.eval()(input_ids=ids)
    assert outputs["exit_logits"].argmax() == outputs["logits"].argmax() == 1
    events = fit(sentiment(), model=str(done.path), output=str(tmp_path / "next"), epochs=1)
    assert "exit_after" not in read(saved(events).path).config
    assert not (tmp_path / "next" / exits.FILE).exists()


def test_a_stopped_run_with_an_exit_is_resumed_to_the_same_weights_of_both_heads(fit: Fit, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"dropout": 0.1, "epochs": 2, "exit_after": 1}
    whole = saved(fit(sentiment(), output=str(tmp_path / "whole"), **settings))
    polls = iter([None] * 5 + [signal.SIGINT])
    with pytest.raises(Interrupted):
        fit(sentiment(), stop=lambda: next(polls), **settings)
    resumed = saved(fit(sentiment(), resume=True, **settings))
    for name in ("model.safetensors", exits.FILE):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"exit_after": 2}, r"--exit-after 2: the model has 2 layers; name one before the last\."),
        ({"exit_after": 1, "problem": "regression"}, r"this model predicts a number, which has no early exit"),
    ],
)
def test_an_exit_that_cannot_be_is_refused(fit: Fit, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(sentiment(names=("1", "2")), **values)
