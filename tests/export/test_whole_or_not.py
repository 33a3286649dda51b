"""An export is there when it has passed its check, and otherwise the directory is as it was."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers

from bertcli.backends import onnx as runtime
from bertcli.cli.main import run
from bertcli.device import Device
from bertcli.errors import BertcliError, Exit, ModelError
from bertcli.export import export as exporting
from bertcli.export import graph
from bertcli.export.export import export
from bertcli.export.int8 import dequantized
from bertcli.inference import Request, session
from bertcli.model import EXTERNAL, ONNX, fingerprint, read, resolve, update
from bertcli.tasks.base import Options

HEAD = "SequenceClassification"
CPU = Device("cpu", 1, "a test")


def batch(rows: int, length: int, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    ids = np.random.default_rng(seed).integers(5, 400, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


FEEDS = [batch(4, length) for length in (3, 9, 30)]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=80, num_labels=3, initializer_range=0.2,
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def contents(directory: Path) -> dict[str, bytes]:
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def logits(directory: Path, precision: str) -> np.ndarray[Any, Any]:
    outputs = runtime.Backend(read(directory), CPU, HEAD, precision).run(batch(5, 12, 7))
    return np.asarray(outputs["logits"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_stored_in_half_precision_are_exported(model: Path, dtype: torch.dtype) -> None:
    transformers.BertForSequenceClassification.from_pretrained(model).to(dtype).save_pretrained(model)
    assert read(model).config["dtype"] in ("bfloat16", "float16")
    rows = export(model, HEAD, FEEDS)
    assert rows[0].largest < 1e-4
    exact = transformers.BertForSequenceClassification.from_pretrained(model, dtype=torch.float32).eval()
    with torch.no_grad():
        wanted = exact(**{name: torch.from_numpy(value) for name, value in batch(5, 12, 7).items()}).logits.numpy()
    np.testing.assert_allclose(logits(model, "fp32"), wanted, atol=1e-4)


@pytest.mark.parametrize("before", [False, True], ids=["no ONNX files", "ONNX files"])
@pytest.mark.parametrize("fault", ["differs", "nan", "full disk", "crash"])
def test_what_fails_leaves_the_directory_as_it_was(
    model: Path, monkeypatch: pytest.MonkeyPatch, before: bool, fault: str
) -> None:
    if before:
        export(model, HEAD, FEEDS)
        (model / "onnx" / "model_O4.onnx").write_bytes(b"somebody else's")
    kept = contents(model)
    change = {"differs": 0.01, "nan": np.nan}.get(fault, 0)
    real_run, real_quantize = runtime.Backend.run, exporting.quantize

    def run(self: Any, feed: Any) -> Any:
        return {name: value + np.float32(change) for name, value in real_run(self, feed).items()}

    def quantize(*arguments: Any) -> Any:
        if fault == "full disk":
            raise OSError(28, "No space left on device")
        if fault == "crash":
            raise KeyboardInterrupt
        return real_quantize(*arguments)

    monkeypatch.setattr(runtime.Backend, "run", run)
    monkeypatch.setattr(exporting, "quantize", quantize)
    with pytest.raises(KeyboardInterrupt if fault == "crash" else BertcliError) as caught:
        export(model, HEAD, FEEDS)
    assert contents(model) == kept and (model / "onnx").exists() is before
    assert fault == "crash" or str(model) in str(caught.value)


def test_the_bound_is_relative(model: Path) -> None:
    module = transformers.BertForSequenceClassification.from_pretrained(model)
    with torch.no_grad():
        module.classifier.weight *= 1e6
        module.classifier.bias += 250_000
    module.save_pretrained(model)
    row = export(model, HEAD, FEEDS)[0]
    assert row.largest > 1e-3 and row.relative < 1e-5


def test_what_a_killed_run_left_is_gone_after_the_next(model: Path) -> None:
    (model / exporting.DRAFT / "onnx").mkdir(parents=True)
    (model / exporting.DRAFT / "onnx" / "model.onnx").write_bytes(b"half")
    export(model, HEAD, FEEDS)
    assert not (model / exporting.DRAFT).exists()


@pytest.mark.parametrize("name", ["onnx", exporting.DRAFT])
def test_nothing_is_written_through_a_link(model: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (model / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="link to elsewhere"):
        export(model, HEAD, FEEDS)
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_config_is_not_changed_through_a_link(model: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("as it was")
    (model / "config.tmp").symlink_to(tmp_path / "other")
    update(read(model), {"calibration": {"temperature": 2.0}})
    assert (tmp_path / "other").read_text() == "as it was" and read(model).config["calibration"]["temperature"] == 2


def test_a_model_too_large_for_one_file_has_its_tensors_beside_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    shutil.copytree(model, small)
    export(small, HEAD, FEEDS)
    monkeypatch.setattr(graph, "LIMIT", 20_000)  # bytes; the tensors have 120,000
    rows = export(model, HEAD, FEEDS)
    assert rows[0].largest < 1e-4
    names = [name + ending for name in ONNX.values() for ending in ("", EXTERNAL)]
    assert {name for name in contents(model) if name.startswith("onnx")} == set(names)
    for precision, name in ONNX.items():
        assert (model / (name + EXTERNAL)).stat().st_size > 40_000
        assert rows[precision == "int8"].megabytes == pytest.approx((small / name).stat().st_size / 1e6, rel=0.2)
        np.testing.assert_array_equal(logits(model, precision), logits(small, precision))
        onnx.checker.check_model(str(model / name))
    weights = dequantized(read(model), HEAD).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in dequantized(read(small), HEAD).state_dict().items())


def test_tensors_beside_a_file_belong_to_it(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(graph, "LIMIT", 20_000)
        export(model, HEAD, FEEDS)
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    assert fingerprint(read(copy), "*.onnx*") == fingerprint(read(model), "*.onnx*")
    with (copy / (ONNX["int8"] + EXTERNAL)).open("r+b") as file:
        file.write(b"\1")
    assert fingerprint(read(copy), "*.onnx*") != fingerprint(read(model), "*.onnx*")
    assert ONNX["fp32"] + EXTERNAL in read(model).weights()
    backend = runtime.Backend(read(model), CPU, HEAD, "fp32")
    assert backend.version[1] > (model / (ONNX["fp32"] + EXTERNAL)).stat().st_size
    export(model, HEAD, FEEDS)  # small again
    assert {name for name in contents(model) if name.startswith("onnx")} == set(ONNX.values())


def test_a_large_model_that_fails_leaves_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "LIMIT", 20_000)
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    kept = contents(model)
    with pytest.raises(BertcliError, match="was not kept"):
        export(model, HEAD, FEEDS)
    assert contents(model) == kept and sorted(path.name for path in model.iterdir()) == sorted(kept)


def test_outputs_of_another_name_are_refused(model: Path, tiny_model: Path) -> None:
    for file in tiny_model.glob("*token*"):
        shutil.copyfile(file, model / file.name)
    export(model, HEAD, FEEDS)
    graph = onnx.load(model / ONNX["int8"])
    for node in graph.graph.node:
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    graph.graph.output[0].name = "scores"
    onnx.save(graph, model / ONNX["int8"])
    with pytest.raises(ModelError, match="the model gives scores, not logits"):
        session.open_session(Request(str(model)), Options())


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, Exit.TERMINATED), (signal.SIGHUP, Exit.HUNG_UP)])
def test_a_signal_ends_an_export_and_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: int, code: int
) -> None:
    def stopped(path: Path, *rest: object) -> Iterator[str]:
        try:
            # Not os.kill: pytest's fault handler has too small a stack for the registers of a processor with AMX.
            signal.getsignal(signum)(signum, None)  # type: ignore[misc, operator]
            yield "onnx/model.onnx"
        finally:
            (tmp_path / "removed").touch()

    monkeypatch.setattr("bertcli.export.export.export", stopped)
    (tmp_path / "a.txt").write_text("good\n")
    command = ["export", str(resolve(None).path), "-t", "classify", "--calibrate", str(tmp_path / "a.txt")]
    before = signal.signal(signum, signal.SIG_DFL)  # nohup has it ignored
    try:
        assert run(command) == code
    finally:
        signal.signal(signum, before)
    assert (tmp_path / "removed").exists()
