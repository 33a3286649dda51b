"""bertcli check: every planted fault in its place, nothing on clean data, the same verdict as finetune's."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.engine import planted
from tests.test_layers import loaded_by


@pytest.fixture(scope="session")
def syllables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's tokenizer that knows all words of the planted data, and at most 64 tokens; no weights."""
    path = tmp_path_factory.mktemp("models") / "syllables"
    path.mkdir()
    pieces = [f"{mark}{a}{b}" for mark in ("", "##") for a in "bcdfghklmnprstv" for b in "aeiou"]
    letters = [mark + letter for mark in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (path / "vocab.txt").write_text("\n".join([*special, *pieces, *letters, ".", "!"]) + "\n")
    (path / "config.json").write_text('{"max_position_embeddings": 64}')
    return path


def found(stdout: bytes) -> list[tuple[str, str]]:
    """The code and place of each finding."""
    return [(kind["code"], own["place"]) for kind in json.loads(stdout)["findings"] for own in kind["places"]]


def test_each_of_30_faults_in_10000_records_is_found_and_nothing_else(
    bertcli: Run, tmp_path: Path, syllables: Path
) -> None:
    train, dev, faults, in_dev = planted.planted()
    (tmp_path / "train.jsonl").write_bytes(train)
    (tmp_path / "dev.jsonl").write_bytes(dev)
    report = bertcli("check", "train.jsonl", "--dev", "dev.jsonl", "-m", syllables, expect=1).stdout
    expected = [(code, f"train.jsonl:{line}") for code, line in faults]
    expected += [(code, f"dev.jsonl:{line}") for code, line in in_dev]
    assert len(expected) == 30
    # what follows from them: a leak whose label is another is a conflict too, and dev has none of the rare label
    expected += [("conflicting-label", "dev.jsonl:20"), ("label-not-in-dev", "dev.jsonl")]
    assert sorted(found(report)) == sorted(expected)


def test_a_clean_file_has_no_finding(bertcli: Run, tmp_path: Path, syllables: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(planted.write(planted.lines(planted.clean())))
    (tmp_path / "dev.jsonl").write_bytes(planted.write(planted.lines(planted.clean(300, seed=1))))
    report = json.loads(bertcli("check", "train.jsonl", "--dev", "dev.jsonl", "-m", syllables).stdout)
    assert (report["errors"], report["warnings"], report["findings"]) == (0, 0, [])
    assert report["records"] == {"train": 10_000, "dev": 300}
    assert report["labels"]["sports"] == {"train": 3_334, "dev": 100}
    assert (report["tokens"]["train"]["limit"], report["tokens"]["train"]["unknown"]) == (64, 0.0)
