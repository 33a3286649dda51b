"""A corpus from files: the same whatever the processes, stops and kills; cached, locked; faults and full disks."""

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from bertcli.errors import BertcliError, Interrupted, UsageError
from bertcli.pretraining import corpus as build
from bertcli.pretraining.corpus import FILES, Corpus, Recipe, Writer, open_corpus, prepare
from bertcli.pretraining.source import Source, key

NEVER: Callable[[], int | None] = lambda: None  # noqa: E731
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] hello , world a b c ##s . sep [ ]".split()
MODEL = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
MODEL.normalizer, MODEL.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
MODEL.add_special_tokens(WORDS[:5])


def source(*files: Path, skip: bool = False, text_field: str = "text") -> Source:
    return Source([str(file) for file in files], text_field=text_field, skip_faults=skip)


def recipe(*files: Path, **options: Any) -> Recipe:
    return Recipe(source(*files, **options), MODEL.to_str())


def build_all(what: Recipe, cache: Path, workers: int = 1, stop: Callable[[], int | None] = NEVER) -> Corpus:
    steps = prepare(what, cache, workers, stop)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            corpus: Corpus = end.value
            return corpus


def folder(cache: Path) -> Path:
    (found,) = cache.iterdir()
    return found


def written(cache: Path) -> dict[str, bytes]:
    """All files of the corpus in a cache, without those that are of no more use."""
    kept = {file.name: file.read_bytes() for file in folder(cache).iterdir() if file.suffix != ".part"}
    kept.pop("lock")
    return kept


def after(calls: int, signum: int = signal.SIGTERM) -> Callable[[], int | None]:
    """A `stop` that asks to at one call only."""
    answers: Iterator[int | None] = chain(repeat(None, calls), [signum], repeat(None))
    return lambda: next(answers)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three files with 60 documents of several sentences."""
    paths = [tmp_path / f"{name}.txt" for name in "abc"]
    for number, path in enumerate(paths):
        documents = [
            "".join(f"Hello, world {'a b c'[: j % 5]}. Worlds {'s' * (i % 3)} [SEP]!\n" for j in range(i % 7 + 1))
            for i in range(20 * number, 20 * number + 20)
        ]
        path.write_text("\n".join(documents), encoding="utf-8")
    return paths


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many batches, and a journal after every second or so."""
    monkeypatch.setattr(build, "BATCH", 300)
    monkeypatch.setattr(build, "COMMIT", 500)


@pytest.fixture
def whole(files: list[Path], tmp_path: Path, small: None) -> dict[str, bytes]:
    """What a run without interruption writes."""
    build_all(recipe(*files), tmp_path / "whole")
    return written(tmp_path / "whole")


def test_a_corpus_of_known_text(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("Hello, worlds. [SEP] a\nb\n\n\u200b\n\nc\n", encoding="utf-8")
    corpus = build_all(recipe(text), tmp_path / "cache")
    names = [WORDS[token] for token in corpus.ids]
    assert names == "hello , world ##s . [ sep ] a b c".split()
    assert [name for name, start in zip(names, corpus.starts, strict=True) if not start] == ["##s"]
    assert corpus.sentences.tolist() == [5, 9, 10, 11]
    assert corpus.documents.tolist() == [[10, 3], [11, 4]]
    assert corpus.ids.dtype == np.uint16
    assert corpus.facts["files"] == [str(text)] and corpus.facts["faults"] == 0
    assert corpus.facts["counts"] == {"ids": 11, "starts": 11, "sentences": 4, "documents": 2}
    assert not (folder(tmp_path / "cache") / "journal.json").exists()


def test_a_large_vocabulary_takes_32_bits(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("far near", encoding="utf-8")
    large = Tokenizer(models.WordPiece({"[UNK]": 0, "near": 1, "far": 70_000}, unk_token="[UNK]"))
    large.normalizer, large.pre_tokenizer = MODEL.normalizer, MODEL.pre_tokenizer
    corpus = build_all(Recipe(source(text), large.to_str()), tmp_path / "cache")
    assert corpus.ids.tolist() == [70_000, 1] and corpus.ids.dtype == np.uint32


def test_processes_do_not_change_the_corpus(files: list[Path], tmp_path: Path, whole: dict[str, bytes]) -> None:
    build_all(recipe(*files), tmp_path / "parallel", workers=3)
    assert written(tmp_path / "parallel") == whole
    assert not multiprocessing.active_children()


def test_batches_do_not_change_the_corpus(files: list[Path], tmp_path: Path, whole: dict[str, bytes]) -> None:
    build.BATCH = 10_000  # `small` sets it back
    build_all(recipe(*files), tmp_path / "cache")
    assert written(tmp_path / "cache") == whole


def test_the_cache_has_it_at_once(files: list[Path], tmp_path: Path, whole: dict[str, bytes]) -> None:
    moved = [file.rename(tmp_path / f"other-{file.name}") for file in files]
    with pytest.raises(StopIteration):
        next(prepare(recipe(*moved), tmp_path / "whole", 1, NEVER))
    assert written(tmp_path / "whole") == whole


def test_what_decides_the_tokens_decides_the_folder(tmp_path: Path) -> None:
    text, other, list_ = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "words"
    for path, content in ((text, "中文 a"), (other, "中文 b"), (list_, "中文")):
        path.write_text(content, encoding="utf-8")
    records = tmp_path / "a.jsonl"
    records.write_bytes(text.read_bytes())  # the same bytes, but read as records
    cased = Tokenizer.from_str(MODEL.to_str())
    cased.normalizer = normalizers.BertNormalizer(lowercase=False)
    base = recipe(text)
    variants = [
        base, recipe(other), recipe(text, other), recipe(other, text), recipe(records), recipe(text, text_field="body"),
        replace(base, words="jieba"), replace(base, words=str(list_)), replace(base, tokenizer=cased.to_str()),
    ]  # fmt: skip
    assert len({key(build.VERSION, variant.identity) for variant in variants}) == len(variants)


# Interruptions.


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_goes_on(files: list[Path], tmp_path: Path, whole: dict[str, bytes], workers: int) -> None:
    what, stops = recipe(*files), 0
    while True:
        try:
            build_all(what, tmp_path / "cache", workers, stop=after(stops % 5 + 1))
            break
        except Interrupted as stopped:
            assert stopped.exit_code == 143
            stops += 1
    assert stops > 2
    assert written(tmp_path / "cache") == whole


class Killed(BaseException):
    """Stands for kill -9: what was written stays, nothing is cleaned up on disk."""


def test_killed_at_any_touch_of_the_disk(
    files: list[Path], tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    what, cache = recipe(files[0]), tmp_path / "cache"
    build_all(what, tmp_path / "once")
    expected, fsync, rename, unlink = written(tmp_path / "once"), os.fsync, Path.replace, Path.unlink
    left = [0]

    def dying(function: Callable[..., Any], *arguments: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return function(*arguments)

    monkeypatch.setattr(os, "fsync", lambda *given: dying(fsync, *given))
    monkeypatch.setattr(Path, "replace", lambda *given: dying(rename, *given))
    monkeypatch.setattr(Path, "unlink", lambda *given: dying(unlink, *given))
    for moment in range(1, 1000):
        left[0] = moment
        try:
            build_all(what, cache)
            break
        except Killed:
            left[0] = 0
            build_all(what, cache)
            found = written(cache)
            found.pop("journal.json", None)  # killed between the last two steps: of no more use
            assert found == expected, moment
            for file in folder(cache).iterdir():
                unlink(file)
    assert moment > 20


def test_a_run_that_vanishes_between_commits_goes_on(
    files: list[Path], tmp_path: Path, whole: dict[str, bytes]
) -> None:
    for steps in (1, 3, 4, 9):
        vanishing = prepare(recipe(*files), tmp_path / "cache", 1, NEVER)
        for _ in range(steps):
            next(vanishing)
        vanishing.close()
    build_all(recipe(*files), tmp_path / "cache")
    assert written(tmp_path / "cache") == whole


SCRIPT = """
import sys
from pathlib import Path
from bertcli.errors import BertcliError
from bertcli.pretraining import corpus as build
sys.path.insert(0, sys.argv[1])
import test_corpus

def main():
    build.BATCH, build.COMMIT = 300, 500
    cache, workers, *files = sys.argv[2:]
    try:
        for reading in build.prepare(test_corpus.recipe(*map(Path, files)), Path(cache), int(workers), lambda: None):
            print(reading.tokens, flush=True)
    except BertcliError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)

if __name__ == "__main__":
    main()
"""


def started(tmp_path: Path, cache: Path, workers: int, files: list[Path], before: str = "") -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(before + SCRIPT, encoding="utf-8")
    command = [sys.executable, "-W", "error", str(script), str(Path(__file__).parent), str(cache), str(workers)]
    return subprocess.Popen([*command, *map(str, files)], stdout=-1, stderr=-1, text=True, start_new_session=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle(files: list[Path], tmp_path: Path, whole: dict[str, bytes], workers: int) -> None:
    for lines in (7, 9):
        with started(tmp_path, tmp_path / "cache", workers, files) as process:
            assert process.stdout
            for _ in range(lines):
                assert process.stdout.readline()
            process.kill()
            process.communicate()  # ends when the last process that holds the pipes does: the workers have ended too
    assert "corpus.json" not in written(tmp_path / "cache")
    build_all(recipe(*files), tmp_path / "cache")
    assert written(tmp_path / "cache") == whole


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_is_the_first_process_s(
    files: list[Path], tmp_path: Path, whole: dict[str, bytes], signum: int
) -> None:
    ignoring = f"import signal\nif __name__ == '__main__':\n    signal.signal({int(signum)}, lambda *_: None)\n"
    with started(tmp_path, tmp_path / "cache", 2, files, before=ignoring) as process:
        assert process.stdout
        process.stdout.readline()
        os.killpg(process.pid, signum)
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert written(tmp_path / "cache") == whole


def test_a_worker_that_dies_ends_the_run_in_a_sentence(files: list[Path], tmp_path: Path, small: None) -> None:
    steps = prepare(recipe(*files), tmp_path / "cache", 2, NEVER)
    next(steps)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid or 0, signal.SIGKILL)
    with pytest.raises(BertcliError) as raised:
        list(steps)
    assert str(raised.value) == "a tokenising process was killed; was it out of memory?"
    assert raised.value.exit_code == 1


# The lock.


def test_what_a_worker_raises_is_raised_here(files: list[Path], tmp_path: Path, small: None) -> None:
    unreadable = replace(recipe(*files), words=str(tmp_path / "missing.txt"))
    with pytest.raises(UsageError, match=r"cannot read the word list .*missing\.txt"):
        build_all(unreadable, tmp_path / "cache", workers=2)


def test_a_second_run_waits_for_the_first(files: list[Path], tmp_path: Path, whole: dict[str, bytes]) -> None:
    first = prepare(recipe(*files), tmp_path / "cache", 1, NEVER)
    next(first)
    waited = []

    def stop() -> None:
        waited.append(True)
        if len(waited) == 3:
            assert list(first)

    with pytest.raises(StopIteration) as end:
        next(prepare(recipe(*files), tmp_path / "cache", 1, stop))
    assert len(waited) == 3 and len(end.value.value.ids)
    assert written(tmp_path / "cache") == whole


def test_who_waits_can_be_interrupted(files: list[Path], tmp_path: Path) -> None:
    what = recipe(*files)
    place = tmp_path / "cache" / key(build.VERSION, what.identity)
    place.mkdir(parents=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Interrupted) as raised:
            next(prepare(what, tmp_path / "cache", 1, after(2, signal.SIGINT)))
    assert raised.value.exit_code == 130
    assert [file.name for file in place.iterdir()] == ["lock"]


# Bad input.


@pytest.mark.parametrize("content", ["", "\n \n\n", "\u200b\n\n\u200b"])
@pytest.mark.parametrize("workers", [1, 2])
def test_no_text(tmp_path: Path, content: str, workers: int) -> None:
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as raised:
        build_all(recipe(tmp_path / "a.txt"), tmp_path / "cache", workers)
    assert str(raised.value) == "the corpus has no text."


def test_faults_are_refused_or_counted(tmp_path: Path, small: None) -> None:
    good, bad, binary = tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "c.txt"
    good.write_text("hello\n" * 100, encoding="utf-8")
    bad.write_bytes(b"a\nb \xff\n\n\xfe\nc\n")
    binary.write_bytes(b"a\0b\n")
    first = f"{bad}:2: invalid UTF-8 at byte 3 of the line; --encoding names another encoding"
    with pytest.raises(UsageError) as refused:
        build_all(recipe(good, bad, binary), tmp_path / "cache")
    assert str(refused.value) == f"{first}; --on-error skip leaves such places out."
    corpus = build_all(recipe(good, bad, binary, skip=True), tmp_path / "cache")
    assert [WORDS[token] for token in corpus.ids] == ["hello"] * 100 + ["a", "c"]
    assert (corpus.facts["faults"], corpus.facts["first_fault"]) == (3, first)
    with pytest.raises(UsageError) as again:  # though the cache has what an earlier run has skipped them for
        build_all(recipe(good, bad, binary), tmp_path / "cache")
    assert str(again.value) == str(refused.value)


def test_nothing_but_faults(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\n\xff\n")
    with pytest.raises(UsageError) as raised:
        build_all(recipe(tmp_path / "a.txt", skip=True), tmp_path / "cache")
    fault = f"{tmp_path / 'a.txt'}:1: invalid UTF-8 at byte 1 of the line; --encoding names another encoding"
    assert str(raised.value) == f"the corpus has no text (2 faults, the first: {fault})."


def test_faults_are_counted_once_by_a_run_that_goes_on(tmp_path: Path, small: None) -> None:
    text = tmp_path / "a.txt"
    text.write_bytes(b"\xff\nhello world\n\n\n" * 200)
    what = recipe(text, skip=True)
    with pytest.raises(Interrupted):
        build_all(what, tmp_path / "cache", stop=after(2))
    corpus = build_all(what, tmp_path / "cache")
    assert corpus.facts["faults"] == 200 and len(corpus.documents) == 200
    assert corpus.facts["characters"] == 200 * len("hello world")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_a_sentence_and_the_run_goes_on(
    files: list[Path], tmp_path: Path, whole: dict[str, bytes], workers: int
) -> None:
    limit = "import resource\nif __name__ == '__main__':\n    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
    with started(tmp_path, tmp_path / "cache", workers, files, before=limit) as process:
        _, errors = process.communicate()
    place = folder(tmp_path / "cache")
    assert errors == f"{place}: File too large; --cache names another place, and it goes on from here.\n"
    assert process.returncode == 1
    build_all(recipe(*files), tmp_path / "cache")
    assert written(tmp_path / "cache") == whole


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_damaged_corpus_is_refused(files: list[Path], tmp_path: Path, whole: dict[str, bytes], damage: str) -> None:
    file = folder(tmp_path / "whole") / "starts.bin"
    file.unlink() if damage == "missing" else file.write_bytes(whole["starts.bin"][:-1])
    with pytest.raises(BertcliError) as raised:
        build_all(recipe(*files), tmp_path / "whole")
    assert str(raised.value) == f"{file}: not the size it was written with; delete the folder."


def test_no_folder_is_no_corpus(tmp_path: Path) -> None:
    assert open_corpus(tmp_path / "nothing") is None
    Writer(tmp_path / "begun", "<u2").close()
    assert open_corpus(tmp_path / "begun") is None
    assert sorted(file.name for file in (tmp_path / "begun").iterdir()) == sorted(FILES.values())
