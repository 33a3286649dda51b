"""tests/benchmarks/gpu.py on the CPU, a dry run of each part, so that nothing has to be mended where a GPU is lent."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "gpu.py"
TASKS = ("classify", "ner", "qa", "embed")
ROWS = {
    "check": ["info, MiniLM-L6", "info, mpnet-base"],
    "predict": [f"predict -t {task}, {name}" for name in ("MiniLM-L6", "mpnet-base") for task in TASKS],
    "finetune": ["finetune, MiniLM-L6", "finetune, mpnet-base", "finetune, interrupted and resumed"],
    "pretrain": [
        "pretrain BERT-tiny, 128 tokens", "of the device's peak, 128 tokens",
        "pretrain BERT-tiny, 512 tokens", "of the device's peak, 512 tokens",
    ],
    "memory": ["--batch-tokens 4,096", "--batch-tokens 16,384"],
}  # fmt: skip


@pytest.mark.parametrize("part", ROWS)
def test_a_part_of_the_program_runs_dry(part: str) -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "--device", "cpu", "--tiny", "--parts", part],
        capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in table] == ROWS[part]
    assert all(len(row) == 4 for row in table)
    if part == "finetune":
        assert table[-1][3] == "same bytes"
    if part == "check":
        assert [row[3] for row in table] == ["True", "True"]


def test_what_does_not_fit_the_time_is_left_out() -> None:
    command = [sys.executable, PROGRAM, "--device", "cpu", "--tiny", "--parts", "check", "--minutes", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[2:] == ["| check | left out: the time is over | - | - |"]
