"""bertcli predict: a filter: one result out for each record in, in order, at once."""

import gc
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Literal

from bertcli.cli import shared
from bertcli.cli.options import by_name, command
from bertcli.cli.terminal import Messages, beside_results, heed_signals
from bertcli.errors import Exit, UsageError
from bertcli.option import option

if TYPE_CHECKING:
    from bertcli.data.records import Header, Record
    from bertcli.inference.session import Session
    from bertcli.inference.stream import Finished, Stop

OPTIONAL = {"windows": 2, "truncated": True, "unknown": 0.92}  # fields that only some results have, with examples
UNCOMPARED = (  # by --resume: options that change no result, or whose effect _identity has by another name
    "files", "model", "task", "backend", "device", "precision", "threads", "batch_tokens", "max_wait_ms",
    "calibrate", "output", "resume", "force", "engine", "address",
)  # fmt: skip
Format = Literal[
    "rich", "jsonl", "tsv", "csv", "conll", "npy", "parquet", "arrow", "doccano", "label-studio", "prodigy", "brat"
]  # fmt: skip
PLAIN = ("rich", "jsonl", "tsv", "csv")  # formats that write nothing but the result, so never the text before redaction
PIECE = 1 << 22  # bytes of input that a Ray actor answers at once; they are repeated if it dies
MOST_PIECES = 1000
LONGEST_SHOWN = 60  # characters shown of a text that was given in place of a file name
STOPPING = "stopping with the results that are finished; --resume goes on with those of -o FILE"
EXAMPLES = """
echo "a gripping film" | bertcli predict
bertcli predict reviews.jsonl --text-field body.text --top-k 2 > labelled.jsonl
bertcli predict -m DIR --format tsv tweets.csv.gz -o labels.tsv
bertcli predict reviews.parquet --text-field review.body -o labelled.parquet      # all columns, with their types
bertcli predict -m DIR --format label-studio unlabelled.jsonl -o tasks.json      # or doccano, prodigy, brat
bertcli predict -m DIR --question "Who signed?" --input-format document contracts/*.txt
bertcli predict -t ner --redact letters.jsonl --redact-keep id -o redacted.jsonl
bertcli predict big.jsonl --shard $SLURM_ARRAY_TASK_ID/64 -o part.$SLURM_ARRAY_TASK_ID.jsonl      # --array=1-64
bertcli predict big.jsonl -o out.jsonl --resume      # after a kill, a full disk or Ctrl-C: only what is missing
bertcli predict big.jsonl --engine ray --address ray-head:6379 -o out.jsonl
tail -f app.log | bertcli predict -m DIR | jq -c 'select(.label == "negative")'
"""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Predict(shared.RunOptions):
    """The options of `bertcli predict`."""

    shard: str | None = option(
        None, "Only the I-th of N parts of FILES; the results of all, in order, are whole.", "I/N", group="data"
    )
    output_format: Format | None = option(
        None, "[default: by the extension of --output; rich on a terminal, else jsonl]", "FORMAT", flags="-f --format"
    )
    output: str | None = option(
        None, "Write here, whole or not at all.  [default: stdout]", "FILE", flags="-o", type=shared.PATH
    )
    force: bool = option(False, "Replace an existing --output.")
    resume: bool = option(
        False, "Go on where an interrupted run with the same input, model and options ended; else begin."
    )
    on_error: Literal["record", "skip", "fail"] = option(
        "record", "A bad record: an error record in its place, nothing, or the end of the run.", group="output"
    )
    engine: Literal["local", "ray"] = option(
        "local", "This process, or actors of Ray Data, which read FILES by themselves.", group="model"
    )
    address: str | None = option(None, "Ray cluster.  [default: a Ray of this machine alone]", "ADDRESS", group="model")


@command(
    """
    files model task text_field pair_field top_k all_scores threshold offset_unit mask question null_threshold normalize
    prompt redact redact_as redact_types redact_rules redact_regions redact_key redact_keep redact_list long
    input_format columns delimiter encoding shard output_format output force resume on_error max_wait_ms
    backend device threads precision exit calibrate batch_tokens engine address
    """,
    EXAMPLES,
)
def predict(messages: Messages, options: Predict) -> int:
    """Read records from FILES or stdin and write one result for each.

    Input is lines of text, JSONL, CSV or TSV, also .gz, .bz2 or .xz, Parquet or Arrow; of a directory or a quoted
    pattern all files, sorted. Every input field is passed through. A bad record becomes {"index", "line", "error"} in
    its place, and the exit code is 3.
    """
    # Modules and records form no cycles, so the garbage collector may run less often: that saves 7 % of the time
    # outside the model, and 5 ms at the start.
    gc.set_threshold(100_000)

    from bertcli.cli.progress import RecordCount
    from bertcli.data.formats import output_format_of
    from bertcli.data.readers import count_before, parse_shard
    from bertcli.data.writers import open_writer
    from bertcli.inference.session import open_session
    from bertcli.inference.stream import finish, script_of, stream, unknown_sentence

    for name in options.files:
        if name != "-" and (" " in name or not Path(name).suffix) and not os.path.lexists(name):
            # Path.exists raises for more than 255 bytes. lexists, because a broken or circular link is no text either.
            shown = name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}…"
            raise UsageError(f"cannot read {shown}: no such file. For a text: echo {quote(shown)} | bertcli predict")
    shared.require_different({"--output": options.output}, options.files)
    shared.require_beside(options, {"address": "engine ray"})
    shard = parse_shard(options.shard) if options.shard else None
    headers: list[Header] = []  # of the tables in the input
    records = options.open(options.files, shard, headers.append)
    output_format = options.output_format or output_format_of(options.output or "-")
    if options.redact and output_format not in PLAIN:
        raise UsageError(f"{output_format} holds more of a record than its results; --redact takes {', '.join(PLAIN)}.")
    options = replace(options, tags=output_format == "conll")
    records = options.write_missing_onnx(messages, records)
    session = open_session(options, options)
    messages.note(session.reason)
    memory = session.task.memory
    if memory is not None and (options.shard or options.engine == "ray"):
        raise UsageError("pseudonyms are numbered through the whole input, not in parts of it; take --redact-as hash.")
    first_index = None
    if shard and shard.number > 1:  # Error records need the number of records in earlier shards, counted at most once.
        first_index = cache(partial(count_before, options.files, shard, options.read_options))
    opened = open_writer(
        options.output,
        options.output_format,
        optional=[*OPTIONAL],
        example=session.task.example | OPTIONAL,
        text_field=options.text_field,
        run=_identity(options, session) if options.output else None,
        resume=options.resume,
        force=options.force,
        first_index=first_index,
        first_result=_first_result(options, session) if shard and output_format in ("csv", "tsv") else None,
        on_error=options.on_error,
        has_files=len(options.files) > 1,
    )
    counter = RecordCount(messages if options.output else beside_results(messages), options.files)
    with opened as writer, counter, heed_signals(messages.tell, STOPPING) as stop:
        if memory is not None:
            writer.journal.share(memory)
        chunks: Iterable[Iterable[Finished]]
        if options.engine == "ray":
            chunks = _finished_by_ray(options, stop)
        else:
            rest = writer.journal.rest(records)
            outcomes = stream(session.task, session.backend, rest, options, stop)
            chunks = (map(partial(finish, session.task), chunk) for chunk in outcomes)
        for chunk in chunks:
            for record, result, error in chunk:
                writer.journal.add(record, error)
                if result is not None:
                    writer.write(result, record)
                    if "unknown" in result:
                        writer.journal.unknown[script_of(session.task.texts(record).values())] += 1
                else:
                    writer.write_error(str(error), record)
                counter.count(record)
            writer.flush()
            counter.show()
        journal = writer.journal
        if options.engine == "ray" and journal.failed == journal.records:  # no result tells the columns of a table
            for _ in records:
                pass
        if headers:
            writer.formatter.input_header = _written(headers[0], options)
    if journal.unknown:
        messages.warn(unknown_sentence(journal.unknown, journal.records))
    if journal.failed:
        messages.warn(f"{journal.failed:,} of {journal.records:,} records failed; the first: {journal.first}")
    return Exit.RECORDS if journal.failed else Exit.OK


def _first_result(options: Predict, session: "Session") -> Mapping[str, object] | None:
    """The first result of the whole input, whose fields are the columns of every shard's table.

    If all results are errors: the fields that one would have, if the input is a table, else {}.
    """
    from bertcli.data.records import merged
    from bertcli.inference.stream import finish, stream

    result: dict[str, object] | None = None
    headers: list[Header] = []
    for record in options.open(options.files, None, headers.append):
        for (outcome,) in stream(session.task, session.backend, [record], options):
            _, result, _ = finish(session.task, outcome)
            if result is not None:
                return result
        result = {} if options.on_error == "record" else None
    if not headers:
        return result
    return merged(dict.fromkeys(_written(headers[0], options).names), session.task.example)


def _written(header: "Header", options: Predict) -> "Header":
    """The columns of a table that results have: with --redact the text, and what --redact-keep names."""
    if not options.redact:
        return header
    kept = [options.text_field, *map(str.strip, (options.redact_keep or "").split(","))]
    return header._replace(names=[name for name in header.names if name in kept])


def _identity(options: Predict, session: "Session") -> dict[str, object]:
    """What must be the same for --resume to go on with a run, by names for the user."""
    from bertcli import __version__
    from bertcli.model import fingerprint

    weights = "*.safetensors" if session.backend.name == "pytorch" else "*.onnx*"  # .onnx_data is matched too
    chosen = {name.removeprefix("output_"): value for name, value in by_name(options).items() if name not in UNCOMPARED}
    return {
        "the input": [  # The journal compares the records themselves.
            f"{path} of {Path(path).stat().st_size:,} bytes" if path != "-" and Path(path).is_file() else path
            for path in options.files or ["-"]
        ],
        "the model": fingerprint(session.model, weights),
        "the task": session.task.name,
        "the engine": f"{session.backend.name} {session.backend.precision}",
        "the version of bertcli": __version__,
        **session.task.identity,
        **{f"--{name.replace('_', '-')}": value for name, value in chosen.items()},
    }


def _finished_by_ray(options: Predict, stop: "Stop") -> Iterator[Iterable["Finished"]]:
    """The records of each piece of the input with their results, in order, numbered as in a single process."""
    from bertcli.inference.ray import answers

    by_itself = "Ray cuts the input and replaces dead workers by itself"
    for name, value, reason in (
        ("--resume", options.resume, by_itself),
        ("--shard", options.shard, by_itself),
        ("--redact-key", options.redact_key, "its workers may be where the key is not"),
    ):
        if value:
            raise UsageError(f"--engine ray has no {name}: {reason}.")
    if not options.files or not all(Path(path).is_file() for path in options.files):
        raise UsageError("--engine ray reads files that every node can open; stdin and pipes have to be files first.")
    paths = {str(Path(path).resolve()): path for path in options.files}
    model = options.model  # A worker runs in another directory, so paths become absolute; a Hub name stays.
    here = replace(
        options,
        files=tuple(paths),
        calibrate=tuple(str(Path(name).resolve()) for name in options.calibrate),
        model=str(Path(model).resolve()) if model is not None and Path(model).is_dir() else model,
    )
    pieces = max(1, min(MOST_PIECES, sum(Path(path).stat().st_size for path in paths) // PIECE))
    with redirect_stdout(sys.stderr):  # Ray's prints are no results. The writer has opened stdout already.
        count = 0
        for chunk in answers(here, here, here, partial(_piece, here, pieces), pieces, options.address, stop):
            for record, _, _ in chunk:
                record.index, record.source = count, paths[record.source]
                count += 1
            yield chunk


def _piece(options: Predict, pieces: int, number: int) -> Iterator["Record"]:
    from bertcli.data.readers import Shard

    return options.open(options.files, Shard(number, pieces))
