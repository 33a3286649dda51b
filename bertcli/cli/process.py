"""How a process of bertcli begins: its three streams are there, and its threads wait without spinning.

Called once, before anything heavy is imported. Knows no command. Try: bertcli predict texts.txt 2>&-
"""

import os
import sys
from pathlib import Path

# Threads that wait for each other sleep, they do not spin: two trainings of two threads on two busy cores took 535 and
# 466 tokens/s instead of 6 and 6, one alone 776 instead of 15, for libgomp spins through the whole turn of the thread
# that it waits for. See tests/benchmarks/neighbours.py. libgomp reads it when torch is imported.
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}


def begin() -> None:
    """Make the process one that nobody needs to be careful with.

    A stream that the parent has closed would give its number to the next file that is opened, into which a C library
    would then write its complaints.
    """
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: with PYTHONIOENCODING=ascii tables stay readable
