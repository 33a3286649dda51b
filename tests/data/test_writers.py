"""Writers: exact output of every format, and what happens when it cannot be written."""

import bz2
import gzip
import lzma
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli.data.readers import read
from bertcli.data.records import error_result
from bertcli.data.sinks import new_directory
from bertcli.data.writers import open_writer
from bertcli.errors import BertcliError, RecordError, UsageError

GOOD = {"text": "a film", "label": "positive", "score": 0.998}
BAD = error_result(1, 2, "no field 'text'")


# -- stdout


class Stdout:
    """A stdout over raw bytes, which takes a few at a time."""

    def __init__(self, terminal: bool = False) -> None:
        self.buffer = self
        self.raw = self
        self.terminal = terminal
        self.chunks: list[bytes] = []

    def write(self, data: memoryview) -> int:
        self.chunks.append(bytes(data[:40]))
        return min(len(data), 40)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return self.terminal


def test_stdout_is_jsonl_in_a_pipe_and_rich_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal, start in ((False, b'{"text": "a film"'), (True, b"positive  99.8%")):
        stdout = Stdout(terminal)
        monkeypatch.setattr(sys, "stdout", stdout)
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("TERM", "dumb")
        with open_writer(None) as writer:
            writer.write(GOOD)
            assert stdout.chunks == []
            writer.flush()
            assert b"".join(stdout.chunks).startswith(start)
            count = len(stdout.chunks)
        assert len(stdout.chunks) == count


@pytest.mark.parametrize("path", [None, "-", "/dev/stdout"])
def test_stdout_gets_what_was_finished_before_an_exception(monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    stdout = Stdout()
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
        with open_writer(path, "csv") as writer:
            writer.write(GOOD)
            raise KeyboardInterrupt
    assert b"".join(stdout.chunks) == b"text,label,score,error\na film,positive,0.998,\n"


def test_stdout_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(BertcliError, match="cannot write to stdout: it is closed"):
        open_writer(None)


def test_a_broken_pipe_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(data: memoryview) -> int:
        raise BrokenPipeError

    stdout = Stdout()
    stdout.write = gone  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdout", stdout)
    with pytest.raises(BrokenPipeError), open_writer(None) as writer:
        writer.write(GOOD)


def test_a_full_disk_is_said_once() -> None:
    program = (
        "from bertcli.data.writers import open_writer\n"
        "try:\n"
        "    with open_writer(None) as writer:\n"
        "        writer.write({'text': 'a'}); writer.flush()\n"
        "except Exception as error: import sys; print(repr(error), file=sys.stderr)"
    )
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run(
            [sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (run.returncode, run.stderr) == (
        0,
        "BertcliError('cannot write to stdout: No space left on device; 0 records were written')\n",
    )


def test_a_non_blocking_pipe_is_waited_for() -> None:
    program = (
        "import os; from bertcli.data.writers import open_writer\n"
        "os.set_blocking(1, False)\n"
        "with open_writer(None) as writer: writer.write({'text': 'a' * 1_000_000})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (len(run.stdout), run.stderr) == (1_000_013, b"")


# -- files


def test_a_file_is_complete_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for content in (None, "old\n"):
        if content:
            path.write_text(content)
        with pytest.raises(KeyboardInterrupt):  # noqa: SIM117
            with open_writer(str(path)) as writer:
                writer.write(GOOD)
                writer.flush()
                assert not path.exists() or path.read_text() == content
                raise KeyboardInterrupt
        assert path.exists() is (content is not None)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old\n"


def test_an_existing_file_keeps_its_mode_and_its_links(tmp_path: Path) -> None:
    path, link = tmp_path / "out.jsonl", tmp_path / "link.jsonl"
    path.touch(mode=0o640)
    link.symlink_to(path)
    with open_writer(str(link)) as writer:
        writer.write({"a": 1})
    assert link.is_symlink()
    assert path.read_text() == '{"a": 1}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_directory_may_stand_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    with new_directory(tmp_path / "link") as draft:
        (draft / "a").touch()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "disk" / "a").exists()


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_compressed_output(tmp_path: Path, suffix: str, module: Any) -> None:
    path = tmp_path / f"out.csv{suffix}"
    with open_writer(str(path)):
        pass
    assert module.open(path).read() == b""
    with open_writer(str(path)) as writer:
        for _ in range(2):
            writer.write({"a": "b"})
            writer.flush()
    assert module.decompress(path.read_bytes()) == b"a,error\nb,\nb,\n"


def test_special_files_are_written_directly(tmp_path: Path) -> None:
    full = "cannot write to /dev/full: No space left on device; 0 records were written"
    with pytest.raises(BertcliError, match=full), open_writer("/dev/full", "csv") as writer:
        writer.write(GOOD)
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()))
    reader.start()
    with open_writer(str(pipe)) as writer:
        writer.write({"a": 1})
    reader.join()
    assert got == ['{"a": 1}\n']
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    writer = open_writer(str(tmp_path / "out.jsonl"))
    writer.write(GOOD)
    with pytest.raises(BertcliError, match=r"out.jsonl: No space left on device; the file was not made"):
        writer.close()
    assert not list(tmp_path.iterdir())


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    directory = "it is a directory"
    for path, reason in (
        (tmp_path, directory),
        (f"{tmp_path}/new/", directory),
        (tmp_path / "no" / "out", "No such file"),
        ("a\0b", "null"),
    ):
        with pytest.raises(UsageError, match=reason):
            open_writer(str(path), "jsonl")
    names = "arrow, brat, conll, csv, doccano, jsonl, label-studio, npy, parquet, prodigy, rich, tsv"
    with pytest.raises(UsageError, match=f"no output format 'lines'; there are: {names}"):
        open_writer(None, "lines")


# -- what is written can be read

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(st.text(), values, min_size=1, max_size=4)
cells = st.text(alphabet=st.characters(codec="utf-8"), max_size=20) | st.text(alphabet='",\r\n\t \x00a', max_size=8)


@settings(max_examples=100)
@given(st.lists(objects, max_size=4))
def test_jsonl_round_trip(results: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/a.jsonl"
        with open_writer(path) as writer:
            for result in results:
                writer.write(result)
        assert [record.fault or record.fields for record in read([path])] == results


@settings(max_examples=100)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=4))
def test_csv_round_trip(rows: list[tuple[str, str]]) -> None:
    results = [{"text": text, "label": label} for text, label in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/a.csv"
        with open_writer(path) as writer:
            for result in results:
                writer.write(result)
        found = [record.fault or record.fields for record in read([path])]
    assert found == [{**result, "error": ""} for result in results]


@settings(max_examples=100)
@given(st.lists(st.dictionaries(st.sampled_from(["text", "a", "error", "\ud800"]), values), max_size=4))
@pytest.mark.parametrize("name", ["jsonl", "csv", "tsv", "rich"])
def test_every_result_is_one_piece_of_output(name: str, results: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out")
        with open_writer(str(path), name) as writer:
            for result in results:
                writer.write(result)
        lines = path.read_bytes().count(b"\n")
    if name in ("jsonl", "rich"):
        assert lines == len(results)
    if name == "tsv":
        assert lines == len(results) + bool(results)


def test_a_formatter_that_refuses_an_error_result_is_a_fault_of_the_program(tmp_path: Path) -> None:
    with pytest.raises(RecordError), open_writer(str(tmp_path / "o.jsonl")) as writer:
        writer.write({**BAD, "line": float("nan")})
