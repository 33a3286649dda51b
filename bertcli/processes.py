"""Processes that bertcli starts: what reaches a whole group of them, as Ctrl-C does, is for the first to heed.

Knows nothing of what they do. Try: bertcli bench
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def unseen_signals() -> Iterator[None]:
    """Processes that are started within it never see SIGINT, SIGTERM or SIGHUP.

    To ignore them there would be too late, for a process needs a second to begin.
    """
    resource_tracker.ensure_running()  # Python 3.11 lets the signals in when this has begun
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
