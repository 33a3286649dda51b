"""The stream in actors of Ray Data, on one machine or a cluster: pip install 'bertcli[ray]'.

The input is cut into pieces, which the actors read themselves, so all nodes must have the files. Ray returns the pieces
in order and repeats one whose worker died. An actor answers a piece as a whole, so nothing is lost or doubled. Knows no
format: `read` is a function from the number of a piece, from 1, to its records.
Try: bertcli predict big.txt -o big.jsonl --engine ray
"""

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from bertcli.data.records import Record
from bertcli.errors import BertcliError, Interrupted, UsageError
from bertcli.inference import Batching, Request
from bertcli.inference.session import open_session
from bertcli.inference.stream import Finished, Stop, finish, stream
from bertcli.tasks.options import Options

Read = Callable[[int], Iterable[Record]]


class Worker:
    """An actor, which opens the model once. Called with the number of a piece, it returns that piece's answers."""

    def __init__(self, request: Request, options: Options, settings: Batching, read: Read) -> None:
        self.session = open_session(request, options)
        self.settings, self.read = settings, read

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Answer one piece. A BertcliError is returned as a value, because Ray would wrap it if it were raised."""
        task = self.session.task
        try:
            chunks = stream(task, self.session.backend, self.read(int(batch["id"][0])), self.settings)
            answers: list[Finished] | BertcliError = [finish(task, outcome) for outcome in chain.from_iterable(chunks)]
        except BertcliError as error:
            answers = error
        return {"answers": [pickle.dumps(answers)]}


def answers(
    request: Request,
    options: Options,
    settings: Batching,
    read: Read,
    pieces: int,
    address: str | None,
    stop: Stop,
) -> Iterator[list[Finished]]:
    """The answers of each piece, in order. address: of a cluster; None starts Ray on this machine alone.

    Raises UsageError if Ray is not installed or not reached, Interrupted after a stop request.
    """
    ray = _connected(address)
    threads = request.threads or 1
    workers = max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
    try:
        numbers = ray.data.from_items([{"id": i} for i in range(1, pieces + 1)], override_num_blocks=pieces)
        dataset = numbers.map_batches(
            Worker,
            fn_constructor_args=(replace(request, threads=threads), options, settings, read),
            batch_size=1,
            # A pool that may shrink kills an actor that is being replaced, and its piece then waits forever.
            compute=ray.data.ActorPoolStrategy(size=min(workers, pieces)),
            num_cpus=threads,
            num_gpus=1 if request.device == "cuda" else 0,
        )  # Ray Data restarts a dead actor and repeats its piece, without a limit.
        for row in dataset.iter_rows():
            if stop.signum is not None:
                raise Interrupted(stop.signum)
            piece: list[Finished] | BertcliError = pickle.loads(row["answers"])
            if isinstance(piece, BertcliError):
                raise piece
            yield piece
    finally:
        ray.shutdown()


def _connected(address: str | None) -> Any:
    """Ray, without its log and progress, which do not belong among results, and without its usage reports."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError("--engine ray is not installed; pip install 'bertcli[ray]' does it.") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"no Ray cluster at {address} ({error}).") from error
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray
