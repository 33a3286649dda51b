"""What stands around every training."""

import os
from pathlib import Path

import pytest

from bertcli.device import cpu
from bertcli.training.run import open_accelerator

CACHES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")


def test_a_training_bounds_what_is_kept_for_each_shape_unless_the_user_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(CACHES[0], raising=False)
    monkeypatch.setenv(CACHES[1], "99")
    with open_accelerator(cpu(1, "for a test"), "fp32", None, tmp_path):
        assert [os.environ[name] for name in CACHES] == ["16", "99"]
