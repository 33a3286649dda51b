"""Vectors as a .npy file, written while streaming."""

import json
from pathlib import Path

import numpy as np
import pytest

from bertcli.data.records import error_result
from bertcli.data.writers import open_writer
from bertcli.errors import UsageError


def test_rows_in_order_and_nan_for_a_record_that_failed(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npy")
    with open_writer(path) as writer:
        writer.write(error_result(0, 1, "bad"))
        writer.write({"text": "a", "embedding": [1.0, 2.5]})
        writer.flush()
        writer.write({"text": "no embedding"})
        writer.write({"text": "other width", "embedding": [1.0]})
        writer.write({"text": "b", "embedding": [0.1, -3]})
    assert writer.failures == 2
    nan = [float("nan")] * 2
    vectors = np.load(path, mmap_mode="r")
    assert vectors.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(vectors, np.array([nan, [1, 2.5], nan, nan, [0.1, -3]], np.float32))


def test_where_all_fail_there_is_still_a_row_for_each(tmp_path: Path) -> None:
    with open_writer(str(tmp_path / "a.npy")) as writer:
        for result in (error_result(i, i + 1, "bad") for i in range(3)):
            writer.write(result)
    assert np.load(tmp_path / "a.npy").shape == (3, 0)


@pytest.mark.parametrize("count", [0, 1, 12345])
def test_any_number_of_rows(tmp_path: Path, count: int) -> None:
    with open_writer(str(tmp_path / "a.npy")) as writer:
        for result in ({"embedding": [float(i)] * 3} for i in range(count)):
            writer.write(result)
    vectors = np.load(tmp_path / "a.npy")
    assert vectors.shape == ((count, 3) if count else (0, 0))
    assert not count or (vectors[:, 0] == np.arange(count, dtype=np.float32)).all()


def test_the_last_mark_is_the_end_of_the_file(tmp_path: Path) -> None:
    """Killed before the file had its name, a run would go on from an earlier one, and close the file again."""
    path = tmp_path / "a.npy"
    with open_writer(str(path), run={}, resume=True) as writer:
        writer.write({"embedding": [1.0, 2.0]})
    last = json.loads((tmp_path / "a.npy.resume").read_text().splitlines()[-1])
    assert (last["complete"], last["position"]) == (True, path.stat().st_size)


def test_where_a_header_cannot_be_filled_in_later(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"-o vectors\.npy"):
        open_writer(None, "npy")
    for path in (str(tmp_path / "a.npy.gz"), "/dev/null"):
        with pytest.raises(UsageError, match="is written to a regular file, uncompressed"):
            open_writer(path, "npy")
    assert not list(tmp_path.iterdir())
