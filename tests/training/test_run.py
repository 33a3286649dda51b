"""What stands around every training."""

import os
from pathlib import Path

import pytest
import torch

from bertcli.device import Device, cpu
from bertcli.errors import UsageError
from bertcli.training.run import event_log, open_accelerator

CACHES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")


def test_a_training_bounds_what_is_kept_for_each_shape_unless_the_user_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(CACHES[0], raising=False)
    monkeypatch.setenv(CACHES[1], "99")
    with open_accelerator(cpu(1, "for a test"), "fp32", None, tmp_path):
        assert [os.environ[name] for name in CACHES] == ["16", "99"]


def test_a_gpu_adds_up_in_the_same_order_as_long_as_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    try:
        with open_accelerator(Device("cuda", 1, "a test"), "fp32", None, tmp_path):
            assert torch.are_deterministic_algorithms_enabled()
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.backends.cuda.enable_cudnn_sdp(True)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_second_run_into_the_same_directory_is_refused_while_the_first_lasts(tmp_path: Path) -> None:
    with open_accelerator(cpu(1, "for a test"), "fp32", None, tmp_path) as accelerator:
        message = f"{tmp_path}: another run is writing there; wait for its end, or name another directory."
        with event_log(accelerator, tmp_path, 0):
            (tmp_path / "log.jsonl").write_text("of the first")
            with pytest.raises(UsageError) as caught, event_log(accelerator, tmp_path, 0):
                pass
            assert (str(caught.value), (tmp_path / "log.jsonl").read_text()) == (message, "of the first")
        with event_log(accelerator, tmp_path, 0):
            assert (tmp_path / "log.jsonl").read_text() == ""
