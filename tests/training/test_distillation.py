"""Learning from a teacher: its part of the loss in every task, its answers kept between runs, and what is refused."""

import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import BertConfig, BertModel, BertTokenizer

from bertcli import registry
from bertcli.cli.main import run
from bertcli.data.records import Record
from bertcli.device import Device
from bertcli.errors import BertcliError, Interrupted, UsageError
from bertcli.model import read
from bertcli.tasks.base import IGNORED
from bertcli.tasks.question_answering import Span
from bertcli.tasks.training import Data, Labelled
from bertcli.training.finetune import Event, Note, Saved, finetune, read_data
from bertcli.training.loop import Step
from bertcli.training.settings import Settings
from bertcli.training.teacher import Answering

DEVICE = Device("cpu", 1, "in a test")
FILLERS = "film plot actor scene the a is".split()
T = 2.0


def record(index: int, source: str = "train.jsonl", **fields: Any) -> Record:
    return Record(index, fields, index + 1, source)


def sentiment(count: int = 64, names: tuple[str, str] = ("neg", "pos"), seed: int = 0) -> list[Record]:
    """Texts of 3 to 9 words, one of which decides the label."""
    chance = random.Random(seed)
    rows = []
    for i in range(count):
        words = chance.choices(FILLERS, k=chance.randint(2, 8))
        words.insert(chance.randrange(len(words)), ("bad", "good")[i % 2])
        rows.append(record(i, text=" ".join(words), label=names[i % 2]))
    return rows


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of its own vocabulary and size, which has learnt sentiment; its labels are pos, neg."""
    base = tmp_path_factory.mktemp("teacher") / "base"
    base.mkdir()
    words = "[UNK] [PAD] [MASK] [SEP] [CLS] good bad fi ##lm plot actor scene the a is".split()
    (base / "vocab.txt").write_text("\n".join(words) + "\n")
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, pad_token_id=1, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(base)
    BertTokenizer(str(base / "vocab.txt")).save_pretrained(base)
    settings = Settings(
        model=str(base), output=str(base.parent / "sentiment"), labels=("pos", "neg"), lr=6e-3, epochs=8,
        batch_tokens=128, dropout=0.0, precision="fp32",
    )  # fmt: skip
    *_, saved = finetune(settings, sentiment(), sentiment(16, seed=1), DEVICE)
    assert isinstance(saved, Saved) and saved.metrics and saved.metrics["accuracy"] == 1.0
    return saved.path


Fit = Callable[..., list[Event]]


@pytest.fixture
def fit(tiny_model: Path, teacher: Path, tmp_path: Path) -> Fit:
    """Train into tmp_path/out with the teacher; returns the events."""

    def train(rows: list[Record], dev: list[Record] | None = None, /, **values: Any) -> list[Event]:
        names = ("unlabelled", "resume", "stop", "overwrite")
        chosen = {name: values.pop(name) for name in names if name in values}
        defaults: dict[str, Any] = {
            "model": str(tiny_model), "output": str(tmp_path / "out"), "teacher": str(teacher), "lr": 3e-3,
            "batch_tokens": 128, "dropout": 0.0, "precision": "fp32",
        }  # fmt: skip
        settings = Settings(**{**defaults, **values})
        return list(finetune(settings, rows, dev, DEVICE, cache=tmp_path / "cache", **chosen))

    return train


def answered(events: list[Event]) -> int:
    return max((event.done for event in events if isinstance(event, Answering)), default=0)


# What is learnt.


def test_the_teacher_is_believed_rather_than_wrong_labels(fit: Fit) -> None:
    wrong, dev = sentiment(64, ("pos", "neg")), sentiment(16, seed=1)
    events = fit(wrong, dev, teacher_weight=1.0, epochs=12)
    saved = events[-1]
    assert isinstance(saved, Saved) and saved.metrics and saved.metrics["accuracy"] == 1.0
    assert json.loads((saved.path / "config.json").read_text())["id2label"] == {"0": "pos", "1": "neg"}  # the teacher's
    assert Note("teacher: sentiment, pytorch fp32 on cpu") in events


def test_texts_without_labels_teach_and_the_card_says_who_taught(fit: Fit) -> None:
    few, many, dev = sentiment(4), sentiment(96, seed=2), sentiment(16, seed=1)
    for i, one in enumerate(many):
        many[i] = record(i, "more.txt", text=one.fields["text"])
    saved = fit(few, dev, unlabelled=many, epochs=12)[-1]
    assert isinstance(saved, Saved) and saved.metrics and saved.metrics["accuracy"] == 1.0
    card = (saved.path / "README.md").read_text()
    assert "for single label classification, from labels and from the answers of sentiment. Labels" in card
    assert "| teacher |" not in card  # nor where it lies
    assert "* train: train.jsonl, 4 records" in card and "* unlabelled: more.txt, 96 records" in card
    assert "100 training records, 96 of them labelled by the teacher alone, and" in card
    document = yaml.safe_load((saved.path / "bertcli.yaml").read_text())
    assert document["finetune"]["teacher-weight"] == 0.5
    assert document["provenance"]["data"]["unlabelled"] == {"more.txt": {"records": 96}}


# The loss of each task: nothing is left to learn where the student answers as the teacher does.


def lesson(task: str, base: Path, records: list[Record], unlabelled: list[Record], **options: Any) -> Data:
    return read_data(Settings(model=str(base), output="o", task=task, **options), read(base), records, None, unlabelled)


def distillation(data: Data, labels: list[str], **more: Any) -> Any:
    """How a task learns from a teacher with these labels."""
    model = SimpleNamespace(labels=labels, is_regression=False, is_multi=False, problem=data.decision.problem)
    model.__dict__.update(more)
    module = registry.load("tasks", data.task.name)
    decision, settings = data.decision, Settings(model="m", output="o")
    taught = data.task.distillation(decision, settings, model, T)  # type: ignore[arg-type]
    assert type(taught).__module__.startswith(module.__name__)
    return taught


def soft(data: Data, labels: list[str], answers: list[Any], **more: Any) -> tuple[Any, Labelled]:
    """The same, and its targets for these answers."""
    taught = distillation(data, labels, **more)
    examples = data.splits["train"].examples
    kept = [taught.answer(answer) for answer in answers]
    return taught, Labelled(examples, kept, taught.targets(examples, kept))


def gradient(loss: Callable[[torch.Tensor], torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
    logits = logits.clone().requires_grad_()
    loss(logits).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    return logits.grad


UNITS = np.arange(3)


@pytest.mark.parametrize(
    ("labels", "more"),
    [
        (["a", "b"], {}),
        ([["a"], ["a", "b"]], {"is_multi": True}),
        ([0.5, 1.5], {"is_regression": True}),
    ],
    ids=["single", "multi", "regression"],
)
def test_classes_sets_and_numbers(tiny_model: Path, labels: list[Any], more: dict[str, Any]) -> None:
    rows = [record(i, text="good film", label=label) for i, label in enumerate(labels)]
    data = lesson("classify", tiny_model, rows, [record(2, text="the plot")])
    names, width = ["b", "a"], len(data.decision.labels)
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.5], [-0.7, 0.1]])[:, :width]
    taught, targets = soft(data, names, [row.flip(-1).numpy() for row in logits], **more)
    batch = taught.batch_targets(targets, UNITS)
    assert torch.equal(batch, logits) and taught.terms(batch) == 3  # in the student's order of labels
    slope = gradient(lambda values: taught.loss({"logits": values}, batch), logits)
    assert torch.allclose(slope, torch.zeros_like(slope), atol=1e-6)
    assert gradient(
        lambda values: taught.loss({"logits": values}, batch), logits + torch.tensor([1.0, 0])[:width]
    ).any()
    hard = data.training.batch_targets(data.splits["train"], UNITS)
    slope = gradient(lambda values: data.training.loss({"logits": values}, hard), logits)
    assert slope[:2].any(dim=1).all() and not slope[2].any()  # the third has no label


def test_words_whatever_their_pieces(tiny_model: Path) -> None:
    tagged = record(0, tokens=["goods", "the", "film"], tags=["B-X", "O", "B-X"])
    data = lesson("ner", tiny_model, [tagged], [record(1, text="plots \u200b films")])
    nan = [np.nan] * 3
    answers = [np.array([[0, 1, 2], nan, [3, 4, 5]]), np.array([[6.0, 7, 8]])]  # of 3 words, and of the first of 2 or 3
    taught, targets = soft(data, ["B-X", "I-X", "O"], answers)
    batch = taught.batch_targets(targets, np.arange(2))
    ids = data.splits["train"].examples.arrays(np.arange(2), 0)["input_ids"]
    pieces = [[data.task.tokenizer.backend.id_to_token(i) for i in row] for row in ids]
    assert pieces[0] == ["[CLS]", "good", "##s", "the", "film", "[SEP]"] and pieces[1][:3] == ["[CLS]", "plot", "##s"]
    known = {(0, 1): [2, 0, 1], (0, 4): [5, 3, 4], (1, 1): [8, 6, 7]}  # O, B-X, I-X
    assert {(row, i): batch[row, i].tolist() for row, i in torch.nonzero(~batch[..., 0].isnan()).tolist()} == known
    assert taught.terms(batch) == 3
    slope = gradient(lambda values: taught.loss({"logits": values}, batch), batch.nan_to_num(1.0))
    assert torch.allclose(slope, torch.zeros_like(slope), atol=1e-6)
    hard = data.training.batch_targets(data.splits["train"], np.arange(2))
    assert data.training.terms(hard) == 3 and (hard[1] == IGNORED).all()


def test_answers_in_the_students_tokens(tiny_model: Path) -> None:
    asked = record(0, question="the plot", context="good films", answers=["films"])
    data = lesson("qa", tiny_model, [asked], [record(1, question="the", context="the good plot")])
    spans = [[Span(2.0, 5, 10), Span(0.0, 0, 4)], []]
    taught, targets = soft(data, [], spans)
    batch = taught.batch_targets(targets, np.arange(2))
    shares = torch.tensor([2.0, 0.0, 0.0]).div(T).softmax(0)  # of films, of good, of no answer
    # [CLS] the plot [SEP] good film ##s [SEP]
    assert torch.allclose(batch[0, :, 0], torch.tensor([shares[2], 0, 0, 0, shares[1], shares[0], 0, 0]))
    assert torch.allclose(batch[0, :, 1], torch.tensor([shares[2], 0, 0, 0, shares[1], 0, shares[0], 0]))
    assert batch[1].tolist() == [[1, 1], *[[0, 0]] * 7]
    logits = T * batch.clamp(min=1e-20).log()
    names = ("start_logits", "end_logits")
    slope = gradient(lambda both: taught.loss(dict(zip(names, both.unbind(-1), strict=True)), batch), logits)
    assert taught.terms(batch) == 4 and torch.allclose(slope, torch.zeros_like(slope), atol=1e-5)
    assert (data.training.batch_targets(data.splits["train"], np.arange(2))[1] == IGNORED).all()


def test_cosines_of_pairs_whose_vectors_have_another_size(tiny_model: Path) -> None:
    rows = [record(i, text="good", other="film", label=i) for i in range(2)]
    data = lesson("embed", tiny_model, rows, [record(2, text="bad", other="plot")], pair_field="other")
    data.training.start(data.splits["train"])
    taught, targets = soft(data, [], [np.array([[3.0, 4, 0], [0, 5, 0]]), np.eye(2), np.eye(2)])
    batch = taught.batch_targets(targets, UNITS)
    assert torch.allclose(batch, torch.tensor([0.8, 0, 0]))
    vectors = torch.tensor([[3.0, 4], [1, 0], [1, 0], [0, 5], [0, 2], [0, 1]])  # the firsts of three pairs, the seconds
    hidden = {"last_hidden_state": vectors[:, None]}
    assert float(taught.loss(hidden, batch)) < 1e-12
    hard = data.training.batch_targets(data.splits["train"], UNITS)
    assert torch.allclose(data.training.loss(hidden, hard), torch.tensor(0.8**2 + 1))


# A text that the teacher cannot read.


def test_what_is_unknown_to_the_teacher_is_learnt_from_its_label(fit: Fit) -> None:
    """The teacher knows neither "was" nor "very" nor Chinese, and would give all such texts one answer."""
    rows = [record(i, text=("was was", "very very")[i % 2], label=("neg", "pos")[i % 2]) for i in range(32)]
    events = fit([*rows, *sentiment(32)], rows[:2], teacher_weight=1.0, epochs=12, unlabelled=[record(0, text="很 好")])
    sentence = "33 of 65 texts are partly unknown to the teacher; labels alone teach 32 of them, its guesses the others"
    assert Note(sentence) in events
    saved = events[-1]
    assert isinstance(saved, Saved) and saved.metrics and saved.metrics["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("task", "fields", "names", "more"),
    [
        ("classify", {"text": "good film", "label": "a"}, ["b", "a"], {}),
        ("classify", {"text": "good film", "label": ["a", "b"]}, ["b", "a"], {"is_multi": True}),
        ("classify", {"text": "good film", "label": 1.5}, [], {"is_regression": True}),
        ("ner", {"tokens": ["good", "film"], "tags": ["O", "B-X"]}, ["B-X", "I-X", "O"], {}),
        ("qa", {"question": "the", "context": "good film", "answers": ["film"]}, [], {}),
        ("qa", {"question": "the", "context": "good film", "answers": []}, [], {}),
    ],
)
def test_a_sure_answer_teaches_what_the_label_does(
    tiny_model: Path, task: str, fields: dict[str, Any], names: list[str], more: dict[str, Any]
) -> None:
    label = ["b"] if more.get("is_multi") else 0.5 if more else "b"
    rows = [record(0, **fields), record(1, **(fields | {"label": label} if task == "classify" else fields))]
    data = lesson(task, tiny_model, rows, [])
    split, units = data.splits["train"], np.arange(2)
    data.training.start(split)
    taught = distillation(data, names, **more)
    sure = Labelled(split.examples, [], taught.targets(split.examples, [taught.certain(gold) for gold in split.gold]))
    torch.manual_seed(0)
    length, width = int(split.examples.lengths[0]), len(data.decision.labels)
    outputs = {name: torch.randn(2, length) for name in ("start_logits", "end_logits")}
    outputs["logits"] = torch.randn((2, length, width) if task == "ner" else (2, width))
    scale = T if data.decision.has_classes or task == "qa" else 1.0
    hard = {name: value / scale for name, value in outputs.items()}
    expected = data.training.loss(hard, data.training.batch_targets(split, units)) * scale**2
    assert torch.allclose(taught.loss(outputs, taught.batch_targets(sure, units)), expected, rtol=1e-4)


# The answers are computed once.


def test_answers_are_kept_by_content(fit: Fit, tmp_path: Path) -> None:
    rows = sentiment(64)
    texts = {one.fields["text"] for one in rows}
    first = fit(rows, epochs=1)
    assert answered(first) == len(texts)
    again = fit([record(0, text="a new text", label="pos"), *rows], epochs=1, overwrite=True)
    assert answered(again) == 1
    assert answered(fit(list(reversed(rows)), epochs=1, overwrite=True)) == 0
    assert len([*(tmp_path / "cache").glob("teacher/*/answers.sqlite")]) == 1


def test_a_stopped_teacher_goes_on(fit: Fit, tmp_path: Path) -> None:
    rows = [record(i, text=" ".join(FILLERS[int(digit)] for digit in f"{i:b}"), label="pos") for i in range(300)]
    with pytest.raises(Interrupted, match="the same command goes on from there"):
        fit(sentiment(2), unlabelled=rows, epochs=1, stop=lambda: signal.SIGTERM)
    events = fit(sentiment(2), unlabelled=rows, epochs=1)
    assert 0 < answered(events) < len(rows)


def test_answers_that_cannot_be_kept(fit: Fit, tmp_path: Path) -> None:
    fit(sentiment(4), epochs=1)
    (file,) = (tmp_path / "cache").glob("teacher/*/answers.sqlite")
    file.write_bytes(b"no table of SQLite" * 99)
    with pytest.raises(BertcliError, match=r"not a database\. Make room, remove the file or name another"):
        fit(sentiment(4), epochs=1, overwrite=True)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(BertcliError, match=r"teacher/\w+/answers.sqlite: .*Not a directory"):
        fit(sentiment(4), epochs=1, overwrite=True)


def test_a_resumed_run_ends_with_the_same_weights(fit: Fit, tmp_path: Path) -> None:
    rows, more = sentiment(32), [record(i, "more.txt", text=FILLERS[i]) for i in range(7)]
    fit(rows, unlabelled=more, output=str(tmp_path / "whole"), layers=1)
    signals = iter([None, None, None, signal.SIGTERM])
    with pytest.raises(Interrupted):
        fit(rows, unlabelled=more, layers=1, stop=lambda: next(signals))
    with pytest.raises(UsageError, match="the teacher's answers: was '"):
        fit(rows, unlabelled=more[1:], layers=1, resume=True)
    fit(rows, unlabelled=more, layers=1, resume=True)
    paths = [tmp_path / name / "model.safetensors" for name in ("whole", "out")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


# What is refused.


def test_a_teacher_of_other_labels_or_of_another_task(fit: Fit, tiny_model: Path) -> None:
    three = [record(i, text="good film", label=label) for i, label in enumerate("abc")]
    with pytest.raises(UsageError, match=r"--teacher: it knows the labels pos, neg, and the data has a, b, c; both"):
        fit(three)
    sets = [record(i, text="good film", label=["pos", "neg"][i:]) for i in range(2)]
    with pytest.raises(UsageError, match="it has learnt a single label classification, and the data is a multi label"):
        fit(sets)
    masked = [record(i, text="good [MASK]", label="film") for i in range(2)]
    data = lesson("mask", tiny_model, masked, [])
    with pytest.raises(UsageError, match="--teacher: fill-mask is learnt from labels alone"):
        soft(data, [], [])


def test_the_command(
    tiny_model: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.jsonl").write_text("".join(json.dumps(one.fields) + "\n" for one in sentiment(32)))
    Path("more.txt").write_text("a lovely film\nthe good plot\n")
    command = f"finetune --train train.jsonl -m {tiny_model} -o out --unlabelled more.txt --device cpu --threads 1 -v"
    assert run(command.split()) == 2 and "--unlabelled does nothing without --teacher." in capfd.readouterr().err
    command += f" --teacher {teacher} --cache cache --layers 1 --vocabulary-from train.jsonl --vocabulary-from more.txt"
    assert run([*command.split(), "--epochs", "1", "--precision", "bf16"]) == 0
    said = capfd.readouterr().err
    assert (
        "vocabulary: 16 pieces of 28" in said
        and "teacher: sentiment, pytorch bf16 on cpu" in said
        and "(those of the model sentiment)" in said
    )
    config = json.loads(Path("out/config.json").read_text())
    assert config["num_hidden_layers"] == 1 and config["vocab_size"] == 16
    data = yaml.safe_load(Path("out/bertcli.yaml").read_text())["provenance"]["data"]
    assert [*data] == ["vocabulary", "train", "unlabelled"] and data["vocabulary"]["more.txt"]["records"] == 2
    assert run("predict -m out more.txt -q".split()) == 0
    assert len(capfd.readouterr().out.splitlines()) == 2
    monkeypatch.setenv("BERTCLI_CACHE", "cache")
    for arguments, count in (["sentiment"], 0), ([str(teacher), "--clear"], 1), ([], 0):
        assert run(["cache", "--format", "json", *arguments]) == 0
        rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        kinds = [(row["kind"], row["model"], row["task"]) for row in rows]
        assert kinds == [("teacher", str(teacher), "text-classification")] * count


def steps(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, Step)]


def test_without_a_teacher_nothing_changes(fit: Fit) -> None:
    alone = fit(sentiment(16), teacher=None, epochs=1)
    taught = fit(sentiment(16), teacher_weight=1e-9, epochs=1, overwrite=True, labels=("neg", "pos"))
    assert np.allclose(steps(alone), steps(taught), atol=1e-6)


def test_lines_of_text_stand_beside_a_table_with_another_field(
    tiny_model: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"review": one.fields["text"], "label": one.fields["label"]} for one in sentiment(32)]
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("more.txt").write_text("a lovely film\nthe good plot\n")
    command = f"finetune --train train.jsonl --text-field review -m {tiny_model} --teacher {teacher} -o out --epochs 1"
    more = "--unlabelled more.txt --vocabulary-from more.txt --cache cache --no-export --device cpu --threads 1"
    assert run([*command.split(), *more.split()]) == 0
    data = yaml.safe_load(Path("out/bertcli.yaml").read_text())["provenance"]["data"]
    assert data["unlabelled"]["more.txt"]["records"] == data["vocabulary"]["more.txt"]["records"] == 2
