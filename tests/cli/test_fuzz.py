"""Arbitrary bytes through every reader and task: see tests/benchmarks/fuzz_bytes.py, which also runs for longer."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli import registry
from tests.benchmarks.fuzz_bytes import FORMATS, PIECES, check, document, make_model

TASKS = registry.names("tasks")
contents = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))
documents = st.integers(0, 10**9).map(lambda seed: document(random.Random(seed), seed % 4))
options = st.sampled_from([[], ["--batch-tokens", "1"], ["--long", "truncate"], ["--long", "error"]])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {task: make_model(task, folder) for task in TASKS}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("input_format", FORMATS)
def test_as_many_records_come_out_as_go_in(task: str, input_format: str, models: dict[str, Path]) -> None:
    @settings(max_examples=10)
    @given(contents if input_format != "squad" else contents | documents, options)
    def fuzzed(data: bytes, chosen: list[str]) -> None:
        check(task, input_format, data, models[task], chosen)

    fuzzed()
