"""bertcli predict --engine ray on a real cluster of two nodes, one of whose workers is killed on the way."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertcli.cli.commands.predict import Predict, _piece
from tests.cli.conftest import Run

WORDS = "a film of wit and charm that never wakes up but is dull to the last utterly gripping frame".split()


CLUSTER = """
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
print("address", cluster.address, flush=True)
input()
cluster.shutdown()
"""
PATIENCE = 600  # seconds: Ray starts a dozen processes, and the machine may be busy
SETTINGS = {
    "RAY_worker_register_timeout_seconds": str(PATIENCE),
    "RAY_agent_register_timeout_ms": str(1000 * PATIENCE),
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONWARNINGS": "ignore",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])),
}


@pytest.fixture
def address() -> Iterator[str]:
    """Two nodes of one CPU each, held by a process of its own."""
    pytest.importorskip("ray")
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **SETTINGS},
        ) as process:  # fmt: skip
            assert process.stdout
            found = next((line.split()[1].decode() for line in process.stdout if line.startswith(b"address ")), None)
            if found:
                yield found
                process.communicate(b"\n", timeout=PATIENCE)
                return
    pytest.skip("Ray starts no cluster: a node aborts where its agent needs over 15 s (ray-project/ray issue 65983)")


def workers() -> list[int]:
    """The processes that hold a model."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::MapWorker" in (place / "cmdline").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return found


def test_a_worker_that_is_killed_costs_nothing(address: str, bertcli: Run, tmp_path: Path) -> None:
    chance = random.Random(0)
    lines = [" ".join(chance.choices(WORDS, k=chance.randint(1, 9))).encode() for _ in range(2000)]
    lines[1500] = b"\xff"
    (tmp_path / "in.txt").write_bytes(b"\n".join(lines))
    code = "import bertcli.cli.commands.predict as c; c.PIECE = 1 << 12; from bertcli.cli.main import main; main()"
    command = [sys.executable, "-c", code, "predict", "in.txt", "--engine", "ray", "--address", address]
    with subprocess.Popen(
        [*command, "-o", "ray.jsonl"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **SETTINGS},
    ) as process:  # fmt: skip
        part = tmp_path / "ray.jsonl.part"
        end = time.monotonic() + PATIENCE
        while process.poll() is None and not (part.exists() and part.stat().st_size):
            assert time.monotonic() < end, "no piece was answered"
            time.sleep(0.02)
        killed = workers()[:1]
        for pid in killed:
            os.kill(pid, 9)
        out, err = process.communicate(timeout=PATIENCE)
    assert killed and (process.returncode, out) == (3, b""), err.decode()
    bertcli("predict", "in.txt", "-o", "one.jsonl", expect=3)
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], b"--engine ray reads files that every node can open"),
        (["in.txt", "--resume", "-o", "o"], b"--engine ray has no --resume"),
        (["in.txt", "--shard", "1/2"], b"--engine ray has no --shard"),
    ],
)
def test_what_ray_cannot_do_is_a_usage_error(
    bertcli: Run, tmp_path: Path, arguments: list[str], message: bytes
) -> None:
    (tmp_path / "in.txt").write_text("good\n")
    assert message in bertcli("predict", "--engine", "ray", *arguments, stdin=b"good\n", expect=2).stderr


def test_a_piece_is_read_where_no_command_runs(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("good\nbad\n")
    pieces = [_piece(Predict(files=(str(tmp_path / "in.txt"),)), 2, number) for number in (1, 2)]
    assert [[record.fields["text"] for record in piece] for piece in pieces] == [["good"], ["bad"]]


def test_a_table_without_results_has_its_header(address: str, bertcli: Run, tmp_path: Path) -> None:
    for rows, code in (("", 0), ("1,2,3\n", 3)):
        (tmp_path / "in.csv").write_text(f"text,id\n{rows}")
        command = ["predict", "in.csv", "--format", "csv"]
        done = subprocess.run(  # without -W error, since Ray warns of its own options
            [sys.executable, "-m", "bertcli", *command, "--engine", "ray", "--address", address],
            cwd=tmp_path, capture_output=True, check=False, timeout=PATIENCE, env={**os.environ, **SETTINGS},
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (code, bertcli(*command, expect=code).stdout), done.stderr.decode()
