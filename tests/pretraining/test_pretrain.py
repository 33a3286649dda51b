"""Pre-training tiny models on made text: every objective learns, resumes to the same bits, and leaves a checkpoint."""

import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModel

from bertcli import tokenizer_files
from bertcli.device import Device
from bertcli.errors import Interrupted, UsageError
from bertcli.model import read as read_model
from bertcli.pretraining.pretrain import Event, PositionSelector, operations, peak, pretrain
from bertcli.pretraining.settings import PretrainSettings
from bertcli.pretraining.source import Source, expand
from bertcli.training.finetune import open_base
from bertcli.training.loop import Eval, Step
from bertcli.training.run import Note, Saved

DEVICE = Device("cpu", 1, "in a test")
SHAPE = {
    "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "vocab_size": 1, "max_position_embeddings": 64, "initializer_range": 0.2,
}  # fmt: skip
TOPICS = (("cat", "milk", "purrs"), ("dog", "bone", "barks"), ("cow", "grass", "moos"), ("bee", "honey", "hums"))
OBJECTIVES = ["mlm", "mlm+nsp", "mlm+sop", "causal"]
Fit = Callable[..., list[Event]]


def document(chance: random.Random) -> str:
    """Sentences on one animal; the first word of a sentence tells the last."""
    animal, food, sound = chance.choice(TOPICS)
    wholes = (f"the {animal} likes {food}.", f"a {animal} often {sound}.", f"my {animal} wants {food} now.")
    return "\n".join(chance.choice(wholes) for _ in range(chance.randint(4, 9)))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    chance = random.Random(0)
    path = tmp_path / "corpus.txt"
    path.write_text("\n\n".join(document(chance) for _ in range(160)))
    return path


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "shape.json").write_text(json.dumps(SHAPE))
    return str(tmp_path / "shape.json")


@pytest.fixture
def fit(corpus: Path, config: str, tmp_path: Path) -> Fit:
    """Train into tmp_path/out with settings that suit the tiny model; returns the events."""

    def run(**values: Any) -> list[Event]:
        chosen = {name: values.pop(name) for name in ("resume", "overwrite", "stop", "track") if name in values}
        defaults: dict[str, Any] = {
            "output": str(tmp_path / "out"), "model_config": config, "vocab_size": 98, "lengths": ((16, 1.0),),
            "batch_tokens": 128, "lr": 5e-3, "epochs": 1, "precision": "fp32", "dev_tokens": 10_000,
        }  # fmt: skip
        if "model" in values:
            del defaults["model_config"], defaults["vocab_size"]
        source = Source(expand([str(corpus)]))
        return list(pretrain(PretrainSettings(**{**defaults, **values}), source, DEVICE, tmp_path / "cache", **chosen))

    return run


def saved(events: list[Event]) -> Saved:
    assert isinstance(events[-1], Saved)
    return events[-1]


def steps(events: list[Event]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]


def learned(events: list[Event]) -> bool:
    """Whether the loss of the last ten steps is well under that of the first ten."""
    losses = [step.loss for step in steps(events)]
    return sum(losses[-10:]) < 0.7 * sum(losses[:10])


def notes(events: list[Event]) -> str:
    return "\n".join(event.message for event in events if isinstance(event, Note))


# It learns.


@pytest.mark.parametrize(
    ("objective", "architecture"),
    [*zip(OBJECTIVES, ["MaskedLM", "PreTraining", "PreTraining", "LMHeadModel"], strict=True)],
)
def test_each_objective_learns_and_leaves_a_checkpoint(fit: Fit, objective: str, architecture: str) -> None:
    events = fit(objective=objective, epochs=6)
    done = saved(events)
    assert learned(events)
    assert done.metrics is not None and 0 < done.metrics["accuracy"] <= 1
    assert ("relation_accuracy" in done.metrics) == ("+" in objective)
    config = json.loads((done.path / "config.json").read_text())
    assert config["architectures"] == [f"Bert{'For' * (architecture != 'LMHeadModel')}{architecture}"]
    assert config.get("is_decoder", False) == (objective == "causal")
    assert {path.name for path in done.path.iterdir()} - {"generation_config.json"} == {
        "README.md", "bertcli.yaml", "config.json", "log.jsonl", "metrics.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json", "vocab.txt",
    }  # fmt: skip


def reads_ahead(module: Any) -> bool:
    """Whether what the first token becomes depends on the last one."""
    with torch.no_grad():
        first, other = (module(torch.tensor([[2, 5, last]])).last_hidden_state[0, 0] for last in (6, 7))
    return not torch.equal(first, other)


def test_what_continues_a_next_word_checkpoint_reads_both_sides(fit: Fit, tmp_path: Path) -> None:
    base = read_model(saved(fit(objective="causal", steps=2)).path)
    assert not reads_ahead(AutoModel.from_pretrained(base.path).eval())
    tuned, _ = open_base(base, "SequenceClassification", {"num_labels": 2}, 0.0)
    assert reads_ahead(tuned.bert.eval())
    masked = saved(fit(model=str(base.path), output=str(tmp_path / "masked"), steps=2)).path
    assert reads_ahead(AutoModel.from_pretrained(masked).eval())
    again = saved(fit(model=str(masked), objective="causal", output=str(tmp_path / "again"), steps=2)).path
    assert not reads_ahead(AutoModel.from_pretrained(again).eval())


def test_bf16_learns_too(fit: Fit) -> None:
    events = fit(precision="bf16", epochs=6)
    assert learned(events)


@pytest.mark.parametrize("mask", ["word", "span"])
def test_each_way_to_mask_learns(fit: Fit, mask: str) -> None:
    events = fit(mask=mask, epochs=6)
    assert learned(events)


@pytest.mark.parametrize("objective", ["mlm", "mlm+nsp"])
def test_finetune_takes_the_checkpoint(fit: Fit, objective: str) -> None:
    path = saved(fit(objective=objective)).path
    module, new = open_base(read_model(path), "SequenceClassification", {"num_labels": 3}, None)
    assert all(name.startswith(("classifier", "bert.pooler")) for name in new)
    encoder = {name: weight for name, weight in load_file(path / "model.safetensors").items() if "encoder" in name}
    assert encoder and all(torch.equal(module.state_dict()[name], weight) for name, weight in encoder.items())
    assert module.config.hidden_dropout_prob == 0.1  # pre-training had none


def test_a_checkpoint_goes_on(fit: Fit, tmp_path: Path) -> None:
    first = fit(epochs=4)
    path = str(saved(first).path)
    again = fit(model=path, output=str(tmp_path / "more"), lr=1e-4, steps=4)
    assert "new weights: none" in notes(again)
    assert steps(again)[0].loss < 0.7 * steps(first)[0].loss
    with_pairs = fit(model=path, output=str(tmp_path / "pairs"), objective="mlm+nsp", steps=1)
    assert "new weights: bert.pooler.dense.bias" in notes(with_pairs)


# The head sees only what is guessed.


def test_the_narrow_head_gives_the_loss_of_the_whole_one(tiny_model: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    module = BertForMaskedLM(BertConfig.from_pretrained(tiny_model)).eval()
    ids, places = torch.randint(5, module.config.vocab_size, (3, 7)), torch.tensor([1, 8, 20])
    whole = module(input_ids=ids).logits.flatten(0, 1)[places]
    narrow = PositionSelector(module)
    narrow.positions = places
    shapes: list[Any] = []
    module.cls.register_forward_hook(lambda head, given, output: shapes.append(tuple(output.shape)))
    torch.testing.assert_close(module(input_ids=ids).logits[0], whole)
    assert shapes == [(1, 3, module.config.vocab_size)]


# The same run again.


def stopping(after: int) -> Callable[[], int | None]:
    calls = iter(range(10_000))
    return lambda: signal.SIGTERM if next(calls) >= after else None


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("part", [0.3, 0.7])
def test_a_resumed_run_ends_in_the_same_bits(fit: Fit, tmp_path: Path, objective: str, part: float) -> None:
    options: dict[str, Any] = {"objective": objective, "dropout": 0.1, "lengths": ((16, 0.5), (24, 0.5)), "epochs": 2}
    whole = fit(**options, output=str(tmp_path / "whole"))
    # `stop` is also asked while the corpus is read; it is in the cache by now
    with pytest.raises(Interrupted):
        fit(**options, output=str(tmp_path / "cut"), stop=stopping(round(part * len(steps(whole)))))
    rest = fit(**options, output=str(tmp_path / "cut"), resume=True)
    assert 0 < len(steps(rest)) < len(steps(whole))
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert files[0] == files[1]
    clock = {"time": 0, "examples_per_s": 0, "tokens_per_s": 0, "seconds_left": 0}
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "cut")]
    assert [json.loads(line) | clock for line in logs[0]] == [json.loads(line) | clock for line in logs[1]]


def test_a_run_is_not_resumed_on_another_corpus_vocabulary_or_setting(fit: Fit, tmp_path: Path, corpus: Path) -> None:
    def again(**values: Any) -> str:
        with pytest.raises(UsageError) as caught:
            fit(resume=True, **values)
        return str(caught.value)

    with pytest.raises(Interrupted):
        fit()  # the corpus is tokenised
        fit(overwrite=True, stop=stopping(5))
    assert "  --mask-rate: was 0.15, is 0.3" in again(mask_rate=0.3)
    assert "  --vocab-size: was 98, is 70\n  vocabulary: was " in again(vocab_size=70)
    corpus.write_text(corpus.read_text() + "\n\nthe cat sleeps.\nthe dog barks.")
    assert "  corpus file 1 (corpus.txt): was " in again()


def test_a_finished_run_is_not_taken_for_one_on_another_corpus(fit: Fit, corpus: Path) -> None:
    fit(steps=2)
    assert [type(event) for event in fit(steps=2, resume=True)] == [Saved]
    corpus.write_text(corpus.read_text() + "\n\nthe cat sleeps.\nthe dog barks.")
    with pytest.raises(UsageError, match=r"(?s)these differ:.  corpus file 1 \(corpus.txt\): was '\w{64}.txt', is"):
        fit(steps=2, resume=True)


def test_lengths_take_their_shares_of_the_steps(fit: Fit) -> None:
    events = fit(lengths=((16, 0.75), (48, 0.25)), steps=20, eval_steps=100)
    longest = [step.tokens / step.examples for step in steps(events)]
    assert max(longest[:15]) <= 16 < max(longest[15:]) <= 48


def test_all_evaluations_are_the_same_test(fit: Fit) -> None:
    """So that the least loss says which weights are best, though blocks become longer."""
    events = fit(lengths=((16, 0.5), (48, 0.5)), steps=4, eval_steps=1, lr=1e-12)
    losses = [event.metrics["loss"] for event in events if isinstance(event, Eval)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-6)


def test_batches_are_full_and_hold_no_padding(fit: Fit) -> None:
    taken = [step.tokens for step in steps(fit(epochs=1))]
    assert max(taken) <= 2 * 128 and sum(taken) / len(taken) > 0.9 * 128


@pytest.mark.filterwarnings("ignore")  # of torch.compile's own parts
@pytest.mark.parametrize("option", ["gradient_checkpointing", "compile"])
def test_ways_to_compute_do_not_change_the_result(fit: Fit, tmp_path: Path, option: str) -> None:
    plain = [step.loss for step in steps(fit(steps=4))]
    other = [step.loss for step in steps(fit(steps=4, output=str(tmp_path / option), **{option: True}))]
    assert other == pytest.approx(plain, abs=1e-4)


# What it starts from, and what is refused.


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_positions_begin_as_waves_and_a_checkpoint_keeps_its_own(fit: Fit, tmp_path: Path, kind: str) -> None:
    shape = tmp_path / "other.json"
    shape.write_text(json.dumps({**SHAPE, "model_type": kind, "pad_token_id": 0}))
    events = fit(model_config=str(shape), lr=1e-9, steps=1)
    name = f"{kind}.embeddings.position_embeddings.weight"
    table = load_file(saved(events).path / "model.safetensors")[name]
    used = table[1:] if kind == "roberta" else table  # RoBERTa's first row is that of padding, and stays 0
    assert float(used.std()) == pytest.approx(SHAPE["initializer_range"], rel=0.05)
    assert kind == "bert" or not table[0].any()
    near, far = (torch.cosine_similarity(used[:-step], used[step:]).mean() for step in (1, 12))
    assert near > 0.8 > far
    other = fit(model=str(saved(events).path), output=str(tmp_path / "more"), lr=1e-9, steps=1)
    torch.testing.assert_close(load_file(saved(other).path / "model.safetensors")[name], table, rtol=0, atol=1e-6)


def test_word_vectors_start_the_embeddings(fit: Fit, tmp_path: Path) -> None:
    words = ["cat", "dog", "cow", "bee", "unheard"]
    vectors = tmp_path / "vectors.txt"
    rows = (f"{word} {' '.join(str((i * j) % 5) for j in range(32))}\n" for i, word in enumerate(words))
    vectors.write_text("".join(rows))
    events = fit(init_embeddings=str(vectors), lr=1e-9, steps=1)
    assert f"embeddings: 4 of 98 tokens start from {vectors} (32 to 32 columns)" in notes(events)
    table = load_file(saved(events).path / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    known = tokenizer_files.load(saved(events).path, {}).backend
    rows = table[[known.token_to_id(word) for word in words[:4]]]
    assert float(rows.std()) == pytest.approx(SHAPE["initializer_range"], rel=0.05)
    expected = torch.tensor([[(i * j) % 5 for j in range(32)] for i in range(4)], dtype=torch.float32)
    expected = (expected - expected.mean(0)) * rows.std(correction=0) / (expected - expected.mean(0)).std(correction=0)
    torch.testing.assert_close(rows, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lengths": ((128, 1.0),)}, "--lengths 128: the model has positions for 64 tokens."),
        ({"vocab_size": 5000}, r"the text yields \d+ pieces, not --vocab-size 5000"),
        ({"size": "tiny"}, "--size and --model-config: each says what the model is; give one of them."),
        ({"lengths": ((16, 0.5),)}, "--lengths: the shares must add up to 1"),
        ({"batch_tokens": 8}, "--batch-tokens 8: a batch must hold a block of 16 tokens."),
        (
            {"objective": "causal", "mask": "word"},
            "the causal objective masks nothing; leave out --mask and --mask-rate",
        ),
        ({"objective": "causal", "mask_rate": 0.2}, "the causal objective masks nothing"),
        ({"words": "jieba"}, "--words jieba: single tokens are masked; --mask word masks words"),
        ({"lowercase": False, "model": "m"}, "--cased is of a vocabulary that is trained"),
        ({"objective": "mlm+nsp", "pack": "across"}, r"--pack across: mlm\+nsp pairs sentences of one document"),
        ({"track": "tensorboard", "output": "/dev/null"}, "/dev/null is a file; -o takes a directory."),
    ],
)
def test_what_does_not_go_together_is_refused(fit: Fit, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit(**values)


def test_a_new_model_has_room_for_a_vocabulary_with_gaps(fit: Fit, tiny_model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "gaps")
    stated = json.loads((folder / "tokenizer.json").read_text())
    pieces = stated["model"]["vocab"]
    stated["model"]["vocab"] = {piece: i if i < 9 else i + 40 for piece, i in pieces.items()}
    (folder / "tokenizer.json").write_text(json.dumps(stated))
    path = saved(fit(tokenizer=str(folder), vocab_size=None, steps=2)).path
    assert json.loads((path / "config.json").read_text())["vocab_size"] == len(pieces) + 40


def test_pairs_need_a_head_for_them(fit: Fit, tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    base = saved(fit(steps=1)).path
    module = DistilBertForMaskedLM(DistilBertConfig(vocab_size=98, dim=16, n_heads=2, n_layers=1, hidden_dim=16))
    module.save_pretrained(tmp_path / "distil")
    (tmp_path / "distil" / "tokenizer.json").write_bytes((base / "tokenizer.json").read_bytes())
    assert steps(fit(model=str(tmp_path / "distil"), output=str(tmp_path / "more"), steps=2))
    with pytest.raises(UsageError, match="models of type distilbert lack BERT's head for pairs; use mlm"):
        fit(model=str(tmp_path / "distil"), output=str(tmp_path / "pairs"), objective="mlm+nsp")


@pytest.mark.parametrize(("objective", "reason"), [("mlm+nsp", "the corpus is one document"), ("mlm+sop", None)])
def test_one_document_has_no_wrong_next_sentence(fit: Fit, corpus: Path, objective: str, reason: str | None) -> None:
    corpus.write_text(corpus.read_text().replace("\n\n", "\n"))
    if reason:
        with pytest.raises(UsageError, match=reason):
            fit(objective=objective)
    else:
        events = fit(objective=objective, steps=2)
        assert saved(events).metrics is None
        assert "dev: none; the corpus has too few documents" in notes(events)


# What is left.


def test_the_directory_says_how_it_was_made(fit: Fit) -> None:
    done = saved(fit(steps=4))
    document = yaml.safe_load((done.path / "bertcli.yaml").read_text())
    assert document["pretrain"]["lengths"] == "16:1" and document["provenance"]["versions"]["torch"]
    assert set(document["provenance"]["corpus"]) == {
        "corpus file 1 (corpus.txt)", "--text-field", "--encoding", "--document-per", "--words", "vocabulary",
    }  # fmt: skip
    read = ModelCard.load(done.path / "README.md")
    assert (read.data.pipeline_tag, read.data.model_name) == ("fill-mask", done.path.name)
    assert read.data.metrics == ["loss", "perplexity", "accuracy"]
    card = read.text
    assert "fp32" not in card.partition("## Corpus")[0]  # they are computed in the precision of the training
    assert "| accuracy | " in card and "| documents | 160 |" in card
    numbers = json.loads((done.path / "metrics.json").read_text())
    assert numbers["step"] == done.step and numbers["dev"]["loss"] == min(row["loss"] for row in numbers["history"])


def test_numbers_go_to_tensorboard(fit: Fit, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = fit(steps=4, eval_steps=2, track="tensorboard")
    (file,) = (tmp_path / "out").rglob("events.out.tfevents*")
    found = EventAccumulator(str(file)).Reload()
    assert [scalar.step for scalar in found.Scalars("train/loss")] == [1, 2, 3, 4]
    scores = [event.metrics["accuracy"] for event in events if isinstance(event, Eval)]
    assert [scalar.value for scalar in found.Scalars("dev/accuracy")] == pytest.approx(scores)


def test_operations_are_those_of_the_literature() -> None:
    """MFLOP a token at 128 tokens, 15 % guessed: 77.9 for MiniLM-L6, 545.4 for BERT-base; and the peak of a GPU."""
    small = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536, "vocab_size": 30522}
    base = {"hidden_size": 768, "num_hidden_layers": 12, "intermediate_size": 3072, "vocab_size": 30522}
    assert operations(small, 1000, 128, 150) == pytest.approx(77.9e9, rel=1e-3)
    assert operations(base, 1000, 128, 150) == pytest.approx(545.4e9, rel=1e-3)
    assert peak("NVIDIA H100 80GB HBM3") == 989e12 and peak("NVIDIA GeForce 9") is None
