"""What evaluate does between its options and the engine: score, show, list the mistakes, hold to gates."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from bertcli.cli.console import Voice, stdout_console
from bertcli.cli.reporting import demand_usable, report_evaluation
from bertcli.cli.run import heed_signals, open_input, select
from bertcli.data.records import Record
from bertcli.data.sinks import require_writable
from bertcli.data.writers import open_writer
from bertcli.errors import Exit, UsageError
from bertcli.evaluation.compare import compare, read_outcomes
from bertcli.evaluation.evaluate import Predicted, check_gates, collect, parse_gates, scores
from bertcli.evaluation.results import Evaluation, Outcomes, listed
from bertcli.inference.session import Request, Session, open_session
from bertcli.inference.stream import Settings, Stop, stream
from bertcli.model import update
from bertcli.tasks.base import Options


def evaluate(voice: Voice, given: Mapping[str, Any]) -> int:
    """Score the input's predictions against its labels, show the metrics, and hold them to --fail-under."""
    demand_usable(given)
    _demand_errors_writable(given)
    records = open_input(given)
    session = open_session(select(Request, given), select(Options, given))
    gates = parse_gates(given["fail_under"], session.task.directions)
    if given["errors"] and not session.task.has_mistakes:
        raise UsageError(f"{session.task.name} has no right and wrong to list; leave out --errors.")
    other = _open_other(session, given) if given["compare"] else None
    voice.note(session.reason)
    with heed_signals() as stop:
        found = _collect(session, records, given, stop)
        evaluation = scores(session.task, found, session.model.path.name)
        if other:
            theirs = other if isinstance(other, Outcomes) else _outcomes(voice, other, found, given, stop)
            comparison = compare(session.task, found.gold, evaluation, theirs, given["compare"])
            evaluation = replace(evaluation, comparison=comparison)
    _show(evaluation, given["output_format"])
    if given["errors"]:
        with open_writer(given["errors"]) as writer:
            writer.write_many(map(listed, evaluation.mistakes))
    report_evaluation(voice, given, evaluation)
    _keep(voice, session, given["model"], session.task.learned(evaluation.metrics))
    for fault in evaluation.faults:
        voice.warn(fault)
    check_gates(gates, evaluation.metrics)
    return Exit.RECORDS if evaluation.faults else Exit.OK


def _demand_errors_writable(given: Mapping[str, Any]) -> None:
    """Raise UsageError where --errors cannot be written, or would replace what is read; before the run."""
    if not given["errors"]:
        return
    place = Path(given["errors"])
    if place.is_file() and any(name != "-" and Path(name).exists() and place.samefile(name) for name in given["files"]):
        raise UsageError(f"--errors {place}: it is the input, and is not replaced; name another.")
    require_writable(given["errors"])


def _collect(session: Session, records: Iterable[Record], given: Mapping[str, Any], stop: Stop) -> Predicted:
    windows = stream(session.task, session.backend, records, select(Settings, given), stop)
    return collect(session.task, chain.from_iterable(windows))


def _open_other(session: Session, given: Mapping[str, Any]) -> Outcomes | Session:
    """What --compare names, before the run. Raises UsageError where it is of another task."""
    file, task = Path(given["compare"]), session.task.name
    if file.is_file():
        return read_outcomes(file, task)
    other = open_session(replace(select(Request, given), model=given["compare"]), select(Options, given))
    if other.task.name != task:
        raise UsageError(f"--compare {file}: it is of {other.task.name}, this model of {task}.")
    return other


def _outcomes(voice: Voice, other: Session, found: Predicted, given: Mapping[str, Any], stop: Stop) -> Outcomes:
    """Of the other model, on the records that this one was scored on. Raises UsageError unless it answers them all."""
    voice.note(other.reason)
    theirs = _collect(other, found.records, given, stop)
    if theirs.faults:
        name = given["compare"]
        raise UsageError(f"--compare {name}: it cannot be scored on all records; the first: {theirs.faults[0]}")
    outcomes = scores(other.task, theirs).outcomes
    assert outcomes is not None
    return outcomes


def _keep(voice: Voice, session: Session, named: str | None, learned: Mapping[str, Any]) -> None:
    """Store what was found in the model's config.json; the embedded models stay as they are."""
    said = ", ".join(f"{name} {value}" for name, value in learned.items())
    if learned and named is None:
        voice.warn(
            f"{said} is not stored: the embedded model stays as it is; give it to predict, or name a copy by -m."
        )
    elif learned:
        update(session.model, learned)
        voice.note(f"stored in {session.model.path / 'config.json'}: {said}")


def is_rich(output_format: str | None) -> bool:
    """Whether tables are shown: asked for, or on a terminal."""
    return output_format == "rich" or (output_format is None and sys.stdout.isatty())


def _show(evaluation: Evaluation, output_format: str | None) -> None:
    if is_rich(output_format):
        from bertcli.cli.scorecard import render_evaluation

        render_evaluation(stdout_console(), evaluation)
        return
    with open_writer(None, "jsonl") as writer:
        writer.write(evaluation.as_json())
