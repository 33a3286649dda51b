"""What evaluate does between its options and the engine: score, show, list the mistakes, hold to gates."""

import sys
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from bertcli.cli.console import Voice
from bertcli.cli.reporting import demand_usable, report_evaluation
from bertcli.cli.run import heed_signals, open_input, select
from bertcli.data.records import Record
from bertcli.data.writers import open_writer
from bertcli.engine.evaluate import check_gates, parse_gates
from bertcli.engine.evaluate import evaluate as score
from bertcli.engine.evaluation import Evaluation, listed
from bertcli.engine.predict import Settings, stream
from bertcli.engine.session import Request, Session, open_session
from bertcli.errors import Exit, UsageError
from bertcli.model import update
from bertcli.tasks.base import Options


def evaluate(voice: Voice, given: Mapping[str, Any]) -> int:
    """Score the input's predictions against its labels, show the metrics, and hold them to --fail-under."""
    demand_usable(given)
    records = open_input(given)
    session = open_session(select(Request, given), select(Options, given))
    gates = parse_gates(given["fail_under"], session.task.directions)
    if given["errors"] and not session.task.has_mistakes:
        raise UsageError(f"{session.task.name} has no right and wrong to list; leave out --errors.")
    voice.note(session.reason)
    evaluation = scored(session, records, select(Settings, given))
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


def scored(session: Session, records: Iterable[Record], settings: Settings) -> Evaluation:
    """What the model says of labelled records, and how right it is."""
    with heed_signals() as stop:
        outcomes = chain.from_iterable(stream(session.task, session.backend, records, settings, stop))
        return score(session.task, outcomes, model=session.model.path.name)


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


def _show(evaluation: Evaluation, output_format: str | None) -> None:
    if output_format == "rich" or (output_format is None and sys.stdout.isatty()):
        from rich.console import Console

        from bertcli.cli.tables import render

        render(Console(), {"records": evaluation.records, **evaluation.metrics}, evaluation.model)
        return
    with open_writer(None, "jsonl") as writer:
        writer.write(evaluation.as_json())
