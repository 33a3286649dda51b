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
READ_LATE = ("BERTCLI_", "COLUMNS", "PYTEST_")  # variables that no library reads while it is imported


def environment() -> dict[str, str]:
    """That of the commands: no model is fetched."""
    return {**os.environ, "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[dict[str, str]], list[str]]]:
    """The command that stands for COMMAND in an environment: a fork (forks.py) where it is like that of the tests."""
    if sys.platform != "linux":  # macOS' own libraries break in a fork
        yield lambda _: COMMAND
        return
    path = tmp_path_factory.mktemp("forks") / "socket"
    started = environment()
    with subprocess.Popen(
        [*COMMAND[:3], FORKS, "--serve", str(path)], cwd=path.parent, env=started, start_new_session=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,  # pipes, as those that take their place in a fork
    ) as server:  # fmt: skip
        while not path.exists():
            assert server.poll() is None
            time.sleep(0.05)

        def command(wanted: dict[str, str]) -> list[str]:
            differing = {name for name, _ in wanted.items() ^ started.items() if not name.startswith(READ_LATE)}
            return COMMAND if differing else [sys.executable, "-I", "-S", FORKS, str(path)]

        yield command
        server.kill()


@pytest.fixture
def bertcli(tmp_path: Path, forks: Callable[[dict[str, str]], list[str]]) -> Run:
    """`bertcli("predict", stdin=b"good\\n")` in an empty directory; fails on an exit code other than `expect`."""

    def run(
        *arguments: str | Path, stdin: bytes = b"", expect: int = 0, **env: str
    ) -> subprocess.CompletedProcess[bytes]:
        wanted = {**environment(), **env}
        done = subprocess.run(
            [*forks(wanted), *map(str, arguments)],
            input=stdin, capture_output=True, cwd=tmp_path, timeout=120, check=False, env=wanted,
        )  # fmt: skip
        assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        assert b"Traceback" not in done.stderr
        return done

    return run
