"""The torch backend: batches too large for memory are computed in parts, and threads sleep while cores are crowded."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForSequenceClassification

from bertcli import device
from bertcli.backends.pytorch import Backend
from bertcli.device import Device
from bertcli.errors import ModelError
from bertcli.model import read, update


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    return Backend(read(tmp_path), Device("cpu", 1, "a test"), "SequenceClassification", "fp32")


def test_weights_of_another_size_than_the_config_says_are_named(backend: Backend, tmp_path: Path) -> None:
    update(read(tmp_path), {"id2label": {"0": "a", "1": "b", "2": "c"}})
    with pytest.raises(ModelError, match=r"classifier.bias is \[2\] in the weights and \[3\] by config.json"):
        Backend(read(tmp_path), Device("cpu", 1, "a test"), "SequenceClassification", "fp32")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_a_wrapper_around_the_saved_model_is_named(backend: Backend, tmp_path: Path, prefix: str) -> None:
    weights = {prefix + name: weight for name, weight in backend.module.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors")
    outer = prefix.split(".")[0]
    with pytest.raises(ModelError, match=rf"begin with {outer}\., as .*MODEL\.{outer}\.save_pretrained"):
        Backend(read(tmp_path), Device("cpu", 1, "a test"), "SequenceClassification", "fp32")


def batch(rows: int, length: int) -> dict[str, Any]:
    ids = np.random.default_rng(0).integers(5, 50, (rows, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def test_batches_are_halved_until_they_fit_and_stay_so(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, whole, sizes = backend.run(batch(16, 4)), backend._outputs, list[int]()

    def small(part: Any) -> Any:
        sizes.append(len(part["input_ids"]))
        if part["input_ids"].size > 20:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(part)

    monkeypatch.setattr(backend, "_outputs", small)
    outputs = backend.run(batch(16, 4))
    np.testing.assert_allclose(outputs["logits"], expected["logits"], atol=1e-6)
    assert sizes == [16, 8, 4, 4, 4, 4]
    sizes.clear()
    assert len(backend.run(batch(9, 8))["logits"]) == 9
    assert sizes == [2, 2, 2, 2, 1]


def test_one_row_that_does_not_fit_is_an_error(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(part: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(backend, "_outputs", never)
    with pytest.raises(torch.OutOfMemoryError):
        backend.run(batch(4, 4))


def test_a_gpu_gets_large_batches_and_no_plan_of_cudnn_for_each_shape(
    tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, *args, **named: module)
    assert (backend.batch_tokens, torch.backends.cuda.cudnn_sdp_enabled()) == (768, True)
    try:
        gpu = Backend(read(tmp_path), Device("cuda", 1, "a test"), "SequenceClassification", "fp32")
        assert (gpu.batch_tokens, torch.backends.cuda.cudnn_sdp_enabled()) == (65_536, False)
        assert (gpu.multiple, gpu.chunk_records) == (16, 16_384) and (backend.multiple, backend.chunk_records) == (
            1,
            4096,
        )
        monkeypatch.setattr(type(gpu.module), "get_output_embeddings", lambda module: module)  # logits of all pieces
        gpu = Backend(read(tmp_path), Device("cuda", 1, "a test"), "SequenceClassification", "fp32")
        assert gpu.batch_tokens == 768
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp is Linux's")
def test_libgomp_owns_more_threads_than_cores_while_others_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, total = 0.0, 0.0

    def waited() -> float:
        nonlocal total
        if waiting < 0:
            raise StopIteration
        total += waiting * device.LOOK
        return total

    def watch() -> None:
        with suppress(StopIteration):
            device._give_way()

    def wait_for(count: int) -> None:
        end = time.monotonic() + 30
        while len(list(device.THREADS.iterdir())) != count:
            assert time.monotonic() < end
            time.sleep(0.001)

    monkeypatch.setattr(device, "LOOK", 0.001)
    monkeypatch.setattr(device, "_waited", waited)
    watcher = Thread(target=watch)
    watcher.start()
    before, more = len(list(device.THREADS.iterdir())), 1 + len(os.sched_getaffinity(0))  # an owner and its team
    for _ in range(2):
        waiting = 0.3
        wait_for(before + more)
        waiting = 0.1  # neither crowded nor calm
        time.sleep(0.02)
        wait_for(before + more)
        waiting = 0.0
        wait_for(before)
    waiting = -1
    watcher.join()


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp is Linux's")
def test_cores_that_are_crowded_as_the_process_ends_say_nothing() -> None:
    program = (
        "import atexit, time\n"
        "from bertcli import device\n"
        "device.LOOK, device._waited = 0.01, lambda: now * 1.0\n"
        "now = 0\n"
        "def end():\n"
        "    global now\n"
        "    for now in range(20): time.sleep(0.01)\n"
        "atexit.register(end)\n"
        "device.use_threads(2)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_thread_that_waits_for_a_core_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, text in enumerate(("9000000000 1500000000 7\n", "8000000000 250000000 7\n")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "schedstat").write_text(text)
    (tmp_path / "ended").mkdir()
    monkeypatch.setattr(device, "THREADS", tmp_path)
    assert device._waited() == 1.75
