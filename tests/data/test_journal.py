"""Resuming: whatever a kill leaves of FILE.part and FILE.resume, going on gives the bytes of an uninterrupted run."""

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bertcli.data.journal import Journal
from bertcli.data.records import Record, error_result
from bertcli.data.writers import Writer, open_writer
from bertcli.errors import BertcliError, UsageError

RUN = {"the input": "a.txt", "--top-k": None}
FORMATS = [
    "o.jsonl",
    "o.csv",
    "o.tsv",
    "o.npy",
    "o.jsonl.gz",
    "o.csv.xz",
    "o.tsv.bz2",
    "rich",
    "o.label-studio",
    "o.tar.gz",
]
COUNT, WINDOW = 400, 7


def records(count: int = COUNT) -> list[Record]:
    faults = {0: "first", 1: "second", 5: "later", 399: "last"}
    return [Record(i, {"text": f'"{i}"\n,\t' * (i % 5)}, i + 1, fault=faults.get(i)) for i in range(count)]


def opened(path: Path, **options: Any) -> Writer:
    output_format = "rich" if path.name == "rich" else None
    return open_writer(str(path), output_format, run={**RUN, **options.pop("run", {})}, **{"force": False, **options})


def results(record: Record) -> dict[str, Any]:
    if record.fault:
        return error_result(record.index, record.line, record.fault)
    # letters in no order: an archive of them has many blocks
    noise = "".join(random.Random(record.index).choices("abcdefghij", k=400))
    return {**record.fields, "noise": noise, "embedding": [record.index + 0.5, 2.0], "entities": []}


def work(writer: Writer, given: list[Record]) -> Iterator[None]:
    """Write all that is left, in windows; yields before and after each flush."""
    for i, record in enumerate(writer.journal.rest(given)):
        writer.journal.add(record, record.fault)
        writer.write(results(record), record)
        if i % WINDOW == WINDOW - 1:
            yield
            writer.flush()
            yield


def whole(path: Path) -> bytes:
    with opened(path) as writer:
        list(work(writer, records()))
    content = path.read_bytes()
    path.unlink()
    assert not list(path.parent.iterdir())
    return content


def kill(folder: Path, chance: random.Random) -> None:
    """What a kill may leave of the files as they are now: bytes after the last mark, and half a mark."""
    side = next(folder.glob("*.resume"))
    lines = side.read_bytes().splitlines(keepends=True)
    keep = chance.randint(1, len(lines))
    torn = lines[keep][: chance.randint(0, len(lines[keep]) - 1)] if keep < len(lines) else b""
    side.write_bytes(b"".join(lines[:keep]) + torn)


@pytest.mark.parametrize("name", FORMATS)
def test_a_run_killed_many_times_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    expected, chance, kills = whole(tmp_path / name), random.Random(name), 0
    while not (tmp_path / name).exists():
        writer, steps = opened(tmp_path / name, resume=True), chance.randint(1, 60)
        before = writer.journal.begin.records
        done = True
        for i, _ in enumerate(work(writer, records())):
            if i == steps:
                done = False
                break
        assert writer.journal.records - before <= (steps + 1) * WINDOW
        if done:
            writer.close()
        else:
            writer.sink._raw.close()  # as the kernel does
            writer.journal._file.close()
            kill(tmp_path, chance)
            kills += 1
    assert (tmp_path / name).read_bytes() == expected
    assert kills > 3
    assert (writer.journal.records, writer.journal.failed, writer.journal.first) == (COUNT, 4, "stdin:1: first")


def test_a_kill_before_the_final_name_and_a_second_run_after_the_end(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    expected = whole(path)
    for _ in range(2):  # the first as if killed before its file was renamed
        if path.exists():
            shutil.move(path, tmp_path / "o.csv.part")
        with opened(path, resume=True) as writer:
            list(work(writer, records()))
        assert path.read_bytes() == expected
        assert sorted(file.name for file in tmp_path.iterdir()) == ["o.csv", "o.csv.resume"]
        assert writer.journal.failed == 4
    with pytest.raises(UsageError, match="the 400 records that it has read are not those of this input"):  # noqa: SIM117
        with opened(path, resume=True) as writer:
            list(work(writer, records(COUNT + 1)))
    assert path.read_bytes() == expected


def interrupted(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), opened(path) as writer:
        for i, _ in enumerate(work(writer, records())):
            if i == 9:
                raise KeyboardInterrupt


def test_another_run_is_refused_with_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    interrupted(path)
    side = f"cannot resume from {path}.resume: "
    with pytest.raises(UsageError, match=r"--top-k was not given and is 2, --mask was not given and is X\. --force"):
        opened(path, resume=True, run={"--top-k": 2, "--mask": "X"})
    other = [Record(0, {"text": "another"}), *records()[1:]]
    with pytest.raises(UsageError, match="the 35 records that it has read are not those of this input") as caught:  # noqa: SIM117
        with opened(path, resume=True) as writer:
            list(work(writer, other))
    assert str(caught.value).startswith(side)
    with opened(path, resume=True) as writer:  # nothing was lost by the attempts
        list(work(writer, records()))
    assert len(path.read_bytes().splitlines()) == COUNT


def test_without_resume_the_run_begins_anew_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    interrupted(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["o.jsonl.part", "o.jsonl.resume"]
    left = [file.read_bytes() for file in sorted(tmp_path.iterdir())]
    with pytest.raises(UsageError, match=r"o.jsonl is unfinished: .* --resume goes on with it, --force begins anew$"):
        opened(path)
    assert [file.read_bytes() for file in sorted(tmp_path.iterdir())] == left
    with opened(path, force=True) as writer:
        assert writer.journal.begin.records == 0
    assert [file.name for file in tmp_path.iterdir()] == ["o.jsonl"]
    assert path.read_bytes() == b""


def test_an_existing_file_is_not_replaced_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    path.write_text("old")
    with pytest.raises(UsageError, match=r"o.jsonl exists; --force replaces it, --resume goes on"):
        opened(path)
    with pytest.raises(UsageError, match=r"o.jsonl exists; --force replaces it$"):
        opened(path, resume=True)
    assert path.read_text() == "old"
    with opened(path, force=True) as writer:
        writer.write({"a": 1})
    assert path.read_text() == '{"a": 1}\n'


def test_a_file_has_one_writer(tmp_path: Path) -> None:
    with opened(tmp_path / "o.jsonl") as writer:
        with pytest.raises(UsageError, match="another run is writing it; wait for its end"):
            opened(tmp_path / "o.jsonl", resume=True)
        writer.write({"a": 1})
    assert (tmp_path / "o.jsonl").read_text() == '{"a": 1}\n'


def test_a_failure_before_the_first_window_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), opened(tmp_path / "o.jsonl") as writer:
        writer.write({"a": 1})
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_stdout_has_nothing_to_resume() -> None:
    with pytest.raises(UsageError, match="--resume needs a regular file to go on with: -o FILE"):
        open_writer(None, "jsonl", run=RUN, resume=True)


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "o.jsonl"

    def full(*_: Any) -> None:
        raise OSError(28, os.strerror(28))

    with pytest.raises(BertcliError, match="No space left on device; --resume goes on with what is finished"):  # noqa: SIM117
        with opened(path) as writer:
            for i, _ in enumerate(work(writer, records())):
                if i == 9:
                    monkeypatch.setattr(writer.sink, "write", full)
    assert len((tmp_path / "o.jsonl.part").read_bytes().splitlines()) == 5 * WINDOW
    last = json.loads((tmp_path / "o.jsonl.resume").read_bytes().splitlines()[-1])
    assert (last["records"], last["failed"], last["complete"]) == (5 * WINDOW, 3, False)


def test_output_is_on_the_disk_before_the_mark_that_counts_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / "o.jsonl", []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(os.fstat(file).st_size), raising=False)
    with opened(path, resume=True) as writer:
        list(work(writer, records()))
    marks = [json.loads(line) for line in (tmp_path / "o.jsonl.resume").read_bytes().splitlines()[1:]]
    assert len(marks) > COUNT // WINDOW
    assert [mark["position"] for mark in marks] == synced


def test_a_disk_that_fails_late_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(os, "fdatasync", fail, raising=False)
    with pytest.raises(BertcliError, match=r"cannot write to .*o\.jsonl: Input/output error; the file was not made"):  # noqa: SIM117
        with opened(tmp_path / "o.jsonl") as writer:
            list(work(writer, records()))
    assert not list(tmp_path.iterdir())


def test_a_journal_in_memory_counts() -> None:
    journal = Journal()
    journal.add(Record(0), None)
    journal.add(Record(1, line=2), "bad")
    assert (journal.records, journal.failed, journal.first) == (2, 1, "stdin:2: bad")


def test_what_a_task_has_learnt_comes_back_as_it_was_at_the_mark(tmp_path: Path) -> None:
    path, side = tmp_path / "o.jsonl", tmp_path / "o.jsonl.resume"

    def learn(count: int) -> dict[str, int]:
        """Write so many flushes of what is left, each record learning its index; what was known at the beginning."""
        writer, memory = opened(path, resume=True), dict[str, int]()
        writer.journal.share(memory)
        known = dict(memory)
        for record in writer.journal.rest(records()[: count * WINDOW]):
            memory[str(record.index)] = record.index
            writer.journal.add(record, record.fault)
            writer.write(results(record), record)
            if record.index % WINDOW == WINDOW - 1:
                writer.flush()
        if count * WINDOW > COUNT:
            writer.close()
        else:
            writer.sink._raw.close()  # as the kernel does
            writer.journal._file.close()
        return known

    assert learn(3) == {}
    assert learn(5) == {str(i): i for i in range(3 * WINDOW)}
    marks = [json.loads(line) for line in side.read_bytes().splitlines()[1:]]
    assert [len(mark["learned"]) for mark in marks] == [3 * WINDOW, WINDOW, WINDOW]
    lines = side.read_bytes().splitlines(keepends=True)
    side.write_bytes(b"".join(lines[:-1]) + lines[-1][:50])  # a kill cut the last
    assert list(learn(99).values()) == list(range(4 * WINDOW))
    _, last = side.read_bytes().splitlines()
    assert json.loads(last)["learned"] == {} and json.loads(last)["complete"]
    assert learn(99) == {}
