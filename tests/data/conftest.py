"""Fixtures of the reader and writer tests."""

import os
from pathlib import Path
from typing import Any

import pytest

from bertcli.data.readers import read
from bertcli.data.records import Record
from bertcli.data.writers import open_writer


@pytest.fixture
def records(tmp_path: Path) -> Any:
    """Write bytes to a file of that name and read it."""

    def run(content: bytes, name: str = "in.txt", **options: Any) -> list[Record]:
        (tmp_path / name).write_bytes(content)
        return list(read([str(tmp_path / name)], **options))

    return run


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Write results to a file of that name; returns its bytes."""

    def run(results: list[dict[str, Any]], name: str, **options: Any) -> bytes:
        with open_writer(str(tmp_path / name), **options) as writer:
            for result in results:
                writer.write(result)
        return (tmp_path / name).read_bytes()

    return run


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits for the disk; a loss of power is none of theirs."""
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda _: None, raising=False)
