"""What calibrate does between its options and the engine: predict, fit, store, show."""

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from bertcli.cli.console import Voice, stdout_console
from bertcli.cli.evaluating import is_rich
from bertcli.cli.run import heed_signals, open_input, select
from bertcli.data.writers import open_writer
from bertcli.errors import Exit
from bertcli.evaluation import calibrate as engine
from bertcli.evaluation.evaluate import collect
from bertcli.inference.session import Request, open_session, open_task
from bertcli.inference.stream import Settings, stream
from bertcli.tasks.base import Options


def calibrate(voice: Voice, given: Mapping[str, Any]) -> int:
    """Fit a calibration to the input's labels and store it in the model; returns the exit code."""
    target = engine.parse_target(given["target"]) if given["target"] else None
    output = Path(given["output"]) if given["output"] else None
    records = open_input(given)
    session = open_session(select(Request, given), select(Options, given))
    engine.require_calibratable(session.task, target)
    engine.require_writable(session.model, given["model"], output)
    voice.note(session.reason)
    plain = open_task(type(session.task), engine.uncalibrated(session.model), select(Options, given))
    with heed_signals() as stop:
        outcomes = chain.from_iterable(stream(plain, session.backend, records, select(Settings, given), stop))
        found = collect(plain, outcomes)
    fitted = engine.fit(plain, found, target)
    place = engine.store(session.model, fitted.stored, output)
    _show(fitted, given["output_format"], str(place))
    for fault in found.faults:
        voice.warn(fault)
    if fitted.is_from_few:
        voice.warn(f"fitted to {len(found.gold):,} records, which chance may rule; take {engine.FEW} or more.")
    if fitted.kept:
        why = "the data has none of them, or none reaches the target" if target else "the data has none of them"
        voice.warn(f"the threshold stays 0.5 for {', '.join(fitted.kept)}: {why}")
    voice.note(f"stored in {place / 'config.json'}; before and after are on this data, so check it on other data")
    return Exit.RECORDS if found.faults else Exit.OK


def _show(fitted: engine.Calibrated, output_format: str | None, title: str) -> None:
    if not is_rich(output_format):
        with open_writer(None, "jsonl") as writer:
            writer.write(fitted.as_json())
        return
    from bertcli.cli.tables import render

    names = fitted.before.keys() | fitted.after.keys()
    rows = {name: {"before": fitted.before.get(name), "after": fitted.after.get(name)} for name in sorted(names)}
    render(stdout_console(), {**fitted.stored, "on this data": rows}, title)
