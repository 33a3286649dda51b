"""What may be asked of a run: which model on which machine, and how records are batched. Imports nothing heavy.

Knows what can be asked, not how it is done: session.py opens a Request, stream.py obeys Settings.
Try: python -c "from bertcli.inference.settings import Request, Settings; print(Request(), Settings())"
"""

from dataclasses import dataclass

from bertcli.inference.batching import BATCH_TOKENS


@dataclass(frozen=True)
class Request:
    """What is asked of model and machine; None and "auto" leave the choice to `open_session`."""

    model: str | None = None
    task: str | None = None
    backend: str = "auto"
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class Settings:
    """window: most records sorted together; characters: most text held in one.

    batch_tokens: most tokens in a batch, padding included. max_wait_ms: how long a record may wait for others, in ms.
    """

    window: int = 4096
    characters: int = 1_000_000
    batch_tokens: int = BATCH_TOKENS
    max_wait_ms: float = 50
