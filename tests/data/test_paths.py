"""Names of files, directories and patterns, as commands that read records take them."""

from pathlib import Path

import pytest

from bertcli.data.readers import expand
from bertcli.errors import UsageError


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "b.txt", "a.txt", "sub/c.txt", "sub/.hidden", "sub/_SUCCESS", "run/out.txt.part", "run/out.txt.resume",
        "run/book.part", "run/out.parquet.part", "run/out.parquet.part.part", "run/out.parquet.resume",
        "run/done.csv", "run/done.csv.resume", "run/a.resume",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["b.txt", "a.txt", "b.txt"], ["b.txt", "a.txt", "b.txt"]),
        (["?.txt", "-"], ["a.txt", "b.txt", "-"]),
        (["**/*.txt"], ["a.txt", "b.txt", "run/out.txt", "sub/c.txt"]),
        (["sub/**"], ["sub/_SUCCESS", "sub/c.txt"]),
        (["sub"], ["sub/c.txt"]),
        (["s*", "a.txt"], ["sub/c.txt", "a.txt"]),
        (["run"], ["run/a.resume", "run/book.part", "run/done.csv"]),
        (["none.*", "a\0b"], ["none.*", "a\0b"]),
    ],
)
def test_names_stand_for_files_in_sorted_order(names: list[str], files: list[str]) -> None:
    if names == ["**/*.txt"]:
        Path("run/out.txt").touch()
    assert expand(names) == files


def test_a_directory_without_a_file_is_a_usage_error() -> None:
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=r"^there is no file in empty; name files, directories or quoted patterns"):
        expand(["empty"])
