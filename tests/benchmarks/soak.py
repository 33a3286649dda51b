"""Runs that are killed at random moments and resumed, compared with the uninterrupted run. Prints one JSON line.

    python tests/benchmarks/soak.py FILE [--minutes 60] [--kills N] [--formats jsonl,csv,jsonl.gz] [predict's options …]

Each round takes the next format, kills `predict --resume` with SIGKILL after a random time, again and again until a run
comes to its end, and compares the bytes. It stops after so many minutes, or after N kills.
"""

import argparse
import itertools
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PREDICT = [sys.executable, "-m", "bertcli", "predict"]


def seconds_of(command: list[str]) -> float:
    """How long a run takes that nothing disturbs."""
    began = time.monotonic()
    done = subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
    assert done.returncode in (0, 3), f"exit {done.returncode}: {' '.join(command)}"
    return time.monotonic() - began


def is_killed(command: list[str], patience: float) -> bool:
    """Kill a run after so many seconds; False where it came to its end before."""
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        assert process.wait() in (0, 3, -signal.SIGKILL), process.stderr.read() if process.stderr else b""
        return process.returncode == -signal.SIGKILL


def soak(given: argparse.Namespace, options: list[str], folder: Path) -> dict[str, object]:
    """Rounds until the time or the kills are used up."""
    chance, end = random.Random(given.seed), time.monotonic() + 60 * given.minutes
    kills = rounds = different = 0
    times: dict[str, float] = {}
    for name in itertools.cycle(given.formats.split(",")):
        if time.monotonic() > end or kills >= given.kills:
            break
        whole, out = folder / f"whole.{name}", folder / f"out.{name}"
        command = [*PREDICT, given.file, *options, "-q", "-o"]
        if name not in times:
            times[name] = seconds_of([*command, str(whole)])
        while is_killed([*command, str(out), "--resume"], chance.uniform(0, times[name])):
            kills += 1
        rounds += 1
        different += out.read_bytes() != whole.read_bytes()
        for file in (out, folder / f"{out.name}.resume"):
            file.unlink()
    return {"rounds": rounds, "kills": kills, "different": different, "seconds": times}


def main() -> None:
    """Parse the command line; exit 1 where a file differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--kills", type=int, default=10**9)
    parser.add_argument("--formats", default="jsonl,csv,jsonl.gz")
    parser.add_argument("--seed", type=int, default=0)
    given, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(given, options, Path(folder))
    print(json.dumps(result))
    sys.exit(bool(result["different"]))


if __name__ == "__main__":
    main()
