"""Processes that bertcli starts: signals that reach all of them, as Ctrl-C does, are handled by the first process.

Knows nothing of what they do. Try: bertcli bench
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def unseen_signals() -> Iterator[None]:
    """Processes started within it never see SIGINT, SIGTERM or SIGHUP.

    They could not ignore the signals themselves in time, because a process needs a second to begin.
    """
    resource_tracker.ensure_running()  # Python 3.11 unblocks the signals when it starts this one
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
