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


def test_what_datasets_keeps_beside_its_rows_is_no_data() -> None:
    names = "data-00000-of-00001.arrow", "cache-0ab.arrow", "dataset_info.json", "state.json"
    for name in names:
        Path("saved/train").mkdir(parents=True, exist_ok=True)
        Path("saved/train", name).touch()
    for name in ("saved/dataset_dict.json", "sub/state.json", "sub/annotation.conf"):
        Path(name).touch()
    assert expand(["saved", "sub"]) == ["saved/train/data-00000-of-00001.arrow", "sub/c.txt", "sub/state.json"]


def test_a_column_in_the_name_of_a_directory_is_not_lost_silently() -> None:
    for name in ("spark/lang=en/day=1/part.csv.gz", "texts/source=wiki/a.txt"):
        Path(name).parent.mkdir(parents=True)
        Path(name).touch()
    with pytest.raises(UsageError, match=r"^spark/: the name 'lang=en' holds a column .* 'spark/\*\*/\*\.gz'"):
        expand(["spark/"])
    assert expand(["spark/**/*.gz"]) == ["spark/lang=en/day=1/part.csv.gz"]
    assert expand(["texts"]) == ["texts/source=wiki/a.txt"]


@pytest.mark.parametrize("log", ["_delta_log/0.json", ".hoodie/hoodie.properties", "metadata/v1.metadata.json"])
def test_a_table_whose_log_says_which_files_count_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str
) -> None:
    """Its files hold rows that were deleted, too; who names the files has them."""
    monkeypatch.chdir(tmp_path)
    for name in (f"lake/table/{log}", "lake/table/data/a.parquet"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    with pytest.raises(
        UsageError, match=r"^lake/table is a table of Delta Lake, Hudi or Iceberg, whose files hold deleted rows, too;"
    ):
        expand(["lake"])
    Path("lake/table/data/a.metadata.json").touch()  # which says something of a file of that name, here
    assert expand(["lake/table/data"]) == ["lake/table/data/a.metadata.json", "lake/table/data/a.parquet"]
