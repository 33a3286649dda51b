"""The command `explain`, between its options and the engine: records in, what explains them out, in three forms."""

import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from bertcli.cli.console import Voice, stdout_console
from bertcli.cli.run import open_input, select
from bertcli.data.records import Record
from bertcli.data.writers import Writer, open_writer
from bertcli.errors import Exit, Interrupted, RecordError, UsageError
from bertcli.inference.session import Request, Session, open_session
from bertcli.tasks.base import Options

Result = dict[str, Any]
DIGITS = 6  # of a printed weight: what fp32 carries
OF_TASK = {"context": "question-answering", "pair": "text-classification"}  # the task that an option is for


def explain(voice: Voice, given: Mapping[str, Any]) -> int:
    """Explain each record as it comes; returns the exit code."""
    given = _completed(given)
    records = _records(given)
    session = open_session(select(Request, given), select(Options, given))
    _demand_task(given, session)
    voice.note(session.reason)
    failed = 0
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _end))
        add = stack.enter_context(_open_page(given["html"])) if given["html"] else None
        writer = None if _is_shown(given) else stack.enter_context(open_writer(None, "jsonl"))
        for record, result in _results(session, records, given):
            if isinstance(result, RecordError):
                voice.warn(f"{record.location}: {result}")
                failed += 1
            elif add:
                add(result)
            _give(result, record, writer, keep_attention=given["attention"])
    return Exit.RECORDS if failed else Exit.OK


def _results(
    session: Session, records: Iterable[Record], given: Mapping[str, Any]
) -> Iterator[tuple[Record, Result | RecordError]]:
    """Each record with what explains it, or the error in its place. Imports torch, which takes seconds."""
    from bertcli.explain.explain import Explainer, View

    wants_attention = given["attention"] or bool(given["html"])
    explainer = Explainer(session, given["target"], View(wants_attention, given["layer"], given["head"]))
    for record in records:
        try:
            yield record, explainer.explain(record)
        except RecordError as error:
            yield record, error


def _end(signum: int, frame: object) -> None:
    """At once: a long text takes minutes, and what is finished has been written."""
    raise Interrupted(signum)


def _completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options with those that follow from others."""
    if given["texts"] and given["files"]:
        raise UsageError("give TEXT or --input, not both.")
    for text in (*given["texts"], given["pair"], given["context"], given["question"], given["target"]):
        if text and not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise UsageError(f"{text!r} is no text in UTF-8; --input with --encoding reads others.")
    for name in ("pair", "context"):
        if given[name] is not None and len(given["texts"]) != 1:
            raise UsageError(f"--{name} needs one TEXT to go with; records of --input have a field for it.")
    if given["context"] is not None and given["question"] is not None:
        raise UsageError("with --context TEXT is the question; leave out --question.")
    if (given["layer"] or given["head"]) and not (given["attention"] or given["html"]):
        raise UsageError("--layer and --head choose the weights of --attention or --html; add one of these.")
    changes: dict[str, Any] = {}
    if given["pair"] is not None:
        changes["pair_field"] = given["pair_field"] or "text_pair"
    asks = given["context"] is not None or given["question"] is not None
    if asks and given["model"] is None and given["task"] is None:
        changes["task"] = "question-answering"
    return {**given, **changes}


def _records(given: Mapping[str, Any]) -> Iterator[Record]:
    if not given["texts"]:
        return open_input(given)
    return (Record(i, _fields(given, text), i + 1, "TEXT") for i, text in enumerate(given["texts"]))


def _fields(given: Mapping[str, Any], text: str) -> dict[str, Any]:
    if given["context"] is not None:
        return {"question": text, "context": given["context"]}
    pair = {} if given["pair"] is None else {given["pair_field"]: given["pair"]}
    return {given["text_field"]: text, **pair}


def _demand_task(given: Mapping[str, Any], session: Session) -> None:
    for name, task in OF_TASK.items():
        if given[name] is not None and session.task.name != task:
            raise UsageError(f"--{name} is for {task}; this model's task is {session.task.name}.")


def _is_shown(given: Mapping[str, Any]) -> bool:
    return bool(given["output_format"] == "rich" or (given["output_format"] is None and sys.stdout.isatty()))


def _give(result: Result | RecordError, record: Record, writer: Writer | None, keep_attention: bool) -> None:
    """A line of JSON, or text for people; a record's error stands in its place."""
    if isinstance(result, RecordError):
        if writer:
            writer.write_error(str(result), record)
            writer.flush()
        return
    shown = result if keep_attention else {name: value for name, value in result.items() if name != "attention"}
    if writer:
        writer.write(_with_lists(shown), record)
        writer.flush()
        return
    from bertcli.cli.explained import render

    render(stdout_console(), shown)


def _with_lists(result: Result) -> Result:
    """The attention, if it is there, as JSON has it."""
    if "attention" not in result:
        return result
    return {**result, "attention": [_listed(window) for window in result["attention"]]}


def _listed(window: Mapping[str, Any]) -> dict[str, Any]:
    matrices = [
        {**matrix, "weights": matrix["weights"].astype(float).round(DIGITS).tolist()} for matrix in window["matrices"]
    ]
    return {**window, "matrices": matrices}


def _open_page(path: str) -> Any:
    from bertcli.report.page import explain_page

    return explain_page(path)
