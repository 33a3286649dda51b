"""Runs the program as a user does: a process of its own, with bytes in and bytes out."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
COMMAND = [sys.executable, "-W", "error", "-m", "bertcli"]
FORKS = str(Path(__file__).with_name("forks.py"))
READ_LATE = ("BERTCLI_", "COLUMNS")  # variables that no library reads while it is imported


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The command that has a fork (forks.py) run a command line; on macOS, whose libraries break in one, COMMAND."""
    if sys.platform != "linux":
        yield COMMAND
        return
    path = tmp_path_factory.mktemp("forks") / "socket"
    with subprocess.Popen(
        [*COMMAND[:3], FORKS, "--serve", str(path)], cwd=path.parent, env={**os.environ, "HF_HUB_OFFLINE": "1"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,  # pipes, as those that take their place in a fork
        start_new_session=True,
    ) as server:  # fmt: skip
        while not path.exists():
            assert server.poll() is None
            time.sleep(0.05)
        yield [sys.executable, "-I", "-S", FORKS, str(path)]
        server.kill()


@pytest.fixture
def bertcli(tmp_path: Path, client: list[str]) -> Run:
    """`bertcli("predict", stdin=b"good\\n")` in an empty directory; fails on an exit code other than `expect`."""

    def run(
        *arguments: str | Path, stdin: bytes = b"", expect: int = 0, **env: str
    ) -> subprocess.CompletedProcess[bytes]:
        command = client if all(name.startswith(READ_LATE) for name in env) else COMMAND
        done = subprocess.run(
            [*command, *map(str, arguments)],
            input=stdin, capture_output=True, cwd=tmp_path, timeout=120, check=False,
            env={**os.environ, "HF_HUB_OFFLINE": "1", **env},
        )  # fmt: skip
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        assert b"Traceback" not in done.stderr
        return done

    return run
