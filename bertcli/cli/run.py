"""What the commands share between their options and the engine: open, stream, write, count, and heed signals."""

import gc
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from bertcli import __version__
from bertcli.cli.console import Voice
from bertcli.data import formats
from bertcli.data.journal import Journal
from bertcli.data.readers import Shard, count_before, parse_shard, read
from bertcli.data.records import Record, lookup
from bertcli.data.writers import Writer, open_writer
from bertcli.errors import Exit, RecordError, UsageError
from bertcli.inference.session import Request, Session, open_session
from bertcli.inference.stream import Settings, Stop, result, stream
from bertcli.model import fingerprint
from bertcli.tasks.base import Options

Answer = tuple[Record, Mapping[str, Any] | None, str | None]  # what was found for a record, or the error in its place
OPTIONAL = ("windows", "truncated")  # results that only long texts have
NEUTRAL = (  # options that change no result, or that the fingerprint names as what they chose
    "files", "model", "task", "backend", "device", "precision", "threads", "batch_tokens", "max_wait_ms", "tags",
    "output", "resume", "force", "engine", "address",
)  # fmt: skip


def select(kind: type[Any], given: Mapping[str, Any]) -> Any:
    """Build a dataclass from those of the given options that are its fields."""
    return kind(**{field.name: given[field.name] for field in fields(kind) if field.name in given})


def open_input(given: Mapping[str, Any]) -> Iterator[Record]:
    """The records of the files and formats that the options name; a table must have the fields the task needs."""
    records = read(given["files"], shard=_shard(given), **_reading(given))
    needed = {"--text-field": given["text_field"], "--pair-field": given["pair_field"]}
    return _checked(records, given["input_format"], {option: name for option, name in needed.items() if name})


def _reading(given: Mapping[str, Any]) -> dict[str, Any]:
    columns = given["columns"].split(",") if given["columns"] else None
    return {"input_format": given["input_format"], "encoding": given["encoding"], "columns": columns}


def _shard(given: Mapping[str, Any]) -> Shard | None:
    return parse_shard(given["shard"]) if given.get("shard") else None


def _first_index(given: Mapping[str, Any]) -> Callable[[], int] | None:
    """Counts the records of the shards before this one, once and only if an error record needs it."""
    shard = _shard(given)
    if shard is None or shard.number == 1:
        return None
    return cache(lambda: count_before(given["files"], shard, **_reading(given)))


def _checked(records: Iterable[Record], input_format: str | None, needed: Mapping[str, str]) -> Iterator[Record]:
    """Stop at once where a table has no such column: that is one mistake, not one for each of its rows."""
    seen: set[str] = set()
    for record in records:
        if record.source not in seen and not record.fault:
            seen.add(record.source)
            is_table = (input_format or formats.by_extension("input", record.source)) in ("csv", "tsv")
            if is_table and "context" not in record.fields:
                _demand(record, needed)
        yield record


def _demand(record: Record, needed: Mapping[str, str]) -> None:
    for option, name in needed.items():
        try:
            lookup(record.fields, name, option)
        except RecordError as error:
            raise UsageError(f"{record.source}: {error}") from None


@contextmanager
def heed_signals() -> Iterator[Stop]:
    """Within it SIGINT and SIGTERM ask for an orderly stop; a second one ends the process at once."""
    stop = Stop()

    def handle(signum: int, frame: object) -> None:
        signal.signal(signum, signal.SIG_DFL)
        stop.request(signum)

    old = {signum: signal.signal(signum, handle) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signum, handler in old.items():
            signal.signal(signum, handler)


def predict(voice: Voice, given: Mapping[str, Any]) -> int:
    """Stream the input through the model to the output; returns the exit code."""
    records = open_input(given)
    output_format = given["output_format"] or formats.by_extension("output", given["output"] or "-")
    given = {**given, "tags": output_format == "conll"}
    session: Session = open_session(select(Request, given), select(Options, given))
    voice.note(session.reason)
    # What comes now are records, and no cycles: to look for those less often saves 7 % of the time besides the model.
    gc.set_threshold(100_000)
    with open_output(given, session) as writer, heed_signals() as stop:
        if given["engine"] == "ray":
            from bertcli.cli.cluster import answers

            windows: Iterable[Iterable[Answer]] = answers(given, stop)
        else:
            windows = _answers(session, writer.journal.rest(records), given, stop)
        for window in windows:
            for record, found, error in window:
                writer.journal.add(record, error)
                _write(writer, record, found, error, given)
            writer.flush()
    return _exit_code(writer.journal, voice)


def _answers(
    session: Session, records: Iterable[Record], given: Mapping[str, Any], stop: Stop
) -> Iterator[Iterator[Answer]]:
    for window in stream(session.task, session.backend, records, select(Settings, given), stop):
        yield ((own.record, None if own.error else result(session.task, own), own.error) for own in window)


def open_output(given: Mapping[str, Any], session: Session) -> Writer:
    """The writer of --output and --format, with a journal from which --resume can go on."""
    identity = _identity(given, session) if given["output"] else None
    return open_writer(
        given["output"],
        given["output_format"],
        optional=OPTIONAL,
        run=identity,
        resume=given["resume"],
        force=given["force"],
        first_index=_first_index(given),
    )


def _identity(given: Mapping[str, Any], session: Session) -> dict[str, Any]:
    """What must be the same for a run to be the same, by the names that a user knows."""
    weights = "*.safetensors" if session.backend.name == "pytorch" else "*.onnx"
    own = {name.removeprefix("output_"): value for name, value in given.items() if name not in NEUTRAL}
    return {
        "the input": [_described(path) for path in given["files"] or ["-"]],
        "the model": fingerprint(session.model, weights),
        "the task": session.task.name,
        "the engine": f"{session.backend.name} {session.backend.precision}",
        "the version of bertcli": __version__,
        **{f"--{name.replace('_', '-')}": value for name, value in own.items()},
    }


def _described(path: str) -> str:
    """A file with its size; what is in it, the journal checks record by record."""
    place = Path(path)
    return f"{path} of {place.stat().st_size:,} bytes" if path != "-" and place.is_file() else path


def _exit_code(journal: Journal, voice: Voice) -> int:
    """3 where records failed, said in one sentence; else 0."""
    if not journal.failed:
        return Exit.OK
    voice.warn(f"{journal.failed:,} of {journal.records:,} records failed; the first: {journal.first}")
    return Exit.RECORDS


def _write(
    writer: Writer, record: Record, found: Mapping[str, Any] | None, error: str | None, given: Mapping[str, Any]
) -> None:
    if found is not None:
        writer.write(found, record)
    elif given["on_error"] == "fail":
        raise RecordError(f"{record.location}: {error}")
    elif given["on_error"] == "record":
        writer.write_error(str(error), record, record.source if len(given["files"]) > 1 else "")
