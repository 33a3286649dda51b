"""Runs the program as a user does: a process of its own, with bytes in and bytes out."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
COMMAND = [sys.executable, "-W", "error", "-m", "bertcli"]


@pytest.fixture
def bertcli(tmp_path: Path) -> Run:
    """`bertcli("predict", stdin=b"good\\n")` in an empty directory; fails on an exit code other than `expect`."""

    def run(
        *arguments: str | Path, stdin: bytes = b"", expect: int = 0, **env: str
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin, capture_output=True, cwd=tmp_path, timeout=120, check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **env},
        )  # fmt: skip
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        assert b"Traceback" not in done.stderr
        return done

    return run
