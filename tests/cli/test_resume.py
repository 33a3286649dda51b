"""Kills, signals, full disks and slow pipes, as users meet them: nothing is lost, nothing doubled, one sentence."""

import json
import os
import random
import resource
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import COMMAND, Run

PREDICT = [*COMMAND, "predict"]
WORDS = "a film of wit and charm that never wakes up but is dull to the last utterly gripping frame".split()


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 lines, some of them twice, one of them broken."""
    chance = random.Random(0)
    lines = [" ".join(chance.choices(WORDS, k=chance.randint(1, 9))).encode() for _ in range(3000)]
    lines[2500] = b"\xff"
    path = tmp_path_factory.mktemp("texts") / "in.txt"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


@pytest.fixture(scope="module")
def whole(texts: Path) -> bytes:
    """What an uninterrupted run writes."""
    out = texts.with_name("whole.jsonl")
    done = subprocess.run([*PREDICT, str(texts), "-q", "-o", str(out)], timeout=120, check=False)
    assert done.returncode == 3  # one record is broken
    return out.read_bytes()


def killed(command: list[str], side: Path, marks: int, signum: int, **options: object) -> int:
    """Start a run, send the signal when so many windows are finished, and return the exit code."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, **options) as process:  # type: ignore[call-overload]
        while process.poll() is None:
            if side.exists() and side.read_bytes().count(b"\n") > marks:
                process.send_signal(signum)
                break
            time.sleep(0.002)
        assert b"Traceback" not in process.stderr.read()
        return int(process.wait(60))


def test_a_run_that_is_killed_and_resumed_gives_the_same_bytes(texts: Path, whole: bytes, tmp_path: Path) -> None:
    out, codes = tmp_path / "out.jsonl", []
    command = [*PREDICT, str(texts), "-o", str(out), "--resume", "-q"]
    for marks in (1, 1, 2):  # windows of 64, 128, 256 … records, anew in each run
        codes.append(killed(command, tmp_path / "out.jsonl.resume", marks, signal.SIGKILL))
        assert not out.exists()
    assert codes == [-9, -9, -9]
    before = json.loads((tmp_path / "out.jsonl.resume").read_bytes().splitlines()[-1])["records"]
    assert before >= 64
    assert subprocess.run(command, timeout=120, check=False).returncode == 3
    assert out.read_bytes() == whole
    assert subprocess.run(command, timeout=120, check=False).returncode == 3  # all is done: the same answer again
    assert out.read_bytes() == whole


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_what_is_finished(texts: Path, whole: bytes, tmp_path: Path, signum: int, code: int) -> None:
    out, side = tmp_path / "out.jsonl", tmp_path / "out.jsonl.resume"
    command = [*PREDICT, str(texts), "-o", str(out), "-q"]
    assert killed(command, side, 1, signum) == code
    assert not out.exists() and whole.startswith((tmp_path / "out.jsonl.part").read_bytes())
    assert subprocess.run([*command, "--resume"], timeout=120, check=False).returncode == 3
    assert out.read_bytes() == whole


def test_stdin_can_be_resumed_too(texts: Path, whole: bytes, tmp_path: Path) -> None:
    out, side = tmp_path / "out.jsonl", tmp_path / "out.jsonl.resume"
    command = [*PREDICT, "-o", str(out), "--resume", "-q"]
    with texts.open("rb") as stdin:
        assert killed(command, side, 1, signal.SIGKILL, stdin=stdin) == -9
    with texts.open("rb") as stdin:
        assert subprocess.run(command, stdin=stdin, timeout=120, check=False).returncode == 3
    assert out.read_bytes() == whole


def test_another_input_model_or_option_is_refused(bertcli: Run, texts: Path, tmp_path: Path) -> None:
    shutil.copy(texts, tmp_path / "in.txt")
    command = [*PREDICT, "in.txt", "-o", "out.jsonl", "-q"]
    killed(command, tmp_path / "out.jsonl.resume", 1, signal.SIGTERM, cwd=tmp_path)
    resume = ("predict", "in.txt", "-o", "out.jsonl", "--resume")
    for options, difference in (
        (["--top-k", "2"], b"--top-k was not given and is 2"),
        (["-t", "ner"], b"the model was "),
        (["--format", "csv"], b"--format was not given and is csv"),
    ):
        done = bertcli(*resume, *options, expect=2)
        assert b"cannot resume from " in done.stderr and difference in done.stderr
    with (tmp_path / "in.txt").open("ab") as file:
        file.write(b"more\n")
    assert b"the input was ['in.txt of " in bertcli(*resume, expect=2).stderr


def test_an_existing_output_is_replaced_only_by_force(bertcli: Run, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("precious")
    done = bertcli("predict", "-o", "out.jsonl", stdin=b"good\n", expect=2)
    assert done.stderr.startswith(b"bertcli: out.jsonl exists; --force replaces it, --resume goes on with")
    assert (tmp_path / "out.jsonl").read_text() == "precious"
    bertcli("predict", "-o", "out.jsonl", "--force", stdin=b"good\n")
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]
    assert b"positive" in (tmp_path / "out.jsonl").read_bytes()


def test_a_file_size_limit_is_one_sentence_and_can_be_resumed(texts: Path, whole: bytes, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    out = tmp_path / "out.jsonl"
    command = [*PREDICT, str(texts), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, preexec_fn=limit, timeout=120, check=False)
    assert done.returncode == 1
    assert (
        done.stderr.decode()
        == f"bertcli: cannot write to {out}: File too large; --resume goes on with what is finished\n"
    )
    assert not out.exists()
    assert subprocess.run([*command, "--resume", "-q"], timeout=120, check=False).returncode == 3
    assert out.read_bytes() == whole


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a tmpfs here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_loses_nothing(texts: Path, whole: bytes, small_disk: Path) -> None:
    out = small_disk / "out.jsonl"
    command = [*PREDICT, str(texts), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"No space left on device; --resume goes on with what is finished" in done.stderr
    assert not out.exists()
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert subprocess.run([*command, "--resume", "-q"], timeout=120, check=False).returncode == 3
    assert out.read_bytes() == whole


def test_a_slow_pipe_has_its_answer_before_the_next_line_and_at_its_end(tmp_path: Path) -> None:
    with subprocess.Popen(PREDICT, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        for burst in (b"good\n", b"good\nbad\n" * 100, b"bad"):
            process.stdin.write(burst)
            process.stdin.flush()
            if not burst.endswith(b"\n"):
                process.stdin.close()
            for _ in burst.splitlines():
                assert select.select([process.stdout], [], [], 30)[0]
                assert json.loads(process.stdout.readline())["label"] in ("positive", "negative")
        assert process.wait(30) == 0


def test_a_log_that_is_rotated_away_does_not_stop_a_follower(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"good\n")
    shell = f"tail -n +1 -F {log} 2> /dev/null | {' '.join(PREDICT)}"
    with subprocess.Popen(["bash", "-c", shell], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        try:
            assert b"positive" in process.stdout.readline()
            log.rename(tmp_path / "app.log.1")
            log.write_bytes(b"bad\n")
            assert b"negative" in process.stdout.readline()
        finally:
            os.killpg(process.pid, signal.SIGTERM)
